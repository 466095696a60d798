//! What a launch function sees of the step it runs: addresses, shapes and storage of values and parameters.

use std::sync::Arc;

use super::arena::Arena;
use super::device::{Cuda, Param};
use super::driver::{Arg, Driver};
use super::storage::Packing;
use crate::error::{Error, Result};
use crate::graph::plan::Place;
use crate::graph::{Graph, Node, ParamId, Plan, Storage, ValueId};

/// Device addresses of values that lie elsewhere than their plan says.
pub(super) type Redirects = Vec<(ValueId, u64)>;

/// One step of a plan, about to be launched.
pub(super) struct Step<'a, D: Driver> {
    /// The backend.
    pub cuda: &'a Cuda<D>,
    /// Memory of the session.
    pub arena: &'a Arena<D>,
    /// The plan.
    pub plan: &'a Plan,
    /// One a parameter of the plan's graph.
    pub params: &'a [Arc<Param<D>>],
    /// What the step is.
    pub node: &'a Node,
    /// Values that lie elsewhere.
    pub redirects: &'a [(ValueId, u64)],
    /// How many slices or prompts of the batch to compute.
    pub active: usize,
    /// Where launches are captured instead of run.
    pub capture: Option<&'a D::Capture>,
}

/// An operation on this backend.
pub(super) trait Launch {
    /// Launches its kernel.
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()>
    where
        Self: Sized;

    /// True where it feeds the value `id`, which it reads, to tensor cores as it lies in memory.
    fn takes_half(&self, _id: ValueId) -> bool {
        false
    }

    /// True where it can write nothing but f16.
    fn gives_half(&self) -> bool {
        false
    }

    /// How it wants its parameter `id`.
    fn param(&self, _graph: &Graph, _id: ParamId) -> (Storage, Packing) {
        (Storage::Native, Packing::Rows)
    }

    /// f32 a slice or prompt that its blocks need besides.
    fn scratch(&self, _graph: &Graph) -> usize {
        0
    }
}

impl<D: Driver> Step<'_, D> {
    /// Device address of a value.
    pub fn value(&self, id: ValueId) -> u64 {
        if let Some(&(_, address)) = self.redirects.iter().find(|(of, _)| *of == id) {
            return address;
        }
        let driver = &self.cuda.driver;
        match self.plan.places[id.0] {
            Place::Arena(offset) => driver.address(&self.arena.memory.values) + offset as u64,
            Place::Embedding => driver.address(&self.arena.memory.embedding),
        }
    }

    /// Device address of the step's scratch, 0 for none.
    pub fn scratch(&self) -> u64 {
        self.optional(self.node.scratch)
    }

    /// Device address of a value, 0 for none.
    pub fn optional(&self, id: Option<ValueId>) -> u64 {
        id.map_or(0, |id| self.value(id))
    }

    /// Shape of a value without the batch axis.
    pub fn shape(&self, id: ValueId) -> &[usize] {
        &self.plan.graph[id].shape[1..]
    }

    /// How a value is stored.
    pub fn storage(&self, id: ValueId) -> Storage {
        self.plan.graph[id].storage
    }

    /// Device address of a parameter.
    pub fn param(&self, id: ParamId) -> u64 {
        self.cuda.driver.address(&self.params[id.0].buffer)
    }

    /// Shape of a parameter.
    pub fn param_shape(&self, id: ParamId) -> &[usize] {
        &self.plan.graph[id].shape
    }

    /// Device address of the u32 that counts values f16 could not hold.
    pub fn saturated(&self) -> u64 {
        self.cuda.driver.address(&self.cuda.resident.saturated)
    }

    /// Device address of four u32 a prompt, all 0 between launches, with which the blocks of a prompt count themselves.
    /// A step that needs one a prompt takes the first ones.
    pub fn counters(&self) -> u64 {
        self.cuda.driver.address(&self.cuda.resident.counters)
    }

    /// A size as a kernel takes it.
    pub fn u32(&self, size: usize) -> Result<u32> {
        u32::try_from(size).map_err(|_| self.unsupported("a size below 2^32", size))
    }

    /// Launches the kernel `entry` on `grid` blocks.
    pub fn launch(&self, entry: &str, grid: [usize; 3], args: &[Arg]) -> Result<()> {
        let [x, y, z] = grid;
        if y > 65535 || z > 65535 {
            return Err(self.unsupported("at most 65535 blocks along y and z", format!("{y}, {z}")));
        }
        let grid = [self.u32(x)?, self.u32(y)?, self.u32(z)?];
        self.cuda.launch(self.capture, entry, grid, args)
    }

    /// An error for a shape or storage that no kernel handles.
    pub fn unsupported(&self, expected: impl ToString, found: impl ToString) -> Error {
        Error::Tensor { name: self.node.name.clone(), expected: expected.to_string(), found: found.to_string() }
    }
}
