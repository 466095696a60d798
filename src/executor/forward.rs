//! Encoder and decoder as one run.

use super::{Session, Staging, check_count, find};
use crate::backend::{Backend, Input, Part};
use crate::error::Result;
use crate::executor::{Prompt, Slice};
use crate::graph::Plan;

impl<B: Backend> Session<B> {
    /// Hands both graphs to `run`, with all inputs but the pixels, to encode `slices` and to answer `prompts` on them.
    ///
    /// # Errors
    /// As [`Session::encode`] and [`Session::answer`]; what `run` returns.
    pub(crate) fn forward(
        &mut self,
        slices: &[Slice<'_>],
        prompts: &[Prompt<'_>],
        run: impl FnOnce(&B, &mut B::Arena, [Part<'_, B>; 2], &[Input<'_>]) -> Result<()>,
    ) -> Result<()> {
        (self.encoded, self.decoded_last) = (0, None);
        let count = slices.len();
        check_count("slices", count, self.options.slices)?;
        slices.iter().try_for_each(|slice| slice.check_values(self.network.config()))?;
        let which = self.decoder_of(prompts, count)?;
        self.staging.fill(prompts);
        self.staging.fill_forward(slices, prompts);
        let (encoder, decoder) = (&self.encoder, &self.decoders[which].1);
        let (inputs, given) = inputs(&encoder.plan, &decoder.plan, &self.staging)?;
        let parts = [encoder, decoder].map(|stage| Part { plan: &stage.plan, params: &stage.params });
        run(self.network.backend(), &mut self.arena, parts, &inputs[..given])?;
        (self.encoded, self.decoded_last) = (count, Some(which));
        Ok(())
    }
}

/// The inputs, and how many they are: a network without adapters has no context, a prompt may have no mask.
fn inputs<'a>(encoder: &Plan, decoder: &Plan, staging: &'a Staging) -> Result<([Input<'a>; 6], usize)> {
    use crate::model::{image_encoder::io, mask_decoder::io::MASK};
    let of_encoder = |id, bytes| Input { decoder: false, id, bytes };
    let of_decoder = |id, bytes| Input { decoder: true, id, bytes };
    let mut all = [of_encoder(find(encoder, io::SCALING)?, bytemuck::cast_slice(&staging.scaling)); 6];
    let mut count = 1;
    let mut add = |input| {
        all[count] = input;
        count += 1;
    };
    for (name, bytes) in staging.inputs() {
        add(of_decoder(find(decoder, name)?, bytes));
    }
    if let Some(id) = encoder.graph.find(io::CONTEXT) {
        add(of_encoder(id, bytemuck::cast_slice(&staging.context)));
    }
    if let Some(id) = decoder.graph.find(MASK) {
        add(of_decoder(id, bytemuck::cast_slice(&staging.masks)));
    }
    Ok((all, count))
}
