//! An inverted bottleneck as two products with `kernels/depthwise.ptx.j2` between them: the wide channels pass through
//! scratch in f16.

use super::depthwise::Taps;
use super::driver::Driver;
use super::gemm::Product;
use super::step::{Launch, Step};
use super::storage::Packing;
use crate::error::Result;
use crate::graph::op::{Dense, InvertedBottleneck};
use crate::graph::{Graph, ParamId, Storage};

impl Launch for InvertedBottleneck {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &InvertedBottleneck { input, expand, depthwise, project, side, stride, shortcut, out } = self;
        if step.storage(input) == Storage::F16 || (shortcut && step.storage(out) == Storage::F16) {
            return Err(step.unsupported("input and sum in f32", "f16"));
        }
        let suffix = match stride {
            1 => "_f16_gelu_1",
            2 => "_f16_gelu_2",
            _ => return Err(step.unsupported("a stride of 1 or 2", stride)),
        };
        let hidden = step.param_shape(expand.bias)[0];
        let (from, to) = (side * side, step.shape(out)[0]);
        let wide = step.scratch();
        let narrowed = wide + 2 * (step.active * from * hidden).next_multiple_of(8) as u64;
        let product = |dense: Dense, input: u64, out: u64, tokens: usize| Product {
            input,
            weight: step.param(dense.weight),
            bias: step.param(dense.bias),
            out,
            rows: step.active * tokens,
            columns: step.param_shape(dense.bias)[0],
            depth: step.param_shape(dense.weight)[3],
            tokens,
            ..Product::default()
        };
        product(expand, step.value(input), wide, from).launch(step, "gemm", "_f32_f16_gelu", 1, &[])?;
        let Dense { weight, bias } = depthwise;
        Taps { input: wide, out: narrowed, weight, bias, side, stride }.launch(step, suffix)?;
        let residual = if shortcut { step.value(input) } else { 0 };
        let suffix = match (shortcut, step.storage(out) == Storage::F16) {
            (true, _) => "_f16_f32_sum_gelu",
            (false, true) => "_f16_f16",
            (false, false) => "_f16_f32",
        };
        let last = Product { residual, ..product(project, narrowed, step.value(out), to) };
        last.launch(step, "gemm", suffix, 1, &[])
    }

    fn param(&self, _: &Graph, id: ParamId) -> (Storage, Packing) {
        let product = [self.expand.weight, self.project.weight].contains(&id);
        (if product { Storage::F16 } else { Storage::Native }, Packing::Rows)
    }

    /// The wide channels ahead of the 3x3 and behind it, two to a number.
    fn scratch(&self, graph: &Graph) -> usize {
        let hidden = graph[self.expand.bias].shape[0];
        let halves = (self.side.pow(2) + self.side.div_ceil(self.stride).pow(2)) * hidden;
        halves.div_ceil(2) + 4
    }
}
