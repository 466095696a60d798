//! Encoder and decoder as one run: prompt i on slice i.

use std::sync::Arc;

use super::{Session, Staging, check_count, find, internal};
use crate::backend::Backend;
use crate::error::Result;
use crate::executor::{Prompt, Slice};
use crate::graph::{Plan, ValueId};

/// One of the two graphs, ready to run.
pub(crate) struct Part<'a, B: Backend> {
    pub plan: &'a Plan,
    pub params: &'a [Arc<B::Param>],
}

/// An input of one of the two graphs, from its first slice or prompt on.
pub(crate) struct Input {
    /// Whether it is the decoder's.
    pub decoder: bool,
    pub id: ValueId,
    pub bytes: Vec<u8>,
}

impl<B: Backend> Session<B> {
    /// Hands both graphs to `run`, with all inputs but the pixels, to encode `slices` and to answer prompt i on slice i.
    ///
    /// # Errors
    /// As [`Session::encode`] and [`Session::answer`], a prompt on another slice or with a mask; what `run` returns.
    pub(crate) fn whole(
        &mut self,
        slices: &[Slice<'_>],
        prompts: &[Prompt<'_>],
        run: impl FnOnce(&B, &mut B::Arena, [Part<'_, B>; 2], &[Input]) -> Result<()>,
    ) -> Result<()> {
        (self.encoded, self.decoded_last) = (0, None);
        let count = slices.len();
        check_count("slices", count, self.options.slices)?;
        slices.iter().try_for_each(|slice| slice.check_values(self.network.config()))?;
        let which = self.decoder_of(prompts, count)?;
        if prompts.len() != count || prompts.iter().enumerate().any(|(i, p)| p.slot != i || p.mask.is_some()) {
            return Err(internal(format!("{} prompts are not one on each of {count} slices", prompts.len())));
        }
        self.staging.fill(prompts);
        let (encoder, decoder) = (&self.encoder, &self.decoders[which].1);
        let inputs = inputs(&encoder.plan, slices, &decoder.plan, &self.staging)?;
        let parts = [encoder, decoder].map(|stage| Part { plan: &stage.plan, params: &stage.params });
        run(self.network.backend(), &mut self.arena, parts, &inputs)?;
        (self.encoded, self.decoded_last) = (count, Some(which));
        Ok(())
    }
}

fn inputs(encoder: &Plan, slices: &[Slice<'_>], decoder: &Plan, staging: &Staging) -> Result<Vec<Input>> {
    use crate::model::image_encoder::io;
    let bytes = slices.iter().flat_map(|slice| bytemuck::bytes_of(&slice.scaling)).copied().collect();
    let mut inputs = vec![Input { decoder: false, id: find(encoder, io::SCALING)?, bytes }];
    if let Some(id) = encoder.graph.find(io::CONTEXT) {
        let bytes = slices.iter().flat_map(|slice| bytemuck::bytes_of(&slice.context)).copied().collect();
        inputs.push(Input { decoder: false, id, bytes });
    }
    for (name, bytes) in staging.inputs() {
        inputs.push(Input { decoder: true, id: find(decoder, name)?, bytes: bytes.to_vec() });
    }
    Ok(inputs)
}
