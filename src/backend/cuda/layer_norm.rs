//! Launches `kernels/layer_norm.ptx.j2`, which also computes the mean over the tokens (`kernels/token_mean.j2`) and the gate
//! of the experts (`kernels/gate.j2`): three nodes of a graph at batch 1 would be two gaps more.

use super::driver::{Arg, Driver};
use super::step::{Launch, Step};
use super::storage::Storage;
use crate::error::Result;
use crate::graph::op::{Gate, LayerNorm};
use crate::graph::{Graph, Op, ValueId};

/// Rows of one block.
const ROWS: usize = 8;

/// LayerNorm of each token, and the mean of the results over the tokens where the gate wants it, and the gate.
impl Launch for LayerNorm {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &LayerNorm { input, ref norm, out, mean } = self;
        let [tokens, channels] = [step.shape(input)[0], step.shape(input)[1]];
        if channels > 1280 || !channels.is_multiple_of(4) || step.storage(input) == Storage::Half {
            return Err(step.unsupported("f32 with a multiple of 4 channels, at most 1280", channels));
        }
        let (slices, rows) = if mean.is_some() { (step.active, tokens) } else { (1, step.active * tokens) };
        let mut args = vec![
            Arg::Pointer(step.value(input)),
            Arg::Pointer(step.param(norm.gain)),
            Arg::Pointer(step.param(norm.bias)),
            Arg::Pointer(step.value(out)),
            Arg::Pointer(step.saturated()),
            Arg::U32(step.u32(rows)?),
            Arg::U32(step.u32(channels)?),
            Arg::F32(norm.eps),
        ];
        if let Some(mean) = mean {
            let sums = step.value(mean) + 4 * step.plan.graph[mean].len() as u64;
            args.extend([step.value(mean), sums, step.counters()].map(Arg::Pointer));
            args.extend(gate_args(step, mean)?);
        }
        let entry = entry(channels, step.storage(out) == Storage::Half, mean.is_some());
        step.launch(entry, [rows.div_ceil(ROWS), slices, 1], &args)
    }

    /// Sums of rows, each of the mean's own size, lie behind the mean.
    fn partial_sums(&self, graph: &Graph, id: ValueId) -> usize {
        if self.mean == Some(id) { graph[self.input].shape[1].div_ceil(ROWS) } else { 0 }
    }
}

fn entry(channels: usize, half: bool, gated: bool) -> &'static str {
    match (channels, half, gated) {
        (..=256, true, false) => "layer_norm_256_f16",
        (..=256, false, false) => "layer_norm_256_f32",
        (..=768, true, false) => "layer_norm_768_f16",
        (..=768, false, false) => "layer_norm_768_f32",
        (_, true, false) => "layer_norm_1280_f16",
        (_, false, false) => "layer_norm_1280_f32",
        (..=256, true, true) => "layer_norm_256_f16_gate",
        (..=256, false, true) => "layer_norm_256_f32_gate",
        (..=768, true, true) => "layer_norm_768_f16_gate",
        (..=768, false, true) => "layer_norm_768_f32_gate",
        (_, true, true) => "layer_norm_1280_f16_gate",
        (_, false, true) => "layer_norm_1280_f32_gate",
    }
}

/// The gate whose node is right behind that of the LayerNorm which writes `mean`. It runs with the LayerNorm, a step early,
/// while blocks of other slices still read the LayerNorm's input: its result must not lie there, so the input must be read
/// again behind the gate, as a residual is. Nothing else that is still read then can lie where the result does.
fn gate_behind(graph: &Graph, mean: ValueId) -> Option<&Gate> {
    graph.nodes.windows(2).enumerate().find_map(|(at, pair)| match (&pair[0].op, &pair[1].op) {
        (Op::LayerNorm(LayerNorm { input, mean: Some(written), .. }), Op::Gate(gate)) => {
            let input_stays = graph.nodes[at + 2..].iter().any(|node| node.op.reads().contains(input));
            (*written == mean && gate.mean == mean && input_stays).then_some(gate)
        }
        _ => None,
    })
}

/// What the kernel takes for the gate; zeros where there is none.
fn gate_args<D: Driver>(step: &Step<D>, mean: ValueId) -> Result<Vec<Arg>> {
    let Some(&Gate { context, ref organ_embed, modal_embed, organ_gate, input_embed, gate, out, .. }) =
        gate_behind(&step.plan.graph, mean)
    else {
        return Ok([Arg::Pointer(0); 14].into_iter().chain([Arg::U32(0); 2]).collect());
    };
    let [embedding, experts] = [step.param_shape(input_embed.weight)[0], step.shape(out)[0]];
    if embedding > 256 || experts > 1024 {
        let found = format!("{embedding}, {experts}");
        return Err(step.unsupported("at most 256 values of context and 1024 experts", found));
    }
    let tables = organ_embed.iter().copied().chain([modal_embed]);
    let layers = [organ_gate, input_embed, gate].into_iter().flat_map(|layer| [layer.weight, layer.bias]);
    let params = tables.chain(layers).map(|id| step.param(id));
    let pointers = [step.value(out), step.value(context)].into_iter().chain(params).map(Arg::Pointer);
    Ok(pointers.chain([Arg::U32(step.u32(embedding)?), Arg::U32(step.u32(experts)?)]).collect())
}

/// Weights of the experts: the LayerNorm in front of it has computed them.
impl Launch for Gate {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let mean = self.mean;
        match gate_behind(&step.plan.graph, mean) {
            Some(_) => Ok(()),
            None => {
                let expected = "a gate right behind the LayerNorm whose mean it reads, whose input is read again";
                Err(step.unsupported(expected, "another one"))
            }
        }
    }
}
