//! Launches `kernels/token_heads.ptx.j2`, whose blocks leave partial sums of the second layer in the step's scratch
//! ([`Launch::scratch`]).

use super::driver::{Arg, Driver};
use super::step::{Launch, Step};
use super::storage::Packing;
use crate::error::Result;
use crate::graph::op::{Dense, TokenHeads};
use crate::graph::{Graph, ParamId, Storage};

/// Most masks one launch makes.
const MOST_MASKS: usize = 3;
/// Widest hidden layer.
const WIDEST: usize = 1024;
/// Widest last layer: a thread an output.
const MOST_CHANNELS: usize = 256;
/// Blocks of an MLP, each a slice of its first hidden layer.
const SLICES: usize = 8;

/// Hyper vectors and predicted IoU.
impl Launch for TokenHeads {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &TokenHeads { tokens, ref hyper, first_mask, ref iou, hyper_out, iou_out } = self;
        let [count, p] = [step.shape(tokens)[0], step.shape(tokens)[1]];
        let hidden = step.param_shape(iou[0].weight)[0];
        let channels = step.shape(hyper_out)[1];
        let fits = |width, most| (1..=most).contains(&width);
        if !fits(p, WIDEST) || !fits(hidden, WIDEST) || !fits(channels, MOST_CHANNELS) {
            let wanted = format!("layers of at most {WIDEST} channels, the last of {MOST_CHANNELS}");
            return Err(step.unsupported(wanted, format!("{p}, {hidden}, {channels}")));
        }
        if hyper.is_empty() || hyper.len() > MOST_MASKS {
            return Err(step.unsupported(format!("1 to {MOST_MASKS} masks"), hyper.len()));
        }
        let pointers = |layers: &[Dense; 3]| {
            layers.map(|layer| [Arg::Pointer(step.param(layer.weight)), Arg::Pointer(step.param(layer.bias))])
        };
        let mut args = vec![Arg::Pointer(step.value(tokens))];
        for mask in 0..MOST_MASKS {
            match hyper.get(mask) {
                Some(layers) => args.extend(pointers(layers).concat()),
                None => args.extend([Arg::Pointer(0); 6]),
            }
        }
        args.extend(pointers(iou).concat());
        let pointers = [step.value(hyper_out), step.value(iou_out), step.scratch(), step.counters()];
        args.extend(pointers.map(Arg::Pointer));
        for size in [count, p, hidden, channels, hyper.len(), first_mask] {
            args.push(Arg::U32(step.u32(size)?));
        }
        step.launch("token_heads", [SLICES * (hyper.len() + 1), step.active, 1], &args)
    }

    fn param(&self, _: &Graph, id: ParamId) -> (Storage, Packing) {
        if self.hyper.iter().flatten().chain(&self.iou).any(|layer| layer.weight == id) {
            (Storage::Native, Packing::Columns)
        } else {
            (Storage::Native, Packing::Rows)
        }
    }

    fn scratch(&self, graph: &Graph) -> usize {
        let hidden = |layers: &[Dense; 3]| graph[layers[0].bias].shape[0];
        let widest = self.hyper.iter().chain([&self.iou]).map(hidden).max().unwrap_or(0);
        (self.hyper.len() + 1) * SLICES * widest.max(graph[self.tokens].shape[2])
    }
}
