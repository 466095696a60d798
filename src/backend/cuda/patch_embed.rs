//! Launches `kernels/patch_embed.ptx.j2`.

use super::driver::{Arg, Driver};
use super::gemm::Product;
use super::step::Step;
use super::storage::Storage;
use crate::error::Result;
use crate::graph::{ParamId, ValueId};

/// Pixels of a patch side.
const PATCH: usize = 16;
/// Weights of an output.
pub(super) const DEPTH: usize = 3 * PATCH * PATCH;

/// Where in a patch `[16, 16, 3]` the kernel's `k` is: three stages of 64 take four lines of 48 bytes, each one line and a
/// third of the fourth, and the middle third's halves are swapped.
pub(super) fn place(k: usize) -> usize {
    let (stage, chunk) = (k / 64, k / 8 % 8);
    let (group, phase) = (stage / 3, stage % 3);
    let (line, third, half) = match chunk {
        2 | 3 => (phase, 1, 3 - chunk),
        0..6 => (phase, chunk / 2, chunk % 2),
        _ => (3, phase, chunk % 2),
    };
    3 * PATCH * (4 * group + line) + 16 * third + 8 * half + k % 8
}

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
    if step.storage(out) != Storage::Native || patch != PATCH || size != width {
        return Err(step.unsupported("a square picture, patches 16 pixels wide, f32 output", patch));
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
    let extra = [Arg::Pointer(step.value(scaling)), Arg::U32(step.u32(size)?)];
    product.launch(step, "patch_embed", "", step.active, &extra)
}
