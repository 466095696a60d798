//! A .nii.gz mask that is compressed, and proven to inflate to what was meant, on a thread of its own while later
//! slices are still being segmented.
//!
//! The compressed file waits in memory, where a mask of long runs takes little, so that a run that ends early has
//! nothing to leave behind; at the end it is written, read back and given its name.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use flate2::write::{GzDecoder, GzEncoder};

use super::mask_bytes::{gzip, plane_bytes, wrong};
use super::mask_writer::{self, Format, nifti_start};
use super::{SliceFrame, VolumeInfo};
use crate::atomic::{gave_up, write_atomically};
use crate::image::{LabelVolume, Labels, Legend};
use crate::memory::Growing;
use crate::{Error, Result};

/// Bytes of labels in one message.
const PIECE: usize = 1 << 20;
/// Messages that may wait; the run then waits for the compressor.
const WAITING: usize = 16;

/// Bytes of labels on their way.
enum Piece {
    Labels(Vec<u8>),
    /// So many bytes of background, which most planes of a mask are: they wait without taking memory.
    Background(usize),
}

/// A mask on its way to a file. Dropped before [`MaskStream::finish`] it leaves nothing, and its thread has ended.
pub struct MaskStream {
    path: PathBuf,
    big_endian: bool,
    /// Planes that were sent.
    sent: usize,
    pieces: Option<SyncSender<Piece>>,
    thread: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl MaskStream {
    /// Begins the mask of a volume whose labels are at most `highest`, with the names of `legend`, where it can be
    /// written as slices of `frame` become final: to .nii.gz, with slices across z. `None` for others, which
    /// [`mask_writer::write`] writes at the end.
    ///
    /// # Errors
    /// As [`mask_writer::check`]; [`Error::Io`] where no thread can be had.
    pub fn start(
        info: &VolumeInfo,
        frame: &SliceFrame,
        highest: u16,
        legend: &Legend,
        path: &Path,
    ) -> Result<Option<MaskStream>> {
        if mask_writer::format_of(info, path)? != Format::NiftiGz || frame.axis() != 2 {
            return Ok(None);
        }
        let (header, start) = nifti_start(info, highest > 255, legend);
        mask_writer::check_header(info, &header, &start, path)?;
        let plane = plane_size(info, highest);
        let (pieces, received) = sync_channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("medsegx-write".into())
            .spawn(move || compress(start, plane, &received))
            .map_err(|e| Error::io(path, "start a thread to write", e))?;
        let big_endian = header.big_endian;
        Ok(Some(MaskStream { path: path.into(), big_endian, sent: 0, pieces: Some(pieces), thread: Some(thread) }))
    }

    /// Takes the planes below `end` that it has not got yet; their `labels` are final.
    ///
    /// # Errors
    /// [`Error::Memory`]; [`Error::Internal`] when the compressed planes do not inflate to themselves.
    pub fn send(&mut self, labels: &LabelVolume, end: usize) -> Result<()> {
        let [width, height, planes] = labels.dims();
        let together = (PIECE / (width * height).max(1)).max(1);
        while self.sent < end.min(planes) {
            let next = (self.sent + together).min(end);
            let piece = match background(labels, self.sent..next) {
                Some(bytes) => Piece::Background(bytes),
                None => Piece::Labels(plane_bytes(labels, self.sent..next, self.big_endian)?),
            };
            if self.pieces.as_ref().is_none_or(|pieces| pieces.send(piece).is_err()) {
                return self.compressed().map(drop);
            }
            self.sent = next;
        }
        Ok(())
    }

    /// Writes the file. `force` replaces an existing one.
    ///
    /// # Errors
    /// As [`MaskStream::send`] and [`write_atomically`]; [`Error::Internal`] when the file does not read back as it was
    /// meant.
    pub fn finish(mut self, labels: &LabelVolume, force: bool) -> Result<()> {
        self.send(labels, labels.dims()[2])?;
        let bytes = self.compressed()?;
        write_atomically(&self.path, force, |file| {
            file.write_all(&bytes)?;
            file.flush()?;
            mask_writer::same_bytes(file, &bytes, &self.path).map_err(io::Error::other)
        })
    }

    /// Waits for the compressor: the whole file, or why there is none.
    fn compressed(&mut self) -> Result<Vec<u8>> {
        drop(self.pieces.take());
        let internal = |what: String| wrong(&self.path, &what);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Ok(bytes))) => Ok(bytes),
            Some(Ok(Err(error))) => match error.downcast::<Error>() {
                Ok(error) => Err(error),
                Err(error) => Err(internal(format!("it does not read back: {error}"))),
            },
            Some(Err(panic)) => Err(Error::io(&self.path, "compress", gave_up(&*panic))),
            None => Err(internal("its thread is lost".into())),
        }
    }
}

impl Drop for MaskStream {
    fn drop(&mut self) {
        drop(self.pieces.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn plane_size(info: &VolumeInfo, highest: u16) -> usize {
    let [width, height, _] = info.dims();
    width * height * if highest > 255 { 2 } else { 1 }
}

/// The bytes of `planes`, where they are nothing but background.
fn background(mask: &LabelVolume, planes: Range<usize>) -> Option<usize> {
    let [width, height, _] = mask.dims();
    let values = planes.start * width * height..planes.end * width * height;
    match mask.labels() {
        Labels::U8(labels) => labels[values.clone()].iter().all(|&label| label == 0).then_some(values.len()),
        Labels::U16(labels) => labels[values.clone()].iter().all(|&label| label == 0).then_some(2 * values.len()),
    }
}

/// The gzip file of `start` and all pieces. Planes are compressed one by one, as [`mask_writer::write`] does: the same
/// mask gives the same bytes.
fn compress(start: Vec<u8>, plane: usize, pieces: &Receiver<Piece>) -> io::Result<Vec<u8>> {
    let mut packed = gzip(Growing::of("the compressed mask"));
    let mut proof = Proof { inflate: GzDecoder::new(Meant::default()), seen: 0 };
    packed.write_all(&start)?;
    proof.add(Piece::Labels(start), &packed)?;
    let plane = plane.max(1);
    let mut nothing = Vec::new();
    for piece in pieces {
        match &piece {
            Piece::Labels(bytes) => bytes.chunks(plane).try_for_each(|plane| packed.write_all(plane))?,
            Piece::Background(bytes) => {
                nothing.resize(plane, 0);
                (0..bytes / plane).try_for_each(|_| packed.write_all(&nothing))?;
            }
        }
        proof.add(piece, &packed)?;
    }
    let bytes = packed.finish()?.bytes;
    proof.finish(&bytes)?;
    Ok(bytes)
}

/// Inflates what was compressed, and compares it with what was meant.
struct Proof {
    inflate: GzDecoder<Meant>,
    /// Compressed bytes that were inflated.
    seen: usize,
}

impl Proof {
    /// `piece` went into `gzip`, and some of it has come out.
    fn add(&mut self, piece: Piece, gzip: &GzEncoder<Growing>) -> io::Result<()> {
        self.inflate.get_mut().pieces.push_back(piece);
        self.inflate_to(&gzip.get_ref().bytes)
    }

    fn inflate_to(&mut self, bytes: &[u8]) -> io::Result<()> {
        let new = &bytes[self.seen..];
        self.seen = bytes.len();
        self.inflate.write_all(new)
    }

    /// All has come out: `bytes` are a whole gzip file with a right checksum, of all pieces and no more.
    fn finish(mut self, bytes: &[u8]) -> io::Result<()> {
        self.inflate_to(bytes)?;
        let meant = self.inflate.finish()?;
        if meant.pieces.is_empty() { Ok(()) } else { Err(io::Error::other("it ends too early")) }
    }
}

/// The bytes that have to come next.
#[derive(Default)]
struct Meant {
    pieces: VecDeque<Piece>,
    /// Of the first piece.
    compared: usize,
}

impl Write for Meant {
    fn write(&mut self, found: &[u8]) -> io::Result<usize> {
        let different = || io::Error::other("other voxels come out than went in");
        let (left, count, same) = match self.pieces.front().ok_or_else(different)? {
            Piece::Labels(bytes) => {
                let meant = &bytes[self.compared..];
                let count = meant.len().min(found.len());
                (meant.len(), count, meant[..count] == found[..count])
            }
            Piece::Background(bytes) => {
                let count = (bytes - self.compared).min(found.len());
                (bytes - self.compared, count, found[..count].iter().all(|&byte| byte == 0))
            }
        };
        if !same {
            return Err(different());
        }
        self.compared += count;
        if count == left {
            self.pieces.pop_front();
            self.compared = 0;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(pieces: &[&[u8]], plane: usize) -> io::Result<Vec<u8>> {
        let (sender, received) = sync_channel(pieces.len());
        pieces.iter().for_each(|piece| sender.send(Piece::Labels(piece.to_vec())).unwrap());
        drop(sender);
        compress(b"start".to_vec(), plane, &received)
    }

    fn inflated(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut plain).unwrap();
        plain
    }

    #[test]
    fn pieces_come_out_as_they_went_in_wherever_they_are_cut() {
        // Discs that move from plane to plane, as masks have them: where such data are cut shows in the compressed
        // bytes.
        let disc = |i: usize| {
            let [x, y, z] = [i % 400, i / 400 % 300, i / 120_000];
            u8::from(x.abs_diff(150 + 5 * z).pow(2) + y.abs_diff(140 + z).pow(2) < 4000 + 60 * z)
        };
        let all: Vec<u8> = (0..30 * 120_000).map(disc).collect();
        let whole = file(&[&all], 120_000).unwrap();
        assert_eq!(inflated(&whole), [b"start", &all[..]].concat());
        let planes: Vec<&[u8]> = all.chunks(120_000).collect();
        assert!(file(&planes, 120_000).unwrap() == whole, "the bytes depend on the planes alone");
        assert!(file(&planes, 1_000).unwrap() != whole, "of such data they do depend on them");
        assert_eq!(inflated(&file(&[], 1).unwrap()), b"start");
    }

    #[test]
    fn background_has_the_bytes_of_zeros_and_is_proven() {
        let (ones, zeros) = (vec![1; 3000], vec![0; 90_000]);
        let (sender, received) = sync_channel(4);
        let mixed = [Piece::Labels(ones.clone()), Piece::Background(90_000), Piece::Labels(ones.clone())];
        mixed.into_iter().for_each(|piece| sender.send(piece).unwrap());
        drop(sender);
        assert!(compress(b"start".to_vec(), 3000, &received).unwrap() == file(&[&ones, &zeros, &ones], 3000).unwrap());
        let check = |meant: usize, found: &[u8]| {
            let mut packed = gzip(Growing::of("the compressed mask"));
            packed.write_all(found).unwrap();
            let mut proof = Proof { inflate: GzDecoder::new(Meant::default()), seen: 0 };
            proof.inflate.get_mut().pieces.push_back(Piece::Background(meant));
            proof.finish(&packed.finish().unwrap().bytes)
        };
        assert!(check(90_000, &zeros).is_ok());
        assert!(check(90_001, &zeros).is_err() && check(89_999, &zeros).is_err());
        assert!(check(90_000, &[&zeros[1..], &[1]].concat()).is_err());
    }

    #[test]
    fn a_byte_that_changes_between_is_found() {
        let piece: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(i) >> 9) as u8).collect();
        let mut packed = gzip(Growing::of("the compressed mask"));
        packed.write_all(&piece).unwrap();
        let bytes = packed.finish().unwrap().bytes;
        let proof = || Proof { inflate: GzDecoder::new(Meant::default()), seen: 0 };
        let check = |meant: &[&[u8]], bytes: &[u8]| {
            let mut proof = proof();
            let labels = |piece: &&[u8]| Piece::Labels(piece.to_vec());
            proof.inflate.get_mut().pieces.extend(meant.iter().map(labels));
            proof.finish(bytes)
        };
        assert!(check(&[&piece], &bytes).is_ok() && check(&[&piece[..9], &piece[9..]], &bytes).is_ok());
        let mut other = piece.clone();
        other[99_999] ^= 8;
        for meant in [&[&other[..]][..], &[&piece[1..]], &[&piece, &[7]], &[]] {
            assert!(check(meant, &bytes).is_err());
        }
        for at in [bytes.len() - 1, bytes.len() - 6, bytes.len() / 2] {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            assert!(check(&[&piece], &broken).is_err(), "byte {at}");
        }
        assert!(check(&[&piece], &bytes[..bytes.len() - 1]).is_err());
    }
}
