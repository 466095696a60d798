//! Which values and products are in bf16.

use crate::graph::{Graph, Op, Role, ValueId};

/// The numbers in which the large products are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32 everywhere.
    #[default]
    F32,
    /// Weights and left sides of the encoder's large products in bf16, sums in f32 (AVX512-BF16). Residual stream,
    /// LayerNorm, softmax, gate, patch embedding, neck and decoder stay in f32.
    Bf16,
}

impl Precision {
    /// True where a value is to be stored in bf16: written once, by a norm, an attention or a product without residual,
    /// and read by products alone.
    pub(super) fn halves(self, graph: &Graph, id: ValueId) -> bool {
        let reads = |op: &Op| op.reads().contains(&id);
        let as_left_side = |op: &Op| matches!(op, Op::Linear(op) if op.input == id && op.residual != Some(id));
        let writes = |op: &Op| match op {
            Op::LayerNorm(op) => op.out == id,
            Op::Attention(op) => op.out == id,
            Op::Linear(op) => op.residual.is_none() && op.out == id,
            _ => false,
        };
        let ops = || graph.nodes.iter().map(|node| &node.op);
        self == Precision::Bf16
            && graph[id].role == Role::Intermediate
            && graph[id].shape.last().is_some_and(|width| width.is_multiple_of(2))
            && ops().any(writes)
            && ops().any(reads)
            && ops().filter(|op| reads(op)).all(as_left_side)
    }
}
