//! Encoder and decoder as one run: prompt i on slice i.

use std::sync::Arc;

use super::{Session, Staging, check_count, find, internal};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::executor::{Prompt, Slice};
use crate::graph::{Plan, ValueId};

/// One of the two graphs, ready to run.
pub(crate) struct Part<'a, B: Backend> {
    pub plan: &'a Plan,
    pub params: &'a [Arc<B::Param>],
}

/// An input of one of the two graphs, from its first slice or prompt on.
pub(crate) struct Input<'a> {
    /// Whether it is the decoder's.
    pub decoder: bool,
    pub id: ValueId,
    pub bytes: &'a [u8],
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
        run: impl FnOnce(&B, &mut B::Arena, [Part<'_, B>; 2], &[Input<'_>]) -> Result<()>,
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
        self.staging.fill_slices(slices);
        let (encoder, decoder) = (&self.encoder, &self.decoders[which].1);
        let (inputs, count_of_inputs) = inputs(&encoder.plan, &decoder.plan, &self.staging)?;
        let parts = [encoder, decoder].map(|stage| Part { plan: &stage.plan, params: &stage.params });
        run(self.network.backend(), &mut self.arena, parts, &inputs[..count_of_inputs])?;
        (self.encoded, self.decoded_last) = (count, Some(which));
        Ok(())
    }
}

/// All inputs, and how many they are: a network without a context comes without the last one.
fn inputs<'a>(encoder: &Plan, decoder: &Plan, staging: &'a Staging) -> Result<([Input<'a>; 5], usize)> {
    use crate::model::image_encoder::io;
    let scaling = find(encoder, io::SCALING)?;
    let context = encoder.graph.find(io::CONTEXT);
    let [slots, points, labels] = staging.inputs();
    let of_encoder = |id, bytes| Input { decoder: false, id, bytes };
    let of_decoder = |(name, bytes)| Ok::<_, Error>(Input { decoder: true, id: find(decoder, name)?, bytes });
    let all = [
        of_encoder(scaling, bytemuck::cast_slice(&staging.scaling)),
        of_decoder(slots)?,
        of_decoder(points)?,
        of_decoder(labels)?,
        of_encoder(context.unwrap_or(scaling), bytemuck::cast_slice(&staging.context)),
    ];
    let count = all.len() - usize::from(context.is_none());
    Ok((all, count))
}
