//! The layers that encoder and decoder share, as operations and their parameters by checkpoint name.

use crate::graph::op::{Activation, Dense, Linear, Norm};
use crate::graph::{Bias, Graph, ParamId, ValueId};

/// Weight and bias of the Linear at `path`.
pub(super) fn dense(g: &mut Graph, path: &str, inputs: usize, outputs: usize) -> Dense {
    let weight = g.tensor(format!("{path}.weight"), &[outputs, inputs]);
    let bias = g.tensor(format!("{path}.bias"), &[outputs]);
    Dense { weight, bias }
}

/// Gain and bias of the LayerNorm at `path`.
pub(super) fn norm(g: &mut Graph, path: &str, channels: usize, eps: f32) -> Norm {
    let gain = g.tensor(format!("{path}.weight"), &[channels]);
    let bias = g.tensor(format!("{path}.bias"), &[channels]);
    Norm { gain, bias, eps }
}

/// A product with a bias and nothing else.
pub(super) fn linear(input: ValueId, weight: ParamId, bias: Bias, out: ValueId) -> Linear {
    Linear { input, weight, bias, activation: Activation::Identity, gated: None, residual: None, out }
}

/// A product with a bias, added to `x`.
pub(super) fn residual(input: ValueId, weight: ParamId, bias: Bias, x: ValueId, out: ValueId) -> Linear {
    Linear { input, weight, bias, activation: Activation::Identity, gated: None, residual: Some(x), out }
}
