//! Launches `kernels/mask_embed.ptx.j2`.

use super::driver::{Arg, Driver};
use super::step::{Launch, Step};
use crate::error::Result;
use crate::graph::op::MaskEmbed;

/// A mask prompt's dense embedding.
impl Launch for MaskEmbed {
    fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
        let &MaskEmbed { mask, ref convs, ref norms, out } = self;
        let [tokens, p] = [step.shape(out)[0], step.shape(out)[1]];
        let grid = step.shape(mask)[0] / 4;
        if p > 256 || grid * grid != tokens || norms[0].eps != norms[1].eps {
            return Err(step.unsupported("at most 256 channels on a square grid, one eps", format!("{p} on {tokens}")));
        }
        let conv = |i: usize| [convs[i].weight, convs[i].bias];
        let norm = |i: usize| [norms[i].gain, norms[i].bias];
        let params = [conv(0), norm(0), conv(1), norm(1), conv(2)].concat();
        let mut args = vec![Arg::Pointer(step.value(mask))];
        args.extend(params.into_iter().map(|id| Arg::Pointer(step.param(id))));
        args.extend([Arg::Pointer(step.value(out)), Arg::U32(step.u32(grid)?), Arg::U32(step.u32(p)?)]);
        args.push(Arg::F32(norms[0].eps));
        step.launch("mask_embed", [tokens.div_ceil(64), step.active, 1], &args)
    }
}
