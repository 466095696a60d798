//! From an operation to its kernel, and from a parameter to the form in which its kernel reads it.

use super::driver::Driver;
use super::step::{Launch, Step};
use super::storage::Packing;
use crate::error::Result;
use crate::graph::op::for_each_operation;
use crate::graph::{Graph, Op, ParamId, Storage};

macro_rules! kernels {
    ($($op:ident),*) => {
        /// Launches the kernels of one operation.
        pub(super) fn launch<D: Driver>(op: &Op, step: &Step<D>) -> Result<()> {
            match op {
                $(Op::$op(op) => op.launch(step),)*
            }
        }

        /// The operation as this backend runs it.
        pub(super) fn kernel(op: &Op) -> &dyn Launch {
            match op {
                $(Op::$op(op) => op,)*
            }
        }
    };
}

for_each_operation!(kernels);

/// Storage and packing of a parameter, as the operation that uses it wants it.
pub(super) fn param(graph: &Graph, id: ParamId) -> (Storage, Packing) {
    let user = graph.nodes.iter().find(|node| node.op.params().contains(&id));
    user.map_or((Storage::Native, Packing::Rows), |node| kernel(&node.op).param(graph, id))
}

/// Bytes of a parameter on the device.
pub fn param_bytes(graph: &Graph, id: ParamId) -> usize {
    let (storage, packing) = param(graph, id);
    let bytes = if storage == Storage::F16 { size_of::<half::f16>() } else { size_of::<f32>() };
    packing.len(&graph[id]) * bytes
}
