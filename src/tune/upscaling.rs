//! Transposed convolutions with LayerNorm and GELU between them. Each token's pixels lie side by side, four a doubling:
//! a convolution is a Linear to four pixels.

use std::ops::Range;

use super::gains::Gains;
use super::layers::{Norm, Normed, add, add_rows};
use super::memory::WHAT;
use super::parameters::Table;
use crate::Result;
use crate::backend::cpu::training::{Multiplier, Right, gelu, scale};
use crate::memory::{copied, reserve, zeros};

/// LayerNorm2d.
const EPS: f32 = 1e-6;
/// Numbers of the last map that are made and gone back through at a time: what nobody needs afterwards takes no more
/// memory than that. A quarter of it made a step 8 % slower.
const BLOCK: usize = 1 << 17;

pub(super) struct Upscaling {
    /// Of all tokens at once.
    first: Doubling,
    /// Block by block.
    rest: Vec<Doubling>,
}

struct Doubling {
    /// `[inputs, outputs, 2, 2]`.
    weight: Range<usize>,
    bias: Range<usize>,
    norm: Option<Norm>,
}

/// A forward pass.
pub(super) struct Upscaled {
    /// The weight of the first doubling, and of the others, `[4 outputs, inputs]`.
    weight: Vec<f32>,
    weights: Vec<Vec<f32>>,
    first: Doubled,
    blocks: Vec<Block>,
}

/// A stretch of the last map, and what made it of the first doubling's result.
struct Block {
    doubled: Vec<Doubled>,
    /// `[pixels, C]`.
    pixels: Vec<f32>,
}

/// What the way back of a doubling needs.
struct Doubled {
    input: Vec<f32>,
    normed: Option<Normed>,
    slope: Vec<f32>,
}

/// What a doubling's tensors gain.
struct Gained {
    /// `[4 outputs, inputs]`.
    weight: Vec<f32>,
    bias: Vec<f32>,
    /// Gain and bias.
    norm: [Vec<f32>; 2],
}

impl Upscaling {
    pub fn new(table: &Table, doublings: usize) -> Result<Upscaling> {
        const PATH: &str = "mask_decoder.output_upscaling";
        let doubling = |i: usize| {
            let range = |end: &str| Ok(table.find(&format!("{PATH}.{}.{end}", 3 * i))?.range.clone());
            let norm = (i + 1 < doublings).then(|| Norm::new(table, &format!("{PATH}.{}", 3 * i + 1), EPS));
            Ok(Doubling { weight: range("weight")?, bias: range("bias")?, norm: norm.transpose()? })
        };
        Ok(Upscaling { first: doubling(0)?, rest: (1..doublings).map(doubling).collect::<Result<_>>()? })
    }

    /// Pixels of a token.
    pub fn pixels(&self) -> usize {
        4 << (2 * self.rest.len())
    }

    /// Channels of the last map.
    pub fn channels(&self) -> usize {
        self.rest.last().unwrap_or(&self.first).bias.len()
    }

    /// From tokens `[N, P]` to pixels `[N, 4, 4, .., C]`, which `each` gets block by block with the number of pixels
    /// before them.
    pub fn forward(
        &self,
        m: &mut Multiplier,
        p: &[f32],
        tokens: &[f32],
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<Upscaled> {
        let weight = self.first.four(p)?;
        let weights = self.rest.iter().map(|doubling| doubling.four(p)).collect::<Result<Vec<_>>>()?;
        let (x, first) = self.first.forward(m, p, &weight, copied(tokens, WHAT)?)?;
        // Pixels of the first doubling that make a block.
        let rows = (4 * BLOCK / (self.channels() * self.pixels())).max(1);
        let numbers = rows * self.first.bias.len();
        let mut blocks = reserve(x.len().div_ceil(numbers), WHAT)?;
        let mut before = 0;
        for x in x.chunks(numbers) {
            let mut pixels = copied(x, WHAT)?;
            let mut doubled = reserve(self.rest.len(), WHAT)?;
            for (doubling, weight) in self.rest.iter().zip(&weights) {
                let (y, saved) = doubling.forward(m, p, weight, pixels)?;
                doubled.push(saved);
                pixels = y;
            }
            each(before, &pixels);
            before += pixels.len() / self.channels();
            blocks.push(Block { doubled, pixels });
        }
        Ok(Upscaled { weight, weights, first, blocks })
    }

    /// The derivative by the tokens. `each` fills the derivative by a block of pixels, of which it gets the number
    /// before them and themselves.
    pub fn back(
        &self,
        m: &mut Multiplier,
        p: &[f32],
        saved: &Upscaled,
        g: &mut Gains,
        mut each: impl FnMut(usize, &[f32], &mut [f32]),
    ) -> Result<Vec<f32>> {
        let mut gained = self.rest.iter().map(Doubling::no_gain).collect::<Result<Vec<_>>>()?;
        let mut by_first = reserve(saved.first.slope.len(), WHAT)?;
        let mut before = 0;
        for Block { doubled, pixels } in &saved.blocks {
            let mut d = zeros(pixels.len(), WHAT)?;
            each(before, pixels, &mut d);
            let steps = self.rest.iter().zip(&saved.weights).zip(doubled).zip(&mut gained).rev();
            for (((doubling, weight), saved), gained) in steps {
                d = doubling.back(m, p, weight, saved, d, gained)?;
            }
            before += pixels.len() / self.channels();
            by_first.extend_from_slice(&d);
        }
        let mut of_first = self.first.no_gain()?;
        let d = self.first.back(m, p, &saved.weight, &saved.first, by_first, &mut of_first)?;
        self.first.gain(of_first, g)?;
        self.rest.iter().zip(gained).try_for_each(|(doubling, gained)| doubling.gain(gained, g))?;
        Ok(d)
    }
}

impl Doubling {
    fn inputs(&self) -> usize {
        self.weight.len() / (4 * self.bias.len())
    }

    /// The weight as `[4 outputs, inputs]`.
    fn four(&self, p: &[f32]) -> Result<Vec<f32>> {
        to_four(&p[self.weight.clone()], self.inputs(), self.bias.len())
    }

    fn forward(&self, m: &mut Multiplier, p: &[f32], weight: &[f32], input: Vec<f32>) -> Result<(Vec<f32>, Doubled)> {
        let bias = &p[self.bias.clone()];
        let mut y = zeros(input.len() / self.inputs() * 4 * bias.len(), WHAT)?;
        m.multiply(&input, Right::Columns(weight), self.inputs(), Some(&[bias; 4].concat()), &mut y)?;
        let mut normed = None;
        if let Some(norm) = &self.norm {
            let (out, saved) = norm.forward(m, p, &y)?;
            (y, normed) = (out, Some(saved));
        }
        let mut slope = zeros(y.len(), WHAT)?;
        gelu(m.level(), &mut y, &mut slope);
        Ok((y, Doubled { input, normed, slope }))
    }

    /// The derivative by the input; `gained` gains.
    fn back(
        &self,
        m: &mut Multiplier,
        p: &[f32],
        weight: &[f32],
        saved: &Doubled,
        mut d: Vec<f32>,
        gained: &mut Gained,
    ) -> Result<Vec<f32>> {
        scale(m.level(), &mut d, &saved.slope);
        if let Some((norm, normed)) = self.norm.as_ref().zip(saved.normed.as_ref()) {
            d = norm.back_adding(m, p, normed, &d, &mut gained.norm)?;
        }
        add_rows(&mut gained.bias, &d);
        let (outputs, inputs) = (4 * self.bias.len(), self.inputs());
        let rows = d.len() / outputs;
        let mut part = zeros(weight.len(), WHAT)?;
        m.outer(&d, &saved.input, rows, &mut part)?;
        add(&mut gained.weight, &part);
        let mut dx = zeros(rows * inputs, WHAT)?;
        m.multiply(&d, Right::Rows(weight), outputs, None, &mut dx)?;
        Ok(dx)
    }

    fn no_gain(&self) -> Result<Gained> {
        let weight = zeros(self.weight.len(), WHAT)?;
        let norm = || vec![0.0; if self.norm.is_some() { self.bias.len() } else { 0 }];
        Ok(Gained { weight, bias: vec![0.0; self.bias.len()], norm: [norm(), norm()] })
    }

    fn gain(&self, gained: Gained, g: &mut Gains) -> Result<()> {
        let mut weight = zeros(self.weight.len(), WHAT)?;
        from_four(&mut weight, &gained.weight, self.inputs(), self.bias.len());
        g.set(&self.weight, weight);
        g.set(&self.bias, gained.bias);
        if let Some(norm) = &self.norm {
            norm.gain(gained.norm, g);
        }
        Ok(())
    }
}

/// `[inputs, outputs, 4]` to `[4, outputs, inputs]`.
fn to_four(weight: &[f32], inputs: usize, outputs: usize) -> Result<Vec<f32>> {
    let mut four = zeros(weight.len(), WHAT)?;
    for (input, weight) in weight.chunks_exact(4 * outputs).enumerate() {
        for (at, &w) in weight.iter().enumerate() {
            four[(at % 4 * outputs + at / 4) * inputs + input] = w;
        }
    }
    Ok(four)
}

/// `[4, outputs, inputs]` to `[inputs, outputs, 4]`.
fn from_four(weight: &mut [f32], four: &[f32], inputs: usize, outputs: usize) {
    for (input, weight) in weight.chunks_exact_mut(4 * outputs).enumerate() {
        for (at, w) in weight.iter_mut().enumerate() {
            *w = four[(at % 4 * outputs + at / 4) * inputs + input];
        }
    }
}

/// For each pixel of a map of `grid << doublings` rows and columns, in their order, its place among the pixels of
/// [`Upscaling::forward`].
pub(super) fn places(grid: usize, doublings: usize) -> Result<Vec<usize>> {
    let (side, edge) = (grid << doublings, 1 << doublings);
    let bit = |n: usize, bit: usize| n >> bit & 1;
    let place = |y: usize, x: usize| {
        let token = y / edge * grid + x / edge;
        let inside = (0..doublings).map(|b| bit(y, b) << (2 * b + 1) | bit(x, b) << (2 * b)).sum::<usize>();
        token * edge * edge + inside
    };
    let mut places = reserve(side * side, "places of pixels")?;
    places.extend((0..side * side).map(|at| place(at / side, at % side)));
    Ok(places)
}
