//! Arithmetic in f64 that kernels are compared with. Matrices are row-major slices.

use super::gelu;

/// Relative L2 distance of `found` from `expected`.
pub fn distance(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "lengths differ");
    let difference: f64 = found.iter().zip(expected).map(|(&f, e)| (f64::from(f) - e).powi(2)).sum();
    let norm: f64 = expected.iter().map(|e| e * e).sum();
    (difference / norm).sqrt()
}

/// Fails when `found` is further than `tolerance` from `expected`, and says by how much.
#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    let distance = distance(found, expected);
    assert!(
        distance <= tolerance,
        "{what}: relative L2 {distance:.2e}, {:.0} % of the tolerance {tolerance:.0e}",
        100.0 * distance / tolerance
    );
}

/// The same numbers in f64.
pub fn wide(data: &[f32]) -> Vec<f64> {
    data.iter().map(|&x| f64::from(x)).collect()
}

/// `a + b`.
pub fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// `x W^T + b` for rows of `inputs`, W `[outputs, inputs]`.
pub fn linear(x: &[f64], inputs: usize, weight: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    let outputs = weight.len() / inputs;
    let mut out = Vec::with_capacity(x.len() / inputs * outputs);
    for row in x.chunks_exact(inputs) {
        for (o, weights) in weight.chunks_exact(inputs).enumerate() {
            let sum: f64 = row.iter().zip(weights).map(|(x, &w)| x * f64::from(w)).sum();
            out.push(sum + bias.map_or(0.0, |b| f64::from(b[o])));
        }
    }
    out
}

/// LayerNorm of rows of `gain.len()`.
pub fn layer_norm(x: &[f64], gain: &[f32], shift: &[f32], eps: f64) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(gain.len()) {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let scale = 1.0 / (variance + eps).sqrt();
        out.extend(
            row.iter().zip(gain).zip(shift).map(|((v, &g), &s)| (v - mean) * scale * f64::from(g) + f64::from(s)),
        );
    }
    out
}

pub fn softmax(scores: &mut [f64]) {
    let top = scores.iter().copied().fold(f64::MIN, f64::max);
    scores.iter_mut().for_each(|s| *s = (*s - top).exp());
    let total: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|s| *s /= total);
}

/// Attention of 8 heads over `inner` columns: q `[queries, inner]`, k and v `[keys, inner]`.
pub fn attention(q: &[f64], k: &[f64], v: &[f64], inner: usize) -> Vec<f64> {
    let d = inner / 8;
    let mut out = vec![0.0; q.len()];
    for (q, out) in q.chunks_exact(inner).zip(out.chunks_exact_mut(inner)) {
        for head in 0..8 {
            let of = |row: &[f64]| row[head * d..(head + 1) * d].to_vec();
            let (q, scale) = (of(q), (d as f64).sqrt());
            let mut scores: Vec<f64> =
                k.chunks_exact(inner).map(|k| of(k).iter().zip(&q).map(|(k, q)| k * q).sum::<f64>() / scale).collect();
            softmax(&mut scores);
            for (score, v) in scores.iter().zip(v.chunks_exact(inner)) {
                out[head * d..].iter_mut().zip(of(v)).for_each(|(out, v)| *out += score * v);
            }
        }
    }
    out
}

pub fn gelu(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| gelu::gelu(x)).collect()
}

pub fn relu(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| x.max(0.0)).collect()
}
