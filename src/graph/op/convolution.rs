//! Convolutions over a square grid of channels-last tokens, zeros outside of it. Norms behind them are folded into
//! weight and bias.

use super::{Activation, Dense, Operation, dense};
use crate::graph::{Graph, ParamId, ValueId};

/// `out = activation(weight * input + bias)`, padding `k / 2`. Of pixels a channel's value is
/// `pixel * scale + offset`; a pixel outside the valid rectangle is 0 after that.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// `[side^2, in]`, or u8 `[side, side, in]` where there is a scaling.
    pub input: ValueId,
    /// Of pixels, f32 `[8]`: three scales, three offsets, valid height, valid width.
    pub scaling: Option<ValueId>,
    /// `[out, k, k, in]`.
    pub weight: ParamId,
    /// `[out]`.
    pub bias: ParamId,
    /// Behind the bias.
    pub activation: Activation,
    /// Of the input's grid.
    pub side: usize,
    /// Output i reads around input `stride i`.
    pub stride: usize,
    /// `[(side / stride)^2, out]`.
    pub out: ValueId,
}

impl Operation for Convolution {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn reads(&self) -> Vec<ValueId> {
        [Some(self.input), self.scaling].into_iter().flatten().collect()
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        vec![self.weight, self.bias]
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        vec![vec![self.side.div_ceil(self.stride).pow(2), graph[self.weight].shape[0]]]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        graph.rows(self.out) * graph.matrix(self.weight)
    }
}

/// 3x3, each channel by itself, padding 1: `out = weight * input + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Depthwise {
    /// `[side^2, C]`.
    pub input: ValueId,
    /// `[3, 3, C]`.
    pub weight: ParamId,
    /// `[C]`.
    pub bias: ParamId,
    /// Of the grid.
    pub side: usize,
    /// `[side^2, C]`.
    pub out: ValueId,
}

impl Operation for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        vec![self.weight, self.bias]
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        vec![graph[self.input].shape[1..].to_vec()]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        graph.rows(self.out) * graph.matrix(self.weight)
    }
}

/// Each token to more channels, GELU, 3x3 of each channel by itself, GELU, and to fewer channels again: with a shortcut
/// `GELU(input + ..)`. The channels in between are never there for the whole grid.
#[derive(Clone, Debug, PartialEq)]
pub struct InvertedBottleneck {
    /// `[side^2, in]`.
    pub input: ValueId,
    /// `[hidden, in]` and `[hidden]`.
    pub expand: Dense,
    /// `[3, 3, hidden]` and `[hidden]`, padding 1.
    pub depthwise: Dense,
    /// `[out, hidden]` and `[out]`.
    pub project: Dense,
    /// Of the input's grid.
    pub side: usize,
    /// Of the 3x3.
    pub stride: usize,
    /// Whether the input is added, and GELU taken of the sum.
    pub shortcut: bool,
    /// `[(side / stride)^2, out]`.
    pub out: ValueId,
}

impl Operation for InvertedBottleneck {
    fn name(&self) -> &'static str {
        "inverted_bottleneck"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        dense(&[self.expand, self.depthwise, self.project]).collect()
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        vec![vec![self.side.div_ceil(self.stride).pow(2), graph[self.project.weight].shape[0]]]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        let after = graph.layers(&[self.depthwise, self.project]);
        graph.rows(self.input) * graph.dense(&self.expand) + graph.rows(self.out) * after
    }
}
