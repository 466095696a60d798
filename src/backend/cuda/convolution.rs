//! Launches `kernels/convolution.ptx.j2`, and the products where a convolution is one.

use super::driver::{Arg, Driver};
use super::gemm::Product;
use super::kernels;
use super::step::{Launch, Step};
use super::storage::Packing;
use crate::error::Result;
use crate::graph::op::{Activation, Convolution};
use crate::graph::{Graph, ParamId, Storage, ValueId};

/// Outputs of a block.
const OUTPUTS: usize = 64;

/// Convolution of all channels, of pixels or of tokens.
impl Launch for Convolution {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let half = |id| step.storage(id) == Storage::F16;
        if self.scaling.is_none() && !half(self.input) {
            return Err(step.unsupported("tokens in f16", "f32"));
        }
        if self.is_product(step.param_shape(self.weight)) { self.product(step) } else { self.plain(step) }
    }

    fn takes_half(&self, id: ValueId) -> bool {
        self.input == id && self.scaling.is_none()
    }

    fn param(&self, graph: &Graph, id: ParamId) -> (Storage, Packing) {
        match (id == self.weight, self.is_product(&graph[self.weight].shape)) {
            (false, _) => (Storage::Native, Packing::Rows),
            (true, true) => (Storage::F16, Packing::Rows),
            (true, false) => (Storage::Native, Packing::Taps),
        }
    }
}

impl Convolution {
    /// Whether the tensor cores' products do it: each token by itself.
    fn is_product(&self, weight: &[usize]) -> bool {
        let &[columns, size, _, depth] = weight else { return false };
        self.scaling.is_none() && [size, self.stride] == [1, 1] && depth.is_multiple_of(8) && columns.is_multiple_of(4)
    }

    fn product<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let [tokens, columns] = [step.shape(self.out)[0], step.shape(self.out)[1]];
        let product = Product {
            input: step.value(self.input),
            weight: step.param(self.weight),
            bias: step.param(self.bias),
            out: step.value(self.out),
            rows: step.active * tokens,
            columns,
            depth: step.shape(self.input)[1],
            tokens,
            ..Product::default()
        };
        let suffix = match (step.storage(self.out) == Storage::F16, self.activation) {
            (true, Activation::Identity) => "_f16_f16",
            (false, Activation::Identity) => "_f16_f32",
            (true, Activation::Gelu) => "_f16_f16_gelu",
            (false, Activation::Gelu) => "_f16_f32_gelu",
        };
        product.launch(step, "gemm", suffix, 1, &[])
    }

    fn plain<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &[columns, size, _, channels] = step.param_shape(self.weight) else {
            return Err(step.unsupported("a weight of four axes", step.param_shape(self.weight).len()));
        };
        let pixels = self.scaling.is_some();
        let entry = match (pixels, step.storage(self.out) == Storage::F16) {
            (true, true) => "convolution_u8_f16",
            (true, false) => "convolution_u8_f32",
            (false, true) => return Err(step.unsupported("a result in f32 of tokens", "f16")),
            (false, false) => "convolution_f16_f32",
        };
        let across = self.side.div_ceil(self.stride);
        let needed = 4 * size * ((OUTPUTS - 1) * self.stride + size) * channels;
        let room = kernels::find(entry)?.1.shared as usize;
        if needed > room || !columns.is_multiple_of(4) || (pixels && channels != 3) {
            let expected = format!("outputs a multiple of 4, {room} bytes of inputs for {OUTPUTS} of a row");
            return Err(step.unsupported(expected, format!("{columns}, {needed}")));
        }
        let mut args = vec![Arg::Pointer(step.value(self.input))];
        args.extend(self.scaling.map(|scaling| Arg::Pointer(step.value(scaling))));
        let (weight, bias) = (step.param(self.weight), step.param(self.bias));
        args.extend([weight, bias, step.value(self.out), step.saturated()].map(Arg::Pointer));
        for length in [self.side, across, channels, columns, size, self.stride] {
            args.push(Arg::U32(step.u32(length)?));
        }
        args.push(Arg::U32(u32::from(self.activation == Activation::Gelu)));
        step.launch(entry, [across.div_ceil(OUTPUTS), across, step.active], &args)
    }
}
