//! From the last block to the embedding, forth and back; nothing of it is trained.

use super::block::EPS;
use super::frozen::Plain;
use crate::Result;
use crate::backend::cpu::Cpu;
use crate::backend::cpu::training::{Affine, Crew, Finish, Frozen, Side};
use crate::executor::Network;
use crate::memory::fit;
use crate::model::Config;
use crate::tune::memory::WHAT;

pub(super) struct Neck {
    narrow: Frozen,
    convolution: Frozen,
    norms: [[Plain; 2]; 2],
    width: usize,
    grid: usize,
}

/// What the way back needs: inputs of both norms, `[rows, P]`.
#[derive(Default)]
pub(super) struct NeckPass {
    narrow: Vec<f32>,
    convolved: Vec<f32>,
    work: Vec<f32>,
}

impl NeckPass {
    /// Makes room for `len` numbers, rows times P.
    pub fn fit(&mut self, len: usize) -> Result<()> {
        [&mut self.narrow, &mut self.convolved, &mut self.work].into_iter().try_for_each(|part| fit(part, len, WHAT))
    }
}

impl Neck {
    pub fn new(network: &Network<Cpu>, config: &Config) -> Result<Neck> {
        let prompt = config.prompt_width;
        let param = |name: &str| network.param(&format!("image_encoder.neck.{name}"));
        let plain = |name: &str| Plain::new(param(name)?, prompt);
        Ok(Neck {
            narrow: Frozen::new(param("0.weight")?, [prompt, config.width])?,
            convolution: Frozen::new(param("2.weight")?, [prompt, 9 * prompt])?,
            norms: [[plain("1.weight")?, plain("1.bias")?], [plain("3.weight")?, plain("3.bias")?]],
            width: config.width,
            grid: config.grid(),
        })
    }

    fn norm(&self, which: usize) -> Affine<'_> {
        let [gain, bias] = &self.norms[which];
        Affine { gain, bias, eps: EPS }
    }

    /// From `x` `[rows, D]` to `out` `[rows, P]`, in a pass for as many rows.
    pub fn forward(&self, crew: Crew<'_>, x: &[f32], pass: &mut NeckPass, out: &mut [f32]) {
        let NeckPass { narrow, convolved, work } = pass;
        crew.product(x, self.width, Side::Forth(&self.narrow), Finish::Set, narrow);
        crew.norm(self.norm(0), narrow, work);
        crew.convolve(&self.convolution, self.grid, work, convolved);
        crew.norm(self.norm(1), convolved, out);
    }

    /// The derivative by `x`, for `d` by the result.
    pub fn back(&self, crew: Crew<'_>, pass: &mut NeckPass, d: &[f32], out: &mut [f32]) {
        let NeckPass { narrow, convolved, work } = pass;
        work.fill(0.0);
        crew.add_norm_back(self.norm(1), convolved, d, work);
        // What was convolved is not needed any more.
        crew.convolve_back(&self.convolution, self.grid, work, convolved);
        work.fill(0.0);
        crew.add_norm_back(self.norm(0), narrow, convolved, work);
        crew.product(work, narrow.len() / (out.len() / self.width), Side::Back(&self.narrow), Finish::Set, out);
    }
}
