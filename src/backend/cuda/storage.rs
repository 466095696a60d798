//! Which values and parameters are kept in f16. Operands of tensor cores are; the residual stream, statistics, gates,
//! the embedding and the logits are f32, and so is everything the host writes or reads as inputs of other operations.

use half::f16;

use crate::graph::{Element, Graph, Op, ParamId, Role, ValueId};

/// How a value or parameter is stored on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As the graph says: f32, u8 or i32.
    Native,
    /// f16 in place of f32.
    Half,
}

/// Storage of a value: f16 where each operation that reads it takes it so, and where its writer can give nothing else.
pub fn value(graph: &Graph, id: ValueId) -> Storage {
    let value = &graph[id];
    if value.element != Element::F32 || value.role == Role::Embedding {
        return Storage::Native;
    }
    let mut readers = graph.nodes.iter().filter(|node| node.op.reads().contains(&id)).peekable();
    let read_in_half = readers.peek().is_some() && readers.all(|node| reads_half(&node.op, id));
    let written_in_half = graph.nodes.iter().any(|node| node.op.writes().contains(&id) && writes_half(&node.op));
    if read_in_half || written_in_half { Storage::Half } else { Storage::Native }
}

/// True where `op` feeds the value to tensor cores as it lies in memory.
fn reads_half(op: &Op, id: ValueId) -> bool {
    match op {
        Op::Linear { input, residual, .. } => *input == id && *residual != Some(id),
        Op::Conv3x3 { .. } | Op::Attention { .. } => true,
        _ => false,
    }
}

/// True where the kernel of `op` writes f16 alone.
fn writes_half(op: &Op) -> bool {
    matches!(op, Op::Attention { .. })
}

/// Storage of a parameter: f16 for the weights of tensor-core products.
pub fn param(graph: &Graph, id: ParamId) -> Storage {
    let is_operand = |op: &Op| match op {
        Op::Linear { weight, .. } | Op::PatchEmbed { weight, .. } | Op::Conv3x3 { weight, .. } => *weight == id,
        _ => false,
    };
    if graph.nodes.iter().any(|node| is_operand(&node.op)) { Storage::Half } else { Storage::Native }
}

/// f16 of each value, saturating; also how many did not fit. NaN stays NaN.
pub fn to_half(data: &[f32]) -> (Vec<f16>, u64) {
    let largest = f16::MAX.to_f32();
    let mut saturated = 0;
    let halves = data.iter().map(|&x| {
        saturated += u64::from(x.abs() > largest);
        f16::from_f32(if x.is_nan() { x } else { x.clamp(-largest, largest) })
    });
    let halves = halves.collect();
    (halves, saturated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversion_saturates_and_counts() {
        let (halves, saturated) = to_half(&[1.0, 65504.0, 65505.0, -1e30, f32::INFINITY, f32::NAN]);
        let back: Vec<f32> = halves.iter().map(|h| h.to_f32()).collect();
        assert_eq!(back[..5], [1.0, 65504.0, 65504.0, -65504.0, 65504.0]);
        assert!(back[5].is_nan());
        assert_eq!(saturated, 3);
    }
}
