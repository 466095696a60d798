//! The CPU: logits are at hand.

use std::ops::Range;

use super::{Engine, kept_for};
use crate::backend::cpu::Cpu;
use crate::error::Result;
use crate::executor::{Prompt, Session, Slice};
use crate::mask::{Candidates, Measures};
use crate::memory::grow_to;
use crate::segment::{Frame, zeros};
use crate::volume::resize::LogitResizer;

pub(super) struct OnHost {
    session: Session<Cpu>,
    /// Side of a map.
    side: usize,
    /// `[b, M, L, L]`.
    logits: Vec<f32>,
    /// For the size of slice that came last.
    resizer: Option<(Frame, LogitResizer)>,
    /// One map at that size.
    restored: Vec<f32>,
}

impl OnHost {
    pub fn new(session: Session<Cpu>) -> Result<OnHost> {
        let side = session.network().config().logits_size();
        let options = session.options();
        let logits = zeros(options.prompts * options.masks.count() * side * side, "logits")?;
        Ok(OnHost { session, side, logits, resizer: None, restored: Vec::new() })
    }

    /// f32 of one prompt's maps.
    fn stride(&self) -> usize {
        self.session.options().masks.count() * self.side * self.side
    }
}

impl Engine for OnHost {
    fn encode(&mut self, slices: &[Slice<'_>]) -> Result<()> {
        self.session.encode(slices)
    }

    fn decode(&mut self, prompts: &[Prompt<'_>]) -> Result<()> {
        self.session.answer(prompts)
    }

    fn measure(&mut self, regions: &[Option<[f32; 4]>], iou: &mut [f32], out: &mut [Measures]) -> Result<()> {
        let length = regions.len() * self.stride();
        self.session.logits(&mut self.logits[..length])?;
        self.session.iou(iou)?;
        let first_token = self.session.options().masks.first();
        let maps = self.logits.chunks_exact(self.stride());
        for (prompt, ((&region, logits), measures)) in regions.iter().zip(maps).zip(out).enumerate() {
            let predicted_iou = super::predicted(iou, prompt, first_token);
            *measures =
                Measures::new(&Candidates { logits, side: self.side, first_token, prompt: region, predicted_iou });
        }
        Ok(())
    }

    fn logits(&mut self, prompt: usize) -> Result<&[f32]> {
        let stride = self.stride();
        Ok(&self.logits[prompt * stride..(prompt + 1) * stride])
    }

    fn prepare(&mut self, frame: &Frame) -> Result<()> {
        kept_for(&mut self.resizer, frame, || super::logit_resizer(self.side, frame))?;
        grow_to(&mut self.restored, frame.slice[0] * frame.slice[1], "a restored slice")
    }

    fn masks(&mut self, prompts: Range<usize>, maps: Range<usize>, frame: &Frame, out: &mut [u8]) -> Result<()> {
        self.prepare(frame)?;
        let resizer = kept_for(&mut self.resizer, frame, || super::logit_resizer(self.side, frame))?;
        let (area, plane) = (frame.slice[0] * frame.slice[1], self.side * self.side);
        self.restored.clear();
        self.restored.resize(area, 0.0);
        let count = self.session.options().masks.count();
        let wanted = prompts.flat_map(|prompt| maps.clone().map(move |map| prompt * count + map));
        for (map, mask) in wanted.zip(out.chunks_exact_mut(area)) {
            resizer.run(&self.logits[map * plane..(map + 1) * plane], &mut self.restored)?;
            mask.iter_mut().zip(&self.restored).for_each(|(inside, &logit)| *inside = u8::from(logit > 0.0));
        }
        Ok(())
    }
}
