//! Steps that read what the step before them stored, in whatever numbers a backend keeps it: f32, f16 or bf16.

use medsegx::graph::op::{self, Activation};
use medsegx::graph::{Bias, Element, Op, Role};

use super::{Case, LayerNorm, Linear, OpCase, Random, attention, gelu, sum, wide};

pub fn cases() -> Vec<OpCase> {
    vec![mlp(29, 64, 96), mlp(70, 768, 160), projection(6, Some(4), 1, 64), projection(16, Some(14), 2, 64)]
}

const BATCH: usize = 2;

/// `x + W2 gelu(W1 norm(x) + b1) + b2`.
fn mlp(tokens: usize, width: usize, hidden: usize) -> OpCase {
    let mut random = Random((tokens + width) as u64);
    let mut case = Case::new(BATCH);
    let x = random.halves(BATCH * tokens * width, 1.0);
    let input = case.floats(&[tokens, width], &x);
    let norm = LayerNorm::new(&mut case, &mut random, width, 1e-6);
    let first = Linear::new(&mut case, &mut random, width, hidden);
    let second = Linear::new(&mut case, &mut random, hidden, width);
    let mut inside = |name: &str, width| case.graph.value(name, &[tokens, width], Element::F32, Role::Intermediate);
    let (normed, middle) = (inside("normed", width), inside("middle", hidden));
    case.graph.push("norm", Op::LayerNorm(op::LayerNorm { input, norm: norm.ids, out: normed, mean: None }));
    let (weight, bias) = (first.ids.weight, Bias::Row(first.ids.bias));
    let lin1 = Op::Linear(op::Linear {
        input: normed,
        weight,
        bias,
        activation: Activation::Gelu,
        gated: None,
        residual: None,
        out: middle,
    });
    case.graph.push("lin1", lin1);
    let out = case.output(&[tokens, width]);
    let (weight, bias, activation) = (second.ids.weight, Bias::Row(second.ids.bias), Activation::Identity);
    let lin2 =
        Op::Linear(op::Linear { input: middle, weight, bias, activation, gated: None, residual: Some(input), out });
    let hidden_values: Vec<f64> = first.apply(&norm.apply(&wide(&x))).into_iter().map(gelu).collect();
    let expected = sum(&second.apply(&hidden_values), &wide(&x));
    let name = format!("norm, {width} to {hidden} and back");
    OpCase { op: "chain of products", ..OpCase::new(name, case, lin2, vec![(out, expected)]) }
}

/// Attention and its projection.
fn projection(grid: usize, window: Option<usize>, heads: usize, d: usize) -> OpCase {
    let (tokens, width) = (grid * grid, heads * d);
    let mut random = Random((grid + d) as u64);
    let mut case = Case::new(BATCH);
    let attention::Attention { op, out: attended, values } =
        attention::build(&mut case, &mut random, (grid, window), (heads, d), 1.0, false);
    case.graph.push("attention", op);
    let layer = Linear::new(&mut case, &mut random, width, width);
    let out = case.output(&[tokens, width]);
    let (weight, bias, activation) = (layer.ids.weight, Bias::Row(layer.ids.bias), Activation::Identity);
    let op = Op::Linear(op::Linear { input: attended, weight, bias, activation, gated: None, residual: None, out });
    let name = format!("attention, {heads} heads of {d}, and its projection");
    OpCase { op: "chain of products", ..OpCase::new(name, case, op, vec![(out, layer.apply(&values))]) }
}
