//! Encoder and decoder as one run.

use super::{Session, Staging, check_count, find};
use crate::backend::Backend;
use crate::backend::imaging::{Input, Job, Part};
use crate::error::Result;
use crate::executor::{Prompt, Slice};
use crate::graph::Plan;
use crate::model::{image_encoder, mask_decoder};

impl<B: Backend> Session<B> {
    /// Hands both graphs to `run`, with all inputs but the pixels, to encode `slices` and to answer `prompts` on them.
    ///
    /// # Errors
    /// As [`Session::encode`] and [`Session::answer`]; what `run` returns.
    pub(crate) fn forward<T>(
        &mut self,
        slices: &[Slice<'_>],
        prompts: &[Prompt<'_>],
        run: impl FnOnce(&B, &mut B::Arena, &Job<'_, B>) -> Result<T>,
    ) -> Result<T> {
        (self.encoded, self.decoded_last) = (0, None);
        let count = slices.len();
        check_count("slices", count, self.options.slices)?;
        slices.iter().try_for_each(|slice| slice.check_values(self.network.config()))?;
        let which = self.decoder_of(prompts, count)?;
        self.staging.fill(prompts);
        self.staging.fill_forward(slices, prompts);
        let stages = [&self.encoder, &self.decoders[which].1];
        let [encoder, decoder] = stages.map(|stage| &stage.plan);
        let job = Job {
            parts: stages.map(|stage| Part { plan: &stage.plan, params: &stage.params }),
            slices: count,
            inputs: inputs(encoder, decoder, &self.staging),
            pictures: [find(encoder, image_encoder::io::PIXELS)?, find(encoder, image_encoder::io::SCALING)?],
            logits: find(decoder, mask_decoder::io::LOGITS)?,
            iou: find(decoder, mask_decoder::io::IOU)?,
        };
        let passed = run(self.network.backend(), &mut self.arena, &job)?;
        (self.encoded, self.decoded_last) = (count, Some(which));
        Ok(passed)
    }
}

/// The inputs that the graphs have: a network without adapters has no context, a prompt may have no mask.
fn inputs<'a>(encoder: &Plan, decoder: &Plan, staging: &'a Staging) -> [Option<Input<'a>>; 6] {
    use crate::model::{image_encoder::io, mask_decoder::io::MASK};
    let [slots, points, labels] = staging.inputs();
    let of_encoder = |name, bytes| Some(Input { decoder: false, id: encoder.graph.find(name)?, bytes });
    let of_decoder = |(name, bytes)| Some(Input { decoder: true, id: decoder.graph.find(name)?, bytes });
    [
        of_encoder(io::SCALING, bytemuck::cast_slice(&staging.scaling)),
        of_encoder(io::CONTEXT, bytemuck::cast_slice(&staging.context)),
        of_decoder(slots),
        of_decoder(points),
        of_decoder(labels),
        of_decoder((MASK, bytemuck::cast_slice(&staging.masks))),
    ]
}
