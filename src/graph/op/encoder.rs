//! The operations of the image encoder.

use super::{Dense, Norm, Operation, dense};
use crate::graph::{Graph, ParamId, ValueId};

/// What a product adds to each output row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bias {
    /// Nothing.
    None,
    /// One row `[out]` for all tokens.
    Row(ParamId),
    /// One row a token, `[N, out]`.
    Token(ParamId),
}

/// Activation behind a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// None.
    Identity,
    /// Exact: `0.5 x (1 + erf(x / sqrt 2))`.
    Gelu,
}

/// How the mixture of experts enters a product (MODEL.md, ConMoAE; `gate` is `[E]` a slice).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gated {
    /// The last `E * R` output columns, after the activation, are multiplied by `scale * gate[k]`.
    Columns {
        /// `[E]`.
        gate: ValueId,
        /// R.
        bottleneck: usize,
        /// 0.1.
        scale: f32,
    },
    /// Every row gains `scale * sum_k gate[k] * biases[k]`.
    Biases {
        /// `[E]`.
        gate: ValueId,
        /// `[E, out]`.
        biases: ParamId,
        /// 0.1.
        scale: f32,
    },
}

impl Gated {
    /// The weights of the experts, `[E]`.
    pub fn gate(self) -> ValueId {
        match self {
            Gated::Columns { gate, .. } | Gated::Biases { gate, .. } => gate,
        }
    }
}

/// uint8 picture to patch tokens: `out[n] = W normalised_patch(n) + token_bias[n]`. A channel's value is
/// `pixel * scale + offset`; a pixel outside the valid rectangle is 0 after that.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchEmbed {
    /// u8 `[S, S, 3]`.
    pub pixels: ValueId,
    /// f32 `[8]`: three scales, three offsets, valid height, valid width.
    pub scaling: ValueId,
    /// `[D, patch, patch, 3]`.
    pub weight: ParamId,
    /// `[N, D]`.
    pub token_bias: ParamId,
    /// `[N, D]`.
    pub out: ValueId,
}

impl Operation for PatchEmbed {
    fn name(&self) -> &'static str {
        "patch_embed"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.pixels, self.scaling]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        vec![self.weight, self.token_bias]
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        let (side, weight) = (graph[self.pixels].shape[1], &graph[self.weight].shape);
        vec![vec![(side / weight[1]).pow(2), weight[0]]]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        graph.rows(self.out) * graph.matrix(self.weight)
    }
}

/// LayerNorm over channels; `mean` is the mean over tokens of the result, for the gate.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// `[N, C]`.
    pub input: ValueId,
    /// Gain, bias, eps.
    pub norm: Norm,
    /// `[N, C]`.
    pub out: ValueId,
    /// `[C]`.
    pub mean: Option<ValueId>,
}

impl Operation for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<ValueId> {
        [Some(self.out), self.mean].into_iter().flatten().collect()
    }

    fn params(&self) -> Vec<ParamId> {
        self.norm.params().to_vec()
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        let shape = &graph[self.input].shape[1..];
        let mean = self.mean.map(|_| shape[1..].to_vec());
        [Some(shape.to_vec()), mean].into_iter().flatten().collect()
    }
}

/// The gate of the mixture: organ vector, input vector, softmax over experts (MODEL.md, ConMoAE).
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// `[D]`, mean over tokens of LN2.
    pub mean: ValueId,
    /// i32 `[5]`: modality, three organ indices, task.
    pub context: ValueId,
    /// Embedding tables of the organ tree `[rows, e]`; the last one is the task table.
    pub organ_embed: [ParamId; 5],
    /// `[modalities, e]`.
    pub modal_embed: ParamId,
    /// `4e -> 4`.
    pub organ_gate: Dense,
    /// `D -> e`.
    pub input_embed: Dense,
    /// `4e -> E`.
    pub gate: Dense,
    /// `[E]`.
    pub out: ValueId,
}

impl Operation for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.mean, self.context]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        let layers = [self.organ_gate, self.input_embed, self.gate];
        self.organ_embed.into_iter().chain([self.modal_embed]).chain(dense(&layers)).collect()
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        vec![vec![graph[self.gate.weight].shape[0]]]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        [&self.organ_gate, &self.input_embed, &self.gate].map(|layer| graph.dense(layer)).iter().sum()
    }
}

/// `out = residual + gated(activation(input W^T + bias))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `[N, in]`.
    pub input: ValueId,
    /// `[out, in]`.
    pub weight: ParamId,
    /// Added before the activation.
    pub bias: Bias,
    /// Behind the bias.
    pub activation: Activation,
    /// Mixture of experts.
    pub gated: Option<Gated>,
    /// `[N, out]`; may share memory with `out`.
    pub residual: Option<ValueId>,
    /// `[N, out]`.
    pub out: ValueId,
}

impl Operation for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn reads(&self) -> Vec<ValueId> {
        let gate = self.gated.map(|gated| gated.gate());
        [Some(self.input), gate, self.residual].into_iter().flatten().collect()
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        let bias = match self.bias {
            Bias::None => None,
            Bias::Row(id) | Bias::Token(id) => Some(id),
        };
        let biases = match self.gated {
            Some(Gated::Biases { biases, .. }) => Some(biases),
            _ => None,
        };
        [Some(self.weight), bias, biases].into_iter().flatten().collect()
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        vec![vec![graph[self.input].shape[1], graph[self.weight].shape[0]]]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        graph.rows(self.input) * graph.matrix(self.weight)
    }

    fn replaces(&self) -> Option<[ValueId; 2]> {
        self.residual.filter(|residual| *residual != self.input).map(|residual| [residual, self.out])
    }
}

/// Multi-head attention over the grid or over windows, with decomposed relative position. Padding is never
/// computed: padded keys and values are the bias of qkv, in closed form (MODEL.md, Attention).
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// `[N, 3D]`: (q|k|v) x heads x head dim.
    pub qkv: ValueId,
    /// `[3D]`.
    pub qkv_bias: ParamId,
    /// `[2g-1, d]`, g the side of the window or grid.
    pub rel_pos_h: ParamId,
    /// `[2g-1, d]`.
    pub rel_pos_w: ParamId,
    /// h.
    pub heads: usize,
    /// Side of the token grid.
    pub grid: usize,
    /// Side of a window; `None` is global.
    pub window: Option<usize>,
    /// `[N, D]`.
    pub out: ValueId,
}

impl Operation for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.qkv]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        vec![self.qkv_bias, self.rel_pos_h, self.rel_pos_w]
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        let shape = &graph[self.qkv].shape;
        vec![vec![shape[1], shape[2] / 3]]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        let width = graph[self.qkv].shape[2] as u64 / 3;
        let side = self.window.map_or(self.grid, |window| window.min(self.grid)) as u64;
        query_key_pairs(self.grid as u64, side) * width * 4 + graph.rows(self.qkv) * 4 * width * side
    }
}

/// 3x3 convolution over the token grid, padding 1, no bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv3x3 {
    /// `[N, C]`.
    pub input: ValueId,
    /// `[out, 3, 3, C]`.
    pub weight: ParamId,
    /// Side of the token grid.
    pub grid: usize,
    /// `[N, out]`.
    pub out: ValueId,
}

impl Operation for Conv3x3 {
    fn name(&self) -> &'static str {
        "conv3x3"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        vec![self.weight]
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        vec![vec![graph[self.input].shape[1], graph[self.weight].shape[0]]]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        graph.rows(self.input) * graph.matrix(self.weight)
    }
}

/// Query-key pairs over real tokens only, in windows of `side`.
fn query_key_pairs(grid: u64, side: u64) -> u64 {
    let (whole, rest) = (grid / side, grid % side);
    let squares = whole * side.pow(2) + rest.pow(2);
    squares * squares
}
