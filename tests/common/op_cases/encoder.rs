//! Products with every epilogue, norms, the gate, patch embedding, convolution.

use medsegx::graph::op::{self, Activation};
use medsegx::graph::{Bias, Element, Gated, Op, Role};

use super::{Case, LayerNorm, Linear, OpCase, Random, dot, gelu, softmax, wide};

pub fn cases() -> Vec<OpCase> {
    let mut cases = vec![
        product("one row, odd sizes", 1, [1, 13, 5], Epilogue::Row),
        product("no bias", 2, [7, 300, 70], Epilogue::Plain),
        product("bias a token", 3, [33, 70, 129], Epilogue::Token),
        product("GELU", 2, [19, 96, 200], Epilogue::Gelu),
        product("GELU and expert columns", 2, [50, 64, 152], Epilogue::Columns { experts: 6, bottleneck: 4 }),
        product("experts' biases and residual", 2, [50, 520, 72], Epilogue::Biases { experts: 3 }),
        product("vit_b's second product", 1, [256, 3136, 768], Epilogue::Biases { experts: 4 }),
        residual_in_place(),
    ];
    for (channels, scale) in [(5, 1.0), (64, 1e-3), (100, 30.0), (768, 1e-2)] {
        cases.push(layer_norm(channels, scale, channels != 100));
    }
    cases.extend([gate(4, 16, 128), gate(6, 24, 33)]);
    cases.extend([patch_embed(32, 8, [32.0, 32.0]), patch_embed(48, 16, [35.0, 20.0])]);
    cases.extend([conv3x3(1, 4, 3), conv3x3(5, 7, 9), conv3x3(16, 32, 70)]);
    cases
}

#[derive(Clone, Copy)]
enum Epilogue {
    Plain,
    Row,
    Token,
    Gelu,
    Columns { experts: usize, bottleneck: usize },
    Biases { experts: usize },
}

const SCALE: f32 = 0.125;

fn product(name: &str, batch: usize, [tokens, inputs, outputs]: [usize; 3], epilogue: Epilogue) -> OpCase {
    let mut random = Random((tokens * 31 + inputs) as u64);
    let mut case = Case::new(batch);
    let x = random.halves(batch * tokens * inputs, 1.0);
    let input = case.floats(&[tokens, inputs], &x);
    let layer = Linear::new(&mut case, &mut random, inputs, outputs);
    let token_bias = random.halves(tokens * outputs, 1.0);
    let experts = match epilogue {
        Epilogue::Columns { experts, .. } | Epilogue::Biases { experts } => experts,
        _ => 1,
    };
    let gates = random.halves(batch * experts, 1.0);
    let biases = random.halves(experts * outputs, 3.0);
    let before = random.halves(batch * tokens * outputs, 2.0);
    let (mut bias, mut gated, mut residual, mut activation) =
        (Bias::Row(layer.ids.bias), None, None, Activation::Identity);
    match epilogue {
        Epilogue::Plain => bias = Bias::None,
        Epilogue::Row => {}
        Epilogue::Token => bias = Bias::Token(case.param(&[tokens, outputs], &token_bias)),
        Epilogue::Gelu => activation = Activation::Gelu,
        Epilogue::Columns { bottleneck, .. } => {
            activation = Activation::Gelu;
            gated = Some(Gated::Columns { gate: case.floats(&[experts], &gates), bottleneck, scale: SCALE });
        }
        Epilogue::Biases { .. } => {
            let biases = case.param(&[experts, outputs], &biases);
            gated = Some(Gated::Biases { gate: case.floats(&[experts], &gates), biases, scale: SCALE });
            residual = Some(case.floats(&[tokens, outputs], &before));
        }
    }
    let plain = layer.apply(&wide(&x));
    let finish = |(i, &sum): (usize, &f64)| {
        let (token, slice, column) = (i / outputs % tokens, i / outputs / tokens, i % outputs);
        let gate = |k: usize| f64::from(gates[slice * experts + k]) * f64::from(SCALE);
        match epilogue {
            Epilogue::Plain => sum - layer.bias[column],
            Epilogue::Row => sum,
            Epilogue::Token => sum - layer.bias[column] + f64::from(token_bias[token * outputs + column]),
            Epilogue::Gelu => gelu(sum),
            Epilogue::Columns { bottleneck, .. } => {
                let first = outputs - experts * bottleneck;
                gelu(sum) * if column < first { 1.0 } else { gate((column - first) / bottleneck) }
            }
            Epilogue::Biases { .. } => {
                let mixed: f64 = (0..experts).map(|k| gate(k) * f64::from(biases[k * outputs + column])).sum();
                sum + mixed + f64::from(before[i])
            }
        }
    };
    let expected = plain.iter().enumerate().map(finish).collect();
    let out = case.output(&[tokens, outputs]);
    let op = Op::Linear(op::Linear { input, weight: layer.ids.weight, bias, activation, gated, residual, out });
    OpCase::new(name, case, op, vec![(out, expected)])
}

/// The residual is a value that dies here, so that the plan gives its memory to the result.
fn residual_in_place() -> OpCase {
    let (tokens, inputs, outputs) = (29, 40, 75);
    let mut random = Random(77);
    let mut case = Case::new(2);
    let x = random.halves(2 * tokens * inputs, 1.0);
    let input = case.floats(&[tokens, inputs], &x);
    let [first, second] = [(); 2].map(|()| Linear::new(&mut case, &mut random, inputs, outputs));
    let middle = case.graph.value("middle", &[tokens, outputs], Element::F32, Role::Intermediate);
    let out = case.output(&[tokens, outputs]);
    let linear = |layer: &Linear, residual, out| {
        let (weight, bias, activation) = (layer.ids.weight, Bias::Row(layer.ids.bias), Activation::Identity);
        Op::Linear(op::Linear { input, weight, bias, activation, gated: None, residual, out })
    };
    case.graph.push("first", linear(&first, None, middle));
    let expected = super::sum(&first.apply(&wide(&x)), &second.apply(&wide(&x)));
    OpCase::new("residual in place", case, linear(&second, Some(middle), out), vec![(out, expected)])
}

/// Small numbers make eps visible.
fn layer_norm(channels: usize, scale: f32, with_mean: bool) -> OpCase {
    let (batch, tokens) = (2, 37);
    let mut random = Random(channels as u64);
    let mut case = Case::new(batch);
    let x: Vec<f32> = random.halves(batch * tokens * channels, scale).iter().map(|x| x + 0.5 * scale).collect();
    let input = case.floats(&[tokens, channels], &x);
    let norm = LayerNorm::new(&mut case, &mut random, channels, 1e-6);
    let out = case.output(&[tokens, channels]);
    let expected = norm.apply(&wide(&x));
    let mut outputs = Vec::new();
    let mean = with_mean.then(|| {
        let mut means = vec![0.0; batch * channels];
        for (i, x) in expected.iter().enumerate() {
            means[i / channels / tokens * channels + i % channels] += x / tokens as f64;
        }
        let mean = case.output(&[channels]);
        outputs.push((mean, means));
        mean
    });
    outputs.push((out, expected));
    let op = Op::LayerNorm(op::LayerNorm { input, norm: norm.ids, out, mean });
    OpCase::new(format!("{channels} channels of size {scale}"), case, op, outputs)
}

fn gate(experts: usize, e: usize, width: usize) -> OpCase {
    let (batch, modalities, rows) = (2, 4, [1, 3, 5, 7, 6]);
    let mut random = Random(experts as u64);
    let mut case = Case::new(batch);
    let mean = random.halves(batch * width, 1.0);
    let context: [i32; 10] = [3, 2, 4, 6, 5, 0, 1, 0, 3, 2];
    let mean_id = case.floats(&[width], &mean);
    let context_id = case.input(&[5], Element::I32, bytemuck::cast_slice(&context));
    let tables = rows.map(|rows| random.halves(rows * e, 1.0));
    let modal = random.halves(modalities * e, 1.0);
    let organ_embed = std::array::from_fn(|level| case.param(&[rows[level], e], &tables[level]));
    let modal_embed = case.param(&[modalities, e], &modal);
    let organ_gate = Linear::new(&mut case, &mut random, 4 * e, 4);
    let input_embed = Linear::new(&mut case, &mut random, width, e);
    let gate = Linear::new(&mut case, &mut random, 4 * e, experts);
    let row = |table: &[f32], index: i32| wide(&table[index as usize * e..][..e]);
    let one = |b: usize| {
        let context = &context[5 * b..5 * b + 5];
        let tree: Vec<Vec<f64>> = (0..4).map(|l| row(&tables[l], if l == 0 { 0 } else { context[l] })).collect();
        let weights = softmax(&organ_gate.apply(&tree.concat()));
        let organ: Vec<f64> = (0..e).map(|c| (0..4).map(|l| weights[l] * tree[l][c]).sum()).collect();
        let input = input_embed.apply(&wide(&mean[b * width..(b + 1) * width]));
        softmax(&gate.apply(&[organ, row(&tables[4], context[4]), row(&modal, context[0]), input].concat()))
    };
    let expected = (0..batch).flat_map(one).collect();
    let out = case.output(&[experts]);
    let (organ_gate, input_embed, gate) = (organ_gate.ids, input_embed.ids, gate.ids);
    let op = Op::Gate(op::Gate {
        mean: mean_id,
        context: context_id,
        organ_embed,
        modal_embed,
        organ_gate,
        input_embed,
        gate,
        out,
    });
    OpCase::new(format!("{experts} experts"), case, op, vec![(out, expected)])
}

fn patch_embed(side: usize, patch: usize, valid: [f32; 2]) -> OpCase {
    let (batch, width, grid) = (2, 70, side / patch);
    let mut random = Random(side as u64);
    let mut case = Case::new(batch);
    let pixels: Vec<u8> = (0..batch * side * side * 3).map(|_| ((random.next() + 1.0) * 128.0) as u8).collect();
    let one = [0.0171, 0.0175, 0.0174, -2.1, -2.0, -1.8, valid[0], valid[1]];
    let scaling = [one, one.map(|x| if x < 1.0 { x * 0.5 } else { x })].concat();
    let pixels_id = case.input(&[side, side, 3], Element::U8, &pixels);
    let scaling_id = case.floats(&[8], &scaling);
    let inputs = patch * patch * 3;
    let weight = random.halves(width * inputs, (3.0 / inputs as f32).sqrt());
    let bias = random.halves(grid * grid * width, 1.0);
    let weight_id = case.param(&[width, patch, patch, 3], &weight);
    let token_bias = case.param(&[grid * grid, width], &bias);
    let value = |b: usize, y: usize, x: usize, c: usize| {
        let s = &scaling[8 * b..8 * b + 8];
        let inside = (y as f32) < s[6] && (x as f32) < s[7];
        let pixel = f64::from(pixels[((b * side + y) * side + x) * 3 + c]);
        if inside { pixel * f64::from(s[c]) + f64::from(s[3 + c]) } else { 0.0 }
    };
    let expected = (0..batch * grid * grid * width).map(|i| {
        let (b, token, d) = (i / width / grid / grid, i / width % (grid * grid), i % width);
        let at = |j: usize| (token / grid * patch + j / 3 / patch, token % grid * patch + j / 3 % patch, j % 3);
        let terms = (0..inputs).map(|j| (at(j), f64::from(weight[d * inputs + j])));
        terms.map(|((y, x, c), w)| w * value(b, y, x, c)).sum::<f64>() + f64::from(bias[token * width + d])
    });
    let expected = expected.collect();
    let out = case.output(&[grid * grid, width]);
    let op =
        Op::PatchEmbed(op::PatchEmbed { pixels: pixels_id, scaling: scaling_id, weight: weight_id, token_bias, out });
    OpCase::new(format!("{side} px, patch {patch}, {valid:?} valid"), case, op, vec![(out, expected)])
}

fn conv3x3(grid: usize, inputs: usize, outputs: usize) -> OpCase {
    let (batch, tokens) = (2, grid * grid);
    let mut random = Random(grid as u64);
    let mut case = Case::new(batch);
    let x = random.halves(batch * tokens * inputs, 1.0);
    let w = random.halves(outputs * 9 * inputs, (1.0 / (3 * inputs) as f32).sqrt());
    let input = case.floats(&[tokens, inputs], &x);
    let weight = case.param(&[outputs, 3, 3, inputs], &w);
    let (wide_x, wide_w) = (wide(&x), wide(&w));
    let expected = (0..batch * tokens * outputs).map(|i| {
        let (b, token, o) = (i / outputs / tokens, i / outputs % tokens, i % outputs);
        let taps = (0..9).filter_map(|tap| {
            let y = (token / grid + tap / 3).checked_sub(1).filter(|y| *y < grid)?;
            let x = (token % grid + tap % 3).checked_sub(1).filter(|x| *x < grid)?;
            let from = &wide_x[(b * tokens + y * grid + x) * inputs..][..inputs];
            Some(dot(from, &wide_w[(o * 9 + tap) * inputs..][..inputs]))
        });
        taps.sum()
    });
    let expected = expected.collect();
    let out = case.output(&[tokens, outputs]);
    let op = Op::Conv3x3(op::Conv3x3 { input, weight, grid, out });
    OpCase::new(format!("grid {grid}, {inputs} to {outputs}"), case, op, vec![(out, expected)])
}
