//! Which values and parameters are kept in f16. Operands of tensor cores are; the residual stream, statistics, gates,
//! the embedding and the logits are f32, and so is everything the host writes or reads as inputs of other operations.

use half::f16;

use super::patch_embed;
use crate::graph::op::Dense;
use crate::graph::{Element, Graph, Op, Param, ParamId, Role, ValueId};

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
    matches!(op, Op::Attention { .. } | Op::ImageToTokens { .. })
}

/// Storage of a parameter: f16 for the weights of tensor-core products.
pub fn param(graph: &Graph, id: ParamId) -> Storage {
    let is_operand = |op: &Op| match op {
        Op::Linear { weight, .. } | Op::PatchEmbed { weight, .. } | Op::Conv3x3 { weight, .. } => *weight == id,
        Op::Attention { .. } => op.params().contains(&id),
        _ => false,
    };
    let operand = graph.nodes.iter().any(|node| is_operand(&node.op)) || packing(graph, id) == Packing::Fragments;
    if operand { Storage::Half } else { Storage::Native }
}

/// How the numbers of a parameter lie in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As in the graph.
    Rows,
    /// A weight `[out.., in]` as `[in, out]`: a thread sums one output, and neighbouring threads read neighbours.
    Columns,
    /// A weight `[out.., in]` as B fragments of mma.m16n8k16, `[out/8][in/16][lane][4]`: a warp reads one in order.
    Fragments,
    /// A weight `[out, 16, 16, 3]` with its inputs in the order in which `patch_embed` reads the bytes of a patch.
    Patches,
}

/// Packing of a parameter: columns for the weights of the decoder's kernels on tokens and pixels, fragments for the
/// mask upsampling on tensor cores.
pub fn packing(graph: &Graph, id: ParamId) -> Packing {
    let is = |layer: &Dense| layer.weight == id;
    let inputs: usize = graph[id].shape.iter().skip(1).product();
    let packing = |op: &Op| {
        let columns = match op {
            Op::PatchEmbed { weight, .. } if *weight == id && inputs == patch_embed::DEPTH => {
                return Some(Packing::Patches);
            }
            Op::TokenSelfAttention { projections, .. } => projections.iter().any(is),
            Op::TokensToImage { projections, .. } | Op::ImageToTokens { projections, .. } => projections.iter().any(is),
            Op::TokenMlp { layers, .. } => layers.iter().any(is),
            Op::TokenHeads { hyper, iou, .. } => hyper.iter().flatten().chain(iou).any(is),
            Op::Upscale { convs, .. } if convs.iter().any(is) => {
                let tensor_cores = super::upscale::on_tensor_cores(graph, convs);
                return Some(if tensor_cores { Packing::Fragments } else { Packing::Columns });
            }
            _ => false,
        };
        columns.then_some(Packing::Columns)
    };
    graph.nodes.iter().find_map(|node| packing(&node.op)).unwrap_or(Packing::Rows)
}

/// The numbers of `param` in the order of `packing`.
pub fn pack(packing: Packing, param: &Param, data: Vec<f32>) -> Vec<f32> {
    match packing {
        Packing::Rows => data,
        Packing::Columns => transpose(param, &data),
        Packing::Fragments => fragments(param, &data),
        Packing::Patches => patches(&data),
    }
}

fn patches(data: &[f32]) -> Vec<f32> {
    let rows = data.chunks_exact(patch_embed::DEPTH);
    rows.flat_map(|row| (0..row.len()).map(|k| row[patch_embed::place(k)])).collect()
}

/// B fragments: lane 4 g + t holds rows k = 2 t, 2 t + 1, 2 t + 8, 2 t + 9 of column g.
fn fragments(param: &Param, data: &[f32]) -> Vec<f32> {
    let inputs = param.shape.last().copied().unwrap_or(1).max(16);
    let place = |i: usize| {
        let (element, lane, tile) = (i % 4, i / 4 % 32, i / 128);
        let (column, step) = (tile / (inputs / 16), tile % (inputs / 16));
        let k = 2 * (lane % 4) + element % 2 + 8 * (element / 2);
        (8 * column + lane / 4) * inputs + 16 * step + k
    };
    (0..data.len()).map(|i| data[place(i)]).collect()
}

/// `[in, out]` of a weight `[out.., in]`.
fn transpose(param: &Param, data: &[f32]) -> Vec<f32> {
    let inputs = param.shape.last().copied().unwrap_or(1).max(1);
    let outputs = data.len() / inputs;
    (0..data.len()).map(|i| data[i % outputs * inputs + i / outputs]).collect()
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
    use crate::graph::Recipe;

    #[test]
    fn transposition_keeps_the_inputs_last_axis_first() {
        let param = Param { name: "w".into(), shape: vec![2, 2, 1, 3], recipe: Recipe::Tensor("w".into()) };
        let data: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert_eq!(transpose(&param, &data), [0., 3., 6., 9., 1., 4., 7., 10., 2., 5., 8., 11.]);
    }

    #[test]
    fn fragments_follow_the_lanes_of_mma() {
        let param = Param { name: "w".into(), shape: vec![2, 2, 4, 32], recipe: Recipe::Tensor("w".into()) };
        let data: Vec<f32> = (0..512).map(|i| i as f32).collect();
        let packed = fragments(&param, &data);
        // n8 tile 1, k16 step 1, lane 4 g + t = 4 * 3 + 2.
        let at = ((2 + 1) * 32 + 14) * 4;
        let row = |k: usize| (11 * 32 + 16 + k) as f32;
        assert_eq!(packed[at..at + 4], [row(4), row(5), row(12), row(13)]);
    }

    #[test]
    fn patches_keep_every_weight() {
        let data: Vec<f32> = (0..2 * 768).map(|i| i as f32).collect();
        let packed = patches(&data);
        // Stage 1: the fourth line's middle third, of its lower half; the second line's, upper half first.
        assert_eq!((packed[64 + 48], packed[64 + 16]), ((3 * 48 + 16) as f32, (48 + 24) as f32));
        assert_eq!(packed[768 + 64], (768 + 48) as f32);
        let mut sorted = packed;
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, data);
    }

    #[test]
    fn conversion_saturates_and_counts() {
        let (halves, saturated) = to_half(&[1.0, 65504.0, 65505.0, -1e30, f32::INFINITY, f32::NAN]);
        let back: Vec<f32> = halves.iter().map(|h| h.to_f32()).collect();
        assert_eq!(back[..5], [1.0, 65504.0, 65504.0, -65504.0, 65504.0]);
        assert!(back[5].is_nan());
        assert_eq!(saturated, 3);
    }
}
