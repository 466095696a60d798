//! Launches `kernels/convolution.ptx.j2`.

use super::driver::{Arg, Driver};
use super::kernels;
use super::step::{Launch, Step};
use super::storage::Packing;
use crate::error::Result;
use crate::graph::op::{Activation, Convolution};
use crate::graph::{Graph, ParamId, Storage};

/// Outputs of a block.
const OUTPUTS: usize = 64;

/// Convolution of all channels, of pixels or of tokens: in f32 from weights to results.
impl Launch for Convolution {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        if [self.input, self.out].iter().any(|&id| step.storage(id) == Storage::F16) {
            return Err(step.unsupported("input and output in f32", "f16"));
        }
        let &[columns, size, _, channels] = step.param_shape(self.weight) else {
            return Err(step.unsupported("a weight of four axes", step.param_shape(self.weight).len()));
        };
        let pixels = self.scaling.is_some();
        let needed = 4 * size * ((OUTPUTS - 1) * self.stride + size) * channels;
        let room = |entry: &str| kernels::find(entry).map(|(_, kernel, _)| kernel.shared as usize);
        let entry = match pixels {
            true => "convolution_u8_f32",
            false if needed <= room("convolution_f32_f32_row")? => "convolution_f32_f32_row",
            false => "convolution_f32_f32_rows",
        };
        let room = room(entry)?;
        if needed > room || !columns.is_multiple_of(4) || (pixels && channels != 3) {
            let expected = format!("outputs a multiple of 4, {room} bytes of inputs for {OUTPUTS} of a row");
            return Err(step.unsupported(expected, format!("{columns}, {needed}")));
        }
        let across = self.side.div_ceil(self.stride);
        let mut args = vec![Arg::Pointer(step.value(self.input))];
        args.extend(self.scaling.map(|scaling| Arg::Pointer(step.value(scaling))));
        args.extend([step.param(self.weight), step.param(self.bias), step.value(self.out)].map(Arg::Pointer));
        for length in [self.side, across, channels, columns, size, self.stride] {
            args.push(Arg::U32(step.u32(length)?));
        }
        args.push(Arg::U32(u32::from(self.activation == Activation::Gelu)));
        step.launch(entry, [across.div_ceil(OUTPUTS), across, step.active], &args)
    }

    fn param(&self, _: &Graph, id: ParamId) -> (Storage, Packing) {
        (Storage::Native, if id == self.weight { Packing::Taps } else { Packing::Rows })
    }
}
