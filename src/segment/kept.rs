//! Embeddings that outlive a batch: the last few slices' in memory, and all of them in a folder where one is given.
//!
//! A [`Key`] is a hash of all that an embedding depends on, so that a hit gives the bits that the encoder would.

mod folder;

pub use folder::EmbeddingFolder;
use sha2::{Digest as _, Sha256};

use super::Frame;
use super::engine::Source;
use crate::Result;
use crate::memory::{grow_to, zeros};

/// What an embedding is found by.
pub(super) type Key = [u8; 32];

/// Embeddings of a session, and what its slots hold.
pub(super) struct Kept {
    /// f32 of one embedding.
    length: usize,
    /// `[capacity, length]`.
    values: Vec<f32>,
    /// Key and last use of each place of `values`; none where nothing is kept yet.
    places: Vec<Option<(Key, u64)>>,
    clock: u64,
    folder: Option<EmbeddingFolder>,
    /// Hash of the slice in each slot, and key of the slice with its context.
    slots: Vec<(Key, Key)>,
    /// Stored values of one slice.
    stored: Vec<u8>,
    /// Embeddings of a batch.
    batch: Vec<f32>,
    found: u64,
    encoded: u64,
    unwritten: u64,
}

/// How a session's kept embeddings served it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptCounts {
    /// Slices that were not encoded.
    pub found: u64,
    /// Slices that were.
    pub encoded: u64,
    /// Embeddings that the folder did not take: it is full, or no longer there.
    pub unwritten: u64,
}

impl Kept {
    /// Room for `capacity` embeddings of `length` numbers beside the `batch` slots of the session.
    pub fn new(capacity: usize, length: usize, batch: usize, folder: Option<EmbeddingFolder>) -> Result<Kept> {
        Ok(Kept {
            length,
            values: zeros(capacity * length, "kept embeddings")?,
            places: vec![None; capacity],
            clock: 0,
            folder,
            slots: vec![Default::default(); batch],
            stored: Vec::new(),
            batch: zeros(batch * length, "embeddings of a batch")?,
            found: 0,
            encoded: 0,
            unwritten: 0,
        })
    }

    pub fn counts(&self) -> KeptCounts {
        KeptCounts { found: self.found, encoded: self.encoded, unwritten: self.unwritten }
    }

    /// Takes note of what was placed in `slot`.
    pub fn note(&mut self, slot: usize, source: &Source<'_>, frame: &Frame, context: [i32; 5]) -> Result<()> {
        let mut hash = Sha256::new();
        for side in frame.slice {
            hash.update((side as u64).to_le_bytes());
        }
        match source {
            Source::Picture(picture) => {
                hash.update(format!("picture {}\n", picture.channels));
                hash.update(picture.pixels);
            }
            Source::Stored(slice) => {
                let (map, (slope, intercept)) = slice.mapping();
                hash.update(format!("stored {:?} {:?}\n", slice.data_type(), map.rule));
                for number in [map.low, map.high, slope, intercept] {
                    hash.update(number.to_bits().to_le_bytes());
                }
                let [height, width, channels] = slice.shape();
                let pitch = width * channels * slice.data_type().bytes() as usize;
                grow_to(&mut self.stored, height * pitch, "a slice's values")?;
                self.stored.resize(height * pitch, 0);
                slice.gather(&mut self.stored, pitch);
                hash.update(&self.stored);
            }
        }
        self.set(slot, hash.finalize().into(), context);
        Ok(())
    }

    /// As [`Kept::note`], of the slice that slot `from` holds.
    pub fn note_again(&mut self, slot: usize, from: usize, context: [i32; 5]) {
        self.set(slot, self.slots[from].0, context);
    }

    fn set(&mut self, slot: usize, slice: Key, context: [i32; 5]) {
        let mut hash = Sha256::new();
        hash.update(slice);
        hash.update(bytemuck::bytes_of(&context.map(i32::to_le)));
        self.slots[slot] = (slice, hash.finalize().into());
    }

    /// Embeddings `[count, length]` of the first slots, if all are there.
    pub fn recall(&mut self, count: usize) -> Option<&[f32]> {
        for slot in 0..count {
            let to = slot * self.length..(slot + 1) * self.length;
            let key = self.slots[slot].1;
            if let Some(place) = self.place_of(&key) {
                self.batch[to].copy_from_slice(&self.values[place * self.length..(place + 1) * self.length]);
            } else if self.folder.as_ref().is_some_and(|folder| folder.read(&key, &mut self.batch[to.clone()])) {
                self.remember(key, to);
            } else {
                return None;
            }
        }
        self.found += count as u64;
        Some(&self.batch[..count * self.length])
    }

    /// Room for the embeddings of the first slots, to be handed to [`Kept::take`] once they are there.
    pub fn room(&mut self, count: usize) -> &mut [f32] {
        &mut self.batch[..count * self.length]
    }

    /// Keeps what [`Kept::room`] was filled with.
    pub fn take(&mut self, count: usize) {
        self.encoded += count as u64;
        for slot in 0..count {
            let (key, values) = (self.slots[slot].1, slot * self.length..(slot + 1) * self.length);
            if let Some(folder) = &self.folder
                && folder.write(&key, &self.batch[values.clone()]).is_err()
            {
                self.unwritten += 1;
            }
            if self.place_of(&key).is_none() {
                self.remember(key, values);
            }
        }
    }

    /// Where the embedding of `key` lies; that counts as a use.
    fn place_of(&mut self, key: &Key) -> Option<usize> {
        let place = self.places.iter().position(|place| place.as_ref().is_some_and(|(of, _)| of == key))?;
        self.clock += 1;
        self.places[place] = Some((*key, self.clock));
        Some(place)
    }

    /// Copies an embedding of the batch to where nothing is, or to the place that was not used for longest.
    fn remember(&mut self, key: Key, from: std::ops::Range<usize>) {
        let last_use = |place: &Option<(Key, u64)>| place.as_ref().map_or(0, |(_, time)| *time);
        let Some(place) = (0..self.places.len()).min_by_key(|&place| last_use(&self.places[place])) else { return };
        self.clock += 1;
        self.places[place] = Some((key, self.clock));
        self.values[place * self.length..(place + 1) * self.length].copy_from_slice(&self.batch[from]);
    }
}
