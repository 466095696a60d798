//! Labels on the grid of a volume.

use crate::memory::zeros;
use crate::{Error, Result};

/// One label a voxel, x fastest: a byte each while labels fit.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// Labels up to 255.
    U8(Vec<u8>),
    /// Labels up to 65535.
    U16(Vec<u16>),
}

impl Labels {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Labels::U8(labels) => labels.len(),
            Labels::U16(labels) => labels.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A label for every voxel of a grid; 0 is background.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelVolume {
    dims: [usize; 3],
    pub(crate) labels: Labels,
}

impl LabelVolume {
    /// Background everywhere, with room for labels up to `highest`.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn new(dims: [usize; 3], highest: u16) -> Result<Self> {
        let too_large = || Error::Memory { what: "the mask".into(), bytes: u64::MAX };
        let count = dims.iter().try_fold(1_usize, |all, &n| all.checked_mul(n)).ok_or_else(too_large)?;
        let labels = match highest {
            ..=255 => Labels::U8(zeros(count, "the mask")?),
            _ => Labels::U16(zeros(count, "the mask")?),
        };
        Ok(LabelVolume { dims, labels })
    }

    /// Of a label a voxel, none above `highest`; as bytes where they fit.
    #[cfg(feature = "dicom")]
    pub(crate) fn of(dims: [usize; 3], labels: Vec<u16>, highest: u16) -> Result<Self> {
        if highest > 255 {
            return Ok(LabelVolume { dims, labels: Labels::U16(labels) });
        }
        let mut narrow = crate::memory::reserve(labels.len(), "the mask")?;
        narrow.extend(labels.iter().map(|&label| label as u8));
        Ok(LabelVolume { dims, labels: Labels::U8(narrow) })
    }

    /// The labels alone, as voxels.
    #[cfg(feature = "dicom")]
    pub(crate) fn into_voxels(self) -> super::Voxels {
        match self.labels {
            Labels::U8(labels) => super::Voxels::U8(labels),
            Labels::U16(labels) => super::Voxels::U16(labels),
        }
    }

    /// Voxels along x, y, z.
    pub fn dims(&self) -> [usize; 3] {
        self.dims
    }

    /// The labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The labels, in memory that is the caller's from now on.
    pub fn into_labels(self) -> Labels {
        self.labels
    }

    /// The same with every label that is not background as 1.
    pub fn binary(mut self) -> LabelVolume {
        match &mut self.labels {
            Labels::U8(labels) => labels.iter_mut().for_each(|label| *label = (*label).min(1)),
            Labels::U16(labels) => labels.iter_mut().for_each(|label| *label = (*label).min(1)),
        }
        self
    }

    /// The same with each first label of `pairs` as its second one, and every other label as background.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn renamed(&self, pairs: &[(u16, u16)]) -> Result<LabelVolume> {
        let mut names = zeros::<u16>(1 << 16, "the names of labels")?;
        pairs.iter().for_each(|&(from, to)| names[usize::from(from)] = to);
        let mut renamed = LabelVolume::new(self.dims, pairs.iter().map(|&(_, to)| to).max().unwrap_or(0))?;
        match &self.labels {
            Labels::U8(labels) => renamed.fill_with(labels.iter().map(|&label| names[usize::from(label)])),
            Labels::U16(labels) => renamed.fill_with(labels.iter().map(|&label| names[usize::from(label)])),
        }
        Ok(renamed)
    }

    /// Takes a label for each voxel, none above what it was made for.
    pub(crate) fn fill_with(&mut self, found: impl Iterator<Item = u16>) {
        match &mut self.labels {
            Labels::U8(labels) => labels.iter_mut().zip(found).for_each(|(label, found)| *label = found as u8),
            Labels::U16(labels) => labels.iter_mut().zip(found).for_each(|(label, found)| *label = found),
        }
    }

    /// The label at voxel `index` (x fastest), or `None` past the end.
    pub fn get(&self, index: usize) -> Option<u16> {
        match &self.labels {
            Labels::U8(labels) => labels.get(index).map(|&l| l.into()),
            Labels::U16(labels) => labels.get(index).copied(),
        }
    }

    /// How many voxels each label has, from 0 on.
    pub fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; if matches!(self.labels, Labels::U8(_)) { 1 << 8 } else { 1 << 16 }];
        match &self.labels {
            Labels::U8(labels) => labels.iter().for_each(|&label| counts[usize::from(label)] += 1),
            Labels::U16(labels) => labels.iter().for_each(|&label| counts[usize::from(label)] += 1),
        }
        counts
    }

    /// Gives voxel `index` a label that is not above what the volume was made for.
    pub(crate) fn set(&mut self, index: usize, label: u16) {
        match &mut self.labels {
            Labels::U8(labels) => labels[index] = label as u8,
            Labels::U16(labels) => labels[index] = label,
        }
    }

    /// The same with label `i` as `map[i]`, of which none is above `highest`; labels beyond the map as background.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn relabelled(&self, map: &[u16], highest: u16) -> Result<LabelVolume> {
        let mut labels = LabelVolume::new(self.dims, highest)?;
        let new = |label: u16| map.get(usize::from(label)).map_or(0, |&new| new.min(highest));
        match &self.labels {
            Labels::U8(old) => labels.fill_with(old.iter().map(|&label| new(label.into()))),
            Labels::U16(old) => labels.fill_with(old.iter().map(|&label| new(label))),
        }
        Ok(labels)
    }
}
