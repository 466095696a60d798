//! From an operation to its kernel, and from a parameter to the form in which its kernel reads it.

use super::memory::Pool;
use super::packed::{self, Packed};
use super::step::{Execute, Form, Param};
use super::window_attention::{self, Layout};
use super::{Level, attention};
use crate::error::Result;
use crate::graph::op::for_each_operation;
use crate::graph::{Graph, Op, ParamId, Storage};
use crate::params::Numbers;

macro_rules! kernels {
    ($($op:ident),*) => {
        /// The operation as this backend runs it.
        pub(super) fn kernel(op: &Op) -> &dyn Execute {
            match op {
                $(Op::$op(op) => op,)*
            }
        }
    };
}

for_each_operation!(kernels);

/// The form of a parameter: that of the operation that uses it.
fn form(graph: &Graph, id: ParamId) -> Form {
    let Some(user) = graph.nodes.iter().find(|node| node.op.params().contains(&id)) else { return Form::Plain };
    match (kernel(&user.op).form(graph, id), &user.op) {
        (Form::Stored { outputs }, Op::Linear(op)) if graph[op.input].storage == Storage::Bf16 => {
            Form::Pairs { outputs }
        }
        (form, _) => form,
    }
}

impl Param {
    pub(super) fn prepare(
        level: Level,
        pool: &Pool,
        graph: &Graph,
        id: ParamId,
        numbers: &mut dyn Numbers,
    ) -> Result<Param> {
        let inputs = |outputs: usize| graph[id].len() / outputs.max(1);
        Ok(match form(graph, id) {
            Form::Pairs { outputs } => Param::Packed(Packed::pairs(level, pool, [outputs, inputs(outputs)], numbers)?),
            Form::Plain => Param::Plain(numbers.all()?),
            Form::Packed { outputs } => Param::Packed(Packed::new(level, pool, [outputs, inputs(outputs)], numbers)?),
            Form::Stored { outputs } => {
                Param::Packed(Packed::stored(level, pool, [outputs, inputs(outputs)], numbers)?)
            }
            Form::Table { head_dim } => Param::Table(attention::table(level, &numbers.all()?, head_dim)?),
            Form::Biases { window, grid } => {
                Param::Table(window_attention::table(Layout::new(level, window, grid), &numbers.all()?)?)
            }
        })
    }
}

/// f32 that a parameter takes in the form that its operation wants.
pub(super) fn prepared(level: Level, graph: &Graph, id: ParamId, stored_half: bool) -> usize {
    let len = graph[id].len();
    match form(graph, id) {
        Form::Plain => len,
        Form::Pairs { outputs } => len / 2 / outputs.max(1) * outputs.next_multiple_of(level.panel()),
        Form::Packed { outputs } => len / outputs.max(1) * outputs.next_multiple_of(level.panel()),
        Form::Biases { window, grid } => Layout::new(level, window, grid).len() * graph[id].shape[0],
        Form::Stored { outputs } => {
            let numbers = len / outputs.max(1) * outputs.next_multiple_of(level.panel());
            if stored_half && graph[id].recipe.is_streamed() { numbers.div_ceil(2) } else { numbers }
        }
        Form::Table { .. } => graph[id].shape[0].next_multiple_of(level.lanes()) * graph[id].shape[1],
    }
}

/// f32 that exist for a moment while a parameter is prepared: the rows that are read at once, or the tensors of a
/// parameter that is made as a whole.
pub(super) fn loading(level: Level, graph: &Graph, id: ParamId) -> usize {
    let len = graph[id].len();
    let streamed = graph[id].recipe.is_streamed();
    match form(graph, id) {
        Form::Packed { outputs } | Form::Stored { outputs } | Form::Pairs { outputs } => {
            let rows = packed::loading(level, [outputs, len / outputs.max(1)]);
            if streamed { rows } else { 2 * len + rows }
        }
        _ => 2 * len,
    }
}
