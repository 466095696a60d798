//! The encoder's attention as published: windows padded with the bias of qkv, nothing in closed form.

use medsegx::graph::op;
use medsegx::graph::{Op, ValueId};

use super::{Case, OpCase, Random, dot, softmax, wide};

pub fn cases() -> Vec<OpCase> {
    vec![
        attention(3, None, 2, 8, 1.0),
        attention(5, Some(3), 1, 80, 1.0),
        attention(6, Some(4), 3, 20, 8.0),
        attention(16, Some(14), 2, 64, 1.0),
        attention(16, None, 1, 80, 1.0),
        attention(18, None, 2, 16, 4.0),
        attention(20, Some(14), 1, 32, 1.0),
        attention(4, Some(14), 1, 16, 1.0),
    ]
}

/// `size` is that of q and k: large ones make the softmax nearly one-hot, and padded keys matter or vanish.
fn attention(grid: usize, window: Option<usize>, heads: usize, d: usize, size: f32) -> OpCase {
    let mut random = Random((grid * 100 + d) as u64);
    let mut case = Case::new(2);
    let Attention { op, out, values } = build(&mut case, &mut random, (grid, window), (heads, d), size, true);
    let name = format!("grid {grid}, window {window:?}, {heads} heads of {d}, size {size}");
    OpCase::new(name, case, op, vec![(out, values)])
}

/// The operation, where it writes, and what.
pub struct Attention {
    pub op: Op,
    pub out: ValueId,
    pub values: Vec<f64>,
}

/// Adds the inputs of an attention to `case`, and its output: one of the graph, or a value inside it.
pub fn build(
    case: &mut Case,
    random: &mut Random,
    (grid, window): (usize, Option<usize>),
    (heads, d): (usize, usize),
    size: f32,
    is_output: bool,
) -> Attention {
    let (batch, tokens, width, side) = (case.graph.batch, grid * grid, heads * d, window.unwrap_or(grid));
    let qkv = random.halves(batch * tokens * 3 * width, size);
    let bias = random.halves(3 * width, size);
    let tables = [(); 2].map(|()| random.halves((2 * side - 1) * d, 0.5));
    let qkv_id = case.floats(&[tokens, 3 * width], &qkv);
    let qkv_bias = case.param(&[3 * width], &bias);
    let [rel_pos_h, rel_pos_w] = [0, 1].map(|axis: usize| case.param(&[2 * side - 1, d], &tables[axis]));
    let (qkv, bias, tables) = (wide(&qkv), wide(&bias), tables.map(|t| wide(&t)));

    // q, k or v of a place of the padded grid.
    let part = |b: usize, y: usize, x: usize, part: usize, head: usize| -> &[f64] {
        let column = part * width + head * d;
        if y < grid && x < grid {
            &qkv[(b * tokens + y * grid + x) * 3 * width + column..][..d]
        } else {
            &bias[column..column + d]
        }
    };
    let mut expected = vec![0.0; batch * tokens * width];
    for i in 0..batch * tokens * heads {
        let (b, token, head) = (i / heads / tokens, i / heads % tokens, i % heads);
        let (y, x) = (token / grid, token % grid);
        let (top, left) = (y / side * side, x / side * side);
        let q = part(b, y, x, 0, head);
        let keys: Vec<(usize, usize)> = (0..side * side).map(|k| (top + k / side, left + k % side)).collect();
        let score = |&(ky, kx): &(usize, usize)| {
            let term = |table: &[f64], a: usize, b: usize| dot(q, &table[(a + side - 1 - b) * d..][..d]);
            dot(q, part(b, ky, kx, 1, head)) / (d as f64).sqrt() + term(&tables[0], y, ky) + term(&tables[1], x, kx)
        };
        let weights = softmax(&keys.iter().map(score).collect::<Vec<_>>());
        for (weight, (ky, kx)) in weights.iter().zip(keys) {
            let out = &mut expected[(b * tokens + token) * width + head * d..][..d];
            out.iter_mut().zip(part(b, ky, kx, 2, head)).for_each(|(out, v)| *out += weight * v);
        }
    }
    let out =
        if is_output { case.output(&[tokens, width]) } else { case.graph.activation("attended", &[tokens, width]) };
    let op = Op::Attention(op::Attention { qkv: qkv_id, qkv_bias, rel_pos_h, rel_pos_w, heads, grid, window, out });
    Attention { op, out, values: expected }
}
