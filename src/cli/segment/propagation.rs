//! `--propagate`: boxes on a few slices into boxes on all slices of a target, before the run that makes the masks.

use std::ops::ControlFlow;

use medsegx::segment::Segmenter;
use medsegx::segment::volume::{Propagated, PropagationRule, Request, propagate};
use medsegx::volume::Image;
use serde_json::{Value, json};

use super::args::Args;
use super::job::Job;
use super::targets::JobTarget;
use crate::cli::interrupt::Interrupt;

/// Most bytes of embeddings that are kept from finding the boxes for making the masks.
const MOST_KEPT: usize = 1 << 30;

/// How many embeddings are kept for the masks; 0 without `--propagate`.
pub fn embeddings_to_keep(args: &Args, job: &Job, segmenter: &Segmenter) -> usize {
    let most = MOST_KEPT / (size_of::<f32>() * segmenter.embedding_len()).max(1);
    if args.prompts.propagate { job.most_prompts(args).min(most) } else { 0 }
}

/// Gives the targets of `job` boxes on all slices that they reach. What the report says of it; null where it was not
/// asked for.
pub fn run(
    args: &Args,
    job: &mut Job,
    image: &mut Image,
    segmenter: &mut Segmenter,
    interrupt: &Interrupt,
) -> anyhow::Result<Value> {
    if !args.prompts.propagate {
        return Ok(Value::Null);
    }
    let (_, map) = image.parts();
    let missing = || medsegx::Error::Internal { place: "--propagate".into(), what: "the image is not kept".into() };
    let volume = image.volume().ok_or_else(missing)?;
    let mut requests: Vec<Request> = job.targets.iter().map(JobTarget::request).collect();
    let rule = PropagationRule::default();
    let mut go_on = || if interrupt.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let done = propagate(segmenter, volume, &job.frame, &map, &mut requests, &rule, &mut go_on)?;
    for (target, request) in job.targets.iter_mut().zip(requests) {
        target.boxes = request.boxes;
    }
    if !args.quiet {
        for (target, Propagated { given, ends: [first, last] }) in job.targets.iter().zip(&done) {
            let (name, first, last) = (&target.name, first.slice, last.slice);
            crate::cli::console::say(&format!("medsegx: {name}: from slices {given:?} to slices {first} to {last}"));
        }
    }
    let target = |(target, done): (&JobTarget, &Propagated)| {
        let Propagated { given, ends } = done;
        json!({ "name": target.name, "label": target.label, "given": given, "ends": ends })
    };
    Ok(json!({ "rule": rule, "targets": job.targets.iter().zip(&done).map(target).collect::<Vec<_>>() }))
}
