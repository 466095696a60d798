//! Launches `kernels/layer_norm.ptx.j2` and `kernels/token_mean.ptx.j2`.

use super::driver::{Arg, Driver};
use super::step::Step;
use super::storage::Storage;
use crate::error::Result;
use crate::graph::ValueId;
use crate::graph::op::Norm;

/// LayerNorm of each token, and the mean of the results over the tokens where the gate wants it.
pub(super) fn layer_norm<D: Driver>(
    step: &Step<D>,
    input: ValueId,
    norm: &Norm,
    out: ValueId,
    mean: Option<ValueId>,
) -> Result<()> {
    let [tokens, channels] = [step.shape(input)[0], step.shape(input)[1]];
    let rows = step.active * tokens;
    let half = step.storage(out) == Storage::Half;
    let entry = match (channels, half) {
        (..=256, true) => "layer_norm_256_f16",
        (..=256, false) => "layer_norm_256_f32",
        (..=768, true) => "layer_norm_768_f16",
        (..=768, false) => "layer_norm_768_f32",
        (_, true) => "layer_norm_1280_f16",
        (_, false) => "layer_norm_1280_f32",
    };
    if channels > 1280 || !channels.is_multiple_of(4) || step.storage(input) == Storage::Half {
        return Err(step.unsupported("f32 with a multiple of 4 channels, at most 1280", channels));
    }
    let args = [
        Arg::Pointer(step.value(input)),
        Arg::Pointer(step.param(norm.gain)),
        Arg::Pointer(step.param(norm.bias)),
        Arg::Pointer(step.value(out)),
        Arg::Pointer(step.saturated()),
        Arg::U32(step.u32(rows)?),
        Arg::U32(step.u32(channels)?),
        Arg::F32(norm.eps),
    ];
    step.launch(entry, [rows.div_ceil(8), 1, 1], &args)?;
    mean.map_or(Ok(()), |mean| token_mean(step, out, half, mean))
}

fn token_mean<D: Driver>(step: &Step<D>, input: ValueId, half: bool, out: ValueId) -> Result<()> {
    let [tokens, channels] = [step.shape(input)[0], step.shape(input)[1]];
    let args = [
        Arg::Pointer(step.value(input)),
        Arg::Pointer(step.value(out)),
        Arg::U32(step.u32(tokens)?),
        Arg::U32(step.u32(channels)?),
    ];
    let entry = if half { "token_mean_f16" } else { "token_mean_f32" };
    step.launch(entry, [channels.div_ceil(32), step.active, 1], &args)
}
