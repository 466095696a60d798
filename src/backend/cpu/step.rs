//! What every operation gets: its parameters, the threads, and scratch memory; and what it has to say of itself.

use std::sync::Arc;

use super::Level;
use super::memory::{Buffer, Scratch, Views};
use super::packed::Packed;
use super::threads::Team;
use crate::error::{Error, Result};
use crate::graph::{Graph, ParamId};

/// A parameter as the kernels read it.
pub enum Param {
    /// As in the graph.
    Plain(Vec<f32>),
    /// A matrix in panels.
    #[allow(private_interfaces, reason = "only kernels look inside")]
    Packed(Packed),
    /// A table of relative positions, reversed and transposed (see `attention`), or of biases (see `window_attention`).
    #[allow(private_interfaces, reason = "only kernels look inside")]
    Table(Buffer),
}

/// The form in which an operation wants one of its parameters.
pub(super) enum Form {
    Plain,
    /// A matrix in panels.
    Packed {
        outputs: usize,
    },
    /// As [`Form::Packed`], in as many bits as the weights are stored in.
    Stored {
        outputs: usize,
    },
    /// As [`Form::Packed`], in bf16.
    Pairs {
        outputs: usize,
    },
    /// Relative positions.
    Table {
        head_dim: usize,
    },
    /// Biases of the differences of places in a window.
    Biases {
        window: usize,
        grid: usize,
    },
}

impl Form {
    /// Panels of a matrix `[out, ..]` where `packed`.
    pub fn matrix(graph: &Graph, id: ParamId, packed: bool) -> Form {
        if packed { Form::Packed { outputs: graph[id].shape[0] } } else { Form::Plain }
    }
}

/// An operation on this backend.
pub(super) trait Execute {
    /// Runs it for the active slices of `step`.
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()>;

    /// f32 of scratch that a task needs.
    fn scratch(&self, _level: Level, _graph: &Graph) -> usize {
        0
    }

    /// The form in which it wants its parameter `id`.
    fn form(&self, _graph: &Graph, _id: ParamId) -> Form {
        Form::Plain
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
