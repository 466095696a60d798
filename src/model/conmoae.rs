//! The contextual mixture of adapter experts beside the MLP (MODEL.md, ConMoAE). The Downs are stacked under lin1 and
//! the Ups beside lin2, so the mixture is one column block of two products that are there anyway.

use super::config::{Adapters, Config};
use super::layers::{dense, norm, residual};
use crate::graph::op::{Activation, Gate, LayerNorm, Linear};
use crate::graph::{Bias, Gated, Graph, ValueId};
use crate::params::Recipe;

/// Scale of the adapters' sum.
const SCALE: f32 = 0.1;

/// The hidden channels of MLP and experts together are filled up to a multiple of this with columns of zeros: rows of
/// f16 must start at multiples of 16 bytes to be copied to tensor cores. E R = 64 of the published models needs none.
const ALIGNMENT: usize = 8;

/// `x + mlp(norm2(x)) + adapters(norm2(x))`.
pub(super) fn mlp(g: &mut Graph, c: &Config, block: usize, x: ValueId, context: Option<ValueId>, eps: f32) -> ValueId {
    let path = format!("image_encoder.blocks.{block}");
    let adapters = c.adapters.as_ref().filter(|a| a.blocks[block]).zip(context);
    let norm2 = norm(g, &format!("{path}.norm2"), c.width, eps);
    let normed = g.activation(format!("{path}.norm2"), &[c.tokens(), c.width]);
    let mean = adapters.map(|_| g.activation(format!("{path}.norm2.mean"), &[c.width]));
    g.push(format!("{path}.norm2"), LayerNorm { input: x, norm: norm2, out: normed, mean });
    match adapters.zip(mean) {
        Some(((adapters, context), mean)) => {
            let gate = gate(g, c, adapters, &path, mean, context);
            adapted(g, c, adapters, &path, normed, gate, x)
        }
        None => plain(g, c, &path, normed, x),
    }
}

fn gate(g: &mut Graph, c: &Config, a: &Adapters, block: &str, mean: ValueId, context: ValueId) -> ValueId {
    let e = a.embedding;
    let organ_embed = std::array::from_fn(|level| {
        g.tensor(format!("image_encoder.organ_embed.{level}.weight"), &[a.organ_rows[level], e])
    });
    let modal_embed = g.tensor("image_encoder.modal_embed.weight", &[a.modalities, e]);
    let organ_gate = dense(g, &format!("{block}.mlp.adapter_organ_gate"), 4 * e, 4);
    let input_embed = dense(g, &format!("{block}.mlp.adapter_input_embed"), c.width, e);
    let gate = dense(g, &format!("{block}.mlp.adapter_gate"), 4 * e, a.experts);
    let out = g.activation(format!("{block}.gate"), &[a.experts]);
    let op = Gate { mean, context, organ_embed, modal_embed, organ_gate, input_embed, gate, out };
    g.push(format!("{block}.mlp.adapter_gate"), op);
    out
}

fn adapted(g: &mut Graph, c: &Config, a: &Adapters, block: &str, u: ValueId, gate: ValueId, x: ValueId) -> ValueId {
    let path = format!("{block}.mlp");
    let experts = |kind: &str, part: &str, first: &str| -> Vec<String> {
        let rest = (0..a.experts).map(|k| format!("{path}.adapter_{kind}.{k}.{part}"));
        std::iter::once(format!("{path}.mlp.{first}.{part}")).chain(rest).collect()
    };
    let used = c.mlp + a.experts * a.bottleneck;
    let columns = used.next_multiple_of(ALIGNMENT);
    let gap = columns - used;
    let downs = |part: &str| Recipe::RowsWithGap { names: experts("down", part, "lin1"), gap };
    let weight = g.param(format!("{path}.lin1|adapter_down.weight"), &[columns, c.width], downs("weight"));
    let bias = g.param(format!("{path}.lin1|adapter_down.bias"), &[columns], downs("bias"));
    let hidden = g.activation(format!("{path}.hidden"), &[c.tokens(), columns]);
    let gated = Some(Gated::Columns { gate, bottleneck: a.bottleneck, scale: SCALE });
    let bias = Bias::Row(bias);
    let op = Linear { input: u, weight, bias, activation: Activation::Gelu, gated, residual: None, out: hidden };
    g.push(format!("{path}.lin1|adapter_down"), op);

    let weight = g.param(
        format!("{path}.lin2|adapter_up.weight"),
        &[c.width, columns],
        Recipe::ColumnsWithGap { names: experts("up", "weight", "lin2"), gap },
    );
    let bias = Bias::Row(g.tensor(format!("{path}.mlp.lin2.bias"), &[c.width]));
    let ups = (0..a.experts).map(|k| format!("{path}.adapter_up.{k}.bias")).collect();
    let biases = g.param(format!("{path}.adapter_up.bias"), &[a.experts, c.width], Recipe::Rows(ups));
    let gated = Some(Gated::Biases { gate, biases, scale: SCALE });
    let out = g.activation(block, &[c.tokens(), c.width]);
    let activation = Activation::Identity;
    let op = Linear { input: hidden, weight, bias, activation, gated, residual: Some(x), out };
    g.push(format!("{path}.lin2|adapter_up"), op);
    out
}

fn plain(g: &mut Graph, c: &Config, block: &str, u: ValueId, x: ValueId) -> ValueId {
    let path = format!("{block}.mlp");
    let lin1 = dense(g, &format!("{path}.lin1"), c.width, c.mlp);
    let hidden = g.activation(format!("{path}.hidden"), &[c.tokens(), c.mlp]);
    let bias = Bias::Row(lin1.bias);
    let activation = Activation::Gelu;
    let op = Linear { input: u, weight: lin1.weight, bias, activation, gated: None, residual: None, out: hidden };
    g.push(format!("{path}.lin1"), op);
    let lin2 = dense(g, &format!("{path}.lin2"), c.mlp, c.width);
    let out = g.activation(block, &[c.tokens(), c.width]);
    g.push(format!("{path}.lin2"), residual(hidden, lin2.weight, Bias::Row(lin2.bias), x, out));
    out
}
