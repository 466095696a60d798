//! Every kernel of the products, norms and the gate on ptxvm against arithmetic in f64, at the models' shapes and at
//! odd sizes. Operands are random numbers that f16 holds, so what remains is the kernel's own rounding.
#![cfg(feature = "cuda")]

use crate::common::one_op;
use crate::common::reference;
use crate::common::tolerance;

use crate::common::gelu::gelu;
use half::f16;
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::ptxvm::Interpreter;
use medsegx::graph::op::{self, Activation, Dense, Norm};
use medsegx::graph::{Bias, Element, Gated, Op};
use one_op::{Case, Random};
use reference::{assert_close, layer_norm, wide};
use tolerance::kernels::{GATE, STORE, SUM};

fn backend() -> Cuda<Interpreter> {
    Cuda::new(Interpreter::new(2, ptxvm::Checks::Full)).expect("the interpreter starts")
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Epilogue {
    Plain,
    Row,
    Token,
    Residual,
    ExpertBiases { experts: usize },
    Gelu,
    GeluExperts { experts: usize, bottleneck: usize },
}

/// One product, its first `active` of `batch` slices computed.
struct Product {
    batch: usize,
    active: usize,
    tokens: usize,
    depth: usize,
    columns: usize,
    epilogue: Epilogue,
    /// Whether another product reads the result, so that it is stored in f16.
    half_out: bool,
    /// Whether the input is also a residual, so that it is stored in f32.
    float_in: bool,
}

const SCALE: f32 = 0.1;

impl Product {
    fn new(batch: usize, [tokens, depth, columns]: [usize; 3], epilogue: Epilogue) -> Self {
        Product { batch, active: batch, tokens, depth, columns, epilogue, half_out: false, float_in: false }
    }

    fn name(&self) -> String {
        let Product { batch, active, tokens, depth, columns, epilogue, half_out, float_in } = self;
        format!(
            "{active} of {batch} x {tokens} x {depth} -> {columns}, {epilogue:?}, half out {half_out}, f32 in {float_in}"
        )
    }

    fn check(&self) {
        let &Product { batch, active, tokens, depth, columns, epilogue, .. } = self;
        let random = &mut Random((tokens * 31 + depth * 7 + columns) as u64);
        let input = random.halves(batch * tokens * depth, 1.0);
        let weight = random.halves(columns * depth, (3.0 / depth as f32).sqrt());
        let row = random.vec(columns, 1.0);
        let token = random.vec(tokens * columns, 1.0);
        let residual = random.vec(batch * tokens * columns, 2.0);
        let gates = 6;
        let gate = random.vec(batch * gates, 1.0);
        let biases = random.vec(gates * columns, 3.0);

        let mut case = Case::new(batch);
        let x = case.floats(&[tokens, depth], &input);
        let w = case.param(&[columns, depth], &weight);
        let row_param = case.param(&[columns], &row);
        let token_param = case.param(&[tokens, columns], &token);
        let bias = match epilogue {
            Epilogue::Plain => Bias::None,
            Epilogue::Token => Bias::Token(token_param),
            _ => Bias::Row(row_param),
        };
        let experts = match epilogue {
            Epilogue::ExpertBiases { experts } | Epilogue::GeluExperts { experts, .. } => experts,
            _ => 0,
        };
        let gate_of = |slice: usize, expert: usize| f64::from(gate[slice * gates + expert]);
        let kept: Vec<f32> = (0..batch).flat_map(|b| gate[b * gates..b * gates + experts].to_vec()).collect();
        let gated = match epilogue {
            Epilogue::ExpertBiases { experts } => {
                let gate = case.floats(&[experts], &kept);
                let biases = case.param(&[experts, columns], &biases[..experts * columns]);
                Some(Gated::Biases { gate, biases, scale: SCALE })
            }
            Epilogue::GeluExperts { experts, bottleneck } => {
                let gate = case.floats(&[experts], &kept);
                Some(Gated::Columns { gate, bottleneck, scale: SCALE })
            }
            _ => None,
        };
        let has_residual = matches!(epilogue, Epilogue::Residual | Epilogue::ExpertBiases { .. });
        let residual_id = has_residual.then(|| case.floats(&[tokens, columns], &residual));
        let activation = match epilogue {
            Epilogue::Gelu | Epilogue::GeluExperts { .. } => Activation::Gelu,
            _ => Activation::Identity,
        };
        let out = case.output(&[tokens, columns]);
        let op = Op::Linear(op::Linear { input: x, weight: w, bias, activation, gated, residual: residual_id, out });
        case.graph.push("product", op);
        let identity = |case: &mut Case, from, width: usize, other: Option<_>| {
            // A reader that decides the storage; nothing looks at what it writes.
            let weight = case.param(&[8, width], &vec![0.0; 8 * width]);
            let out = case.output(&[tokens, 8]);
            let op = Op::Linear(op::Linear {
                input: from,
                weight,
                bias: Bias::None,
                activation: Activation::Identity,
                gated: None,
                residual: other,
                out,
            });
            case.graph.push("reader", op);
        };
        if self.half_out {
            identity(&mut case, out, columns, None);
        }
        if self.float_in {
            let norm = Norm { gain: row_param, bias: row_param, eps: 1e-6 };
            let out = case.output(&[tokens, depth]);
            assert!(columns >= depth, "the norm borrows the row bias");
            case.graph.push("reader", Op::LayerNorm(op::LayerNorm { input: x, norm, out, mean: None }));
        }

        let mut expected = vec![0f64; active * tokens * columns];
        for (r, line) in expected.chunks_exact_mut(columns).enumerate() {
            let (slice, n) = (r / tokens, r % tokens);
            for (c, out) in line.iter_mut().enumerate() {
                let mut y = dot(&input[r * depth..][..depth], &weight[c * depth..][..depth]);
                match bias {
                    Bias::None => {}
                    Bias::Row(_) => y += f64::from(row[c]),
                    Bias::Token(_) => y += f64::from(token[n * columns + c]),
                }
                if activation == Activation::Gelu {
                    y = gelu(y);
                }
                match epilogue {
                    Epilogue::GeluExperts { experts, bottleneck } if c >= columns - experts * bottleneck => {
                        let expert = (c - (columns - experts * bottleneck)) / bottleneck;
                        y *= f64::from(SCALE) * gate_of(slice, expert);
                    }
                    Epilogue::ExpertBiases { experts } => {
                        let bias = |k| gate_of(slice, k) * f64::from(biases[k * columns + c]);
                        y += f64::from(SCALE) * (0..experts).map(bias).sum::<f64>();
                    }
                    _ => {}
                }
                if has_residual {
                    y += f64::from(residual[r * columns + c]);
                }
                *out = y;
            }
        }
        let backend = backend();
        let found = case.run(&backend, active, &[out]).unwrap_or_else(|e| panic!("{}: {e}", self.name()));
        if (active * tokens).div_ceil(128) * columns.div_ceil(128) >= 96 {
            // By `wgmma`, where such a size has a kernel of it: here sums go in the same order.
            let warpgroups = Cuda::new(Interpreter::new(2, ptxvm::Checks::Full).with_wgmma()).expect("it starts");
            let again = case.run(&warpgroups, active, &[out]).unwrap_or_else(|e| panic!("{}: {e}", self.name()));
            assert!(again == found, "{}: other bits by wgmma", self.name());
        }
        let tolerance = if self.half_out { STORE.limit } else { SUM.limit };
        assert_close(&self.name(), &found[0], &expected, tolerance);
        assert_eq!(backend.saturated().expect("a counter").values, 0, "{}: nothing may saturate", self.name());
    }
}

#[test]
fn products_of_odd_sizes() {
    let experts = Epilogue::GeluExperts { experts: 3, bottleneck: 5 };
    for product in [
        Product::new(1, [1, 8, 4], Epilogue::Plain),
        Product::new(1, [65, 16, 36], Epilogue::Row),
        Product::new(2, [7, 72, 12], Epilogue::Token),
        Product::new(3, [49, 200, 100], Epilogue::ExpertBiases { experts: 5 }),
        Product::new(3, [49, 136, 40], experts),
        Product::new(2, [10, 32, 64], Epilogue::Residual),
        Product { active: 2, ..Product::new(4, [50, 64, 48], Epilogue::Residual) },
        Product { half_out: true, ..Product::new(1, [33, 40, 56], Epilogue::Gelu) },
        Product { half_out: true, ..Product::new(1, [33, 40, 56], Epilogue::Row) },
        Product { float_in: true, ..Product::new(2, [19, 72, 80], Epilogue::Token) },
        Product { float_in: true, half_out: true, ..Product::new(2, [19, 72, 80], Epilogue::Row) },
    ] {
        product.check();
    }
}

#[test]
fn products_of_large_tiles() {
    // More than 96 tiles of 128 x 128, and none of the sides a multiple of the tile.
    for product in [
        Product::new(5, [250, 72, 1272], Epilogue::ExpertBiases { experts: 4 }),
        Product {
            half_out: true,
            ..Product::new(5, [250, 72, 1272], Epilogue::GeluExperts { experts: 4, bottleneck: 12 })
        },
        Product { half_out: true, ..Product::new(5, [250, 136, 1272], Epilogue::Row) },
        Product { half_out: true, ..Product::new(5, [250, 136, 1272], Epilogue::ExpertBiases { experts: 4 }) },
        Product { float_in: true, ..Product::new(5, [250, 72, 1272], Epilogue::Token) },
        Product { float_in: true, half_out: true, ..Product::new(5, [250, 72, 1272], Epilogue::Plain) },
        Product::new(5, [250, 200, 1272], Epilogue::Gelu),
    ] {
        product.check();
    }
}

#[test]
fn products_of_the_models() {
    // qkv, proj, lin1|down, lin2|up, neck and decoder of tiny and vit_b at batch 1; vit_h's lin2|up.
    let columns = |experts, bottleneck| Epilogue::GeluExperts { experts, bottleneck };
    let biases = |experts| Epilogue::ExpertBiases { experts };
    for product in [
        Product { half_out: true, ..Product::new(1, [256, 128, 384], Epilogue::Row) },
        Product { half_out: true, ..Product::new(1, [256, 128, 576], columns(4, 16)) },
        Product { half_out: true, ..Product::new(1, [256, 128, 560], columns(6, 8)) },
        Product::new(1, [256, 576, 128], biases(4)),
        Product { half_out: true, ..Product::new(1, [256, 768, 2304], Epilogue::Row) },
        Product::new(1, [256, 768, 768], Epilogue::Residual),
        Product { half_out: true, ..Product::new(1, [256, 768, 3136], columns(4, 16)) },
        Product::new(1, [256, 3136, 768], biases(4)),
        Product { float_in: true, ..Product::new(1, [256, 256, 384], Epilogue::Token) },
        Product::new(1, [256, 5184, 1280], biases(4)),
    ] {
        product.check();
    }
}

#[test]
fn products_of_few_and_of_many_small_tiles() {
    // From 256 tiles of 64 x 32 on one team of warps a block, below two; a depth of one stage leaves one nothing.
    for depth in [8, 64, 72, 128, 136, 328] {
        for columns in [40, 2072] {
            for product in [
                Product::new(2, [110, depth, columns], Epilogue::ExpertBiases { experts: 4 }),
                Product::new(2, [110, depth, columns], Epilogue::Residual),
                Product { half_out: true, ..Product::new(2, [110, depth, columns], Epilogue::Residual) },
                Product { float_in: depth <= columns, ..Product::new(1, [220, depth, columns], Epilogue::Token) },
            ] {
                product.check();
            }
        }
    }
}

#[test]
fn layer_norms_and_token_means() {
    for (batch, tokens, channels, half, with_mean) in [
        (1, 256, 128, true, true),
        (2, 256, 768, true, true),
        (1, 256, 768, true, false),
        (1, 256, 1024, true, true),
        (1, 256, 1280, true, true),
        (1, 256, 256, false, false),
        (3, 7, 36, false, true),
        (1, 1, 8, true, false),
        (2, 50, 260, false, true),
    ] {
        let what = format!("{batch} x {tokens} x {channels}, half {half}");
        let random = &mut Random(channels as u64);
        // An offset and outliers, as residual streams have them.
        let input: Vec<f32> = random
            .vec(batch * tokens * channels, 1.0)
            .iter()
            .enumerate()
            .map(|(i, x)| x + 3.0 + if i % 97 == 0 { 40.0 } else { 0.0 })
            .collect();
        let (gain, bias) = (random.vec(channels, 1.0), random.vec(channels, 0.5));
        let mut case = Case::new(batch);
        let x = case.floats(&[tokens, channels], &input);
        let norm = Norm { gain: case.param(&[channels], &gain), bias: case.param(&[channels], &bias), eps: 1e-6 };
        let out = case.output(&[tokens, channels]);
        let mean = with_mean.then(|| case.output(&[channels]));
        case.graph.push("norm", Op::LayerNorm(op::LayerNorm { input: x, norm, out, mean }));
        if half {
            let weight = case.param(&[8, channels], &vec![0.0; 8 * channels]);
            let reader = case.output(&[tokens, 8]);
            let op = Op::Linear(op::Linear {
                input: out,
                weight,
                bias: Bias::None,
                activation: Activation::Identity,
                gated: None,
                residual: None,
                out: reader,
            });
            case.graph.push("reader", op);
        }
        let mut expected = Vec::new();
        for row in input.chunks_exact(channels) {
            let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / channels as f64;
            let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / channels as f64;
            let scale = (variance + 1e-6).sqrt();
            let normed = row.iter().zip(gain.iter().zip(&bias));
            expected.extend(normed.map(|(&x, (&g, &b))| (f64::from(x) - mean) / scale * f64::from(g) + f64::from(b)));
        }
        let wanted: Vec<_> = [Some(out), mean].into_iter().flatten().collect();
        let found = case.run(&backend(), batch, &wanted).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_close(&what, &found[0], &expected, if half { STORE.limit } else { SUM.limit });
        if with_mean {
            let mut means = vec![0f64; batch * channels];
            for (r, row) in expected.chunks_exact(channels).enumerate() {
                for (c, x) in row.iter().enumerate() {
                    means[r / tokens * channels + c] += x / tokens as f64;
                }
            }
            assert_close(&format!("{what}, mean"), &found[1], &means, if half { STORE.limit } else { SUM.limit });
        }
    }
}

#[test]
fn gates() {
    for (batch, width, e, experts) in
        [(2, 128, 16, 4), (1, 768, 16, 4), (3, 1280, 24, 6), (2, 36, 7, 11), (1, 64, 33, 1)]
    {
        let what = format!("{batch} x {width}, e {e}, E {experts}");
        let random = &mut Random((width + experts) as u64);
        let rows = [1usize, 5, 12, 39, 112];
        let tables: Vec<Vec<f32>> = rows.iter().map(|r| random.vec(r * e, 1.0)).collect();
        let modal = random.vec(10 * e, 1.0);
        let (tokens, bias) = (19, random.vec(width, 1.0));
        let tokens_of_all = random.vec(batch * tokens * width, 1.0);
        let context: Vec<i32> = (0..batch as i32).flat_map(|b| [9 - b, 4 - b, b, 38 - b, 111 - b]).collect();
        let mut layer = |out: usize, inputs: usize| {
            (random.vec(out * inputs, 2.0 * (3.0 / inputs as f32).sqrt()), random.vec(out, 0.5))
        };
        let (organ, input, last) = (layer(4, 4 * e), layer(e, width), layer(experts, 4 * e));

        let mut case = Case::new(batch);
        let input_id = case.floats(&[tokens, width], &tokens_of_all);
        let norm = Norm { gain: case.param(&[width], &bias), bias: case.param(&[width], &bias), eps: 1e-6 };
        let (normed, mean_id) = (case.output(&[tokens, width]), case.output(&[width]));
        let context_id = case.input(&[5], Element::I32, bytemuck::cast_slice(&context));
        let organ_embed = std::array::from_fn(|i| case.param(&[rows[i], e], &tables[i]));
        let modal_embed = case.param(&[10, e], &modal);
        let mut dense = |(weight, bias): &(Vec<f32>, Vec<f32>)| {
            let shape = [bias.len(), weight.len() / bias.len()];
            Dense { weight: case.param(&shape, weight), bias: case.param(&shape[..1], bias) }
        };
        let (organ_gate, input_embed, gate) = (dense(&organ), dense(&input), dense(&last));
        let out = case.output(&[experts]);
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
        case.graph
            .push("norm", Op::LayerNorm(op::LayerNorm { input: input_id, norm, out: normed, mean: Some(mean_id) }));
        case.graph.push("gate", op);
        // The gate runs early, for which the LayerNorm's input must be read again.
        let again = case.output(&[tokens, width]);
        case.graph.push("again", Op::LayerNorm(op::LayerNorm { input: input_id, norm, out: again, mean: None }));

        let apply = |(weight, bias): &(Vec<f32>, Vec<f32>), x: &[f64]| -> Vec<f64> {
            let rows = weight.chunks_exact(x.len()).zip(bias);
            rows.map(|(w, &b)| f64::from(b) + w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum::<f64>()).collect()
        };
        let softmax = |x: Vec<f64>| -> Vec<f64> {
            let sum: f64 = x.iter().map(|x| x.exp()).sum();
            x.iter().map(|x| x.exp() / sum).collect()
        };
        let row = |table: &[f32], index: i32| -> Vec<f64> {
            table[index as usize * e..][..e].iter().map(|&x| f64::from(x)).collect()
        };
        let mut expected = Vec::new();
        for b in 0..batch {
            let c = &context[5 * b..5 * b + 5];
            let organs: Vec<Vec<f64>> =
                (0..4).map(|level| row(&tables[level], if level == 0 { 0 } else { c[level] })).collect();
            let weights = softmax(apply(&organ, &organs.concat()));
            let organ: Vec<f64> = (0..e).map(|i| (0..4).map(|k| weights[k] * organs[k][i]).sum()).collect();
            let slice = &tokens_of_all[b * tokens * width..][..tokens * width];
            let normed = layer_norm(&wide(slice), &bias, &bias, 1e-6);
            let means: Vec<f64> =
                (0..width).map(|c| normed.iter().skip(c).step_by(width).sum::<f64>() / tokens as f64).collect();
            let joined = [organ, row(&tables[4], c[4]), row(&modal, c[0]), apply(&input, &means)].concat();
            expected.extend(softmax(apply(&last, &joined)));
        }
        let found = case.run(&backend(), batch, &[out]).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_close(&what, &found[0], &expected, GATE.limit);
    }
}

#[test]
fn convolutions() {
    for (batch, grid, channels, outputs) in
        [(1, 16, 64, 64), (1, 16, 256, 256), (2, 5, 24, 12), (1, 1, 8, 4), (11, 30, 8, 36), (13, 30, 8, 132)]
    {
        let what = format!("{batch} x {grid}^2 x {channels} -> {outputs}");
        let random = &mut Random((grid + channels) as u64);
        let input = random.halves(batch * grid * grid * channels, 1.0);
        let weight = random.halves(outputs * 9 * channels, (0.3 / channels as f32).sqrt());
        let mut case = Case::new(batch);
        let x = case.floats(&[grid * grid, channels], &input);
        let w = case.param(&[outputs, 3, 3, channels], &weight);
        let out = case.output(&[grid * grid, outputs]);
        case.graph.push("conv", Op::Conv3x3(op::Conv3x3 { input: x, weight: w, grid, out }));
        let mut expected = Vec::new();
        for (b, y, x) in (0..batch).flat_map(|b| (0..grid).flat_map(move |y| (0..grid).map(move |x| (b, y, x)))) {
            for o in 0..outputs {
                let mut sum = 0.0;
                for (ky, kx) in (0..3).flat_map(|ky| (0..3).map(move |kx| (ky, kx))) {
                    let (sy, sx) = ((y + ky).wrapping_sub(1), (x + kx).wrapping_sub(1));
                    if sy < grid && sx < grid {
                        let token = (b * grid + sy) * grid + sx;
                        let w = &weight[((o * 3 + ky) * 3 + kx) * channels..][..channels];
                        sum += dot(&input[token * channels..][..channels], w);
                    }
                }
                expected.push(sum);
            }
        }
        let found = case.run(&backend(), batch, &[out]).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_close(&what, &found[0], &expected, SUM.limit);
    }
}

#[test]
fn patch_embeddings() {
    let patch = 16;
    // Batch, side, width, valid height and width.
    for (batch, size, width, valid) in [
        (1, 256, 128, [256, 256]),
        (2, 64, 68, [37, 51]),
        (3, 48, 20, [48, 1]),
        (1, 80, 72, [80, 66]),
        (8, 256, 768, [200, 256]),
    ] {
        let what = format!("{batch} x {size}^2 -> {width}");
        let grid = size / patch;
        let depth = 3 * patch * patch;
        let random = &mut Random((size + width) as u64);
        let pixels: Vec<u8> = random.vec(batch * size * size * 3, 128.0).iter().map(|x| (x + 128.0) as u8).collect();
        let weight = random.halves(width * depth, (3.0 / depth as f32).sqrt());
        let bias = random.vec(grid * grid * width, 1.0);
        let scaling: Vec<f32> = (0..batch)
            .flat_map(|b| {
                let b = b as f32;
                [0.017, 0.018 + b * 0.001, 0.0174, -2.1, -2.0 + 0.1 * b, -1.8, valid[0] as f32, valid[1] as f32]
            })
            .collect();
        let mut case = Case::new(batch);
        let pixels_id = case.input(&[size, size, 3], Element::U8, &pixels);
        let scaling_id = case.floats(&[8], &scaling);
        let weight_id = case.param(&[width, patch, patch, 3], &weight);
        let token_bias = case.param(&[grid * grid, width], &bias);
        let out = case.output(&[grid * grid, width]);
        let op = Op::PatchEmbed(op::PatchEmbed {
            pixels: pixels_id,
            scaling: scaling_id,
            weight: weight_id,
            token_bias,
            out,
        });
        case.graph.push("patch", op);
        let mut expected = Vec::new();
        for (b, n) in (0..batch).flat_map(|b| (0..grid * grid).map(move |n| (b, n))) {
            let mut normalised = Vec::new();
            for (ky, kx, c) in (0..patch).flat_map(|y| (0..patch).flat_map(move |x| (0..3).map(move |c| (y, x, c)))) {
                let (y, x) = (n / grid * patch + ky, n % grid * patch + kx);
                let pixel = f32::from(pixels[((b * size + y) * size + x) * 3 + c]);
                let value = pixel.mul_add(scaling[8 * b + c], scaling[8 * b + 3 + c]);
                let inside = y < valid[0] && x < valid[1];
                normalised.push(if inside { f16::from_f32(value).to_f32() } else { 0.0 });
            }
            for c in 0..width {
                let y = dot(&normalised, &weight[c * depth..][..depth]);
                expected.push(y + f64::from(bias[n * width + c]));
            }
        }
        let found = case.run(&backend(), batch, &[out]).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_close(&what, &found[0], &expected, SUM.limit);
    }
}

#[test]
fn what_f16_cannot_hold_saturates_and_is_counted() {
    let mut case = Case::new(1);
    let (tokens, depth, columns) = (4, 8, 8);
    // Row 0 overflows upwards in columns 1 and 2 and downwards in column 3; NaN stays NaN in row 2.
    let mut input = vec![1.0f32; tokens * depth];
    input[2 * depth] = f32::NAN;
    let mut weight = vec![0.125f32; columns * depth];
    let x = case.floats(&[tokens, depth], &input);
    weight[depth..3 * depth].fill(60000.0);
    weight[3 * depth..4 * depth].fill(-60000.0);
    let w = case.param(&[columns, depth], &weight);
    let out = case.output(&[tokens, columns]);
    let product = |input, weight, out| {
        Op::Linear(op::Linear {
            input,
            weight,
            bias: Bias::None,
            activation: Activation::Identity,
            gated: None,
            residual: None,
            out,
        })
    };
    case.graph.push("product", product(x, w, out));
    let reader_weight = case.param(&[8, columns], &[0.0; 64]);
    let reader = case.output(&[tokens, 8]);
    case.graph.push("reader", product(out, reader_weight, reader));
    let backend = backend();
    let found = case.run(&backend, 1, &[out]).expect("it runs");
    for (r, row) in found[0].chunks_exact(columns).enumerate() {
        if r == 2 {
            assert!(row.iter().all(|x| x.is_nan()), "row 2: {row:?}");
        } else {
            assert_eq!(row, [1.0, 65504.0, 65504.0, -65504.0, 1.0, 1.0, 1.0, 1.0], "row {r}");
        }
    }
    assert_eq!(backend.saturated().expect("a counter").values, 9);
}
