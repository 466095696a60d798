//! Mask upsampling: each image token alone decides its own square of pixels, so a task takes a few tokens through all
//! transposed convolutions, and only the finished logits leave the cache.

use super::Level;
use super::dense::{Layer, Pieces};
use super::layer_norm::Affine;
use super::math::gelu;
use super::memory::{Shared, Views, floats, floats_mut};
use super::product::{MAX_ROWS, Single, Start, Tile, any_tile};
use super::simd::{Kernel, Simd};
use super::step::{Execute, Form, Step};
use crate::error::Result;
use crate::graph::op::{Dense, Norm, Upscale};
use crate::graph::{Graph, ParamId};

/// Tokens of a task.
const TOKENS: usize = 6;

/// Numbers of a token at its widest, and its pixels before the last convolution.
fn widest(graph: &Graph, convs: &[Dense]) -> (usize, usize) {
    let mut rows = 1;
    let mut numbers = 0;
    for conv in convs {
        numbers = numbers.max(4 * rows * graph[conv.bias].len());
        rows *= 4;
    }
    (numbers, rows / 4)
}

/// Sums and two images of the tokens of a task; a register's masks, and what they make of each pixel.
fn scratch(level: Level, graph: &Graph, convs: &[Dense]) -> usize {
    let (numbers, rows) = widest(graph, convs);
    let channels = convs.last().map_or(0, |conv| graph[conv.bias].len());
    TOKENS * (rows * level.panel() + 2 * numbers) + (channels + TOKENS * 4 * rows) * level.lanes()
}

impl Execute for Upscale {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }

    fn scratch(&self, level: Level, graph: &Graph) -> usize {
        scratch(level, graph, &self.convs)
    }

    fn form(&self, graph: &Graph, id: ParamId) -> Form {
        if self.convs.iter().any(|conv| conv.weight == id) {
            Form::Packed { outputs: graph[id].shape.iter().rev().skip(1).product() }
        } else {
            Form::Plain
        }
    }
}

fn run(step: &Step<'_>, op: &Upscale, views: Views<'_>) -> Result<()> {
    let Upscale { input, hyper, convs, norms, grid, out } = op;
    let (tokens, width) = (step.graph[*input].shape[1], step.graph[*input].shape[2]);
    let (masks, channels) = (step.graph[*hyper].shape[1], step.graph[*hyper].shape[2]);
    let (numbers, rows) = widest(step.graph, convs);
    let ([input, hyper], [out]) = views.take([*input, *hyper], [*out])?;
    let (input, hyper, out) = (floats(input), floats(hyper), Shared::new(floats_mut(out)));
    convs.iter().try_for_each(|conv| Layer::new(step, conv).map(drop))?;
    norms.iter().try_for_each(|norm| Affine::new(step, norm).map(drop))?;
    let chunks = tokens.div_ceil(TOKENS);
    step.each(step.active * chunks, |task, scratch| {
        let (b, first) = (task / chunks, task % chunks * TOKENS);
        let count = TOKENS.min(tokens - first);
        let mut pieces = Pieces(scratch);
        let sums = pieces.take(TOKENS * rows * step.level.panel());
        let images = [pieces.take(TOKENS * numbers), pieces.take(TOKENS * numbers)];
        let input = &input[(b * tokens + first) * width..][..count * width];
        let pixels = step.level.run(Convolve { step, input, count, convs, norms, sums, images });
        let hyper = &hyper[b * masks * channels..(b + 1) * masks * channels];
        let square = Square { grid: *grid, doublings: convs.len() };
        let lanes = step.level.lanes();
        let (columns, logits) = (pieces.take(channels * lanes), pieces.take(count * square.area() * lanes));
        let pixels = &pixels[..count * square.area() * channels];
        for (group, hyper) in hyper.chunks(lanes * channels).enumerate() {
            step.level.run(Weigh { pixels, hyper, channels, columns, logits });
            for mask in 0..hyper.len() / channels {
                let base = (b * masks + group * lanes + mask) * square.side() * square.side();
                for (token, logits) in (first..).zip(logits.chunks_exact(square.area() * lanes)) {
                    square.draw(token, &logits[mask..], lanes, base, out);
                }
            }
        }
    });
    Ok(())
}

struct Convolve<'a> {
    step: &'a Step<'a>,
    input: &'a [f32],
    count: usize,
    convs: &'a [Dense],
    norms: &'a [Norm],
    sums: &'a mut [f32],
    images: [&'a mut [f32]; 2],
}

impl<'a> Kernel for Convolve<'a> {
    /// `[tokens, 4, 4, ..., channels]`: a pair of rows and columns a doubling.
    type Output = &'a [f32];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> &'a [f32] {
        let Convolve { step, input, mut count, convs, norms, sums, images: [mut from, mut to] } = self;
        from[..input.len()].copy_from_slice(input);
        for (i, conv) in convs.iter().enumerate() {
            // Looked up once more instead of listed: a run allocates nothing, and `run` has seen that all are there.
            let Ok(layer) = Layer::new(step, conv) else { continue };
            layer.apply(s, from, count, sums, to);
            count *= 4;
            let channels = layer.bias.len();
            if let Some(Ok(norm)) = norms.get(i).map(|norm| Affine::new(step, norm)) {
                // What the convolution read is memory now.
                norm.apply_to_rows(s, &mut to[..count * channels], from);
            }
            for part in to[..count * channels].chunks_mut(S::LANES) {
                let x = gelu(s, s.read_any(part));
                s.write_any(part, x);
            }
            std::mem::swap(&mut from, &mut to);
        }
        from
    }
}

/// `logits[pixel, mask] = pixels[pixel] . hyper[mask]` for at most a register of masks.
struct Weigh<'a> {
    /// `[*, channels]`.
    pixels: &'a [f32],
    /// `[masks, channels]`.
    hyper: &'a [f32],
    channels: usize,
    /// `hyper` as columns, `[channels, LANES]`.
    columns: &'a mut [f32],
    /// `[*, LANES]`.
    logits: &'a mut [f32],
}

impl Kernel for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Weigh { pixels, hyper, channels, columns, logits } = self;
        columns.fill(0.0);
        for (mask, hyper) in hyper.chunks_exact(channels).enumerate() {
            for (row, &x) in columns.chunks_exact_mut(S::LANES).zip(hyper) {
                row[mask] = x;
            }
        }
        let count = pixels.len() / channels;
        assert!(columns.len() >= channels * S::LANES && logits.len() >= count * S::LANES);
        for first in (0..count).step_by(S::ROWS) {
            let rows = S::ROWS.min(count - first);
            let mut a = [std::ptr::null(); MAX_ROWS];
            for (a, pixel) in a[..rows].iter_mut().zip(pixels[first * channels..].chunks_exact(channels)) {
                *a = pixel.as_ptr();
            }
            let (b, c) = (columns.as_ptr(), logits[first * S::LANES..].as_mut_ptr());
            let t = Tile { b, b_stride: S::LANES, inputs: channels, c, c_stride: S::LANES, start: Start::Zero };
            // SAFETY: `channels` numbers of each pixel, a register in as many rows of `columns` and in each row of
            // `logits`.
            #[allow(unsafe_code)]
            unsafe {
                any_tile::<S, Single>(s, &a[..rows], 1, t);
            }
        }
    }
}

/// Bits of a pixel's index in the order of the doublings that are its column's: one of the row and one of the column a
/// doubling, the first doubling's highest.
const COLUMN: usize = usize::MAX / 3;

/// The next number spread over the bits of `places`.
fn next(bits: usize, places: usize) -> usize {
    (bits | !places).wrapping_add(1) & places
}

/// Where a token's pixels lie.
struct Square {
    grid: usize,
    doublings: usize,
}

impl Square {
    fn area(&self) -> usize {
        1 << (2 * self.doublings)
    }

    /// L.
    fn side(&self) -> usize {
        self.grid << self.doublings
    }

    /// Writes every `stride`th of `logits`, one a pixel, to the mask that starts at `base`.
    fn draw(&self, token: usize, logits: &[f32], stride: usize, base: usize, out: Shared<'_>) {
        let edge = 1 << self.doublings;
        let (top, left) = (token / self.grid * edge, token % self.grid * edge);
        let mut y_bits = 0;
        for y in 0..edge {
            // SAFETY: this stretch of a row belongs to this token, and the token to one task.
            #[allow(unsafe_code)]
            let row = unsafe { out.part(base + (top + y) * self.side() + left, edge) };
            let mut x_bits = 0;
            for logit in row {
                *logit = logits[(y_bits | x_bits) * stride];
                x_bits = next(x_bits, COLUMN);
            }
            y_bits = next(y_bits, COLUMN << 1);
        }
    }
}
