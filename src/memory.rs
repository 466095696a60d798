//! Memory whose size a file or a caller decides: had, or refused with an error. A failed `vec!` would end the process.

use std::fmt::Display;
use std::io::{self, Write};

use crate::{Error, Result};

/// An empty vector with room for `count` values.
///
/// # Errors
/// [`Error::Memory`], which says that it was for `what`.
pub(crate) fn reserve<T>(count: usize, what: impl Display) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
    values.try_reserve_exact(count).map_err(|_| Error::Memory { what: what.to_string(), bytes })?;
    Ok(values)
}

/// A copy of `values`.
///
/// # Errors
/// As [`reserve`].
pub(crate) fn copied<T: Copy>(values: &[T], what: impl Display) -> Result<Vec<T>> {
    let mut copy = reserve(values.len(), what)?;
    copy.extend_from_slice(values);
    Ok(copy)
}

/// The values of an iterator that knows how many they are.
///
/// # Errors
/// As [`reserve`].
pub(crate) fn collected<T>(values: impl ExactSizeIterator<Item = T>, what: impl Display) -> Result<Vec<T>> {
    let mut all = reserve(values.len(), what)?;
    all.extend(values);
    Ok(all)
}

/// Makes room for `count` values in all, and no more than that.
///
/// # Errors
/// As [`reserve`].
pub(crate) fn grow_to<T>(values: &mut Vec<T>, count: usize, what: impl Display) -> Result<()> {
    let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
    let more = count.saturating_sub(values.len());
    values.try_reserve_exact(more).map_err(|_| Error::Memory { what: what.to_string(), bytes })
}

/// Appends a value; where there is no room, with room for as many again.
///
/// # Errors
/// As [`reserve`].
pub(crate) fn push<T>(values: &mut Vec<T>, value: T, what: impl Display) -> Result<()> {
    let bytes = (values.len() as u64 + 1).saturating_mul(size_of::<T>() as u64);
    values.try_reserve(1).map_err(|_| Error::Memory { what: what.to_string(), bytes })?;
    values.push(value);
    Ok(())
}

/// Makes `values` as many as `count`, whichever they are: what it has room for it keeps.
///
/// # Errors
/// As [`reserve`].
pub(crate) fn fit(values: &mut Vec<f32>, count: usize, what: impl Display) -> Result<()> {
    if values.capacity() < count {
        *values = zeros(count, what)?;
    }
    values.resize(count, 0.0);
    Ok(())
}

/// `count` zeros; many of them are pages that the system clears when they are first touched, by whatever thread does.
///
/// # Errors
/// As [`reserve`].
pub(crate) fn zeros<T: bytemuck::Zeroable>(count: usize, what: impl Display) -> Result<Vec<T>> {
    let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
    bytemuck::try_zeroed_vec(count).map_err(|()| Error::Memory { what: what.to_string(), bytes })
}

/// Asks for large pages below `values`, all of which are about to be written: their memory is cleared 2 MiB at a fault
/// in place of 4 KiB. A system without large pages leaves them as they are.
#[cfg(feature = "dicom")]
#[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "other systems are not asked"))]
pub(crate) fn in_large_pages<T>(values: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        const LARGE: usize = 2 << 20;
        let first = values.as_mut_ptr().cast::<u8>();
        let ahead = first.addr().wrapping_neg() % LARGE;
        let bytes = size_of_val(values).saturating_sub(ahead) / LARGE * LARGE;
        if bytes > 0 {
            // SAFETY: whole pages within `values`, which is borrowed; this advice changes none of their bytes.
            #[allow(unsafe_code, reason = "the system takes advice by address")]
            let _ = unsafe { libc::madvise(first.wrapping_add(ahead).cast(), bytes, libc::MADV_HUGEPAGE) };
        }
    }
}

/// Bytes that a writer gathers; memory that cannot be had is its error.
pub(crate) struct Growing {
    what: &'static str,
    pub bytes: Vec<u8>,
}

impl Growing {
    /// None yet, for `what`.
    pub fn of(what: &'static str) -> Growing {
        Growing { what, bytes: Vec::new() }
    }
}

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let all = (self.bytes.len() + bytes.len()) as u64;
        let refused = |_| io::Error::other(Error::Memory { what: self.what.into(), bytes: all });
        self.bytes.try_reserve(bytes.len()).map_err(refused)?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
