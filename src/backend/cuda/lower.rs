//! A model's graph as the kernels run it: operations that are one kernel as one, operands of tensor cores in f16, and
//! the memory in which blocks leave what the last of them adds up.
//!
//! The residual stream, statistics, gates, the embedding and the logits are f32, and so is everything the host writes
//! or reads as inputs of other operations.

use super::dispatch::kernel;
use crate::graph::op::{DecoderInput, LayerNormGate};
use crate::graph::{Element, Graph, Node, Op, Role, Storage, ValueId};

/// The lowered graph. What is lowered already stays as it is.
pub(super) fn lower(mut graph: Graph) -> Graph {
    fuse(&mut graph.nodes);
    for id in (0..graph.values.len()).map(ValueId) {
        graph.values[id.0].storage = storage(&graph, id);
    }
    for step in 0..graph.nodes.len() {
        let node = &graph.nodes[step];
        let len = kernel(&node.op).scratch(&graph);
        if len > 0 && node.scratch.is_none() {
            let name = format!("{}.scratch", node.name);
            graph.nodes[step].scratch = Some(graph.activation(name, &[len]));
        }
    }
    graph
}

/// Makes one node of a LayerNorm and the gate behind it, and of the tokens and the image that the decoder starts from.
fn fuse(nodes: &mut Vec<Node>) {
    let mut at = 0;
    while at + 1 < nodes.len() {
        let fused = match (&nodes[at].op, &nodes[at + 1].op) {
            (Op::LayerNorm(norm), Op::Gate(gate)) if norm.mean == Some(gate.mean) => {
                Some(LayerNormGate { norm: norm.clone(), gate: gate.clone() }.into())
            }
            (Op::PromptTokens(tokens), Op::ImageSource(image)) => {
                Some(DecoderInput { tokens: tokens.clone(), image: image.clone() }.into())
            }
            _ => None,
        };
        if let Some(op) = fused {
            nodes[at].op = op;
            nodes.remove(at + 1);
        }
        at += 1;
    }
}

/// Storage of a value: f16 where each operation that reads it takes it so, and where its writer can give nothing else.
fn storage(graph: &Graph, id: ValueId) -> Storage {
    let value = &graph[id];
    if value.element != Element::F32 || value.role == Role::Embedding {
        return Storage::Native;
    }
    let mut readers = graph.nodes.iter().filter(|node| node.op.reads().contains(&id)).peekable();
    let read_in_half = readers.peek().is_some() && readers.all(|node| kernel(&node.op).takes_half(id));
    let written_in_half =
        graph.nodes.iter().any(|node| node.op.writes().contains(&id) && kernel(&node.op).gives_half());
    if read_in_half || written_in_half { Storage::F16 } else { Storage::Native }
}
