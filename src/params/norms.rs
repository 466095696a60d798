//! Parameters that have a norm in them: batch norms folded into the convolution before, in f64 and rounded once.

use super::tensors::{Tensors, mismatch};
use crate::error::Result;

/// Added to a batch norm's variance.
const EPS: f64 = 1e-5;

/// `weight / sqrt(running_var + eps)` of `channels` channels.
fn gains(path: &str, channels: usize, tensors: &dyn Tensors) -> Result<Vec<f64>> {
    let weight = of_length(&format!("{path}.bn.weight"), channels, tensors)?;
    let name = format!("{path}.bn.running_var");
    let variance = of_length(&name, channels, tensors)?;
    if let Some(found) = variance.iter().find(|&&found| found < 0.0) {
        return Err(mismatch(&name, "variances, which are not negative", found));
    }
    Ok(weight.iter().zip(variance).map(|(&w, v)| f64::from(w) / (f64::from(v) + EPS).sqrt()).collect())
}

/// The convolution `path.c` `[channels, each]` times its norm's gains.
pub(super) fn weight(path: &str, [channels, each]: [usize; 2], tensors: &dyn Tensors) -> Result<Vec<f32>> {
    let mut weight = of_length(&format!("{path}.c.weight"), channels * each, tensors)?;
    let gains = gains(path, channels, tensors)?;
    for (row, gain) in weight.chunks_exact_mut(each.max(1)).zip(gains) {
        row.iter_mut().for_each(|w| *w = (f64::from(*w) * gain) as f32);
    }
    Ok(weight)
}

/// `bias - running_mean gain`.
pub(super) fn bias(path: &str, channels: usize, tensors: &dyn Tensors) -> Result<Vec<f32>> {
    let bias = of_length(&format!("{path}.bn.bias"), channels, tensors)?;
    let mean = of_length(&format!("{path}.bn.running_mean"), channels, tensors)?;
    let folded = bias.iter().zip(mean).zip(gains(path, channels, tensors)?);
    Ok(folded.map(|((&b, m), gain)| (f64::from(b) - f64::from(m) * gain) as f32).collect())
}

/// `W b + bias`, b the bias of `norm`.
pub(super) fn of_zeros(norm: &str, linear: &str, tensors: &dyn Tensors) -> Result<Vec<f32>> {
    let input = tensors.load(&format!("{norm}.bias"))?;
    let bias = tensors.load(&format!("{linear}.bias"))?;
    let weight = of_length(&format!("{linear}.weight"), bias.len() * input.len(), tensors)?;
    let rows = weight.chunks_exact(input.len().max(1)).zip(bias);
    let product = |row: &[f32]| row.iter().zip(&input).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>();
    Ok(rows.map(|(row, b)| (product(row) + f64::from(b)) as f32).collect())
}

fn of_length(name: &str, expected: usize, tensors: &dyn Tensors) -> Result<Vec<f32>> {
    let data = tensors.load(name)?;
    if data.len() == expected { Ok(data) } else { Err(mismatch(name, format!("{expected} elements"), data.len())) }
}
