//! Launches `kernels/gate.ptx.j2`.

use super::driver::{Arg, Driver};
use super::step::Step;
use crate::error::Result;
use crate::graph::op::Dense;
use crate::graph::{ParamId, ValueId};

/// `Op::Gate`, its fields.
pub(super) struct Gate<'a> {
    pub mean: ValueId,
    pub context: ValueId,
    pub organ_embed: &'a [ParamId; 5],
    pub modal_embed: ParamId,
    pub organ_gate: Dense,
    pub input_embed: Dense,
    pub gate: Dense,
    pub out: ValueId,
}

/// Weights of the experts, one block a slice.
pub(super) fn gate<D: Driver>(step: &Step<D>, op: &Gate) -> Result<()> {
    let [embedding, width] = [step.param_shape(op.input_embed.weight)[0], step.param_shape(op.input_embed.weight)[1]];
    let experts = step.shape(op.out)[0];
    if embedding > 256 || experts > 1024 {
        return Err(
            step.unsupported("at most 256 values of context and 1024 experts", format!("{embedding}, {experts}"))
        );
    }
    let values = [step.value(op.mean), step.value(op.context)];
    let tables = op.organ_embed.iter().chain([&op.modal_embed]);
    let layers = [op.organ_gate, op.input_embed, op.gate].into_iter().flat_map(|layer| [layer.weight, layer.bias]);
    let params = tables.copied().chain(layers).map(|id| step.param(id));
    let mut args: Vec<Arg> = values.into_iter().chain(params).chain([step.value(op.out)]).map(Arg::Pointer).collect();
    for size in [width, embedding, experts] {
        args.push(Arg::U32(step.u32(size)?));
    }
    step.launch("gate", [step.active, 1, 1], &args)
}
