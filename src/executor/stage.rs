//! A plan with its parameters, and how it is run: step by step, or as it was recorded.

use std::sync::Arc;

use super::network::Network;
use crate::backend::Backend;
use crate::error::Result;
use crate::graph::Plan;

pub(super) struct Stage<B: Backend> {
    pub plan: Plan,
    pub params: Vec<Arc<B::Param>>,
    /// By the number of slices or prompts, less one.
    runs: Vec<Run<B::Recording>>,
}

/// A number of slices or prompts that comes once, as the last of a volume may, is not worth a recording; and a first
/// run outside of one loads the kernels and names the step that fails.
enum Run<R> {
    Never,
    Once,
    Recorded(R),
}

impl<B: Backend> Stage<B> {
    pub fn new(network: &Network<B>, plan: Plan) -> Result<Self> {
        let params = network.params_of(&plan.graph)?;
        let runs = std::iter::repeat_with(|| Run::Never).take(plan.graph.batch).collect();
        Ok(Stage { plan, params, runs })
    }

    /// Runs every step for the first `active` slices or prompts, at least 1 and at most the capacity.
    pub fn run(&mut self, backend: &B, arena: &mut B::Arena, active: usize) -> Result<()> {
        let run = &mut self.runs[active - 1];
        if let Run::Once = run
            && let Some(recording) = backend.record(arena, &self.plan, &self.params, active)?
        {
            *run = Run::Recorded(recording);
        }
        if let Run::Recorded(recording) = run {
            return backend.replay(arena, recording);
        }
        *run = Run::Once;
        backend.run_all(arena, &self.plan, &self.params, active)
    }
}
