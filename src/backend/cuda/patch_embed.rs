//! Launches `kernels/patch_embed.ptx.j2`.

use super::driver::{Arg, Driver};
use super::gemm::Product;
use super::step::Step;
use super::storage::Storage;
use crate::error::Result;
use crate::graph::{ParamId, ValueId};

/// uint8 picture to patch tokens.
pub(super) fn patch_embed<D: Driver>(
    step: &Step<D>,
    pixels: ValueId,
    scaling: ValueId,
    weight: ParamId,
    token_bias: ParamId,
    out: ValueId,
) -> Result<()> {
    let [size, width] = [step.shape(pixels)[0], step.shape(pixels)[1]];
    let [tokens, columns] = [step.shape(out)[0], step.shape(out)[1]];
    let patch = step.param_shape(weight)[1];
    if step.storage(out) != Storage::Native || !patch.is_multiple_of(8) || size != width {
        return Err(step.unsupported("a square picture, patches a multiple of 8 pixels wide, f32 output", patch));
    }
    let product = Product {
        input: step.value(pixels),
        weight: step.param(weight),
        bias: step.param(token_bias),
        bias_stride: columns,
        out: step.value(out),
        rows: tokens,
        columns,
        depth: 3 * patch * patch,
        tokens,
        ..Product::default()
    };
    let extra = [Arg::Pointer(step.value(scaling)), Arg::U32(step.u32(size)?), Arg::U32(step.u32(patch)?)];
    product.launch(step, "patch_embed", "", step.active, &extra)
}
