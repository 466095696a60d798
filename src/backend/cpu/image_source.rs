//! `out[b] = embedding[slot[b]] + dense`.

use super::memory::{Shared, Views, floats, floats_mut};
use super::step::{Execute, Step};
use crate::error::{Error, Result};
use crate::graph::op::ImageSource;

impl Execute for ImageSource {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }
}

fn run(step: &Step<'_>, op: &ImageSource, views: Views<'_>) -> Result<()> {
    let ImageSource { embedding, slot, dense, no_mask, out } = op;
    let (slots, stride, width) =
        (step.graph[*embedding].shape[0], step.graph[*out].stride(), step.graph[*out].shape[2]);
    let ([embedding, slot, dense_bytes], [out]) = views.take([*embedding, *slot, dense.unwrap_or(*slot)], [*out])?;
    let (embedding, slot): (_, &[i32]) = (floats(embedding), bytemuck::cast_slice(slot));
    if let Some(bad) = slot[..step.active].iter().find(|slot| usize::try_from(**slot).map_or(true, |s| s >= slots)) {
        return Err(Error::Internal { place: "image_source".into(), what: format!("slot {bad} of {slots}") });
    }
    let no_mask = step.plain(*no_mask)?;
    let (dense, out) = (dense.map(|_| floats(dense_bytes)), Shared::new(floats_mut(out)));
    step.each(step.active, |b, _| {
        // SAFETY: prompt b belongs to this task.
        #[allow(unsafe_code)]
        let out = unsafe { out.part(b * stride, stride) };
        out.copy_from_slice(&embedding[slot[b] as usize * stride..][..stride]);
        match dense {
            Some(dense) => out.iter_mut().zip(&dense[b * stride..]).for_each(|(x, d)| *x += d),
            None => out.chunks_exact_mut(width).for_each(|row| row.iter_mut().zip(no_mask).for_each(|(x, d)| *x += d)),
        }
    });
    Ok(())
}
