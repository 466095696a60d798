//! The decoder's kernels on ptxvm against f64, at the widths of the published and of small models.
#![cfg(feature = "cuda")]

use crate::common::one_op;
use crate::common::reference;
use crate::common::tolerance;

use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::ptxvm::Interpreter;
use medsegx::graph::op::{self, Dense, Norm};
use medsegx::graph::{Element, Op, Role, ValueId};
use one_op::{Case, Random};
use reference::{add, assert_close, attention, gelu, layer_norm, linear, relu, wide};
use tolerance::kernels::{STORE, SUM, UPSCALE};

fn backend() -> Cuda<Interpreter> {
    Cuda::new(Interpreter::new(2, ptxvm::Checks::Full)).expect("the interpreter starts")
}

fn run(what: &str, case: &Case, active: usize, outputs: &[ValueId]) -> Vec<Vec<f32>> {
    case.run(&backend(), active, outputs).unwrap_or_else(|e| panic!("{what}: {e}"))
}

/// A Linear in the graph and its numbers.
struct Layer {
    dense: Dense,
    weight: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

impl Layer {
    fn new(case: &mut Case, random: &mut Random, shape: &[usize]) -> Self {
        let inputs = shape[shape.len() - 1];
        let outputs = shape[..shape.len() - 1].iter().product::<usize>();
        let weight = random.vec(outputs * inputs, (3.0 / inputs as f32).sqrt());
        // The four places of a transposed convolution share their bias.
        let channels = if shape.len() == 4 { shape[2] } else { outputs };
        let bias = random.vec(channels, 1.0);
        let dense = Dense { weight: case.param(shape, &weight), bias: case.param(&[channels], &bias) };
        Layer { dense, weight, bias, inputs }
    }

    fn of(&self, x: &[f64]) -> Vec<f64> {
        linear(x, self.inputs, &self.weight, Some(&self.bias))
    }
}

/// A LayerNorm in the graph and its numbers.
struct Normed {
    norm: Norm,
    gain: Vec<f32>,
    shift: Vec<f32>,
}

impl Normed {
    fn new(case: &mut Case, random: &mut Random, channels: usize, eps: f32) -> Self {
        let (gain, shift) = (random.vec(channels, 2.0), random.vec(channels, 1.0));
        let norm = Norm { gain: case.param(&[channels], &gain), bias: case.param(&[channels], &shift), eps };
        Normed { norm, gain, shift }
    }

    fn of(&self, x: &[f64]) -> Vec<f64> {
        layer_norm(x, &self.gain, &self.shift, f64::from(self.norm.eps))
    }
}

/// The slice of prompt `b` out of `batch`.
fn part<T>(data: &[T], b: usize, batch: usize) -> &[T] {
    let size = data.len() / batch;
    &data[b * size..(b + 1) * size]
}

#[test]
fn token_self_attention() {
    for (batch, tokens, p, first) in
        [(3, 7, 256, true), (2, 7, 256, false), (1, 20, 128, false), (1, 64, 64, false), (1, 5, 64, true)]
    {
        let what = format!("{batch} x {tokens} tokens of {p}, first {first}");
        let random = &mut Random((tokens * p) as u64);
        let mut case = Case::new(batch);
        let (x, position) = (random.vec(batch * tokens * p, 1.5), random.vec(batch * tokens * p, 1.5));
        let (x_id, position_id) = (case.floats(&[tokens, p], &x), case.floats(&[tokens, p], &position));
        let layers: Vec<Layer> = (0..4).map(|_| Layer::new(&mut case, random, &[p, p])).collect();
        let norm = Normed::new(&mut case, random, p, 1e-5);
        let out = case.output(&[tokens, p]);
        let projections = std::array::from_fn(|i| layers[i].dense);
        let op = Op::TokenSelfAttention(op::TokenSelfAttention {
            tokens: x_id,
            position: position_id,
            projections,
            norm: norm.norm,
            first,
            out,
        });
        case.graph.push("self_attention", op);
        let active = batch.div_ceil(2);
        let mut expected = Vec::new();
        for b in 0..active {
            let (x, position) = (wide(part(&x, b, batch)), wide(part(&position, b, batch)));
            let placed = if first { x.clone() } else { add(&x, &position) };
            let (q, k, v) = (layers[0].of(&placed), layers[1].of(&placed), layers[2].of(&x));
            let attended = layers[3].of(&attention(&q, &k, &v, p));
            expected.extend(norm.of(&if first { attended } else { add(&x, &attended) }));
        }
        assert_close(&what, &run(&what, &case, active, &[out])[0], &expected, SUM.limit);
    }
}

/// Columns `from .. from + count` of rows of `columns`.
fn columns(data: &[f32], columns: usize, from: usize, count: usize) -> Vec<f64> {
    data.chunks_exact(columns).flat_map(|row| wide(&row[from..from + count])).collect()
}

#[test]
fn tokens_to_image() {
    for (batch, tokens, p, keys, width) in
        [(2, 7, 256, 256, 384), (1, 13, 128, 100, 128), (1, 7, 64, 256, 96), (1, 8, 256, 4096, 256)]
    {
        let what = format!("{batch} x {tokens} tokens of {p} to {keys} rows of {width}");
        let random = &mut Random((tokens * p + keys) as u64);
        let mut case = Case::new(batch);
        let (x, position) = (random.vec(batch * tokens * p, 1.5), random.vec(batch * tokens * p, 1.5));
        let image = random.vec(batch * keys * width, 1.5);
        let (x_id, position_id) = (case.floats(&[tokens, p], &x), case.floats(&[tokens, p], &position));
        let image_id = case.floats(&[keys, width], &image);
        let q = Layer::new(&mut case, random, &[p / 2, p]);
        let last = Layer::new(&mut case, random, &[p, p / 2]);
        let norm = Normed::new(&mut case, random, p, 1e-5);
        let out = case.output(&[tokens, p]);
        let op = Op::TokensToImage(op::TokensToImage {
            tokens: x_id,
            position: position_id,
            image: image_id,
            projections: [q.dense, last.dense],
            norm: norm.norm,
            out,
        });
        case.graph.push("tokens_to_image", op);
        let mut expected = Vec::new();
        for b in 0..batch {
            let (x, position) = (wide(part(&x, b, batch)), wide(part(&position, b, batch)));
            let image = part(&image, b, batch);
            let (k, v) = (columns(image, width, 0, p / 2), columns(image, width, p / 2, p / 2));
            let attended = last.of(&attention(&q.of(&add(&x, &position)), &k, &v, p / 2));
            expected.extend(norm.of(&add(&x, &attended)));
        }
        assert_close(&what, &run(&what, &case, batch, &[out])[0], &expected, SUM.limit);
    }
}

#[test]
fn token_mlp() {
    for (batch, tokens, p, hidden) in [(2, 7, 256, 2048), (1, 17, 128, 128), (1, 8, 64, 64)] {
        let what = format!("{batch} x {tokens} tokens of {p}, {hidden} hidden");
        let random = &mut Random((tokens * p + hidden) as u64);
        let mut case = Case::new(batch);
        let x = random.vec(batch * tokens * p, 1.5);
        let x_id = case.floats(&[tokens, p], &x);
        let lin1 = Layer::new(&mut case, random, &[hidden, p]);
        let lin2 = Layer::new(&mut case, random, &[p, hidden]);
        let norm = Normed::new(&mut case, random, p, 1e-5);
        let out = case.output(&[tokens, p]);
        let layers = [lin1.dense, lin2.dense];
        case.graph.push("mlp", Op::TokenMlp(op::TokenMlp { tokens: x_id, layers, norm: norm.norm, out }));
        let x = wide(&x);
        let expected = norm.of(&add(&x, &lin2.of(&relu(&lin1.of(&x)))));
        assert_close(&what, &run(&what, &case, batch, &[out])[0], &expected, SUM.limit);
    }
}

#[test]
fn image_to_tokens() {
    for (batch, tokens, p, queries, width) in [(2, 7, 256, 256, 384), (1, 33, 128, 300, 192), (1, 64, 64, 256, 96)] {
        let what = format!("{queries} rows of {width} to {batch} x {tokens} tokens of {p}");
        let random = &mut Random((tokens * p + queries) as u64);
        let mut case = Case::new(batch);
        let (x, position) = (random.vec(batch * tokens * p, 1.5), random.vec(batch * tokens * p, 1.5));
        let image = random.vec(batch * queries * width, 1.5);
        let image_id = case.floats(&[queries, width], &image);
        let (x_id, position_id) = (case.floats(&[tokens, p], &x), case.floats(&[tokens, p], &position));
        let k = Layer::new(&mut case, random, &[p / 2, p]);
        let v = Layer::new(&mut case, random, &[p / 2, p]);
        let out = case.output(&[queries, p / 2]);
        let op = Op::ImageToTokens(op::ImageToTokens {
            image: image_id,
            tokens: x_id,
            position: position_id,
            projections: [k.dense, v.dense],
            out,
        });
        case.graph.push("image_to_tokens", op);
        let mut expected = Vec::new();
        for b in 0..batch {
            let (x, position) = (wide(part(&x, b, batch)), wide(part(&position, b, batch)));
            let q = columns(part(&image, b, batch), width, p, p / 2);
            expected.extend(attention(&q, &k.of(&add(&x, &position)), &v.of(&x), p / 2));
        }
        assert_close(&what, &run(&what, &case, batch, &[out])[0], &expected, STORE.limit);
    }
}

#[test]
fn token_heads() {
    for (batch, tokens, p, channels, masks, first_mask) in
        [(2, 7, 256, 8, 3, 1), (1, 6, 64, 2, 1, 0), (1, 8, 128, 16, 3, 1)]
    {
        let what = format!("{masks} masks of {channels} from {first_mask}, {batch} x {tokens} tokens of {p}");
        let random = &mut Random((tokens * p + channels) as u64);
        let mut case = Case::new(batch);
        let x = random.vec(batch * tokens * p, 1.5);
        let x_id = case.floats(&[tokens, p], &x);
        let mut mlp = |widths: [usize; 4]| -> [Layer; 3] {
            std::array::from_fn(|i| Layer::new(&mut case, random, &[widths[i + 1], widths[i]]))
        };
        let hyper: Vec<[Layer; 3]> = (0..masks).map(|_| mlp([p, p, p, channels])).collect();
        let iou = mlp([p, 256, 256, 4]);
        let (hyper_out, iou_out) = (case.output(&[masks, channels]), case.output(&[4]));
        let dense = |layers: &[Layer; 3]| std::array::from_fn(|i| layers[i].dense);
        let op = Op::TokenHeads(op::TokenHeads {
            tokens: x_id,
            hyper: hyper.iter().map(dense).collect(),
            first_mask,
            iou: dense(&iou),
            hyper_out,
            iou_out,
        });
        case.graph.push("heads", op);
        let found = run(&what, &case, batch, &[hyper_out, iou_out]);
        let of = |b: usize, token: usize, layers: &[Layer; 3]| {
            let x = wide(&x[(b * tokens + token) * p..][..p]);
            layers[2].of(&relu(&layers[1].of(&relu(&layers[0].of(&x)))))
        };
        let vectors: Vec<f64> =
            (0..batch * masks).flat_map(|i| of(i / masks, 1 + first_mask + i % masks, &hyper[i % masks])).collect();
        let predicted: Vec<f64> = (0..batch).flat_map(|b| of(b, 0, &iou)).collect();
        assert_close(&format!("{what}: hyper"), &found[0], &vectors, SUM.limit);
        assert_close(&format!("{what}: iou"), &found[1], &predicted, SUM.limit);
    }
}

#[test]
fn prompt_tokens() {
    for (batch, points, p, image_size) in [(2, 4, 256, 256), (1, 3, 64, 1024)] {
        let what = format!("{batch} x {points} points, {p} channels");
        let random = &mut Random((points * p) as u64);
        let mut case = Case::new(batch);
        let at: Vec<f32> = random.vec(batch * points * 2, 0.5).iter().map(|c| (c + 0.5) * image_size as f32).collect();
        let labels: Vec<i32> = (0..batch * points).map(|i| (i % 5) as i32 - 1).collect();
        let at_id = case.floats(&[points, 2], &at);
        let labels_id = case.input(&[points], Element::I32, bytemuck::cast_slice(&labels));
        let gaussian = random.vec(p, 2.0);
        let [rows, none, output] = [4, 1, 5].map(|n| random.vec(n * p, 1.0));
        let op = Op::PromptTokens(op::PromptTokens {
            points: at_id,
            labels: labels_id,
            gaussian: case.param(&[2, p / 2], &gaussian),
            point_embeddings: case.param(&[4, p], &rows),
            not_a_point: case.param(&[1, p], &none),
            output_tokens: case.param(&[5, p], &output),
            image_size,
            out: case.output(&[5 + points, p]),
        });
        let out = op.writes()[0];
        case.graph.push("prompt", op);
        let mut expected = Vec::new();
        for b in 0..batch {
            expected.extend(wide(&output));
            for i in b * points..(b + 1) * points {
                if labels[i] < 0 {
                    expected.extend(wide(&none));
                    continue;
                }
                let place = |axis: usize| 2.0 * (f64::from(at[2 * i + axis]) + 0.5) / image_size as f64 - 1.0;
                for c in 0..p {
                    let k = c % (p / 2);
                    let v = place(0) * f64::from(gaussian[k]) + place(1) * f64::from(gaussian[p / 2 + k]);
                    let angle = 2.0 * std::f64::consts::PI * v;
                    let wave = if c < p / 2 { angle.sin() } else { angle.cos() };
                    expected.push(wave + f64::from(rows[labels[i] as usize * p + c]));
                }
            }
        }
        assert_close(&what, &run(&what, &case, batch, &[out])[0], &expected, SUM.limit);
    }
}

#[test]
fn image_source() {
    for (batch, slots, tokens, p, dense) in [(3, 2, 256, 256, false), (2, 2, 25, 64, true)] {
        let what = format!("{batch} prompts on {slots} slots of {tokens} x {p}, dense {dense}");
        let random = &mut Random((tokens * p) as u64);
        let mut case = Case::new(batch);
        let embedding = random.vec(slots * tokens * p, 1.0);
        let embedding_id = case.floats(&[tokens, p], &embedding.repeat(batch)[..batch * tokens * p]);
        // The embedding's first axis is the encoder's batch, here the first `slots` of as many as there are prompts.
        case.graph.values[embedding_id.0].role = Role::Input;
        let slot: Vec<i32> = (0..batch).map(|b| ((b + 1) % slots) as i32).collect();
        let slot_id = case.input(&[1], Element::I32, bytemuck::cast_slice(&slot));
        let prompt = random.vec(batch * tokens * p, 1.0);
        let dense_id = dense.then(|| case.floats(&[tokens, p], &prompt));
        let row = random.vec(p, 1.0);
        let op = Op::ImageSource(op::ImageSource {
            embedding: embedding_id,
            slot: slot_id,
            dense: dense_id,
            no_mask: case.param(&[1, p], &row),
            out: case.output(&[tokens, p]),
        });
        let out = op.writes()[0];
        case.graph.push("source", op);
        let mut expected = Vec::new();
        for (b, &slot) in slot.iter().enumerate().take(batch) {
            let own = wide(part(&embedding, slot as usize, slots));
            let added = if dense { wide(part(&prompt, b, batch)) } else { wide(&row).repeat(tokens) };
            expected.extend(add(&own, &added));
        }
        assert_close(&what, &run(&what, &case, batch, &[out])[0], &expected, SUM.limit);
    }
}

/// 2 x 2 neighbours of a channels-last picture side by side: `[side/2, side/2, 4 c]`.
fn fold(x: &[f64], side: usize, c: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    for i in 0..side * side / 4 {
        let (y, x0) = (i / (side / 2) * 2, i % (side / 2) * 2);
        for k in 0..4 {
            out.extend(&x[((y + k / 2) * side + x0 + k % 2) * c..][..c]);
        }
    }
    out
}

#[test]
fn mask_embed() {
    for (batch, grid, p) in [(2, 16, 256), (1, 5, 64)] {
        let what = format!("{batch} masks of {grid}, {p} channels");
        let random = &mut Random((grid * p) as u64);
        let mut case = Case::new(batch);
        let side = 4 * grid;
        let mask = random.vec(batch * side * side, 4.0);
        let mask_id = case.floats(&[side, side], &mask);
        let convs = [[4, 2, 2, 1], [16, 2, 2, 4], [p, 1, 1, 16]].map(|shape| {
            let weight = random.vec(shape.iter().product(), 1.0);
            let bias = random.vec(shape[0], 1.0);
            let dense = Dense { weight: case.param(&shape, &weight), bias: case.param(&shape[..1], &bias) };
            Layer { dense, inputs: shape[1] * shape[2] * shape[3], weight, bias }
        });
        let norms = [4, 16].map(|channels| Normed::new(&mut case, random, channels, 1e-6));
        let out = case.output(&[grid * grid, p]);
        let op = Op::MaskEmbed(op::MaskEmbed {
            mask: mask_id,
            convs: std::array::from_fn(|i| convs[i].dense),
            norms: std::array::from_fn(|i| norms[i].norm),
            out,
        });
        case.graph.push("mask_embed", op);
        let mut expected = Vec::new();
        for b in 0..batch {
            let x = gelu(&norms[0].of(&convs[0].of(&fold(&wide(part(&mask, b, batch)), side, 1))));
            let x = gelu(&norms[1].of(&convs[1].of(&fold(&x, side / 2, 4))));
            expected.extend(convs[2].of(&x));
        }
        assert_close(&what, &run(&what, &case, batch, &[out])[0], &expected, SUM.limit);
    }
}

/// A Linear from each pixel to four, as a picture of twice the side.
fn unfold(x: &[f64], side: usize, layer: &Layer, c: usize) -> Vec<f64> {
    let products = linear(x, layer.inputs, &layer.weight, None);
    let mut out = vec![0.0; products.len()];
    for (i, four) in products.chunks_exact(4 * c).enumerate() {
        for (k, pixel) in four.chunks_exact(c).enumerate() {
            let (y, x) = (2 * (i / side) + k / 2, 2 * (i % side) + k % 2);
            let target = &mut out[(y * 2 * side + x) * c..][..c];
            target.iter_mut().zip(pixel).zip(&layer.bias).for_each(|((t, v), &b)| *t = v + f64::from(b));
        }
    }
    out
}

#[test]
fn upscale() {
    for (batch, p, doublings, grid, masks, tolerance) in [
        (1, 64, 4, 4, 3, SUM.limit),
        (2, 128, 4, 3, 3, SUM.limit),
        (1, 64, 2, 3, 2, SUM.limit),
        (1, 128, 2, 3, 1, SUM.limit),
        (2, 256, 4, 4, 3, UPSCALE.limit),
        (1, 256, 4, 5, 1, UPSCALE.limit),
        (2, 256, 2, 5, 3, UPSCALE.limit),
        (1, 256, 2, 16, 1, UPSCALE.limit),
    ] {
        let what = format!("{batch} x {grid}^2 tokens of {p}, {doublings} doublings, {masks} masks");
        let random = &mut Random((grid * p + doublings + masks) as u64);
        let mut case = Case::new(batch);
        let widths: Vec<usize> = std::iter::once(p).chain((0..doublings).map(|i| p >> (i + 2))).collect();
        let x = random.vec(batch * grid * grid * p, 1.5);
        let hyper = random.vec(batch * masks * widths[doublings], 1.0);
        let input = case.floats(&[grid * grid, p], &x);
        let hyper_id = case.floats(&[masks, widths[doublings]], &hyper);
        let convs: Vec<Layer> =
            (0..doublings).map(|i| Layer::new(&mut case, random, &[2, 2, widths[i + 1], widths[i]])).collect();
        let norms: Vec<Normed> = (1..doublings).map(|i| Normed::new(&mut case, random, widths[i], 1e-6)).collect();
        let side = grid << doublings;
        let out = case.output(&[masks, side, side]);
        let op = Op::Upscale(op::Upscale {
            input,
            hyper: hyper_id,
            convs: convs.iter().map(|layer| layer.dense).collect(),
            norms: norms.iter().map(|norm| norm.norm).collect(),
            grid,
            out,
        });
        case.graph.push("upscale", op);
        let mut expected = Vec::new();
        for b in 0..batch {
            let mut up = wide(part(&x, b, batch));
            for (i, conv) in convs.iter().enumerate() {
                up = unfold(&up, grid << i, conv, widths[i + 1]);
                up = gelu(&norms.get(i).map_or_else(|| up.clone(), |norm| norm.of(&up)));
            }
            for vector in part(&hyper, b, batch).chunks_exact(widths[doublings]) {
                expected.extend(linear(&up, widths[doublings], vector, None));
            }
        }
        assert_close(&what, &run(&what, &case, batch, &[out])[0], &expected, tolerance);
    }
}

#[test]
fn more_tokens_than_a_block_holds_are_refused() {
    let (tokens, p) = (65, 64);
    let random = &mut Random(1);
    let mut case = Case::new(1);
    let x = case.floats(&[tokens, p], &random.vec(tokens * p, 1.0));
    let layers: Vec<Layer> = (0..4).map(|_| Layer::new(&mut case, random, &[p, p])).collect();
    let norm = Normed::new(&mut case, random, p, 1e-5);
    let out = case.output(&[tokens, p]);
    let projections = std::array::from_fn(|i| layers[i].dense);
    let op = Op::TokenSelfAttention(op::TokenSelfAttention {
        tokens: x,
        position: x,
        projections,
        norm: norm.norm,
        first: true,
        out,
    });
    case.graph.push("self_attention", op);
    let error = case.run(&backend(), 1, &[out]).expect_err("refused").to_string();
    assert!(error.contains("at most 64 tokens") && error.contains("65"), "{error}");
}
