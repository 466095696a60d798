//! Launches `kernels/depthwise.ptx.j2`.

use super::driver::{Arg, Driver};
use super::step::{Launch, Step};
use crate::error::Result;
use crate::graph::op::Depthwise;
use crate::graph::{ParamId, Storage};

/// Outputs and channels of a thread, and threads of a block.
const STRIP: usize = 4;
const CHANNELS: usize = 4;
const THREADS: usize = 256;

impl Launch for Depthwise {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &Depthwise { input, weight, bias, side, out } = self;
        if [input, out].iter().any(|&id| step.storage(id) == Storage::F16) {
            return Err(step.unsupported("input and output in f32", "f16"));
        }
        Taps { input: step.value(input), weight, bias, out: step.value(out), side, stride: 1 }.launch(step, "_f32")
    }
}

/// A 3x3 of each channel by itself.
pub(super) struct Taps {
    /// Addresses of input and output.
    pub input: u64,
    pub out: u64,
    pub weight: ParamId,
    pub bias: ParamId,
    /// Of the grid of inputs.
    pub side: usize,
    pub stride: usize,
}

impl Taps {
    /// Launches `depthwise{suffix}`.
    pub fn launch<D: Driver>(&self, step: &Step<D>, suffix: &str) -> Result<()> {
        let (channels, across) = (step.param_shape(self.bias)[0], self.side.div_ceil(self.stride));
        if !channels.is_multiple_of(CHANNELS) {
            return Err(step.unsupported("a multiple of 4 channels", channels));
        }
        let pointers = [self.input, step.param(self.weight), step.param(self.bias), self.out, step.saturated()];
        let mut args: Vec<Arg> = pointers.into_iter().map(Arg::Pointer).collect();
        for length in [self.side, across, channels] {
            args.push(Arg::U32(step.u32(length)?));
        }
        let threads = across * across.div_ceil(STRIP) * channels / CHANNELS;
        step.launch(&format!("depthwise{suffix}"), [threads.div_ceil(THREADS), 1, step.active], &args)
    }
}
