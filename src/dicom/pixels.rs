//! The pixels of a volume's slices, read and decoded side by side.

use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rayon::prelude::*;

use super::codec::fragments::{self, Fragment};
use super::codec::{self, Codec};
use super::data_set::Flaw;
use super::frames::Frame;
use super::input::Stream;
use super::instance::{Instance, Photometric};
use super::samples::{self, Table, Word};
use super::stack::Slice;
use super::tags;
use crate::image::{DataType, Voxel, Voxels};
use crate::memory::{in_large_pages, reserve, zeros};
use crate::{Error, Result};

const NOT_MAPPED: &str = "stored number that has a real world value";
/// Fragments of one file; a frame has few.
const MOST_FRAGMENTS: usize = 1 << 22;

/// How samples become voxels.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// As stored, for one slope and intercept of all.
    Stored,
    /// Each frame's own numbers or table are applied.
    Values,
    Colour,
}

/// The slices of one volume, their pixels unread.
pub struct Slices {
    instances: Vec<Instance>,
    slices: Vec<Slice>,
    rule: Rule,
    data_type: DataType,
    /// Slope and intercept of what is read.
    scaling: (f64, f64),
    fragments: Vec<OnceLock<Frames>>,
    /// The pixel data of files that can only be read from their start, of which the last is kept.
    whole: Mutex<Option<(usize, std::sync::Arc<Vec<u8>>)>>,
    pool: rayon::ThreadPool,
}

/// Where the fragments of each frame lie: start and length in the data set's stream.
type Frames = Vec<Vec<(u64, u64)>>;

impl Slices {
    /// Of `instances`, all of which are used.
    pub fn new(instances: Vec<Instance>, slices: Vec<Slice>, threads: Option<usize>) -> Result<Self> {
        instances.iter().try_for_each(check_holds)?;
        let (rule, data_type, scaling) = rule(&instances, &slices)?;
        let fragments = instances.iter().map(|_| OnceLock::new()).collect();
        let pool = pool(threads)?;
        Ok(Slices { instances, slices, rule, data_type, scaling, fragments, whole: Mutex::default(), pool })
    }

    /// How many slices are read at once.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// The file and the frame of each slice.
    pub fn frames(&self) -> impl Iterator<Item = (&Instance, &Frame)> {
        self.slices.iter().map(|slice| {
            let instance = &self.instances[slice.instance];
            (instance, &instance.frames[slice.frame])
        })
    }

    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    pub fn scaling(&self) -> (f64, f64) {
        self.scaling
    }

    pub fn channels(&self) -> usize {
        if self.rule == Rule::Colour { 3 } else { 1 }
    }

    /// Columns, rows and slices.
    pub fn dims(&self) -> [usize; 3] {
        let shape = self.slices.first().map(|s| self.instances[s.instance].shape);
        shape.map_or([0; 3], |shape| [shape.columns, shape.rows, self.slices.len()])
    }

    /// Stored values that stand for no picture, where all slices mean the same by them and they are kept.
    pub fn padding(&self) -> Option<[f64; 2]> {
        let first = self.instances.first()?.padding?;
        let same = self.instances.iter().all(|instance| instance.padding == Some(first));
        (same && self.rule == Rule::Stored).then_some(first)
    }

    /// The voxels of a run of slices, x fastest, then y, then z.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when `stop` is set; [`Error::File`] and [`Error::Io`] name the file.
    pub fn read(&self, run: Range<usize>, stop: &AtomicBool) -> Result<Voxels> {
        Ok(match (self.rule, self.data_type) {
            (Rule::Colour, _) => Voxels::U8(self.each(run, stop, |slice, out| self.colour(slice, out))?),
            (Rule::Values, DataType::F64) => Voxels::F64(self.each(run, stop, |s, out| self.values(s, out, |v| v))?),
            (Rule::Values, _) => Voxels::F32(self.each(run, stop, |s, out| self.values(s, out, |v| v as f32))?),
            (_, DataType::U8) => Voxels::U8(self.each(run, stop, |s, out| self.stored(s, out))?),
            (_, DataType::I8) => Voxels::I8(self.each(run, stop, |s, out| self.stored(s, out))?),
            (_, DataType::U16) => Voxels::U16(self.each(run, stop, |s, out| self.stored(s, out))?),
            (_, DataType::I16) => Voxels::I16(self.each(run, stop, |s, out| self.stored(s, out))?),
            (_, DataType::U32) => Voxels::U32(self.each(run, stop, |s, out| self.stored(s, out))?),
            (_, DataType::I32) => Voxels::I32(self.each(run, stop, |s, out| self.stored(s, out))?),
            (_, DataType::F64) => Voxels::F64(self.each(run, stop, |s, out| self.floats(s, out))?),
            _ => Voxels::F32(self.each(run, stop, |s, out| self.floats(s, out))?),
        })
    }

    fn each<T: Voxel>(
        &self,
        run: Range<usize>,
        stop: &AtomicBool,
        fill: impl Fn(Slice, &mut [T]) -> Result<()> + Sync,
    ) -> Result<Vec<T>> {
        let [columns, rows, _] = self.dims();
        let plane = columns * rows * self.channels();
        let slices = &self.slices[run];
        let mut voxels = zeros(plane.saturating_mul(slices.len()), "the voxels")?;
        in_large_pages(&mut voxels);
        self.pool.install(|| {
            voxels.par_chunks_mut(plane.max(1)).zip(slices).try_for_each(|(out, &slice)| {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Cancelled);
                }
                fill(slice, out)
            })
        })?;
        Ok(voxels)
    }

    /// Samples as they are, without the bits that do not count.
    fn stored<T: Word>(&self, slice: Slice, out: &mut [T]) -> Result<()> {
        let instance = &self.instances[slice.instance];
        let high_bit = self.bytes(slice, bytemuck::cast_slice_mut(out))?;
        samples::take_bits(out, &instance.shape, high_bit);
        self.check_mapped(slice, out)
    }

    /// Refuses numbers that the slice's map of real world values says nothing of.
    fn check_mapped<T: Voxel>(&self, slice: Slice, stored: &[T]) -> Result<()> {
        let instance = &self.instances[slice.instance];
        let Some(map) = &instance.frames[slice.frame].map else { return Ok(()) };
        let outside = stored.iter().map(|value| value.to_f64()).find(|&value| !map.holds(value, instance.padding));
        outside.map_or(Ok(()), |value| Err(instance.error(NOT_MAPPED, map.ends(), value)))
    }

    fn floats<T: Voxel>(&self, slice: Slice, out: &mut [T]) -> Result<()> {
        self.bytes(slice, bytemuck::cast_slice_mut(out))?;
        self.check_mapped(slice, out)
    }

    fn values<T: Voxel>(&self, slice: Slice, out: &mut [T], number: impl Fn(f64) -> T) -> Result<()> {
        let instance = &self.instances[slice.instance];
        let native = self.native(slice)?;
        let high_bit = self.high_bit(instance);
        let frame = &instance.frames[slice.frame];
        let table = match frame.map {
            Some(_) => None,
            None => Table::modality(&instance.tables, instance.shape.signed).map_err(|f| f.at(instance.path()))?,
        };
        let (slope, intercept) = turned(instance, frame);
        let (mut out, mut outside) = (out.iter_mut(), None);
        let each = |stored: f64| {
            let value = match (&frame.map, &table) {
                (Some(map), _) if !map.holds(stored, instance.padding) => {
                    outside.get_or_insert((stored, map.ends()));
                    return;
                }
                (Some(map), _) if map.is_table() => map.look_up(stored),
                (None, Some(table)) => slope * f64::from(table.get(stored)) + intercept,
                _ => slope * stored + intercept,
            };
            if let Some(out) = out.next() {
                *out = number(value);
            }
        };
        samples::each_number(&native, instance.pixels.tag, &instance.shape, high_bit, each);
        outside.map_or(Ok(()), |(stored, ends)| Err(instance.error(NOT_MAPPED, ends, stored)))
    }

    fn colour(&self, slice: Slice, out: &mut [u8]) -> Result<()> {
        let instance = &self.instances[slice.instance];
        let (native, shape) = (self.native(slice)?, &instance.shape);
        if instance.photometric == Photometric::Palette {
            let colours = Table::palette(&instance.tables, shape.signed).map_err(|flaw| flaw.at(instance.path()))?;
            let mut pixels = out.chunks_exact_mut(3);
            samples::each_value(&native, shape, self.high_bit(instance), |stored| {
                if let Some(pixel) = pixels.next() {
                    pixel.iter_mut().zip(&colours).for_each(|(out, table)| *out = table.get(stored) as u8);
                }
            });
            return Ok(());
        }
        out.copy_from_slice(native.get(..out.len()).ok_or_else(|| short(instance, out.len(), native.len()))?);
        if self.is_ybr(slice)? {
            for pixel in out.chunks_exact_mut(3) {
                let turned = samples::rgb([pixel[0], pixel[1], pixel[2]]);
                pixel.copy_from_slice(&turned);
            }
        }
        Ok(())
    }

    /// Whether samples are still luminance and colour when they are decoded. A JPEG stream that says so itself is
    /// believed: writers often leave the tag as it was before they compressed.
    fn is_ybr(&self, slice: Slice) -> Result<bool> {
        let instance = &self.instances[slice.instance];
        let tagged = matches!(instance.photometric, Photometric::YbrFull | Photometric::YbrFull422);
        match instance.pixels.length {
            None if Codec::of(&instance.transfer_syntax)? == Codec::Jpeg => {
                Ok(codec::says_ybr(&self.joined(slice)?).unwrap_or(tagged))
            }
            _ => Ok(tagged),
        }
    }

    /// Decoders give the number itself, in its lowest bits.
    fn high_bit(&self, instance: &Instance) -> u16 {
        if instance.pixels.length.is_some() { instance.high_bit } else { instance.shape.bits_stored - 1 }
    }

    /// Native little-endian bytes of a frame to `out`; returns where their most significant bit is.
    fn bytes(&self, slice: Slice, out: &mut [u8]) -> Result<u16> {
        let instance = &self.instances[slice.instance];
        let plain = instance.pixels.length.is_some() && instance.deflated_from.is_none();
        if plain && !instance.encoding.big_endian && instance.shape.bits_allocated >= 8 {
            let bytes = out.len() as u64;
            let start = instance.pixels.start + bytes * instance.frames[slice.frame].index as u64;
            let mut stream = instance.place.open()?;
            stream.skip(start).and_then(|()| stream.fill(out)).map_err(|flaw| flaw.at(instance.path()))?;
        } else {
            let native = self.native(slice)?;
            out.copy_from_slice(native.get(..out.len()).ok_or_else(|| short(instance, out.len(), native.len()))?);
        }
        Ok(self.high_bit(instance))
    }

    /// Native little-endian bytes of a frame, its samples pixel by pixel.
    fn native(&self, slice: Slice) -> Result<Vec<u8>> {
        let instance = &self.instances[slice.instance];
        if instance.pixels.length.is_none() {
            return self.decoded(slice);
        }
        let shape = &instance.shape;
        let index = instance.frames[slice.frame].index as u64;
        let pixels = shape.rows * shape.columns;
        let bits = frame_bits(instance);
        // Words are swapped whole, also those of two bytes that hold two samples of 8 bits.
        let word = match shape.bits_allocated {
            _ if !instance.encoding.big_endian => 1,
            1 | 8 if instance.pixels.words => 2,
            bits => u64::from(bits / 8).max(1),
        };
        let (from, to) = (index * bits / 8, ((index + 1) * bits).div_ceil(8));
        let (first, last) = (from / word * word, to.div_ceil(word) * word);
        let mut bytes = self.stretch(slice.instance, instance.pixels.start + first, last - first)?;
        if word > 1 {
            bytes.chunks_exact_mut(word as usize).for_each(<[u8]>::reverse);
        }
        bytes.drain(..(from - first) as usize);
        bytes.truncate((to - from) as usize);
        if shape.bits_allocated == 1 {
            let mut unpacked = zeros(pixels, "a frame")?;
            samples::unpack_bits(&bytes, (index * bits % 8) as usize, &mut unpacked);
            return Ok(unpacked);
        }
        Ok(match (is_halved(instance), shape.planar) {
            (true, _) => samples::from_422(&bytes),
            (false, true) => samples::interleaved(&bytes, usize::from(shape.bits_allocated / 8)),
            (false, false) => bytes,
        })
    }

    /// Bytes of a data set from `start` on.
    fn stretch(&self, at: usize, start: u64, length: u64) -> Result<Vec<u8>> {
        let instance = &self.instances[at];
        if instance.deflated_from.is_none() {
            let mut stream = instance.place.open()?;
            stream.skip(start).map_err(|flaw| flaw.at(instance.path()))?;
            return take(&mut stream, length).map_err(|flaw| flaw.at(instance.path()));
        }
        let whole = self.inflated(at)?;
        let from = usize::try_from(start - instance.pixels.start).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        let bytes = whole.get(from..to).ok_or_else(|| short(instance, to, whole.len()))?;
        let mut copy = reserve(bytes.len(), "a frame")?;
        copy.extend_from_slice(bytes);
        Ok(copy)
    }

    /// All pixel data of a deflated data set.
    fn inflated(&self, at: usize) -> Result<std::sync::Arc<Vec<u8>>> {
        let instance = &self.instances[at];
        let mut kept = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, bytes)) = kept.as_ref().filter(|(of, _)| *of == at) {
            let _ = of;
            return Ok(std::sync::Arc::clone(bytes));
        }
        let read = || {
            let mut stream = instance.place.open().map_err(|error| Flaw::new("contents", "to be readable", error))?;
            stream.skip(instance.deflated_from.unwrap_or(0))?;
            let mut stream = stream.inflated();
            stream.skip(instance.pixels.start)?;
            take(&mut stream, instance.pixels.length.unwrap_or(0))
        };
        let bytes = std::sync::Arc::new(read().map_err(|flaw| flaw.at(instance.path()))?);
        *kept = Some((at, std::sync::Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// A compressed frame, decoded.
    fn decoded(&self, slice: Slice) -> Result<Vec<u8>> {
        let (instance, joined) = (&self.instances[slice.instance], self.joined(slice)?);
        let decoded = codec::decode_frame(&instance.transfer_syntax, &joined, &instance.shape);
        decoded.map_err(|error| instance.named(error))
    }

    /// A compressed frame's fragments, one after the other.
    fn joined(&self, slice: Slice) -> Result<Vec<u8>> {
        let instance = &self.instances[slice.instance];
        let frames = match self.fragments[slice.instance].get() {
            Some(frames) => frames,
            None => {
                let frames = find_fragments(instance)?;
                self.fragments[slice.instance].get_or_init(|| frames)
            }
        };
        let index = instance.frames[slice.frame].index;
        let parts = frames.get(index).ok_or_else(|| instance.error("frames", index + 1, frames.len()))?;
        let mut stream = instance.place.open()?;
        let mut joined = Vec::new();
        for &(start, length) in parts {
            let skip = start.saturating_sub(stream.position());
            let part = stream.skip(skip).and_then(|()| take(&mut stream, length)).map_err(|f| f.at(instance.path()))?;
            if joined.is_empty() { joined = part } else { joined.extend_from_slice(&part) }
        }
        Ok(joined)
    }
}

fn take(stream: &mut Stream, length: u64) -> std::result::Result<Vec<u8>, Flaw> {
    let mut bytes = Vec::new();
    if length <= stream.left() && stream.left() != u64::MAX {
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        bytes.try_reserve_exact(wanted).map_err(|_| Flaw::new("pixel data", "memory", format!("{length} bytes")))?;
    }
    let taken = stream.take(length).read_to_end(&mut bytes).map_err(Stream::failed)?;
    if (taken as u64) < length {
        return Err(Flaw::new("pixel data", format!("{length} bytes"), format!("the end after {taken}")));
    }
    Ok(bytes)
}

fn short(instance: &Instance, expected: usize, found: usize) -> Error {
    instance.error("pixel data", format!("{expected} bytes"), found)
}

/// Whether two pixels share their colour in uncompressed samples.
fn is_halved(instance: &Instance) -> bool {
    instance.photometric == Photometric::YbrFull422 && instance.shape.bits_allocated == 8
}

/// Bits of an uncompressed frame.
fn frame_bits(instance: &Instance) -> u64 {
    let shape = &instance.shape;
    let pixels = (shape.rows * shape.columns) as u64;
    if is_halved(instance) { 16 * pixels } else { u64::from(shape.bits_allocated) * pixels * shape.samples as u64 }
}

/// Refuses uncompressed pixel data that are too short for their frames, before memory is taken for them.
fn check_holds(instance: &Instance) -> Result<()> {
    let needed = frame_bits(instance).saturating_mul(instance.frames.len() as u64).div_ceil(8);
    match instance.pixels.length {
        Some(length) if length < needed => Err(instance.error("pixel data", format!("{needed} bytes"), length)),
        _ => Ok(()),
    }
}

/// The number a MONOCHROME1 sample is read as: the largest less itself, before the rescale, as ITK does.
/// A map of real world values is of samples as they are stored.
fn turned(instance: &Instance, frame: &Frame) -> (f64, f64) {
    let (slope, intercept) = frame.scale;
    if instance.photometric != Photometric::Monochrome1 || frame.map.is_some() {
        return (slope, intercept);
    }
    let shape = &instance.shape;
    let sum = if shape.signed { -1.0 } else { 2_f64.powi(shape.bits_stored.into()) - 1.0 };
    (-slope, slope * sum + intercept)
}

/// By what rule voxels are made, in what type, and the scaling that is left.
fn rule(instances: &[Instance], slices: &[Slice]) -> Result<(Rule, DataType, (f64, f64))> {
    let of = |slice: &Slice| &instances[slice.instance];
    let first =
        slices.first().map(of).ok_or_else(|| Error::Internal { place: "dicom".into(), what: "no slice".into() })?;
    let shape = first.shape;
    let frame = |slice: &Slice| &of(slice).frames[slice.frame];
    let map = |slice: &Slice| frame(slice).map.as_ref();
    if shape.samples == 3 || first.photometric == Photometric::Palette {
        let same = instances.iter().all(|instance| instance.photometric == first.photometric);
        if !same || (shape.samples == 3 && shape.bits_allocated != 8) {
            return Err(first.error("colour", "8 bits a sample, coded alike in all files", shape.bits_allocated));
        }
        if slices.iter().any(|slice| map(slice).is_some()) {
            return Err(first.error("maps of real world values", "grey pixels", "colours"));
        }
        return Ok((Rule::Colour, DataType::U8, (1.0, 0.0)));
    }
    let float = first.pixels.tag != tags::PIXEL_DATA;
    let scale = turned(first, frame(&slices[0]));
    let alike = slices.iter().all(|slice| {
        let file = of(slice);
        let shape_alike = (file.shape.bits_allocated, file.shape.bits_stored, file.shape.signed)
            == (shape.bits_allocated, shape.bits_stored, shape.signed);
        shape_alike && file.pixels.tag == first.pixels.tag && turned(file, frame(slice)) == scale
    });
    let tables = slices.iter().any(|slice| match map(slice) {
        Some(map) => map.is_table(),
        None => of(slice).tables.item(tags::MODALITY_LUT_SEQUENCE).is_some(),
    });
    let stored = match (shape.bits_allocated, shape.signed) {
        (32, _) if float => DataType::F32,
        (64, _) => DataType::F64,
        (1, _) | (8, false) => DataType::U8,
        (8, true) => DataType::I8,
        (16, false) => DataType::U16,
        (16, true) => DataType::I16,
        (_, false) => DataType::U32,
        (_, true) => DataType::I32,
    };
    if alike && !tables {
        return Ok((Rule::Stored, stored, scale));
    }
    if shape.bits_allocated == 1 || instances.iter().any(|file| file.pixels.tag != first.pixels.tag) {
        return Err(first.error("frames", "one scale of all frames of this kind of pixel", "several"));
    }
    let wide = instances.iter().any(|instance| instance.shape.bits_stored > 24);
    Ok((Rule::Values, if wide { DataType::F64 } else { DataType::F32 }, (1.0, 0.0)))
}

/// Walks through the items of encapsulated pixel data.
fn find_fragments(instance: &Instance) -> Result<Frames> {
    let codec = Codec::of(&instance.transfer_syntax).map_err(|error| instance.named(error))?;
    let walk = || {
        let mut stream = instance.place.open().map_err(|error| Flaw::new("contents", "to be readable", error))?;
        stream.skip(instance.pixels.start)?;
        let (mut table, mut found, mut places) = (None, Vec::new(), Vec::new());
        let mut behind = 0;
        loop {
            let mut head = [0; 8];
            let item = stream.position();
            stream.fill(&mut head)?;
            let length = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
            match head[..4] {
                [0xFE, 0xFF, 0x00, 0xE0] if length <= stream.left() => {}
                [0xFE, 0xFF, 0xDD, 0xE0] => break,
                _ => return Err(Flaw::new("encapsulated pixel data", "an item within the file", "something else")),
            }
            if table.is_none() {
                table = Some(take(&mut stream, length)?);
                behind = stream.position();
                continue;
            }
            if found.len() >= MOST_FRAGMENTS {
                return Err(Flaw::new("fragments", format!("at most {MOST_FRAGMENTS}"), "more"));
            }
            let start = stream.position();
            let first = stream.peek(fragments::LOOKED_AT.min(length as usize))?;
            found.push(Fragment { place: item - behind, begins: fragments::begins(codec, &first) });
            places.push((start, length));
            stream.skip(length)?;
        }
        Ok((table.unwrap_or_default(), found, places))
    };
    let (table, found, places) = walk().map_err(|flaw: Flaw| flaw.at(instance.path()))?;
    let table: Vec<u32> = table.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let runs = fragments::by_frame(&found, instance.frames.len(), &table, &instance.offsets);
    let runs = runs.map_err(|error| instance.named(error))?;
    Ok(runs.into_iter().map(|run| places[run].to_vec()).collect())
}

/// Threads that read and decode, as many as are asked for.
pub fn pool(threads: Option<usize>) -> Result<rayon::ThreadPool> {
    let builder = rayon::ThreadPoolBuilder::new().thread_name(|_| "medsegx-dicom".into());
    let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    builder
        .num_threads(threads)
        .build()
        .map_err(|error| Error::Internal { place: "dicom".into(), what: error.to_string() })
}
