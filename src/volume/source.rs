//! Bytes of an input file: detection by content, gzip members, and reads that name the file when they fail.

use std::io::{self, BufRead, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::GzDecoder;

use crate::image::{DataType, Voxel, Voxels};
use crate::memory::{reserve, zeros};
use crate::{Error, Result};

/// Bytes looked at to tell what a file is: a NIfTI-2 header with its extension flag.
const HEAD: usize = 544;
/// Deflate cannot expand a byte to more than this many.
const DEFLATE_RATIO: u64 = 1032;
/// Decompressed bytes after the last voxel that are read to reach the gzip checksum.
const TRAILING_LIMIT: u64 = 1 << 24;

/// What a file is, by its first bytes. The name plays no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nifti,
    Npy,
    Png,
    Nrrd,
    MetaImage,
}

/// A file being read from front to back, decompressed where it is gzip.
pub(super) struct Source<R> {
    pub path: PathBuf,
    /// Whether the file is gzip.
    pub compressed: bool,
    /// Set from elsewhere when nobody wants the rest.
    pub stop: Option<Arc<AtomicBool>>,
    stream: Stream<io::Chain<Cursor<Vec<u8>>, R>>,
    /// Bytes of the file.
    pub length: u64,
    taken: u64,
}

impl<R> Source<R> {
    /// No bytes: for what is read from many files.
    pub fn nothing(path: &Path) -> Self {
        let (compressed, stop, stream) = (false, None, Stream::Nothing);
        Source { path: path.to_path_buf(), compressed, stop, stream, length: 0, taken: 0 }
    }
}

impl<R: BufRead> Source<R> {
    /// Reads `count` values of `data_type`.
    pub fn voxels(&mut self, data_type: DataType, count: usize, big_endian: bool) -> Result<Voxels> {
        macro_rules! values {
            ($($variant:ident)*) => {
                match data_type {
                    $(DataType::$variant => Voxels::$variant(read_values(self, count, big_endian)?),)*
                }
            };
        }
        Ok(values!(U8 I8 U16 I16 U32 I32 U64 I64 F32 F64))
    }

    /// Looks at the first bytes of `reader`, a file of `length` bytes, and finds out what it holds.
    pub fn new(path: &Path, mut reader: R, length: u64) -> Result<(Self, Kind)> {
        let head = read_head(&mut reader).map_err(|e| Error::io(path, "read", e))?;
        let compressed = head.starts_with(&[0x1f, 0x8b]);
        let chained = Cursor::new(head.clone()).chain(reader);
        let mut source = Source {
            path: path.to_path_buf(),
            compressed,
            stop: None,
            stream: if compressed { Stream::Gzip(Box::new(Members::new(chained))) } else { Stream::Plain(chained) },
            length,
            taken: 0,
        };
        if !compressed {
            let kind = detect(&head).map_err(|found| not_an_image(path, found))?;
            return Ok((source, kind));
        }
        let inner = read_head(&mut source.stream).map_err(|e| source.failure("gzip data", e))?;
        match detect(&inner) {
            Ok(Kind::Nifti) => {}
            Ok(_) => return Err(not_an_image(path, "gzip around a picture or array: unpack it first")),
            Err(found) => return Err(not_an_image(path, &format!("gzip around {found}"))),
        }
        let Stream::Gzip(members) = &mut source.stream else { return Err(not_an_image(path, "gzip")) };
        members.pushed_back = Cursor::new(inner);
        Ok((source, Kind::Nifti))
    }

    /// Checks, before memory is taken, that the file can hold `needed` bytes.
    pub fn check_holds(&self, what: &str, needed: u64) -> Result<()> {
        let most =
            if self.compressed { self.length.saturating_add(1).saturating_mul(DEFLATE_RATIO) } else { self.length };
        if needed <= most {
            return Ok(());
        }
        let found = format!("a {}file of {} bytes", if self.compressed { "gzip " } else { "" }, self.length);
        Err(Error::file(&self.path, what, format!("{needed} bytes"), found))
    }

    /// Bytes delivered so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Fills `buffer`; a file that ends before is an error that names `what`.
    pub fn fill(&mut self, what: &str, buffer: &mut [u8]) -> Result<()> {
        if self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Err(Error::Cancelled);
        }
        let mut filled = 0;
        while filled < buffer.len() {
            match self.stream.read(&mut buffer[filled..]) {
                Ok(0) => {
                    let expected = format!("{} bytes more", buffer.len() - filled);
                    let found = format!("the end after {} bytes", self.taken);
                    return Err(Error::file(&self.path, what, expected, found));
                }
                Ok(count) => {
                    filled += count;
                    self.taken = self.taken.saturating_add(count as u64);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failure(what, e)),
            }
        }
        Ok(())
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, what: &str, count: u64) -> Result<()> {
        let mut bin = vec![0; 1 << 15];
        let mut left = count;
        while left > 0 {
            let step = left.min(bin.len() as u64) as usize;
            self.fill(what, &mut bin[..step])?;
            left -= step as u64;
        }
        Ok(())
    }

    /// Reads all that is left of the file, which must not be gzip.
    pub fn read_all(&mut self) -> Result<Vec<u8>> {
        let left = self.length.saturating_sub(self.taken);
        let mut bytes = zeros(usize::try_from(left).unwrap_or(usize::MAX), "the file")?;
        self.fill("contents", &mut bytes)?;
        Ok(bytes)
    }

    /// Reads on to the end, so that the gzip checksum is compared, and counts the bytes after the voxels.
    pub fn finish(&mut self) -> Result<u64> {
        if !self.compressed {
            return Ok(self.length.saturating_sub(self.taken));
        }
        let trailing = io::copy(&mut (&mut self.stream).take(TRAILING_LIMIT), &mut io::sink())
            .map_err(|e| self.failure("gzip data", e))?;
        if trailing == TRAILING_LIMIT {
            let found = format!("more than {TRAILING_LIMIT} bytes");
            return Err(Error::file(&self.path, "data after the voxels", "none", found));
        }
        let Stream::Gzip(members) = &self.stream else { return Ok(trailing) };
        Ok(trailing + u64::from(members.garbage))
    }

    fn failure(&self, what: &str, error: io::Error) -> Error {
        match error.kind() {
            ErrorKind::UnexpectedEof if self.compressed => {
                let found = format!("a gzip file cut short after {} bytes of contents", self.taken);
                Error::file(&self.path, what, "a complete gzip file", found)
            }
            ErrorKind::InvalidData | ErrorKind::InvalidInput if self.compressed => {
                Error::file(&self.path, what, "gzip data with a right checksum", error)
            }
            _ => Error::io(&self.path, "read", error),
        }
    }
}

fn not_an_image(path: &Path, found: &str) -> Error {
    Error::file(path, "format", "NIfTI (.nii, .nii.gz), NRRD (.nrrd), MetaImage (.mha), NumPy (.npy) or PNG", found)
}

fn read_head(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    reader.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// What a file with these first bytes holds, or what it seems to be instead.
fn detect(head: &[u8]) -> std::result::Result<Kind, &'static str> {
    let size = head.first_chunk::<4>().map(|b| (i32::from_le_bytes(*b), i32::from_be_bytes(*b)));
    match size {
        None => return Err("a file of less than 4 bytes"),
        Some((348, _) | (_, 348) | (540, _) | (_, 540)) => return Ok(Kind::Nifti),
        _ => {}
    }
    let known: [(&[u8], &str); 5] = [
        (b"PK\x03\x04", "a zip archive: an .npz, or a PyTorch checkpoint, which `medsegx convert` reads"),
        (b"\x80\x02\x8a\x0a", "a PyTorch checkpoint, which `medsegx convert` reads"),
        (b"\xff\xd8\xff", "a JPEG picture: convert it to PNG"),
        (b"\x1f\x8b", "gzip inside gzip"),
        (b"BM", "a BMP picture: convert it to PNG"),
    ];
    if head.starts_with(b"\x93NUMPY") {
        Ok(Kind::Npy)
    } else if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        Ok(Kind::Png)
    } else if head.starts_with(b"NRRD") {
        Ok(Kind::Nrrd)
    } else if head.starts_with(b"ObjectType") || head.starts_with(b"NDims") {
        Ok(Kind::MetaImage)
    } else if head.get(128..132) == Some(b"DICM") {
        Err("a DICOM file, which is read from its own path and in a build with the feature dicom")
    } else if head.get(4..9) == Some(b"\0\0\0\0{") {
        Err("a safetensors file, which holds weights")
    } else {
        Err(known.iter().find(|(magic, _)| head.starts_with(magic)).map_or("something else", |(_, name)| name))
    }
}

enum Stream<R> {
    Plain(R),
    Gzip(Box<Members<R>>),
    Nothing,
}

impl<R: BufRead> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(reader) => reader.read(buffer),
            Stream::Gzip(members) => members.read(buffer),
            Stream::Nothing => Ok(0),
        }
    }
}

/// All members of a gzip file, one after the other. Bytes after the last one that are no member are left unread, as
/// the `gzip` program does.
struct Members<R> {
    pushed_back: Cursor<Vec<u8>>,
    member: Option<GzDecoder<R>>,
    garbage: bool,
}

impl<R: BufRead> Members<R> {
    fn new(reader: R) -> Self {
        Members { pushed_back: Cursor::default(), member: Some(GzDecoder::new(reader)), garbage: false }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let again = self.pushed_back.read(buffer)?;
        if again > 0 || buffer.is_empty() {
            return Ok(again);
        }
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let count = member.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            let Some(mut reader) = self.member.take().map(GzDecoder::into_inner) else { return Ok(0) };
            match reader.fill_buf()?.first() {
                Some(0x1f) => self.member = Some(GzDecoder::new(reader)),
                Some(_) => self.garbage = true,
                None => {}
            }
        }
    }
}

fn read_values<T: Voxel, R: BufRead>(source: &mut Source<R>, count: usize, big_endian: bool) -> Result<Vec<T>> {
    const CHUNK: usize = 1 << 20; // memory is touched only as the file really delivers
    let mut values: Vec<T> = reserve(count, "the voxels")?;
    while values.len() < count {
        let start = values.len();
        values.resize(count.min(start.saturating_add(CHUNK)), T::zeroed());
        source.fill("voxel data", bytemuck::cast_slice_mut(&mut values[start..]))?;
        if big_endian != cfg!(target_endian = "big") {
            values[start..].iter_mut().for_each(|v| *v = v.swapped());
        }
    }
    Ok(values)
}
