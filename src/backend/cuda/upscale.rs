//! Launches `kernels/upscale.ptx.j2` for the prompt width of the published models and `kernels/upscale_small.ptx.j2`
//! for others.

use super::driver::{Arg, Driver};
use super::step::{Launch, Step};
use super::storage::Packing;
use crate::error::Result;
use crate::graph::op::{Dense, Upscale};
use crate::graph::{Graph, ParamId, Storage};

/// Most masks of one launch on tensor cores: columns of an n8 tile, half of them.
const MOST_MASKS: usize = 4;

/// True where the convolutions run on tensor cores, with their weights as fragments.
fn on_tensor_cores(graph: &Graph, convs: &[Dense]) -> bool {
    let inputs = convs.first().map(|conv| graph[conv.weight].shape[3]);
    inputs == Some(256) && matches!(convs.len(), 2 | 4)
}

/// Mask upsampling of every image token.
impl Launch for Upscale {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &Upscale { input, hyper, ref convs, ref norms, grid, out } = self;
        let [tokens, p] = [step.shape(input)[0], step.shape(input)[1]];
        let masks = step.shape(hyper)[0];
        let entry = match (p, convs.len()) {
            (64, 2) => "upscale_small_64_2",
            (64, 4) => "upscale_small_64_4",
            (128, 2) => "upscale_small_128_2",
            (128, 4) => "upscale_small_128_4",
            (256, 2) => "upscale_2",
            (256, 4) => "upscale_4",
            (_, doublings) => {
                let found = format!("{p} and {doublings}");
                return Err(step.unsupported("prompt width 64, 128 or 256 and 2 or 4 doublings", found));
            }
        };
        let halving = convs.iter().enumerate().all(|(i, conv)| step.param_shape(conv.weight)[2] == p >> (i + 2));
        let eps = norms.first().map_or(0.0, |norm| norm.eps);
        if !halving || norms.len() + 1 != convs.len() || norms.iter().any(|norm| norm.eps != eps) {
            return Err(step.unsupported("a quarter of the channels, then halves, and one eps", "other widths"));
        }
        let mut args = vec![Arg::Pointer(step.value(input)), Arg::Pointer(step.value(hyper))];
        for (i, conv) in convs.iter().enumerate() {
            args.extend([Arg::Pointer(step.param(conv.weight)), Arg::Pointer(step.param(conv.bias))]);
            if let Some(norm) = norms.get(i) {
                args.extend([Arg::Pointer(step.param(norm.gain)), Arg::Pointer(step.param(norm.bias))]);
            }
        }
        args.push(Arg::Pointer(step.value(out)));
        if !on_tensor_cores(&step.plan.graph, convs) {
            args.push(Arg::U32(step.u32(tokens)?));
            args.extend([Arg::U32(step.u32(grid)?), Arg::U32(step.u32(masks)?), Arg::F32(eps)]);
            // A block of the two-fold kernel takes two tokens.
            let blocks = if convs.len() == 2 { tokens.div_ceil(2) } else { tokens };
            return step.launch(entry, [blocks, step.active, 1], &args);
        }
        if masks > MOST_MASKS {
            return Err(step.unsupported(format!("at most {MOST_MASKS} masks"), masks));
        }
        args.extend([Arg::Pointer(step.saturated()), Arg::U32(step.u32(tokens)?)]);
        args.extend([Arg::U32(step.u32(grid)?), Arg::U32(step.u32(masks)?), Arg::F32(eps)]);
        // A block of the four-fold kernel takes one quarter of its tokens' pixels.
        let blocks = tokens.div_ceil(16) * if convs.len() == 4 { 4 } else { 1 };
        step.launch(entry, [blocks, step.active, 1], &args)
    }

    fn param(&self, graph: &Graph, id: ParamId) -> (Storage, Packing) {
        match (self.convs.iter().any(|conv| conv.weight == id), on_tensor_cores(graph, &self.convs)) {
            (false, _) => (Storage::Native, Packing::Rows),
            (true, false) => (Storage::Native, Packing::Columns),
            (true, true) => (Storage::F16, Packing::Fragments),
        }
    }
}
