//! One block of the encoder, forth and back. Its attention, MLP and norms are frozen: they are the parameters that
//! inference has, and the way back goes through them without a gradient of their own.

use std::sync::Arc;

use super::experts::{ExpertPass, ExpertWork, Experts, Given};
use super::frozen::Plain;
use crate::Result;
use crate::backend::cpu::training::{Affine, Crew, Finish, Frozen, Relative, Side};
use crate::backend::cpu::{Cpu, Param};
use crate::executor::Network;
use crate::memory::fit;
use crate::model::Config;
use crate::tune::memory::WHAT;
use crate::tune::parameters::Table;

/// LayerNorms of the encoder.
pub(super) const EPS: f32 = 1e-6;

pub(super) struct Block {
    norms: [[Plain; 2]; 2],
    qkv: (Frozen, Plain),
    /// What stands for padded keys.
    padding: Plain,
    tables: [Arc<Param>; 2],
    proj: (Frozen, Plain),
    lin1: (Frozen, Plain),
    lin2: (Frozen, Plain),
    pub experts: Option<Experts>,
    width: usize,
    mlp: usize,
    heads: usize,
    grid: usize,
    /// Of a window.
    side: usize,
}

/// What the way back needs besides the block's input.
#[derive(Default)]
pub(super) struct BlockPass {
    /// After the attention, `[rows, D]`.
    middle: Vec<f32>,
    /// `[rows, 3 D]`.
    qkv: Vec<f32>,
    /// Of the MLP before its GELU, `[rows, 4 D]`.
    before: Vec<f32>,
    experts: ExpertPass,
}

/// Memory that all blocks share.
#[derive(Default)]
pub(super) struct Work {
    /// `[rows, D]`.
    pub normed: Vec<f32>,
    by_normed: Vec<f32>,
    attended: Vec<f32>,
    /// `[rows, 4 D]`.
    hidden: Vec<f32>,
    pub experts: ExpertWork,
}

impl BlockPass {
    pub fn fit(&mut self, rows: usize, width: usize, mlp: usize) -> Result<()> {
        fit(&mut self.middle, rows * width, WHAT)?;
        fit(&mut self.qkv, rows * 3 * width, WHAT)?;
        fit(&mut self.before, rows * mlp, WHAT)
    }
}

impl Work {
    pub fn fit(&mut self, rows: usize, width: usize, mlp: usize) -> Result<()> {
        [&mut self.normed, &mut self.by_normed, &mut self.attended]
            .into_iter()
            .try_for_each(|v| fit(v, rows * width, WHAT))?;
        fit(&mut self.hidden, rows * mlp, WHAT)
    }
}

impl Block {
    pub fn new(network: &Network<Cpu>, table: &Table, config: &Config, index: usize) -> Result<Block> {
        let path = format!("image_encoder.blocks.{index}");
        let (width, mlp) = (config.width, config.mlp);
        let plain = |name: &str, len: usize| Plain::new(network.param(&format!("{path}.{name}"))?, len);
        let frozen = |name: &str, shape| Frozen::new(network.param(&format!("{path}.{name}"))?, shape);
        let norm = |name: &str| Ok([plain(&format!("{name}.weight"), width)?, plain(&format!("{name}.bias"), width)?]);
        let adapters = config.adapters.as_ref().filter(|adapters| adapters.blocks[index]);
        let [lin1, lin1_bias, lin2] = match adapters {
            Some(_) => ["mlp.lin1|adapter_down.weight", "mlp.lin1|adapter_down.bias", "mlp.lin2|adapter_up.weight"],
            None => ["mlp.lin1.weight", "mlp.lin1.bias", "mlp.lin2.weight"],
        };
        let lin2_bias = if adapters.is_some() { "mlp.mlp.lin2.bias" } else { "mlp.lin2.bias" };
        let table_of = |name: &str| network.param(&format!("{path}.attn.{name}"));
        Ok(Block {
            norms: [norm("norm1")?, norm("norm2")?],
            qkv: (frozen("attn.qkv.weight", [3 * width, width])?, plain("attn.qkv.bias", 3 * width)?),
            padding: plain("attn.padding", 3 * width)?,
            tables: [table_of("rel_pos_h")?, table_of("rel_pos_w")?],
            proj: (frozen("attn.proj.weight", [width, width])?, plain("attn.proj.bias", width)?),
            lin1: (frozen(lin1, [mlp, width])?, plain(lin1_bias, mlp)?),
            lin2: (frozen(lin2, [width, mlp])?, plain(lin2_bias, width)?),
            experts: adapters.map(|a| Experts::new(table, &format!("{path}.mlp"), a, width)).transpose()?,
            width,
            mlp,
            heads: config.heads,
            grid: config.grid(),
            side: if config.global[index] { config.grid() } else { config.window },
        })
    }

    /// f32 of scratch of a task.
    pub fn scratch(&self, cpu: &Cpu) -> usize {
        Relative::scratch(cpu.level(), self.side, self.grid, self.width / self.heads)
    }

    fn norm(&self, which: usize) -> Affine<'_> {
        let [gain, bias] = &self.norms[which];
        Affine { gain, bias, eps: EPS }
    }

    fn attention<'a>(&'a self, qkv: &'a [f32]) -> Relative<'a> {
        let (tables, width) = ([&*self.tables[0], &*self.tables[1]], self.width);
        Relative { qkv, bias: &self.padding, tables, width, heads: self.heads, grid: self.grid, side: self.side }
    }

    /// All but the experts, in a pass and memory for as many rows. What meets the experts is left in `work.normed`;
    /// `out`, where it is wanted, gets the residual and the MLP's part.
    pub fn frozen(&self, crew: Crew<'_>, x: &[f32], pass: &mut BlockPass, work: &mut Work, out: Option<&mut [f32]>) {
        let width = self.width;
        let (weight, bias) = &self.qkv;
        crew.norm(self.norm(0), x, &mut work.normed);
        crew.product(&work.normed, width, Side::Forth(weight), Finish::Bias(bias), &mut pass.qkv);
        crew.attend(self.attention(&pass.qkv), &mut work.attended);
        let (weight, bias) = &self.proj;
        let finish = Finish::Residual { bias, residual: x };
        crew.product(&work.attended, width, Side::Forth(weight), finish, &mut pass.middle);
        crew.norm(self.norm(1), &pass.middle, &mut work.normed);
        let (weight, bias) = &self.lin1;
        let finish = Finish::Gelu { bias, before: &mut pass.before };
        crew.product(&work.normed, width, Side::Forth(weight), finish, &mut work.hidden);
        if let Some(out) = out {
            let (weight, bias) = &self.lin2;
            let finish = Finish::Residual { bias, residual: &pass.middle };
            crew.product(&work.hidden, self.mlp, Side::Forth(weight), finish, out);
        }
    }

    /// From `x` `[rows, D]`; without `out` only what the way back needs.
    pub fn forward(
        &self,
        crew: Crew<'_>,
        given: Given<'_>,
        x: &[f32],
        pass: &mut BlockPass,
        work: &mut Work,
        mut out: Option<&mut [f32]>,
    ) -> Result<()> {
        self.frozen(crew, x, pass, work, out.as_deref_mut());
        match &self.experts {
            Some(experts) => experts.forward(crew, given, &work.normed, &mut pass.experts, &mut work.experts, out),
            None => Ok(()),
        }
    }

    /// `d` by the result becomes the derivative by `x`; the experts gain theirs.
    #[allow(clippy::too_many_arguments, reason = "the way back of one block")]
    pub fn back(
        &self,
        crew: Crew<'_>,
        given: Given<'_>,
        x: &[f32],
        pass: &BlockPass,
        work: &mut Work,
        d: &mut [f32],
        g: &mut [f32],
    ) -> Result<()> {
        let (width, rows) = (self.width, x.len() / self.width);
        crew.product(d, width, Side::Back(&self.lin2.0), Finish::Slope(&pass.before), &mut work.hidden);
        crew.product(&work.hidden, self.mlp, Side::Back(&self.lin1.0), Finish::Set, &mut work.by_normed);
        if let Some(experts) = &self.experts {
            crew.norm(self.norm(1), &pass.middle, &mut work.normed);
            let (u, du) = (&work.normed, Some(&mut work.by_normed[..]));
            experts.back(crew, given, u, d, &pass.experts, &mut work.experts, g, du)?;
        }
        crew.add_norm_back(self.norm(1), &pass.middle, &work.by_normed, d);
        crew.product(d, width, Side::Back(&self.proj.0), Finish::Set, &mut work.attended);
        let by_qkv = &mut work.hidden[..rows * 3 * width];
        crew.attend_back(self.attention(&pass.qkv), &work.attended, by_qkv);
        crew.product(by_qkv, 3 * width, Side::Back(&self.qkv.0), Finish::Set, &mut work.by_normed);
        crew.add_norm_back(self.norm(0), x, &work.by_normed, d);
        Ok(())
    }
}
