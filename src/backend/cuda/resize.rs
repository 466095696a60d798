//! Launches `kernels/resize.ptx.j2`: one logit map to a mask of its slice's own size, with the taps of
//! [`LogitResizer`].

use super::driver::{Arg, Driver};
use super::{Arena, Cuda};
use crate::error::{Error, Result};
use crate::graph::{Plan, ValueId};
use crate::volume::resize::{LogitResizer, Stage};

/// Pixels of a row that one block makes.
const THREADS: usize = 128;

/// One resizing on the device, with memory for its result.
struct DeviceStage<D: Driver> {
    stage: Stage,
    /// Row firsts, row weights, column firsts, column weights.
    taps: [D::Buffer; 4],
    /// f32, or bytes behind the last stage.
    out: D::Buffer,
}

/// What takes logit maps of one size to masks of one size.
pub struct MaskResizer<D: Driver> {
    stages: Vec<DeviceStage<D>>,
    /// u32, pixels of the mask.
    count: D::Buffer,
}

impl<D: Driver> Cuda<D> {
    /// Uploads what `resizer` does.
    ///
    /// # Errors
    /// A device that fails.
    pub fn mask_resizer(&self, resizer: &LogitResizer) -> Result<MaskResizer<D>> {
        let stages = resizer.stages();
        let last = stages.len() - 1;
        let stages = stages.into_iter().enumerate().map(|(i, stage)| self.device_stage(stage, i == last));
        Ok(MaskResizer { stages: stages.collect::<Result<_>>()?, count: self.driver.allocate(size_of::<u32>())? })
    }

    fn device_stage(&self, stage: Stage, last: bool) -> Result<DeviceStage<D>> {
        let upload = |bytes: &[u8]| {
            let buffer = self.driver.allocate(bytes.len())?;
            self.driver.write(&buffer, 0, bytes)?;
            Ok::<_, Error>(buffer)
        };
        let [rows, columns] = &stage.taps;
        // Neighbouring threads make neighbouring columns, so the weights of one tap lie together.
        let (width, taps) = (stage.to[1], columns.taps);
        let across: Vec<f32> = (0..taps * width).map(|i| columns.weights[i % width * taps + i / width]).collect();
        let taps = [
            upload(bytemuck::cast_slice(&rows.first))?,
            upload(bytemuck::cast_slice(&rows.weights))?,
            upload(bytemuck::cast_slice(&columns.first))?,
            upload(bytemuck::cast_slice(&across))?,
        ];
        let out = self.driver.allocate(stage.to[0] * stage.to[1] * if last { 1 } else { size_of::<f32>() })?;
        Ok(DeviceStage { stage, taps, out })
    }

    /// Resizes map `map` of the value `logits` (counted over batch and masks) and writes 1 where it is above 0 to
    /// `mask` `[h, w]`; the number of such pixels.
    ///
    /// # Errors
    /// A map that is not there, a mask of another size; a device that fails.
    pub fn mask(
        &self,
        arena: &mut Arena<D>,
        plan: &Plan,
        (logits, map): (ValueId, usize),
        resizer: &MaskResizer<D>,
        mask: &mut [u8],
    ) -> Result<u32> {
        let [.., height, width] = plan.graph[logits].shape[..] else {
            return Err(self.out_of_range("axes of the logits", plan.graph[logits].shape.len(), 2));
        };
        let maps = plan.graph[logits].len() / (height * width);
        let [first, .., last] = [&resizer.stages[0], &resizer.stages[resizer.stages.len() - 1]];
        let fits = first.stage.from == [height, width] && last.stage.to[0] * last.stage.to[1] == mask.len();
        if map >= maps || !fits {
            return Err(self.out_of_range("map or mask", map, maps));
        }
        self.driver.write(&resizer.count, 0, &0u32.to_ne_bytes())?;
        arena.flush(&self.driver)?;
        let (buffer, offset) = arena.memory.place(plan, logits);
        let mut source = self.driver.address(buffer) + (offset + 4 * map * height * width) as u64;
        let mut source_width = width;
        for (i, stage) in resizer.stages.iter().enumerate() {
            let entry = if i + 1 == resizer.stages.len() { "resize_mask" } else { "resize_plane" };
            self.resize(entry, stage, source, source_width, &resizer.count)?;
            source = self.driver.address(&stage.out);
            source_width = stage.stage.to[1];
        }
        self.driver.read(&last.out, 0, mask)?;
        let mut count = [0; size_of::<u32>()];
        self.driver.read(&resizer.count, 0, &mut count)?;
        Ok(u32::from_ne_bytes(count))
    }

    fn resize(
        &self,
        entry: &str,
        device: &DeviceStage<D>,
        source: u64,
        source_width: usize,
        count: &D::Buffer,
    ) -> Result<()> {
        let Stage { from, to, taps: [rows, columns] } = &device.stage;
        if to[0] > 65535 {
            return Err(self.out_of_range("rows of the mask", to[0], 65535));
        }
        let mut args = vec![Arg::Pointer(source)];
        args.extend(device.taps.iter().chain([&device.out, count]).map(|b| Arg::Pointer(self.driver.address(b))));
        // Sides are at most 2^20, see `Resizer`.
        let sizes = [source_width, from[0] - 1, from[1] - 1, rows.taps, columns.taps, to[1]];
        args.extend(sizes.map(|size| Arg::U32(size as u32)));
        self.launch(None, entry, [to[1].div_ceil(THREADS) as u32, to[0] as u32, 1], &args)
    }
}
