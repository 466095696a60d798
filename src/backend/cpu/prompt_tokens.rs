//! Decoder tokens: IoU token, four mask tokens, one token a point (MODEL.md section 4).

use super::memory::{Views, floats, floats_mut};
use super::step::{Execute, Step};
use crate::error::Result;
use crate::graph::op::PromptTokens;

impl Execute for PromptTokens {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }
}

fn run(step: &Step<'_>, op: &PromptTokens, views: Views<'_>) -> Result<()> {
    let PromptTokens { points, labels, gaussian, point_embeddings, not_a_point, output_tokens, image_size, out } = op;
    let (count, shape) = (step.graph[*labels].shape[1], &step.graph[*out].shape);
    let (stride, width) = (shape[1] * shape[2], shape[2]);
    let ([points, labels], [out]) = views.take([*points, *labels], [*out])?;
    let (points, labels): (_, &[i32]) = (floats(points), bytemuck::cast_slice(labels));
    let (gaussian, embeddings) = (step.plain(*gaussian)?, step.plain(*point_embeddings)?);
    let (not_a_point, output_tokens) = (step.plain(*not_a_point)?, step.plain(*output_tokens)?);
    for (b, out) in floats_mut(out).chunks_exact_mut(stride).take(step.active).enumerate() {
        let (fixed, rest) = out.split_at_mut(output_tokens.len());
        fixed.copy_from_slice(output_tokens);
        for (i, token) in (b * count..(b + 1) * count).zip(rest.chunks_exact_mut(width)) {
            match usize::try_from(labels[i]) {
                Ok(label) => {
                    let at = |c: f32| (f64::from(c) + 0.5) / *image_size as f64;
                    position(gaussian, at(points[2 * i]), at(points[2 * i + 1]), token);
                    token.iter_mut().zip(&embeddings[label * width..]).for_each(|(x, e)| *x += e);
                }
                Err(_) => token.copy_from_slice(not_a_point),
            }
        }
    }
    Ok(())
}

/// pe of a place in 0..1: sines, then cosines. In f64: the angle may be many turns.
fn position(gaussian: &[f32], x: f64, y: f64, token: &mut [f32]) {
    let half = gaussian.len() / 2;
    let (sines, cosines) = token.split_at_mut(half);
    for (i, (sine, cosine)) in sines.iter_mut().zip(cosines).enumerate() {
        let v = (2.0 * x - 1.0) * f64::from(gaussian[i]) + (2.0 * y - 1.0) * f64::from(gaussian[half + i]);
        let (s, c) = (std::f64::consts::TAU * v).sin_cos();
        (*sine, *cosine) = (s as f32, c as f32);
    }
}
