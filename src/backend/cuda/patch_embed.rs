//! Launches `kernels/patch_embed.ptx.j2`.

use super::driver::{Arg, Driver};
use super::gemm::Product;
use super::step::{Launch, Step};
use super::storage::{PATCH, PATCH_INPUTS, Packing};
use crate::error::Result;
use crate::graph::op::PatchEmbed;
use crate::graph::{Graph, ParamId, Storage};

/// uint8 picture to patch tokens.
impl Launch for PatchEmbed {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &PatchEmbed { pixels, scaling, weight, token_bias, out } = self;
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

    fn param(&self, graph: &Graph, id: ParamId) -> (Storage, Packing) {
        let patches = graph[id].shape[1..].iter().product::<usize>() == PATCH_INPUTS;
        match (id == self.weight, patches) {
            (false, _) => (Storage::Native, Packing::Rows),
            (true, false) => (Storage::F16, Packing::Rows),
            (true, true) => (Storage::F16, Packing::Patches),
        }
    }
}
