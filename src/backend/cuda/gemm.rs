//! Launches `kernels/gemm.ptx.j2`: every product of the network, and what its extensions share.

use super::driver::{Arg, Driver};
use super::step::{Launch, Step};
use super::storage::Packing;
use crate::error::Result;
use crate::graph::op::{Activation, Bias, Gated, Linear};
use crate::graph::{Graph, ParamId, Storage, ValueId};

/// With fewer blocks of the large tile than this most of a chip would idle, and the small tile is taken. A constant,
/// not the device's count of multiprocessors, so that a batch size gives the same bits on every device whose tensor
/// cores sum alike.
const LARGE_BLOCKS: usize = 96;

/// Kernels of the large tile that a warpgroup computes where the device has `wgmma`: those of a block's four products.
const WARPGROUP: [(&str, &str); 4] =
    [("gemm", "_f16_f16"), ("gemm", "_f16_f32"), ("gemm", "_f16_f16_gelu"), ("gemm", "_f16_f16_sum")];

/// With fewer blocks of the small tile than this most multiprocessors have one or two, and k is split over twice as
/// many warps, where a kernel does that ([`DEEP`]). A constant for the same reason.
const FEW_BLOCKS: usize = 256;

/// Kernels of two teams of warps a block: those of the residual stream, of the neck and of the decoder, whose products
/// have few columns.
const DEEP: [(&str, &str); 4] = [("gemm", "_f16_f32"), ("gemm", "_f16_f16_sum"), ("gemm", "_f32_f32"), ("conv3x3", "")];

/// Arguments of every product, in the order of the kernel's parameters; pointers are 0 where something is absent.
#[derive(Default)]
pub(super) struct Product {
    pub input: u64,
    pub weight: u64,
    pub bias: u64,
    pub residual: u64,
    pub gate: u64,
    pub expert_bias: u64,
    pub out: u64,
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    pub tokens: usize,
    pub bias_stride: usize,
    pub experts: usize,
    pub bottleneck: usize,
    pub scale: f32,
}

/// Tile of a product that `slices` blocks along z repeat: its part of the entry and the grid. `warpgroup`: it has a
/// kernel of `wgmma`, and the device runs it; `deep`: it has one of two teams.
fn tile(rows: usize, columns: usize, slices: usize, warpgroup: bool, deep: bool) -> (&'static str, [usize; 3]) {
    let grid = |m, n| [columns.div_ceil(n), rows.div_ceil(m), slices];
    let (large, small) = (grid(128, 128), grid(64, 32));
    let blocks = |grid: [usize; 3]| grid.iter().product::<usize>();
    match (blocks(large) >= LARGE_BLOCKS, deep && blocks(small) < FEW_BLOCKS) {
        (true, _) if warpgroup => ("128x128wgmma", large),
        (true, _) => ("128x128", large),
        (false, true) => ("64x32k8", small),
        (false, false) => ("64x32", small),
    }
}

impl Product {
    /// Launches `stem_TILE{suffix}` with `extra` arguments behind those of every product.
    pub fn launch<D: Driver>(
        &self,
        step: &Step<D>,
        stem: &str,
        suffix: &str,
        slices: usize,
        extra: &[Arg],
    ) -> Result<()> {
        if !self.columns.is_multiple_of(4) || !self.depth.is_multiple_of(8) {
            let found = format!("{} and {}", self.columns, self.depth);
            return Err(step.unsupported("outputs a multiple of 4 and inputs a multiple of 8", found));
        }
        let pointers = [self.input, self.weight, self.bias, self.residual, self.gate, self.expert_bias, self.out];
        let sizes = [self.rows, self.columns, self.depth, self.tokens, self.bias_stride, self.experts, self.bottleneck];
        let mut args: Vec<Arg> = pointers.into_iter().chain([step.saturated()]).map(Arg::Pointer).collect();
        for size in sizes {
            args.push(Arg::U32(step.u32(size)?));
        }
        args.push(Arg::F32(self.scale));
        args.extend_from_slice(extra);
        let of = (stem, suffix);
        let warpgroup = step.cuda.wgmma && WARPGROUP.contains(&of);
        let (tile, grid) = tile(self.rows, self.columns, slices, warpgroup, DEEP.contains(&of));
        step.launch(&format!("{stem}_{tile}{suffix}"), grid, &args)
    }
}

/// `out = residual + gated(activation(input W^T + bias))`.
impl Launch for Linear {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let [columns, depth] = [step.param_shape(self.weight)[0], step.param_shape(self.weight)[1]];
        let tokens = step.shape(self.input)[0];
        let (bias, bias_stride) = match self.bias {
            Bias::None => (0, 0),
            Bias::Row(bias) => (step.param(bias), 0),
            Bias::Token(bias) => (step.param(bias), columns),
        };
        let mut product = Product {
            input: step.value(self.input),
            weight: step.param(self.weight),
            bias,
            bias_stride,
            residual: step.optional(self.residual),
            out: step.value(self.out),
            rows: step.active * tokens,
            columns,
            depth,
            tokens,
            ..Product::default()
        };
        match self.gated {
            None => {}
            Some(Gated::Columns { gate, bottleneck, scale }) => {
                product.gate = step.value(gate);
                (product.experts, product.bottleneck, product.scale) = (step.shape(gate)[0], bottleneck, scale);
            }
            Some(Gated::Biases { gate, biases, scale }) => {
                product.gate = step.value(gate);
                product.expert_bias = step.param(biases);
                (product.experts, product.scale) = (step.shape(gate)[0], scale);
            }
        }
        let half = |id| step.storage(id) == Storage::F16;
        let residual_is_half = self.residual.is_some_and(half);
        let with_gelu = self.activation == Activation::Gelu;
        let wants_columns = matches!(self.gated, Some(Gated::Columns { .. }));
        let plain = self.gated.is_none() && self.residual.is_none() && bias_stride == 0;
        let suffix = match (half(self.input), half(self.out), with_gelu) {
            (true, true, false) if plain => "_f16_f16",
            (true, true, false) => "_f16_f16_sum",
            (true, false, false) => "_f16_f32",
            (false, true, false) if plain => "_f32_f16",
            (false, true, false) => return Err(step.unsupported("f16 input of a sum in f16", "f32")),
            (false, false, false) => "_f32_f32",
            (true, true, true) => "_f16_f16_gelu",
            (true, false, true) => "_f16_f32_gelu",
            (false, _, true) => return Err(step.unsupported("f16 input of a product with GELU", "f32")),
        };
        // Columns are gated only behind GELU; a residual, a bias a token and experts' biases are added only without it.
        let known = if with_gelu {
            self.residual.is_none() && bias_stride == 0 && !matches!(self.gated, Some(Gated::Biases { .. }))
        } else {
            !wants_columns && !residual_is_half
        };
        if !known {
            return Err(
                step.unsupported("an epilogue of the network", format!("{:?} with {:?}", self.activation, self.gated))
            );
        }
        product.launch(step, "gemm", suffix, 1, &[])
    }

    fn takes_half(&self, id: ValueId) -> bool {
        self.input == id && self.residual != Some(id)
    }

    fn param(&self, _: &Graph, id: ParamId) -> (Storage, Packing) {
        if self.weight == id { (Storage::F16, Packing::Rows) } else { (Storage::Native, Packing::Rows) }
    }
}
