//! Launches `kernels/prompt_tokens.ptx.j2`.

use super::driver::{Arg, Driver};
use super::step::Step;
use crate::error::Result;
use crate::graph::{ParamId, ValueId};

/// Output tokens, then one token a point. `params`: gaussian, point embeddings, not a point, output tokens.
pub(super) fn prompt_tokens<D: Driver>(
    step: &Step<D>,
    [points, labels, out]: [ValueId; 3],
    params: [ParamId; 4],
    image_size: usize,
) -> Result<()> {
    let [count, p] = [step.shape(points)[0], step.shape(out)[1]];
    if p > 256 || !p.is_multiple_of(2) {
        return Err(step.unsupported("an even prompt width of at most 256", p));
    }
    let mut args = [points, labels].map(|id| Arg::Pointer(step.value(id))).to_vec();
    args.extend(params.map(|id| Arg::Pointer(step.param(id))));
    args.extend([Arg::Pointer(step.value(out)), Arg::U32(step.u32(count)?), Arg::U32(step.u32(p / 2)?)]);
    args.push(Arg::F32(1.0 / image_size as f32));
    step.launch("prompt_tokens", [5 + count, step.active, 1], &args)
}
