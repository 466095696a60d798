//! From an operation to its kernel, and what the kernels of a graph make of its values and parameters.
//!
//! Operands of tensor cores are f16; the residual stream, statistics, gates, the embedding and the logits are f32, and so is
//! everything the host writes or reads as inputs of other operations.

use super::driver::Driver;
use super::step::{Launch, Step};
use super::storage::{Packing, Storage};
use crate::error::Result;
use crate::graph::op::for_each_operation;
use crate::graph::{Element, Graph, Op, ParamId, Role, ValueId};

macro_rules! kernels {
    ($($op:ident),*) => {
        /// Launches the kernels of one operation.
        pub(super) fn launch<D: Driver>(op: &Op, step: &Step<D>) -> Result<()> {
            match op {
                $(Op::$op(op) => op.launch(step),)*
            }
        }

        fn kernel(op: &Op) -> &dyn Launch {
            match op {
                $(Op::$op(op) => op,)*
            }
        }
    };
}

for_each_operation!(kernels);

/// Storage of a value: f16 where each operation that reads it takes it so, and where its writer can give nothing else.
pub(super) fn value(graph: &Graph, id: ValueId) -> Storage {
    let value = &graph[id];
    if value.element != Element::F32 || value.role == Role::Embedding {
        return Storage::Native;
    }
    let mut readers = graph.nodes.iter().filter(|node| node.op.reads().contains(&id)).peekable();
    let read_in_half = readers.peek().is_some() && readers.all(|node| kernel(&node.op).takes_half(id));
    let written_in_half =
        graph.nodes.iter().any(|node| node.op.writes().contains(&id) && kernel(&node.op).gives_half());
    if read_in_half || written_in_half { Storage::Half } else { Storage::Native }
}

/// Storage and packing of a parameter, as the operation that uses it wants it.
pub(super) fn param(graph: &Graph, id: ParamId) -> (Storage, Packing) {
    let user = graph.nodes.iter().find(|node| node.op.params().contains(&id));
    user.map_or((Storage::Native, Packing::Rows), |node| kernel(&node.op).param(graph, id))
}

/// Bytes of a parameter on the device.
pub fn param_bytes(graph: &Graph, id: ParamId) -> usize {
    let bytes = if param(graph, id).0 == Storage::Half { size_of::<half::f16>() } else { size_of::<f32>() };
    graph[id].len() * bytes
}

/// How many partial sums of the value's own size lie behind it.
pub(super) fn partial_sums(graph: &Graph, id: ValueId) -> usize {
    let writer = graph.nodes.iter().find(|node| node.op.writes().contains(&id));
    writer.map_or(0, |node| kernel(&node.op).partial_sums(graph, id))
}
