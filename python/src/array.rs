//! Arrays of NumPy, read where they lie: any strides, alignment and byte order, a plane at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use half::f16;
use medsegx::volume::{DataType, Lender, Voxel, Voxels};
use medsegx::{Error, Result};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Element {
    Bool,
    F16,
    As(DataType),
}

/// Where the voxels of an array lie. The array itself, which is kept by the calling thread, outlives it.
pub struct Array {
    first: *const u8,
    element: Element,
    swapped: bool,
    pub dims: [usize; 3],
    pub channels: usize,
    /// Bytes from a voxel to the next along x, y, z, and from a channel to the next.
    strides: [isize; 3],
    channel_stride: isize,
    stop: Arc<AtomicBool>,
}

// SAFETY: a place in memory that belongs to no thread; it is only read from.
unsafe impl Send for Array {}

impl Array {
    /// The array's axes `axes` as x, y, z (an axis that it lacks has one plane) and `channel` as channels.
    pub fn new(array: &Bound<'_, PyUntypedArray>, axes: [Option<usize>; 3], channel: Option<usize>) -> PyResult<Array> {
        let (element, swapped) = element(array)?;
        let (shape, strides) = (array.shape(), array.strides());
        let mut named: Vec<usize> = axes.into_iter().flatten().chain(channel).collect();
        named.sort_unstable();
        if !named.iter().copied().eq(0..shape.len()) {
            let text = format!("image: got {named:?}; needs each of its {} axes named once", shape.len());
            return Err(PyValueError::new_err(text));
        }
        let length = |axis: Option<usize>| axis.map_or(1, |axis| shape[axis]);
        let stride = |axis: Option<usize>| axis.map_or(0, |axis| strides[axis]);
        // SAFETY: the pointer is to a live array object, whose fields are read while the interpreter is attached.
        let first = unsafe { (*array.as_array_ptr()).fields.data }.cast::<u8>().cast_const();
        Ok(Array {
            first,
            element,
            swapped,
            dims: axes.map(length),
            channels: length(channel),
            strides: axes.map(stride),
            channel_stride: stride(channel),
            stop: Arc::default(),
        })
    }

    /// Ends reading with an error once `stop` is set.
    pub fn follow(&mut self, stop: &Arc<AtomicBool>) {
        self.stop = Arc::clone(stop);
    }

    /// The type in which the engine gets a value: float16 and bool become the next that it has.
    pub fn data_type(&self) -> DataType {
        match self.element {
            Element::Bool => DataType::U8,
            Element::F16 => DataType::F32,
            Element::As(data_type) => data_type,
        }
    }

    /// Values of a plane, each read from its place by `read`; rows that lie together are taken whole where `plain` says
    /// that bytes are values.
    fn gather<T: Voxel>(
        &self,
        axis: usize,
        index: usize,
        plain: bool,
        read: impl Fn(*const u8) -> T,
    ) -> Result<Vec<T>> {
        let [column, row] = [[1, 2], [0, 2], [0, 1]][axis];
        let (width, height) = (self.dims[column], self.dims[row]);
        let count = width * height * self.channels;
        let mut values: Vec<T> = Vec::new();
        let refused = |_| Error::Memory { what: "a slice".into(), bytes: (count * size_of::<T>()) as u64 };
        values.try_reserve_exact(count).map_err(refused)?;
        let together = plain && self.channels == 1 && self.strides[column] == size_of::<T>() as isize;
        for y in 0..height {
            let start = index as isize * self.strides[axis] + y as isize * self.strides[row];
            if together {
                let at = values.len();
                values.resize(at + width, T::zeroed());
                // SAFETY: the row lies in the array, which shape and strides describe; the target was just made.
                unsafe {
                    let from = self.first.offset(start);
                    std::ptr::copy_nonoverlapping(from, values[at..].as_mut_ptr().cast::<u8>(), width * size_of::<T>());
                }
                continue;
            }
            for x in 0..width {
                let voxel = start + x as isize * self.strides[column];
                values.extend((0..self.channels).map(|channel| {
                    // SAFETY: the element lies in the array, which shape and strides describe.
                    read(unsafe { self.first.offset(voxel + channel as isize * self.channel_stride) })
                }));
            }
        }
        Ok(values)
    }

    fn numbers<T: Voxel>(&self, axis: usize, index: usize) -> Result<Vec<T>> {
        let swapped = self.swapped;
        self.gather(axis, index, !swapped, |at| {
            // SAFETY: `at` is where an element of T's size lies; any bits are a T, whatever the alignment.
            let value = unsafe { at.cast::<T>().read_unaligned() };
            if swapped { value.swapped() } else { value }
        })
    }
}

impl Lender for Array {
    fn cancel(&self) -> Option<&AtomicBool> {
        Some(&self.stop)
    }

    fn plane(&self, axis: usize, index: usize) -> Result<Voxels> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        macro_rules! plane {
            ($data_type:expr, $($variant:ident)*) => {
                match $data_type { $(DataType::$variant => Voxels::$variant(self.numbers(axis, index)?),)* }
            };
        }
        Ok(match self.element {
            // SAFETY: `at` is where a byte lies.
            Element::Bool => Voxels::U8(self.gather(axis, index, false, |at| u8::from(unsafe { *at } != 0))?),
            Element::F16 => {
                let swapped = self.swapped;
                Voxels::F32(self.gather(axis, index, false, |at| {
                    // SAFETY: `at` is where two bytes lie; any bits are a number.
                    let bits = unsafe { at.cast::<u16>().read_unaligned() };
                    f16::from_bits(if swapped { bits.swap_bytes() } else { bits }).to_f32()
                })?)
            }
            Element::As(data_type) => plane!(data_type, U8 I8 U16 I16 U32 I32 U64 I64 F32 F64),
        })
    }

    fn outermost(&self) -> usize {
        let reach = |axis: &usize| self.strides[*axis].unsigned_abs() * usize::from(self.dims[*axis] > 1);
        (0..3).max_by_key(reach).unwrap_or(2)
    }
}

/// What the array's elements are, and whether their bytes are in the other order.
fn element(array: &Bound<'_, PyUntypedArray>) -> PyResult<(Element, bool)> {
    let dtype = array.dtype();
    let swapped = match dtype.byteorder() {
        b'>' => cfg!(target_endian = "little"),
        b'<' => cfg!(target_endian = "big"),
        _ => false,
    };
    let element = match (dtype.kind(), dtype.itemsize()) {
        (b'b', 1) => Element::Bool,
        (b'u', 1) => Element::As(DataType::U8),
        (b'i', 1) => Element::As(DataType::I8),
        (b'u', 2) => Element::As(DataType::U16),
        (b'i', 2) => Element::As(DataType::I16),
        (b'u', 4) => Element::As(DataType::U32),
        (b'i', 4) => Element::As(DataType::I32),
        (b'u', 8) => Element::As(DataType::U64),
        (b'i', 8) => Element::As(DataType::I64),
        (b'f', 2) => Element::F16,
        (b'f', 4) => Element::As(DataType::F32),
        (b'f', 8) => Element::As(DataType::F64),
        _ => {
            let text = format!(
                "image: got dtype {} of shape {:?}; needs bool, integers or float16, float32 or float64",
                dtype.str()?,
                array.shape()
            );
            return Err(PyTypeError::new_err(text));
        }
    };
    Ok((element, swapped))
}
