//! What every operation gets: its parameters, the threads, and scratch memory.

use std::sync::Arc;

use super::memory::{Buffer, Pool, Scratch, Views};
use super::packed::{self, Packed};
use super::threads::Team;
use super::{Level, Precision, attention, conv3x3, gate, image_source, layer_norm, linear, mask_embed, patch_embed};
use super::{prompt_tokens, token_attention, token_heads, upscale};
use crate::backend::Numbers;
use crate::error::{Error, Result};
use crate::graph::{Graph, Op, ParamId, Recipe};

/// A parameter as the kernels read it.
pub enum Param {
    /// As in the graph.
    Plain(Vec<f32>),
    /// A matrix in panels.
    #[allow(private_interfaces, reason = "only kernels look inside")]
    Packed(Packed),
    /// A table of relative positions, reversed and transposed (see `attention`).
    #[allow(private_interfaces, reason = "only kernels look inside")]
    Table(Buffer),
}

/// The form in which an operation wants one of its parameters.
enum Form {
    Plain,
    Packed { outputs: usize },
    Pairs { outputs: usize },
    Table,
}

impl Param {
    pub(super) fn prepare(
        level: Level,
        precision: Precision,
        pool: &Pool,
        graph: &Graph,
        id: ParamId,
        numbers: &mut dyn Numbers,
    ) -> Result<Param> {
        let inputs = |outputs: usize| graph[id].len() / outputs.max(1);
        Ok(match Form::of(precision, graph, id) {
            Form::Pairs { outputs } => Param::Packed(Packed::pairs(level, pool, [outputs, inputs(outputs)], numbers)?),
            Form::Plain => Param::Plain(numbers.all()?),
            Form::Packed { outputs } => Param::Packed(Packed::new(level, pool, [outputs, inputs(outputs)], numbers)?),
            Form::Table => Param::Table(attention::table(level, &numbers.all()?, graph[id].shape[1])?),
        })
    }
}

impl Form {
    fn of(precision: Precision, graph: &Graph, id: ParamId) -> Form {
        graph.nodes.iter().find_map(|node| form(precision, graph, &node.op, id)).unwrap_or(Form::Plain)
    }
}

/// f32 that a parameter takes in the form that its operation wants.
pub(super) fn prepared(level: Level, precision: Precision, graph: &Graph, id: ParamId) -> usize {
    let len = graph[id].len();
    match Form::of(precision, graph, id) {
        Form::Plain => len,
        Form::Pairs { outputs } => len / 2 / outputs.max(1) * outputs.next_multiple_of(level.panel()),
        Form::Packed { outputs } => len / outputs.max(1) * outputs.next_multiple_of(level.panel()),
        Form::Table => graph[id].shape[0].next_multiple_of(level.lanes()) * graph[id].shape[1],
    }
}

/// f32 that exist for a moment while a parameter is prepared: the rows that are read at once, or the tensors of a
/// parameter that is made as a whole.
pub(super) fn loading(level: Level, precision: Precision, graph: &Graph, id: ParamId) -> usize {
    let len = graph[id].len();
    let streamed = matches!(
        graph[id].recipe,
        Recipe::Tensor(_) | Recipe::Rows(_) | Recipe::RowsWithGap { .. } | Recipe::ColumnsWithGap { .. }
    );
    match Form::of(precision, graph, id) {
        Form::Packed { outputs } | Form::Pairs { outputs } => {
            let rows = packed::loading(level, [outputs, len / outputs.max(1)]);
            if streamed { rows } else { 2 * len + rows }
        }
        _ => 2 * len,
    }
}

/// The form of `id` in `op`, if it is not plain. Every matrix of a product is packed.
fn form(precision: Precision, graph: &Graph, op: &Op, id: ParamId) -> Option<Form> {
    let first_axis = Form::Packed { outputs: graph[id].shape[0] };
    let packed = |found: bool| found.then_some(first_axis);
    let all_but_last = || graph[id].shape.iter().rev().skip(1).product();
    match op {
        Op::Linear { input, weight, .. } if *weight == id && precision.halves(graph, *input) => {
            Some(Form::Pairs { outputs: graph[id].shape[0] })
        }
        Op::Linear { weight, .. } | Op::PatchEmbed { weight, .. } | Op::Conv3x3 { weight, .. } => packed(*weight == id),
        Op::Attention { rel_pos_h, rel_pos_w, .. } => (*rel_pos_h == id || *rel_pos_w == id).then_some(Form::Table),
        Op::MaskEmbed { convs, .. } => packed(convs.iter().any(|conv| conv.weight == id)),
        Op::TokenSelfAttention { projections, .. } => packed(projections.iter().any(|p| p.weight == id)),
        Op::TokensToImage { projections, .. } | Op::ImageToTokens { projections, .. } => {
            packed(projections.iter().any(|p| p.weight == id))
        }
        Op::TokenMlp { layers, .. } => packed(layers.iter().any(|layer| layer.weight == id)),
        Op::TokenHeads { hyper, iou, .. } => packed(hyper.iter().flatten().chain(iou).any(|l| l.weight == id)),
        Op::Upscale { convs, .. } => {
            convs.iter().any(|conv| conv.weight == id).then(|| Form::Packed { outputs: all_but_last() })
        }
        Op::LayerNorm { .. } | Op::Gate { .. } | Op::PromptTokens { .. } | Op::ImageSource { .. } => None,
    }
}

/// f32 of scratch that a task of `op` needs.
pub(super) fn scratch(level: Level, graph: &Graph, op: &Op) -> usize {
    match op {
        Op::Linear { .. } => linear::scratch(level),
        Op::PatchEmbed { weight, .. } => patch_embed::scratch(level, graph[*weight].shape[1..].iter().product()),
        Op::Conv3x3 { input, .. } => conv3x3::scratch(level, graph[*input].shape[2]),
        Op::Attention { rel_pos_h, grid, window, .. } => {
            attention::Scratch::new(level, window.unwrap_or(*grid), graph[*rel_pos_h].shape[1]).len()
        }
        Op::MaskEmbed { out, .. } => mask_embed::scratch(level, graph[*out].shape[2]),
        Op::TokenSelfAttention { tokens, .. } => {
            token_attention::scratch(level, graph[*tokens].shape[1], graph[*tokens].shape[2], 0)
        }
        Op::TokensToImage { tokens, image, .. } | Op::ImageToTokens { tokens, image, .. } => {
            let shape = &graph[*tokens].shape;
            token_attention::scratch(level, shape[1], shape[2], graph[*image].shape[1])
        }
        Op::TokenMlp { tokens, layers, .. } => {
            let shape = &graph[*tokens].shape;
            token_heads::scratch(level, shape[1], shape[2].max(graph[layers[0].weight].shape[0]))
        }
        Op::TokenHeads { tokens, iou, .. } => {
            token_heads::scratch(level, 1, graph[*tokens].shape[2].max(graph[iou[0].weight].shape[0]))
        }
        Op::Upscale { convs, .. } => upscale::scratch(level, graph, convs),
        Op::LayerNorm { input, .. } => layer_norm::scratch(graph[*input].shape[2]),
        Op::Gate { modal_embed, out, .. } => gate::scratch(graph[*modal_embed].shape[1], graph[*out].shape[1]),
        Op::PromptTokens { .. } | Op::ImageSource { .. } => 0,
    }
}

/// One step of a plan in execution.
pub(super) struct Step<'a> {
    pub level: Level,
    pub threads: &'a Team<'a>,
    pub graph: &'a Graph,
    pub params: &'a [Arc<Param>],
    /// Slices or prompts of this run.
    pub active: usize,
    pub scratch: &'a Scratch,
}

impl Step<'_> {
    pub fn run(&self, op: &Op, views: Views<'_>) -> Result<()> {
        match op {
            Op::PatchEmbed { .. } => patch_embed::run(self, op, views),
            Op::LayerNorm { .. } => layer_norm::run(self, op, views),
            Op::Gate { .. } => gate::run(self, op, views),
            Op::Linear { .. } => linear::run(self, op, views),
            Op::Attention { .. } => attention::run(self, op, views),
            Op::Conv3x3 { .. } => conv3x3::run(self, op, views),
            Op::PromptTokens { .. } => prompt_tokens::run(self, op, views),
            Op::MaskEmbed { .. } => mask_embed::run(self, op, views),
            Op::ImageSource { .. } => image_source::run(self, op, views),
            Op::TokenSelfAttention { .. } => token_attention::self_attention(self, op, views),
            Op::TokensToImage { .. } => token_attention::tokens_to_image(self, op, views),
            Op::ImageToTokens { .. } => token_attention::image_to_tokens(self, op, views),
            Op::TokenMlp { .. } => token_heads::mlp(self, op, views),
            Op::TokenHeads { .. } => token_heads::run(self, op, views),
            Op::Upscale { .. } => upscale::run(self, op, views),
        }
    }

    /// Runs `task(i, scratch)` for each i below `tasks`.
    pub fn each(&self, tasks: usize, task: impl Fn(usize, &mut [f32]) + Sync) {
        self.threads.each(self.scratch, tasks, task);
    }

    pub fn plain(&self, id: ParamId) -> Result<&[f32]> {
        match &*self.params[id.0] {
            Param::Plain(data) => Ok(data),
            _ => Err(self.wrong(id)),
        }
    }

    pub fn packed(&self, id: ParamId) -> Result<&Packed> {
        match &*self.params[id.0] {
            Param::Packed(packed) => Ok(packed),
            _ => Err(self.wrong(id)),
        }
    }

    pub fn table(&self, id: ParamId) -> Result<&[f32]> {
        match &*self.params[id.0] {
            Param::Table(table) => Ok(table.as_slice()),
            _ => Err(self.wrong(id)),
        }
    }

    fn wrong(&self, id: ParamId) -> Error {
        let what = format!("parameter {} was prepared in another form", self.graph[id].name);
        Error::Internal { place: "backend::cpu".into(), what }
    }
}

/// The error of a step that got another operation's description.
pub(super) fn mismatch(op: &Op) -> Error {
    Error::Internal { place: "backend::cpu".into(), what: format!("{} was sent to another kernel", op.name()) }
}
