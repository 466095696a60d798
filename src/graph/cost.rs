//! FLOP and bytes of an operation, computed from its shapes, never typed by hand.

use super::Graph;

/// What one step costs for a full batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations of the products; a multiply-add counts 2.
    pub flop: u64,
    /// Bytes of parameters read once, as f32.
    pub param_bytes: u64,
    /// Bytes of values read and written once, as the graph stores them.
    pub value_bytes: u64,
}

impl Graph {
    /// Cost of the step `index`.
    pub fn cost(&self, index: usize) -> Cost {
        let op = &self.nodes[index].op;
        let flop = op.flop(self) * self.batch as u64;
        Cost { flop, param_bytes: op.param_bytes(self), value_bytes: op.value_bytes(self) }
    }
}
