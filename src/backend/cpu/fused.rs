//! Operations that other backends run as one.

use super::Level;
use super::memory::Views;
use super::step::{Execute, Step};
use crate::error::Result;
use crate::graph::Graph;
use crate::graph::op::{DecoderInput, LayerNormGate};

impl Execute for LayerNormGate {
    fn run(&self, step: &Step<'_>, mut views: Views<'_>) -> Result<()> {
        self.norm.run(step, views.again())?;
        self.gate.run(step, views)
    }

    fn scratch(&self, level: Level, graph: &Graph) -> usize {
        self.norm.scratch(level, graph).max(self.gate.scratch(level, graph))
    }
}

impl Execute for DecoderInput {
    fn run(&self, step: &Step<'_>, mut views: Views<'_>) -> Result<()> {
        self.tokens.run(step, views.again())?;
        self.image.run(step, views)
    }
}
