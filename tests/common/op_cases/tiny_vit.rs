//! Operations of TinyViT: convolutions of all channels and of each by itself, bottlenecks, windows with learned biases.

use medsegx::graph::op::{Activation, Convolution, Dense, Depthwise, InvertedBottleneck, WindowAttention};
use medsegx::graph::{Element, Op};

use super::{Case, OpCase, Random, dot, gelu, softmax, wide};

pub fn cases() -> Vec<OpCase> {
    let mut cases = vec![pixels(10, 3, 2, [7.0, 9.0]), pixels(66, 1, 1, [66.0, 50.0])];
    // Side, stride, k, inputs, outputs.
    let sizes = [
        (9, 1, 1, 3, 32),
        (11, 2, 3, 5, 70),
        (8, 2, 3, 32, 17),
        (7, 1, 3, 4, 8),
        (130, 2, 3, 32, 64),
        (12, 1, 1, 32, 64),
        (30, 1, 1, 40, 36),
    ];
    cases.extend(sizes.map(|(side, stride, kernel, inputs, outputs)| {
        convolution(side, stride, kernel, [inputs, outputs], [Activation::Identity, Activation::Gelu][side % 2])
    }));
    cases.extend([(1, 16), (2, 5), (9, 16), (14, 40), (33, 12)].map(|(side, channels)| depthwise(side, channels)));
    cases.extend(
        [
            (18, 1, [16, 48, 16]),
            (35, 1, [8, 33, 8]),
            (37, 2, [5, 24, 70]),
            (40, 2, [16, 16, 9]),
            (1, 1, [4, 8, 4]),
            (37, 2, [16, 24, 72]),
            (20, 1, [64, 256, 64]),
            (9, 1, [24, 40, 32]),
        ]
        .map(|(side, stride, widths)| bottleneck(side, stride, widths)),
    );
    // Grid, window, heads, head dim.
    let windows = [
        (7, 7, 2, 8),
        (10, 3, 3, 12),
        (5, 7, 1, 16),
        (9, 4, 2, 20),
        (16, 7, 2, 32),
        (14, 7, 3, 32),
        (5, 7, 1, 32),
        (8, 3, 2, 32),
        (22, 14, 1, 32),
        (28, 14, 2, 32),
        (16, 15, 1, 32),
    ];
    cases.extend(windows.map(|(grid, window, heads, d)| attention(grid, window, heads, d)));
    cases
}

/// `[side^2, channels]`, zeros outside.
struct Grid<'a> {
    data: &'a [f64],
    side: usize,
    channels: usize,
}

impl Grid<'_> {
    fn at(&self, y: isize, x: isize, c: usize) -> f64 {
        let inside = |i: isize| usize::try_from(i).is_ok_and(|i| i < self.side);
        if inside(y) && inside(x) { self.data[(y as usize * self.side + x as usize) * self.channels + c] } else { 0.0 }
    }

    fn convolved(&self, weight: &[f64], bias: &[f64], kernel: usize, stride: usize) -> Vec<f64> {
        let (across, half) = (self.side.div_ceil(stride), kernel as isize / 2);
        let each = kernel * kernel * self.channels;
        let mut out = Vec::new();
        for token in 0..across * across {
            let (y, x) = ((token / across * stride) as isize - half, (token % across * stride) as isize - half);
            let cell = |i: usize| {
                let tap = (i / self.channels) as isize;
                self.at(y + tap / kernel as isize, x + tap % kernel as isize, i % self.channels)
            };
            let cells: Vec<f64> = (0..each).map(cell).collect();
            out.extend(weight.chunks(each).zip(bias).map(|(row, b)| b + dot(row, &cells)));
        }
        out
    }

    fn each_by_itself(&self, weight: &[f64], bias: &[f64], stride: usize) -> Vec<f64> {
        let across = self.side.div_ceil(stride);
        let mut out = Vec::new();
        for token in 0..across * across {
            let (y, x) = ((token / across * stride) as isize - 1, (token % across * stride) as isize - 1);
            for (c, b) in bias.iter().enumerate() {
                let tap = |t: usize| weight[t * self.channels + c] * self.at(y + t as isize / 3, x + t as isize % 3, c);
                out.push(b + (0..9).map(tap).sum::<f64>());
            }
        }
        out
    }
}

fn gelus(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(gelu).collect()
}

fn convolution(
    side: usize,
    stride: usize,
    kernel: usize,
    [inputs, outputs]: [usize; 2],
    activation: Activation,
) -> OpCase {
    let (mut random, mut case) = (Random(side as u64), Case::new(2));
    // Numbers that f16 has not: a backend must keep them.
    let x = random.vec(2 * side * side * inputs, 1.0);
    let weight = random.vec(outputs * kernel * kernel * inputs, 0.3);
    let bias = random.vec(outputs, 1.0);
    let input = case.floats(&[side * side, inputs], &x);
    let ids = (case.param(&[outputs, kernel, kernel, inputs], &weight), case.param(&[outputs], &bias));
    let out = case.output(&[side.div_ceil(stride).pow(2), outputs]);
    let mut expected = Vec::new();
    for data in wide(&x).chunks(side * side * inputs) {
        let grid = Grid { data, side, channels: inputs };
        let sums = grid.convolved(&wide(&weight), &wide(&bias), kernel, stride);
        expected.extend(if activation == Activation::Gelu { gelus(sums) } else { sums });
    }
    let op = Convolution { input, scaling: None, weight: ids.0, bias: ids.1, activation, side, stride, out };
    let name = format!("{kernel} x {kernel}, stride {stride}, grid {side}, {inputs} to {outputs}");
    OpCase::new(name, case, Op::Convolution(op), vec![(out, expected)])
}

/// Pixels outside the valid rectangle are 0 behind the scaling.
fn pixels(side: usize, kernel: usize, stride: usize, valid: [f32; 2]) -> OpCase {
    let outputs = 12;
    let (mut random, mut case) = (Random(5), Case::new(2));
    let pixels: Vec<u8> = random.vec(2 * side * side * 3, 127.0).iter().map(|x| (x + 128.0) as u8).collect();
    let scaling: Vec<f32> =
        [0.01, 0.02].iter().flat_map(|s| [*s, 0.02, 0.03, -0.5, 0.25, 0.125, valid[0], valid[1]]).collect();
    let (weight, bias) = (random.halves(outputs * kernel * kernel * 3, 0.3), random.vec(outputs, 1.0));
    let scaled: Vec<f64> = (0..pixels.len())
        .map(|i| {
            let (slice, y, x, c) = (i / 3 / side / side, i / 3 / side % side, i / 3 % side, i % 3);
            let [scale, offset] = [c, 3 + c].map(|at| f64::from(scaling[8 * slice + at]));
            let inside = y < valid[0] as usize && x < valid[1] as usize;
            if inside { f64::from(pixels[i]) * scale + offset } else { 0.0 }
        })
        .collect();
    let slices = scaled.chunks(3 * side * side).map(|data| Grid { data, side, channels: 3 });
    let expected = slices.flat_map(|grid| grid.convolved(&wide(&weight), &wide(&bias), kernel, stride)).collect();
    let input = case.input(&[side, side, 3], Element::U8, &pixels);
    let scaling = Some(case.floats(&[8], &scaling));
    let (weight, bias) = (case.param(&[outputs, kernel, kernel, 3], &weight), case.param(&[outputs], &bias));
    let out = case.output(&[side.div_ceil(stride).pow(2), outputs]);
    let op = Convolution { input, scaling, weight, bias, activation: Activation::Identity, side, stride, out };
    OpCase::new(format!("pixels, k {kernel}, side {side}"), case, Op::Convolution(op), vec![(out, expected)])
}

fn depthwise(side: usize, channels: usize) -> OpCase {
    let (mut random, mut case) = (Random(side as u64), Case::new(3));
    let x = random.halves(3 * side * side * channels, 1.0);
    let (weight, bias) = (random.vec(9 * channels, 0.5), random.vec(channels, 1.0));
    let input = case.floats(&[side * side, channels], &x);
    let ids = (case.param(&[3, 3, channels], &weight), case.param(&[channels], &bias));
    let out = case.output(&[side * side, channels]);
    let expected = wide(&x)
        .chunks(side * side * channels)
        .flat_map(|data| Grid { data, side, channels }.each_by_itself(&wide(&weight), &wide(&bias), 1))
        .collect();
    let op = Depthwise { input, weight: ids.0, bias: ids.1, side, out };
    OpCase::new(format!("grid {side}, {channels} channels"), case, Op::Depthwise(op), vec![(out, expected)])
}

fn bottleneck(side: usize, stride: usize, [inputs, hidden, outputs]: [usize; 3]) -> OpCase {
    let shortcut = stride == 1 && inputs == outputs;
    let (mut random, mut case) = (Random(side as u64), Case::new(2));
    let x = random.halves(2 * side * side * inputs, 1.0);
    let weights =
        [random.halves(hidden * inputs, 0.5), random.halves(9 * hidden, 0.5), random.halves(outputs * hidden, 0.3)];
    let biases = [random.vec(hidden, 1.0), random.vec(hidden, 1.0), random.vec(outputs, 1.0)];
    let input = case.floats(&[side * side, inputs], &x);
    let shapes: [&[usize]; 3] = [&[hidden, 1, 1, inputs], &[3, 3, hidden], &[outputs, 1, 1, hidden]];
    let mut layer = |i: usize| Dense {
        weight: case.param(shapes[i], &weights[i]),
        bias: case.param(&[biases[i].len()], &biases[i]),
    };
    let (expand, depthwise, project) = (layer(0), layer(1), layer(2));
    let across = side.div_ceil(stride);
    let out = case.output(&[across * across, outputs]);
    let (w, b) = (weights.map(|w| wide(&w)), biases.map(|b| wide(&b)));
    let mut expected = Vec::new();
    for data in wide(&x).chunks(side * side * inputs) {
        let h = gelus(Grid { data, side, channels: inputs }.convolved(&w[0], &b[0], 1, 1));
        let h = gelus(Grid { data: &h, side, channels: hidden }.each_by_itself(&w[1], &b[1], stride));
        let y = Grid { data: &h, side: across, channels: hidden }.convolved(&w[2], &b[2], 1, 1);
        expected.extend(y.iter().enumerate().map(|(i, y)| if shortcut { gelu(y + data[i]) } else { *y }));
    }
    let op = InvertedBottleneck { input, expand, depthwise, project, side, stride, shortcut, out };
    let name = format!("grid {side}, stride {stride}, {inputs} to {hidden} to {outputs}");
    OpCase::new(name, case, Op::InvertedBottleneck(op), vec![(out, expected)])
}

/// Padded keys one by one, as the network is defined.
fn attention(grid: usize, window: usize, heads: usize, d: usize) -> OpCase {
    let (mut random, mut case) = (Random((grid * window) as u64), Case::new(2));
    let (tokens, width) = (grid * grid, heads * d);
    let x = random.halves(2 * tokens * 3 * width, 1.5);
    let padding = random.halves(3 * width, 1.5);
    let biases = random.vec(heads * window * window, 2.0);
    let qkv = case.floats(&[tokens, 3 * width], &x);
    let (padding_id, biases_id) = (case.param(&[3 * width], &padding), case.param(&[heads, window * window], &biases));
    let out = case.output(&[tokens, width]);
    let (x, padding, biases) = (wide(&x), wide(&padding), wide(&biases));
    let mut expected = vec![0.0; 2 * tokens * width];
    for i in 0..2 * tokens * heads {
        let (slice, token, head) = (i / heads / tokens, i / heads % tokens, i % heads);
        let part = |y: usize, x_: usize, part: usize| {
            let row =
                if y < grid && x_ < grid { &x[(slice * tokens + y * grid + x_) * 3 * width..] } else { &padding[..] };
            &row[(3 * head + part) * d..][..d]
        };
        let (y, x_) = (token / grid, token % grid);
        let (top, left) = (y / window * window, x_ / window * window);
        let keys: Vec<_> = (0..window * window).map(|key| (top + key / window, left + key % window)).collect();
        let score = |&(ky, kx): &(usize, usize)| {
            let bias = biases[(head * window + y.abs_diff(ky)) * window + x_.abs_diff(kx)];
            dot(part(y, x_, 0), part(ky, kx, 1)) / (d as f64).sqrt() + bias
        };
        let weights = softmax(&keys.iter().map(score).collect::<Vec<_>>());
        for (weight, &(ky, kx)) in weights.iter().zip(&keys) {
            let to = &mut expected[(slice * tokens + token) * width + head * d..][..d];
            to.iter_mut().zip(part(ky, kx, 2)).for_each(|(to, v)| *to += weight * v);
        }
    }
    let op = WindowAttention { qkv, padding: padding_id, biases: biases_id, heads, grid, window, out };
    let name = format!("windows of {window} on {grid}, {heads} heads of {d}");
    OpCase::new(name, case, Op::WindowAttention(op), vec![(out, expected)])
}
