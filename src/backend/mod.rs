//! What runs the steps of a plan. A backend knows operations, memory and its device; it knows nothing of SAM.

pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "a CPU takes levels and has no passes"))]
pub(crate) mod imaging;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::error::Result;
use crate::graph::{Graph, ParamId, Plan, ValueId};
use crate::params::Numbers;

/// How the launches of a recording follow each other on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Launches {
    /// One begins when the one before has ended.
    #[default]
    Ordered,
    /// One's blocks are there when the one before ends: programmatic dependent launch, for sm_90 and later.
    Dependent,
}

/// A device and the kernels for it.
pub trait Backend: Send + Sync + 'static {
    /// A parameter as the kernels want it: packed panels on a CPU, device memory in f16 on a GPU.
    type Param: Send + Sync;
    /// Memory of one session: the arena of its plans, the embedding buffer and what the kernels need besides.
    type Arena: Send;
    /// A moment between steps.
    type Mark: Send;

    /// The word for reports: `cpu`, `cuda:0`.
    fn name(&self) -> String;

    /// All that decides which bits come out of the same parameters and inputs: `cpu AVX2 F32`, `cuda:0`.
    fn arithmetic(&self) -> String {
        self.name()
    }

    /// The graph as this backend runs it, for [`Plan::new`]: how each value is stored, what each kernel needs besides,
    /// and operations that are one kernel as one. Inputs, outputs and parameters keep their places; [`Backend::write`]
    /// and [`Backend::read`] always speak the graph's element type.
    fn lower(&self, graph: Graph) -> Graph;

    /// Converts a parameter for the steps of the lowered `graph` that use it. Called once a parameter while loading;
    /// the result serves graphs of any batch.
    ///
    /// # Errors
    /// Memory, a device that fails, and what reading returns.
    fn prepare(&self, graph: &Graph, id: ParamId, numbers: &mut dyn Numbers) -> Result<Self::Param>;

    /// Memory in which every one of `plans` can run, one after another. Values that are [`Place::Embedding`] outlive a
    /// run: a later plan reads what an earlier one wrote.
    ///
    /// [`Place::Embedding`]: crate::graph::plan::Place::Embedding
    ///
    /// # Errors
    /// Memory that cannot be had.
    fn arena(&self, plans: &[&Plan]) -> Result<Self::Arena>;

    /// Bytes that [`Backend::arena`] of these plans takes.
    fn arena_bytes(&self, plans: &[&Plan]) -> usize;

    /// Memory that an arena may take without taking it from the host; `None` where both share theirs.
    ///
    /// # Errors
    /// A device that fails.
    fn free_bytes(&self) -> Result<Option<usize>>;

    /// Copies host bytes, in the graph's element type, into an input value from slice `first` of its batch on.
    ///
    /// # Errors
    /// A device that fails.
    fn write(&self, arena: &mut Self::Arena, plan: &Plan, id: ValueId, first: usize, bytes: &[u8]) -> Result<()>;

    /// Copies the first slices of a value to host bytes, in the graph's element type, after every step so far has
    /// ended.
    ///
    /// # Errors
    /// A device that fails.
    fn read(&self, arena: &mut Self::Arena, plan: &Plan, id: ValueId, bytes: &mut [u8]) -> Result<()>;

    /// Makes later runs in this arena end with [`Error::Cancelled`](crate::Error::Cancelled) soon after `stop` is set.
    /// A device whose runs are short or cannot be stopped ignores it.
    fn set_stop(&self, _arena: &mut Self::Arena, _stop: Option<Arc<AtomicBool>>) {}

    /// Runs every step of `plan` for the first `active` slices, in order. A device may keep how it did, to do it again
    /// at the cost of one launch: the plan stays as it is.
    ///
    /// # Errors
    /// As [`Backend::run`].
    fn run_all(&self, arena: &mut Self::Arena, plan: &Plan, params: &[Arc<Self::Param>], active: usize) -> Result<()> {
        (0..plan.graph.nodes.len()).try_for_each(|step| self.run(arena, plan, params, step, active))
    }

    /// The moment when every step so far has ended.
    ///
    /// # Errors
    /// A device that fails.
    fn mark(&self) -> Result<Self::Mark>;

    /// Time from one moment to a later one, by the device's own clock, after waiting for it.
    ///
    /// # Errors
    /// A device that fails.
    fn between(&self, start: &Self::Mark, end: &Self::Mark) -> Result<Duration>;

    /// How many threads may prepare parameters at the same time.
    fn loaders(&self) -> usize {
        1
    }

    /// Runs one step for the first `active` slices. `params` has one entry a parameter of the plan's graph.
    ///
    /// # Errors
    /// A device that fails.
    fn run(
        &self,
        arena: &mut Self::Arena,
        plan: &Plan,
        params: &[Arc<Self::Param>],
        step: usize,
        active: usize,
    ) -> Result<()>;
}
