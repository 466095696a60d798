//! The bytes of one DICOM file, wherever it lies: on its own, or in a zip archive, stored or deflated.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::DeflateDecoder;

use super::data_set::{Flaw, Flawed};
use crate::{Error, Result, zip};

/// Most headers are shorter; what is read ahead of the pixels is no more than this.
const BUFFER: usize = 1 << 13;

/// A file, or a record of a zip archive.
#[derive(Clone, Debug)]
pub struct Place {
    /// How messages name it: an archive's record stands behind its archive.
    pub name: PathBuf,
    /// The file that is opened.
    file: Arc<PathBuf>,
    start: u64,
    /// Bytes in that file.
    length: u64,
    deflated: bool,
    /// A record whose bytes are not those of its checksum.
    damaged: bool,
}

impl Place {
    /// A file of its own.
    pub fn file(path: &Path, length: u64) -> Self {
        Place { name: path.into(), file: Arc::new(path.into()), start: 0, length, deflated: false, damaged: false }
    }

    /// All files of the zip archive at `path`.
    pub fn records(path: &Path) -> Result<Vec<Self>> {
        Place::records_checked(path, &mut |_, _| Ok(true))
    }

    /// The same, each read through once for its checksum, which is of the whole record: later on its parts alone are
    /// read.
    pub fn whole_records(path: &Path) -> Result<Vec<Self>> {
        let mut is_whole =
            |record: &zip::Record, file: &mut File| match io::copy(&mut record.reader(path, file)?, &mut io::sink()) {
                Ok(_) => Ok(true),
                Err(e) if e.raw_os_error().is_none() => Ok(false),
                Err(e) => Err(Error::io(path, "read", e)),
            };
        Place::records_checked(path, &mut is_whole)
    }

    fn records_checked(
        path: &Path,
        is_whole: &mut dyn FnMut(&zip::Record, &mut File) -> Result<bool>,
    ) -> Result<Vec<Self>> {
        let mut file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let archive = Arc::new(PathBuf::from(path));
        let records = zip::records(path, &mut file)?.into_iter();
        let place = |record: zip::Record| {
            Ok(Place {
                damaged: !is_whole(&record, &mut file)?,
                name: archive.join(record.name),
                file: Arc::clone(&archive),
                start: record.start,
                length: record.packed,
                deflated: record.deflated,
            })
        };
        records.map(place).collect()
    }

    /// Opens it at its first byte.
    pub fn open(&self) -> Result<Stream> {
        if self.damaged {
            return Err(Error::file(
                &self.name,
                "checksum",
                "that of the archive's directory",
                "another: the record is damaged",
            ));
        }
        let failed = |e| Error::io(&*self.file, "open", e);
        let mut file = File::open(&*self.file).map_err(failed)?;
        if self.start > 0 {
            file.seek(SeekFrom::Start(self.start)).map_err(failed)?;
        }
        let reader = BufReader::with_capacity(BUFFER, file);
        if self.deflated {
            return Ok(Stream::of(Box::new(DeflateDecoder::new(reader.take(self.length)))));
        }
        Ok(Stream { source: Source::File { reader, left: self.length }, ahead: Vec::new(), position: 0 })
    }
}

enum Source {
    File { reader: BufReader<File>, left: u64 },
    Other(Box<dyn Read + Send>),
}

/// Bytes from front to back, of which stretches can be passed over.
pub struct Stream {
    source: Source,
    /// Looked at and not taken yet.
    ahead: Vec<u8>,
    position: u64,
}

impl Stream {
    pub fn of(reader: Box<dyn Read + Send>) -> Self {
        Stream { source: Source::Other(reader), ahead: Vec::new(), position: 0 }
    }

    /// Bytes taken so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The most that may still come.
    pub fn left(&self) -> u64 {
        match &self.source {
            Source::File { left, .. } => left + self.ahead.len() as u64,
            Source::Other(_) => u64::MAX,
        }
    }

    /// The next bytes, fewer at the end, without taking them.
    pub fn peek(&mut self, count: usize) -> Flawed<Vec<u8>> {
        while self.ahead.len() < count {
            let mut more = [0; 132];
            let wanted = (count - self.ahead.len()).min(more.len());
            match self.raw(&mut more[..wanted]) {
                Ok(0) => break,
                Ok(read) => self.ahead.extend_from_slice(&more[..read]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Self::failed(e)),
            }
        }
        Ok(self.ahead[..count.min(self.ahead.len())].to_vec())
    }

    pub fn fill(&mut self, buffer: &mut [u8]) -> Flawed<()> {
        self.read_exact(buffer).map_err(Self::failed)
    }

    /// Passes over `count` bytes, all of which have to be there.
    pub fn skip(&mut self, count: u64) -> Flawed<()> {
        let known = count.min(self.ahead.len() as u64);
        self.ahead.drain(..known as usize);
        self.position += known;
        let count = count - known;
        match &mut self.source {
            Source::File { reader, left } => {
                let step = i64::try_from(count).ok().filter(|_| count <= *left).ok_or_else(Self::cut)?;
                reader.seek_relative(step).map_err(Self::failed)?;
                *left -= count;
                self.position += count;
            }
            Source::Other(_) => {
                let passed = io::copy(&mut Read::by_ref(self).take(count), &mut io::sink()).map_err(Self::failed)?;
                if passed < count {
                    return Err(Self::cut());
                }
            }
        }
        Ok(())
    }

    pub fn failed(error: io::Error) -> Flaw {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::cut();
        }
        Flaw::new("contents", "to be readable", error)
    }

    fn cut() -> Flaw {
        Flaw::new("contents", "the rest of the file", "its end")
    }

    fn raw(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::File { reader, left } => {
                let most = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let count = reader.read(&mut buffer[..most])?;
                *left -= count as u64;
                Ok(count)
            }
            Source::Other(reader) => reader.read(buffer),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = if self.ahead.is_empty() {
            self.raw(buffer)?
        } else {
            let count = buffer.len().min(self.ahead.len());
            buffer[..count].copy_from_slice(&self.ahead[..count]);
            self.ahead.drain(..count);
            count
        };
        self.position += count as u64;
        Ok(count)
    }
}
