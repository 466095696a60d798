//! Launches `kernels/picture.ptx.j2`: grey levels to the model's pictures, with the taps of [`Resizer`].

use super::driver::{Arg, Driver};
use super::grey_level::Slices;
use super::{Arena, Cuda};
use crate::error::{Error, Result};
use crate::graph::{Plan, ValueId};
use crate::image::resample::{Resizer, Stage};

/// Pixels of a row that one warp makes, and rows that one block makes.
const TILE: [usize; 2] = [128, 4];

/// What takes slices of one size to pictures, on a device.
pub struct PictureTaps<D: Driver> {
    stage: Stage,
    channels: usize,
    /// Bytes of a row of levels.
    row: usize,
    /// Row firsts, row weights, column firsts, column weights.
    taps: [D::Buffer; 4],
}

/// Least and most of the pictures of a batch, while they are made.
pub struct Ranges<D: Driver>(D::Buffer);

impl<D: Driver> Cuda<D> {
    /// Uploads what `resizer` does to slices of `channels` channels, whose rows lie `row` bytes apart.
    ///
    /// # Errors
    /// A device that fails.
    pub(crate) fn picture_taps(&self, resizer: &Resizer, channels: usize, row: usize) -> Result<PictureTaps<D>> {
        let stage = resizer.stage();
        let [rows, columns] = &stage.taps;
        // Neighbouring threads make neighbouring columns, so the weights of one tap lie together; the last column fills
        // the tile behind it.
        let (pitch, taps) = (stage.to[1].next_multiple_of(TILE[0]), columns.taps);
        let column = |at: usize| at.min(stage.to[1] - 1);
        let firsts: Vec<u32> = (0..pitch).map(|at| columns.first[column(at)]).collect();
        let across: Vec<f32> =
            (0..taps * pitch).map(|i| columns.weights[column(i % pitch) * taps + i / pitch]).collect();
        let taps = [
            self.uploaded(bytemuck::cast_slice(&rows.first))?,
            self.uploaded(bytemuck::cast_slice(&rows.weights))?,
            self.uploaded(bytemuck::cast_slice(&firsts))?,
            self.uploaded(bytemuck::cast_slice(&across))?,
        ];
        Ok(PictureTaps { stage, channels, row, taps })
    }

    /// Memory for the ranges of `slots` pictures.
    ///
    /// # Errors
    /// A device that fails.
    pub(crate) fn picture_ranges(&self, slots: usize) -> Result<Ranges<D>> {
        Ok(Ranges(self.uploaded(bytemuck::cast_slice(&[u32::MAX, 0].repeat(slots)))?))
    }

    /// Makes the pictures of `slots` `(first, count)` from slices of levels: into the value `pixels` `[slots, S, S,
    /// 3]`, of which what lies behind a picture is left as it is. With `ranges` the value `scaling` `[slots, 8]` is
    /// what brings each picture's own range to 0..1. Values may lie elsewhere than the plan says.
    ///
    /// # Errors
    /// Slots that are not there; a device that fails.
    #[allow(clippy::too_many_arguments, reason = "where from, where to, how many, how")]
    pub(crate) fn pictures(
        &self,
        capture: Option<&D::Capture>,
        (arena, plan, [pixels, scaling]): (&Arena<D>, &Plan, [ValueId; 2]),
        redirects: &[(ValueId, u64)],
        (first, count): (usize, usize),
        taps: &PictureTaps<D>,
        levels: Slices,
        ranges: Option<&Ranges<D>>,
    ) -> Result<()> {
        let &[held, size, ..] = &plan.graph[pixels].shape[..] else {
            return Err(self.out_of_range("axes of the pictures", plan.graph[pixels].shape.len(), 4));
        };
        let Stage { from, to, taps: [rows, columns] } = &taps.stage;
        if first + count > held || to[0].max(to[1]) > size || !size.is_multiple_of(4) {
            return Err(self.out_of_range("pictures", first + count, held));
        }
        let of_value = |id, step: usize| {
            let elsewhere = redirects.iter().find(|(of, _)| *of == id).map(|&(_, address)| address);
            let start = elsewhere.unwrap_or_else(|| arena.memory.address(&self.driver, plan, id));
            Arg::Pointer(start + (first * step) as u64)
        };
        let range = ranges.map_or(0, |ranges| self.driver.address(&ranges.0) + (8 * first) as u64);
        let counters = self.driver.address(&self.resident.counters) + (4 * first) as u64;
        let [row_first, row_weights, column_first, column_weights] =
            taps.taps.each_ref().map(|buffer| Arg::Pointer(self.driver.address(buffer)));
        let size_of = |size| Ok::<_, Error>(Arg::U32(self.size("a side or step of a slice", size)?));
        let args = [
            Arg::Pointer(levels.start),
            row_first,
            row_weights,
            column_first,
            column_weights,
            of_value(pixels, 3 * size * size),
            Arg::Pointer(range),
            of_value(scaling, 32),
            Arg::Pointer(counters),
            size_of(taps.row)?,
            size_of(levels.step)?,
            size_of(from[0] - 1)?,
            size_of(from[1] - 1)?,
            size_of(rows.taps)?,
            size_of(columns.taps)?,
            size_of(to[0])?,
            size_of(to[1])?,
            size_of(size)?,
        ];
        let entry = if taps.channels == 1 { "picture_1" } else { "picture_3" };
        let grid = [to[1].div_ceil(TILE[0]), to[0].div_ceil(TILE[1]), count];
        self.launch(capture, entry, grid.map(|blocks| blocks as u32), &args)
    }
}
