//! Launches `kernels/layer_norm.ptx.j2`, which also computes the mean over the tokens (`kernels/token_mean.j2`) and the
//! gate of the experts (`kernels/gate.j2`): three nodes of a graph at batch 1 would be two gaps more.

use super::driver::{Arg, Driver};
use super::step::{Launch, Step};
use crate::error::Result;
use crate::graph::op::{Gate, LayerNorm, LayerNormGate};
use crate::graph::{Graph, Storage};

/// Rows of one block.
const ROWS: usize = 8;

impl Launch for LayerNorm {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        launch(step, self, None)
    }

    /// The mean's sums of rows.
    fn scratch(&self, graph: &Graph) -> usize {
        let shape = &graph[self.input].shape;
        self.mean.map_or(0, |_| shape[1].div_ceil(ROWS) * shape[2])
    }
}

impl Launch for LayerNormGate {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        launch(step, &self.norm, Some(&self.gate))
    }

    fn scratch(&self, graph: &Graph) -> usize {
        self.norm.scratch(graph)
    }
}

impl Launch for Gate {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        Err(step.unsupported("a gate right behind the LayerNorm whose mean it reads", "another one"))
    }
}

/// LayerNorm of each token, and the mean of the results over the tokens where it is wanted, and the gate of that.
fn launch<D: Driver>(step: &Step<D>, op: &LayerNorm, gate: Option<&Gate>) -> Result<()> {
    let &LayerNorm { input, ref norm, out, mean } = op;
    let [tokens, channels] = [step.shape(input)[0], step.shape(input)[1]];
    if channels > 1280 || !channels.is_multiple_of(4) || step.storage(input) == Storage::F16 {
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
        args.extend([step.value(mean), step.scratch(), step.counters()].map(Arg::Pointer));
        args.extend(gate_args(step, gate)?);
    }
    let entry = entry(channels, step.storage(out) == Storage::F16, mean.is_some());
    step.launch(entry, [rows.div_ceil(ROWS), slices, 1], &args)
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

/// What the kernel takes for the gate; zeros where there is none.
fn gate_args<D: Driver>(step: &Step<D>, gate: Option<&Gate>) -> Result<Vec<Arg>> {
    let Some(&Gate { context, ref organ_embed, modal_embed, organ_gate, input_embed, gate, out, .. }) = gate else {
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
