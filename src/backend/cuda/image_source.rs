//! Launches `kernels/image_source.ptx.j2`.

use super::driver::{Arg, Driver};
use super::step::Step;
use crate::error::Result;
use crate::graph::{ParamId, ValueId};

/// The embedding of each prompt's slice plus its dense prompt.
pub(super) fn image_source<D: Driver>(
    step: &Step<D>,
    [embedding, slot, out]: [ValueId; 3],
    dense: Option<ValueId>,
    no_mask: ParamId,
) -> Result<()> {
    let [tokens, p] = [step.shape(out)[0], step.shape(out)[1]];
    if !p.is_multiple_of(4) {
        return Err(step.unsupported("a prompt width that is a multiple of 4", p));
    }
    let slots = step.plan.graph[embedding].shape[0];
    let (source, period, stride) = match dense {
        Some(dense) => (step.value(dense), tokens * p, tokens * p),
        None => (step.param(no_mask), p, 0),
    };
    let args = [
        Arg::Pointer(step.value(embedding)),
        Arg::Pointer(step.value(slot)),
        Arg::Pointer(source),
        Arg::Pointer(step.value(out)),
        Arg::U32(step.u32(slots)?),
        Arg::U32(step.u32(tokens * p)?),
        Arg::U32(step.u32(period)?),
        Arg::U32(step.u32(stride)?),
    ];
    step.launch("image_source", [(tokens * p).div_ceil(1024), step.active, 1], &args)
}
