//! FLOP and bytes of an operation, computed from its shapes, never typed by hand.

use super::op::{Dense, Op};
use super::{Graph, ParamId, ValueId};

/// What one step costs for a full batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations of the products; a multiply-add counts 2.
    pub flop: u64,
    /// Bytes of parameters read once, as f32.
    pub param_bytes: u64,
    /// Bytes of values read and written once, as the graph stores them.
    pub value_bytes: u64,
}

impl Graph {
    /// Cost of the step `index`.
    pub fn cost(&self, index: usize) -> Cost {
        let op = &self.nodes[index].op;
        let values = op.reads().into_iter().chain(op.writes());
        let value_bytes = values.map(|id| (self[id].len() * self[id].element.bytes()) as u64).sum();
        let param_bytes = op.params().into_iter().map(|id| (self[id].len() * 4) as u64).sum();
        Cost { flop: self.flop(op) * self.batch as u64, param_bytes, value_bytes }
    }

    fn flop(&self, op: &Op) -> u64 {
        let rows = |id: ValueId| self[id].shape[1] as u64;
        let matrix = |id: ParamId| 2 * self[id].len() as u64;
        let dense = |layer: &Dense| matrix(layer.weight);
        match op {
            Op::PatchEmbed { weight, out, .. } => rows(*out) * matrix(*weight),
            Op::Linear { input, weight, .. } | Op::Conv3x3 { input, weight, .. } => rows(*input) * matrix(*weight),
            Op::Attention { qkv, grid, window, .. } => {
                let width = self[*qkv].shape[2] as u64 / 3;
                attention_pairs(*grid, *window) * width * 4
                    + rows(*qkv) * 4 * width * window.map_or(*grid, |w| w.min(*grid)) as u64
            }
            Op::Gate { organ_gate, input_embed, gate, .. } => dense(organ_gate) + dense(input_embed) + dense(gate),
            Op::MaskEmbed { convs, out, .. } => {
                let tokens = rows(*out);
                tokens * (4 * dense(&convs[0]) + dense(&convs[1]) + dense(&convs[2]))
            }
            Op::TokenSelfAttention { tokens, projections, .. } => {
                let t = rows(*tokens);
                t * projections.iter().map(dense).sum::<u64>() + 4 * t * t * self[*tokens].shape[2] as u64
            }
            Op::TokensToImage { tokens, image, projections, .. } => {
                let (t, n) = (rows(*tokens), rows(*image));
                t * projections.iter().map(dense).sum::<u64>() + 2 * t * n * self[*tokens].shape[2] as u64
            }
            Op::ImageToTokens { tokens, image, projections, .. } => {
                let (t, n) = (rows(*tokens), rows(*image));
                t * projections.iter().map(dense).sum::<u64>() + 2 * t * n * self[*tokens].shape[2] as u64
            }
            Op::TokenMlp { tokens, layers, .. } => rows(*tokens) * layers.iter().map(dense).sum::<u64>(),
            Op::TokenHeads { hyper, iou, .. } => {
                hyper.iter().flatten().map(dense).sum::<u64>() + iou.iter().map(dense).sum::<u64>()
            }
            Op::Upscale { input, hyper, convs, out, .. } => {
                let mut tokens = rows(*input);
                let mut flop = 0;
                for conv in convs {
                    flop += tokens * dense(conv);
                    tokens *= 4;
                }
                flop + 2 * self[*out].stride() as u64 * self[*hyper].shape[2] as u64
            }
            Op::LayerNorm { .. } | Op::PromptTokens { .. } | Op::ImageSource { .. } => 0,
        }
    }
}

/// Query-key pairs over real tokens only.
fn attention_pairs(grid: usize, window: Option<usize>) -> u64 {
    let side = window.unwrap_or(grid).min(grid) as u64;
    let grid = grid as u64;
    let (whole, rest) = (grid / side, grid % side);
    let squares = whole * side.pow(2) + rest.pow(2);
    squares * squares
}
