//! Prompt tokens, mask prompts, the two-way transformer's parts, heads and upscaling.

use medsegx::graph::op;
use medsegx::graph::{Element, Op};

use super::{Case, LayerNorm, Linear, OpCase, Random, dot, gelu, relu, softmax, sum, wide};

pub fn cases() -> Vec<OpCase> {
    let mut cases =
        vec![prompt_tokens(), mask_embed(3, 64), mask_embed(5, 20), image_source(true), image_source(false)];
    for (tokens, width) in [(7, 64), (6, 256), (5, 32)] {
        cases.extend([self_attention(tokens, width, true), self_attention(tokens, width, false)]);
        cases.extend([tokens_to_image(tokens, width, 50), image_to_tokens(tokens, width, 300)]);
        cases.extend([token_mlp(tokens, width, 90), token_heads(tokens, width)]);
    }
    cases.extend([upscale(3, 64, &[16, 8, 4, 2]), upscale(4, 256, &[64, 32]), upscale(2, 20, &[5, 3, 7])]);
    cases
}

const BATCH: usize = 2;
const HEADS: usize = 8;

fn prompt_tokens() -> OpCase {
    let (count, p, side) = (5, 64, 256);
    let mut random = Random(3);
    let mut case = Case::new(BATCH);
    let points: Vec<f32> = (0..BATCH * count * 2).map(|_| (random.next() + 1.0) * 128.0).collect();
    let labels: [i32; 10] = [0, 1, 2, 3, -1, 2, 3, 1, -1, 0];
    let points_id = case.floats(&[count, 2], &points);
    let labels_id = case.input(&[count], Element::I32, bytemuck::cast_slice(&labels));
    let [g, embeddings, nothing, fixed] = [p, 4 * p, p, 5 * p].map(|len| random.halves(len, 1.5));
    let gaussian = case.param(&[2, p / 2], &g);
    let point_embeddings = case.param(&[4, p], &embeddings);
    let not_a_point = case.param(&[1, p], &nothing);
    let output_tokens = case.param(&[5, p], &fixed);
    let mut expected = Vec::new();
    for b in 0..BATCH {
        expected.extend(wide(&fixed));
        for i in b * count..(b + 1) * count {
            let Ok(label) = usize::try_from(labels[i]) else {
                expected.extend(wide(&nothing));
                continue;
            };
            let at = |axis: usize| 2.0 * (f64::from(points[2 * i + axis]) + 0.5) / side as f64 - 1.0;
            let angle = |c: usize| {
                let c = c % (p / 2);
                std::f64::consts::TAU * (at(0) * f64::from(g[c]) + at(1) * f64::from(g[p / 2 + c]))
            };
            let pe = |c: usize| if c < p / 2 { angle(c).sin() } else { angle(c).cos() };
            expected.extend((0..p).map(|c| pe(c) + f64::from(embeddings[label * p + c])));
        }
    }
    let out = case.output(&[5 + count, p]);
    let op = Op::PromptTokens(op::PromptTokens {
        points: points_id,
        labels: labels_id,
        gaussian,
        point_embeddings,
        not_a_point,
        output_tokens,
        image_size: side,
        out,
    });
    OpCase::new("every label", case, op, vec![(out, expected)])
}

fn mask_embed(grid: usize, p: usize) -> OpCase {
    let side = 4 * grid;
    let mut random = Random(grid as u64);
    let mut case = Case::new(BATCH);
    let mask = random.halves(BATCH * side * side, 8.0);
    let mask_id = case.floats(&[side, side], &mask);
    let convs = [(4, 4), (16, 16), (16, p)].map(|(i, o)| Linear::new(&mut case, &mut random, i, o));
    let norms = [4, 16].map(|channels| LayerNorm::new(&mut case, &mut random, channels, 1e-6));
    let mut expected = Vec::new();
    for i in 0..BATCH * grid * grid {
        let (b, y, x) = (i / grid / grid, i / grid % grid * 4, i % grid * 4);
        let mut pixels = Vec::new();
        for (top, left) in [(0, 0), (0, 2), (2, 0), (2, 2)] {
            for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                pixels.push(f64::from(mask[(b * side + y + top + dy) * side + x + left + dx]));
            }
        }
        for (conv, norm) in convs.iter().zip(&norms) {
            pixels = norm.apply(&conv.apply(&pixels)).into_iter().map(gelu).collect();
        }
        expected.extend(convs[2].apply(&pixels));
    }
    let out = case.output(&[grid * grid, p]);
    let op =
        Op::MaskEmbed(op::MaskEmbed { mask: mask_id, convs: convs.map(|c| c.ids), norms: norms.map(|n| n.ids), out });
    OpCase::new(format!("grid {grid}, width {p}"), case, op, vec![(out, expected)])
}

fn image_source(with_dense: bool) -> OpCase {
    let (slots, tokens, p) = (3, 10, 32);
    let mut random = Random(9);
    let mut case = Case::new(BATCH);
    let embedding = random.vec(slots * tokens * p, 1.0);
    let [dense, no_mask] = [BATCH * tokens * p, p].map(|len| random.halves(len, 1.0));
    let slot: [i32; BATCH] = [2, 1];
    case.graph.batch = slots;
    let embedding_id = case.floats(&[tokens, p], &embedding);
    case.graph.batch = BATCH;
    let slot_id = case.input(&[1], Element::I32, bytemuck::cast_slice(&slot));
    let dense_id = with_dense.then(|| case.floats(&[tokens, p], &dense));
    let no_mask_id = case.param(&[1, p], &no_mask);
    let expected = (0..BATCH * tokens * p).map(|i| {
        let added = if with_dense { dense[i] } else { no_mask[i % p] };
        f64::from(embedding[slot[i / tokens / p] as usize * tokens * p + i % (tokens * p)]) + f64::from(added)
    });
    let expected = expected.collect();
    let out = case.output(&[tokens, p]);
    let op = Op::ImageSource(op::ImageSource {
        embedding: embedding_id,
        slot: slot_id,
        dense: dense_id,
        no_mask: no_mask_id,
        out,
    });
    OpCase::new(format!("dense {with_dense}"), case, op, vec![(out, expected)])
}

/// Eight heads over `inner` columns: rows of q, k and v, each `inner` wide.
fn attend(q: &[f64], k: &[f64], v: &[f64], inner: usize) -> Vec<f64> {
    let d = inner / HEADS;
    let mut out = Vec::new();
    for q in q.chunks_exact(inner) {
        for head in 0..HEADS {
            let columns = head * d..(head + 1) * d;
            let scores: Vec<f64> = k
                .chunks_exact(inner)
                .map(|k| dot(&q[columns.clone()], &k[columns.clone()]) / (d as f64).sqrt())
                .collect();
            let weights = softmax(&scores);
            out.extend(columns.map(|c| weights.iter().zip(v.chunks_exact(inner)).map(|(w, v)| w * v[c]).sum::<f64>()));
        }
    }
    out
}

/// Tokens and position of one prompt after another, and their values.
fn tokens(case: &mut Case, random: &mut Random, count: usize, p: usize) -> [(medsegx::graph::ValueId, Vec<f64>); 2] {
    [(); 2].map(|()| {
        let data = random.halves(BATCH * count * p, 1.0);
        (case.floats(&[count, p], &data), wide(&data))
    })
}

fn self_attention(count: usize, p: usize, first: bool) -> OpCase {
    let mut random = Random((count * p) as u64);
    let mut case = Case::new(BATCH);
    let [(tokens_id, t), (position, pos)] = tokens(&mut case, &mut random, count, p);
    let layers = [(); 4].map(|()| Linear::new(&mut case, &mut random, p, p));
    let norm = LayerNorm::new(&mut case, &mut random, p, 1e-5);
    let mut expected = Vec::new();
    for (t, pos) in t.chunks_exact(count * p).zip(pos.chunks_exact(count * p)) {
        let x = if first { t.to_vec() } else { sum(t, pos) };
        let out = layers[3].apply(&attend(&layers[0].apply(&x), &layers[1].apply(&x), &layers[2].apply(t), p));
        expected.extend(norm.apply(&if first { out } else { sum(&out, t) }));
    }
    let out = case.output(&[count, p]);
    let projections = layers.map(|l| l.ids);
    let op = Op::TokenSelfAttention(op::TokenSelfAttention {
        tokens: tokens_id,
        position,
        projections,
        norm: norm.ids,
        first,
        out,
    });
    OpCase::new(format!("{count} tokens of {p}, first {first}"), case, op, vec![(out, expected)])
}

/// An image value `[N, columns]` and its rows' columns `first..first + inner`.
struct Image {
    id: medsegx::graph::ValueId,
    data: Vec<f64>,
    columns: usize,
    rows: usize,
}

impl Image {
    fn new(case: &mut Case, random: &mut Random, rows: usize, columns: usize) -> Image {
        let data = random.halves(BATCH * rows * columns, 1.0);
        Image { id: case.floats(&[rows, columns], &data), data: wide(&data), columns, rows }
    }

    fn part(&self, b: usize, first: usize, inner: usize) -> Vec<f64> {
        let rows = self.data[b * self.rows * self.columns..][..self.rows * self.columns].chunks_exact(self.columns);
        rows.flat_map(|row| row[first..first + inner].to_vec()).collect()
    }
}

fn tokens_to_image(count: usize, p: usize, rows: usize) -> OpCase {
    let mut random = Random((count + p) as u64);
    let mut case = Case::new(BATCH);
    let [(tokens_id, t), (position, pos)] = tokens(&mut case, &mut random, count, p);
    let image = Image::new(&mut case, &mut random, rows, 3 * p / 2);
    let layers = [(p, p / 2), (p / 2, p)].map(|(i, o)| Linear::new(&mut case, &mut random, i, o));
    let norm = LayerNorm::new(&mut case, &mut random, p, 1e-5);
    let mut expected = Vec::new();
    for (b, (t, pos)) in t.chunks_exact(count * p).zip(pos.chunks_exact(count * p)).enumerate() {
        let (k, v) = (image.part(b, 0, p / 2), image.part(b, p / 2, p / 2));
        let out = layers[1].apply(&attend(&layers[0].apply(&sum(t, pos)), &k, &v, p / 2));
        expected.extend(norm.apply(&sum(&out, t)));
    }
    let out = case.output(&[count, p]);
    let projections = layers.map(|l| l.ids);
    let op = Op::TokensToImage(op::TokensToImage {
        tokens: tokens_id,
        position,
        image: image.id,
        projections,
        norm: norm.ids,
        out,
    });
    OpCase::new(format!("{count} tokens of {p}, {rows} image tokens"), case, op, vec![(out, expected)])
}

fn image_to_tokens(count: usize, p: usize, rows: usize) -> OpCase {
    let mut random = Random((count + p + 1) as u64);
    let mut case = Case::new(BATCH);
    let [(tokens_id, t), (position, pos)] = tokens(&mut case, &mut random, count, p);
    let image = Image::new(&mut case, &mut random, rows, 3 * p / 2);
    let layers = [(); 2].map(|()| Linear::new(&mut case, &mut random, p, p / 2));
    let mut expected = Vec::new();
    for (b, (t, pos)) in t.chunks_exact(count * p).zip(pos.chunks_exact(count * p)).enumerate() {
        let (k, v) = (layers[0].apply(&sum(t, pos)), layers[1].apply(t));
        expected.extend(attend(&image.part(b, p, p / 2), &k, &v, p / 2));
    }
    let out = case.output(&[rows, p / 2]);
    let projections = layers.map(|l| l.ids);
    let op = Op::ImageToTokens(op::ImageToTokens { image: image.id, tokens: tokens_id, position, projections, out });
    OpCase::new(format!("{rows} image tokens, {count} tokens of {p}"), case, op, vec![(out, expected)])
}

fn token_mlp(count: usize, p: usize, hidden: usize) -> OpCase {
    let mut random = Random((count + p + 2) as u64);
    let mut case = Case::new(BATCH);
    let data = random.halves(BATCH * count * p, 1.0);
    let tokens = case.floats(&[count, p], &data);
    let layers = [(p, hidden), (hidden, p)].map(|(i, o)| Linear::new(&mut case, &mut random, i, o));
    let norm = LayerNorm::new(&mut case, &mut random, p, 1e-5);
    let t = wide(&data);
    let expected = norm.apply(&sum(&layers[1].apply(&relu(layers[0].apply(&t))), &t));
    let out = case.output(&[count, p]);
    let op = Op::TokenMlp(op::TokenMlp { tokens, layers: layers.map(|l| l.ids), norm: norm.ids, out });
    OpCase::new(format!("{count} tokens of {p}, hidden {hidden}"), case, op, vec![(out, expected)])
}

fn token_heads(count: usize, p: usize) -> OpCase {
    let (masks, channels, hidden) = (3, 11, 40);
    let mut random = Random((count + p + 3) as u64);
    let mut case = Case::new(BATCH);
    let data = random.halves(BATCH * count * p, 1.0);
    let tokens = case.floats(&[count, p], &data);
    let mut mlp = |widths: [usize; 4]| -> [Linear; 3] {
        std::array::from_fn(|i| Linear::new(&mut case, &mut random, widths[i], widths[i + 1]))
    };
    let hyper: Vec<[Linear; 3]> = (0..masks).map(|_| mlp([p, p, p, channels])).collect();
    let iou = mlp([p, hidden, hidden, 4]);
    let run = |[a, b, c]: &[Linear; 3], x: &[f64]| c.apply(&relu(b.apply(&relu(a.apply(x)))));
    let (mut vectors, mut scores) = (Vec::new(), Vec::new());
    for t in wide(&data).chunks_exact(count * p) {
        scores.extend(run(&iou, &t[..p]));
        hyper.iter().enumerate().for_each(|(m, head)| vectors.extend(run(head, &t[(2 + m) * p..(3 + m) * p])));
    }
    let (hyper_out, iou_out) = (case.output(&[masks, channels]), case.output(&[4]));
    let ids = |layers: &[Linear; 3]| [layers[0].ids, layers[1].ids, layers[2].ids];
    let op = Op::TokenHeads(op::TokenHeads {
        tokens,
        hyper: hyper.iter().map(ids).collect(),
        first_mask: 1,
        iou: ids(&iou),
        hyper_out,
        iou_out,
    });
    OpCase::new(format!("{count} tokens of {p}"), case, op, vec![(hyper_out, vectors), (iou_out, scores)])
}

fn upscale(grid: usize, p: usize, channels: &[usize]) -> OpCase {
    let (masks, last, side) = (3, *channels.last().unwrap(), grid << channels.len());
    let mut random = Random((grid + p) as u64);
    let mut case = Case::new(BATCH);
    let x = random.halves(BATCH * grid * grid * p, 1.0);
    let h = random.halves(BATCH * masks * last, 1.0);
    let (input, hyper) = (case.floats(&[grid * grid, p], &x), case.floats(&[masks, last], &h));
    let (mut convs, mut norms, mut inputs) = (Vec::new(), Vec::new(), p);
    for (i, &outputs) in channels.iter().enumerate() {
        let weight = random.halves(4 * outputs * inputs, (3.0 / inputs as f32).sqrt());
        let bias = random.halves(outputs, 0.5);
        let ids = medsegx::graph::op::Dense {
            weight: case.param(&[2, 2, outputs, inputs], &weight),
            bias: case.param(&[outputs], &bias),
        };
        convs.push(Linear { ids, weight: wide(&weight), bias: wide(&bias) });
        if i + 1 < channels.len() {
            norms.push(LayerNorm::new(&mut case, &mut random, outputs, 1e-6));
        }
        inputs = outputs;
    }
    let mut expected = vec![0.0; BATCH * masks * side * side];
    for b in 0..BATCH {
        let mut image = wide(&x[b * grid * grid * p..(b + 1) * grid * grid * p]);
        let (mut n, mut inputs) = (grid, p);
        for (i, conv) in convs.iter().enumerate() {
            let outputs = conv.bias.len();
            let mut larger = vec![0.0; 4 * n * n * outputs];
            for (y, x) in (0..4 * n * n).map(|i| (i / (2 * n), i % (2 * n))) {
                let from = &image[(y / 2 * n + x / 2) * inputs..][..inputs];
                let pixel: Vec<f64> = (0..outputs)
                    .map(|o| {
                        let row = ((y % 2 * 2 + x % 2) * outputs + o) * inputs;
                        dot(from, &conv.weight[row..row + inputs]) + conv.bias[o]
                    })
                    .collect();
                let pixel = norms.get(i).map_or_else(|| pixel.clone(), |norm| norm.apply(&pixel));
                larger[(y * 2 * n + x) * outputs..][..outputs].copy_from_slice(&pixel);
            }
            image = larger.into_iter().map(gelu).collect();
            (n, inputs) = (2 * n, outputs);
        }
        for m in 0..masks {
            let hyper = wide(&h[(b * masks + m) * last..][..last]);
            for (i, pixel) in image.chunks_exact(last).enumerate() {
                expected[(b * masks + m) * side * side + i] = dot(pixel, &hyper);
            }
        }
    }
    let out = case.output(&[masks, side, side]);
    let (convs, norms) = (convs.iter().map(|c| c.ids).collect(), norms.iter().map(|n| n.ids).collect());
    let op = Op::Upscale(op::Upscale { input, hyper, convs, norms, grid, out });
    OpCase::new(format!("grid {grid}, {p} to {channels:?}"), case, op, vec![(out, expected)])
}
