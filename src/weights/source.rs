//! Where the bytes of a weights file come from, and reading them once.
#![allow(unsafe_code)] // the file mapping

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::Mmap;
use sha2::{Digest as _, Sha256};

use crate::memory::{grow_to, zeros};
use crate::{Error, Result};

/// How a file is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Mapped into memory: nothing is copied but the values themselves. Values that need no conversion are read
    /// straight into place.
    ///
    /// A file that is cut short in place *while it is being loaded* ends the process (SIGBUS), which no library can
    /// prevent without a signal handler; its length is checked before every piece to make that window small. Once
    /// loaded, the file may go. For files that others write, or on network file systems, use [`Access::Read`].
    #[default]
    Map,
    /// Read piece by piece: a file that changes is an error, whatever happens to it.
    Read,
}

/// Bytes are handed out in pieces of this size, a multiple of every value's size.
const PIECE: u64 = 4 << 20;

/// Mapped pages are dropped each time that as many bytes were read: seldom enough to cost nothing, often enough that a
/// file does not take its own length of memory beside what is made of it.
const WINDOW: u64 = 4 << 20;

pub(super) enum Source {
    /// `read` counts bytes since pages were last dropped.
    Mapped {
        map: Mmap,
        file: Arc<File>,
        read: AtomicU64,
    },
    File {
        file: Arc<File>,
        length: u64,
    },
    Owned(Arc<Vec<u8>>),
    Static(&'static [u8]),
}

impl Source {
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        // Asked before it is opened too, because opening a pipe waits for its writer.
        check_ordinary(path, std::fs::metadata(path))?;
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let found = check_ordinary(path, file.metadata())?;
        let (file, length) = (Arc::new(file), found.len());
        if access == Access::Read || length == 0 {
            return Ok(Source::File { file, length });
        }
        // SAFETY: the mapping is read-only. Its bytes are only ever copied out, never handed out as references that
        // outlive a call, and every value is valid for every bit pattern, so a file that changes meanwhile changes
        // numbers at worst; one that shrinks is described at `Access::Map`.
        let map = unsafe { Mmap::map(&*file) }.map_err(|e| Error::io(path, "map", e))?;
        Ok(Source::Mapped { map, file, read: AtomicU64::new(0) })
    }

    pub fn length(&self) -> u64 {
        match self {
            Source::Mapped { map, .. } => map.len() as u64,
            Source::File { length, .. } => *length,
            Source::Owned(bytes) => bytes.len() as u64,
            Source::Static(bytes) => bytes.len() as u64,
        }
    }

    /// Calls `each` with the bytes of `range`, piece after piece. `range` lies within [`Source::length`].
    pub fn read(&self, path: &Path, range: Range<u64>, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mut buffer = Vec::new();
        let mut start = range.start;
        while start < range.end {
            let piece = start..range.end.min(start + PIECE);
            match self {
                Source::Mapped { map, file, .. } => {
                    check_length(path, file, map.len() as u64)?;
                    each(slice(path, map, &piece)?);
                }
                Source::File { file, length } => {
                    check_length(path, file, *length)?;
                    let length = (piece.end - piece.start) as usize; // at most PIECE
                    grow_to(&mut buffer, length, "a piece of the weights")?;
                    buffer.resize(length, 0);
                    read_exact_at(file, &mut buffer, start).map_err(|e| Error::io(path, "read", e))?;
                    each(&buffer);
                }
                Source::Owned(bytes) => each(slice(path, bytes, &piece)?),
                Source::Static(bytes) => each(slice(path, bytes, &piece)?),
            }
            start = piece.end;
            self.drop_pages(piece.end - piece.start);
        }
        Ok(())
    }

    /// Fills `bytes` from `start` on, which lie within [`Source::length`].
    pub fn read_into(&self, path: &Path, start: u64, bytes: &mut [u8]) -> Result<()> {
        // A mapped file too: mapping pages only to copy them once costs more than the copy.
        let file = match self {
            Source::Mapped { map, file, .. } => Some((file, map.len() as u64)),
            Source::File { file, length } => Some((file, *length)),
            Source::Owned(_) | Source::Static(_) => None,
        };
        if let Some((file, length)) = file {
            check_length(path, file, length)?;
            return read_exact_at(file, bytes, start).map_err(|e| Error::io(path, "read", e));
        }
        let mut rest = &mut *bytes;
        self.read(path, start..start + rest.len() as u64, |piece| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(piece.len());
            now.copy_from_slice(piece);
            rest = later;
        })
    }

    /// All of them and not a range: the system maps neighbours of a page that is read, half the file in the end.
    #[cfg(unix)]
    fn drop_pages(&self, bytes: u64) {
        if let Source::Mapped { map, read, .. } = self {
            if read.fetch_add(bytes, Ordering::Relaxed) + bytes < WINDOW {
                return;
            }
            read.store(0, Ordering::Relaxed);
            // SAFETY: the mapping is shared with the file and read-only, so a dropped page is read again from the file
            // by whoever still needs it.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }

    #[cfg(not(unix))]
    fn drop_pages(&self, _bytes: u64) {}

    /// What [`Digest`] needs, without the mapping.
    pub fn digest(&self) -> Digest {
        match self {
            Source::Mapped { map, file, .. } => Digest::File(file.clone(), map.len() as u64),
            Source::File { file, length } => Digest::File(file.clone(), *length),
            Source::Owned(bytes) => Digest::Owned(bytes.clone()),
            Source::Static(bytes) => Digest::Static(bytes),
        }
    }
}

/// The SHA-256 of a file that is still to be computed, on whichever thread has time. Reads the file, not the mapping.
#[derive(Clone, Debug)]
pub enum Digest {
    /// An open file and its length.
    File(Arc<File>, u64),
    /// Bytes in memory.
    Owned(Arc<Vec<u8>>),
    /// Bytes of the program.
    Static(&'static [u8]),
}

impl Digest {
    /// The SHA-256 in lower-case hexadecimal.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`] when the file `path`, which is only named, can no longer be read whole.
    pub fn compute(&self, path: &Path) -> Result<String> {
        self.compute_while(path, &|| Ok(()))
    }

    /// As [`Digest::compute`], which ends with what `check` returns, once it is an error.
    pub(super) fn compute_while(&self, path: &Path, check: &dyn Fn() -> Result<()>) -> Result<String> {
        let (file, length) = match self {
            Digest::File(file, length) => (file, *length),
            Digest::Owned(bytes) => return Ok(sha256(bytes)),
            Digest::Static(bytes) => return Ok(sha256(bytes)),
        };
        check_length(path, file, length)?;
        let (mut hash, mut buffer, mut start) = (Sha256::new(), zeros::<u8>(1 << 20, "a hash")?, 0);
        while start < length {
            check()?;
            let piece = buffer.len().min(usize::try_from(length - start).unwrap_or(usize::MAX));
            read_exact_at(file, &mut buffer[..piece], start).map_err(|e| Error::io(path, "read", e))?;
            hash.update(&buffer[..piece]);
            start += piece as u64;
        }
        Ok(hex(&hash.finalize()))
    }
}

/// The SHA-256 of `bytes` in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn slice<'a>(path: &Path, bytes: &'a [u8], range: &Range<u64>) -> Result<&'a [u8]> {
    let inside = || bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?);
    inside().ok_or_else(|| Error::file(path, "bytes", format!("{}..{}", range.start, range.end), bytes.len()))
}

fn check_ordinary(path: &Path, found: io::Result<Metadata>) -> Result<Metadata> {
    let found = found.map_err(|e| Error::io(path, "open", e))?;
    if !found.is_file() {
        return Err(Error::file(path, "input", "an ordinary file", "a folder, device or pipe"));
    }
    Ok(found)
}

fn check_length(path: &Path, file: &File, expected: u64) -> Result<()> {
    let found = file.metadata().map_err(|e| Error::io(path, "read", e))?.len();
    if found != expected {
        return Err(Error::file(
            path,
            "length while it is read",
            format!("{expected} bytes"),
            format!("{found} bytes"),
        ));
    }
    Ok(())
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, buffer, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[read..];
        offset += read as u64;
    }
    Ok(())
}
