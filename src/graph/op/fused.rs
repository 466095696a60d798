//! Pairs of operations that a backend may run as one: it makes them of a model's graph when it lowers it.

use super::{Gate, ImageSource, LayerNorm, Operation, PromptTokens};
use crate::graph::{Graph, ParamId, ValueId};

/// A LayerNorm, and the gate that reads its mean.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNormGate {
    /// With a mean.
    pub norm: LayerNorm,
    /// Of that mean.
    pub gate: Gate,
}

impl Operation for LayerNormGate {
    fn name(&self) -> &'static str {
        "layer_norm_gate"
    }

    fn reads(&self) -> Vec<ValueId> {
        let written = self.norm.writes();
        [self.norm.reads(), self.gate.reads()].concat().into_iter().filter(|id| !written.contains(id)).collect()
    }

    fn writes(&self) -> Vec<ValueId> {
        [self.norm.writes(), self.gate.writes()].concat()
    }

    fn params(&self) -> Vec<ParamId> {
        [self.norm.params(), self.gate.params()].concat()
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        [self.norm.shapes(graph), self.gate.shapes(graph)].concat()
    }

    fn flop(&self, graph: &Graph) -> u64 {
        self.norm.flop(graph) + self.gate.flop(graph)
    }
}

/// What the decoder starts from.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderInput {
    /// Its tokens.
    pub tokens: PromptTokens,
    /// Its image.
    pub image: ImageSource,
}

impl Operation for DecoderInput {
    fn name(&self) -> &'static str {
        "decoder_input"
    }

    fn reads(&self) -> Vec<ValueId> {
        let written = self.tokens.writes();
        [self.tokens.reads(), self.image.reads()].concat().into_iter().filter(|id| !written.contains(id)).collect()
    }

    fn writes(&self) -> Vec<ValueId> {
        [self.tokens.writes(), self.image.writes()].concat()
    }

    fn params(&self) -> Vec<ParamId> {
        [self.tokens.params(), self.image.params()].concat()
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        [self.tokens.shapes(graph), self.image.shapes(graph)].concat()
    }

    fn flop(&self, graph: &Graph) -> u64 {
        self.tokens.flop(graph) + self.image.flop(graph)
    }
}
