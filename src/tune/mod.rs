//! Few-shot tuning on the user's own labelled slices, on the CPU: of the mask decoder, or of what the published
//! fine-tuning trains ([`Train`]).
//!
//! The image embedding of a slice does not depend on the decoder: where that alone is trained it is made once, by the
//! engine's own encoder ([`Segmenter::embeddings`](crate::segment::Segmenter::embeddings)), and every step starts from
//! it. Otherwise a step starts where the first adapter stands ([`Trainer::sample_placed`]).
//!
//! ```text
//! slice, label -> embedding, box, label in the decoder's order (sample)
//!     [-> encoder forward (encoder)] -> decoder forward (decoder, layers, upscaling) -> loss -> the way back
//!     -> what each sample adds (gains), summed in order -> AdamW (parameters); run: which steps, and which are kept
//! ```
//!
//! A sample's arithmetic is one thread's alone and sums over samples have a fixed order, so that neither the number of
//! threads nor their timing changes a bit.
//!
//! ```
//! use medsegx::model::Preset;
//! use medsegx::tune::{Options, Slices, Trainer, TrainerOptions};
//! use medsegx::weights::Weights;
//!
//! # fn main() -> medsegx::Result<()> {
//! let trainer = Trainer::new(&Weights::synthetic(&Preset::Tiny.medsegx(), 7), TrainerOptions::default())?;
//! assert!(trainer.trained().iter().all(|tensor| tensor.name.starts_with("mask_decoder")));
//! assert_eq!("20,12,28".parse::<Slices>()?, Slices::List(vec![12, 20, 28]));
//! assert_eq!(Options::default().steps, 50);
//! # Ok(())
//! # }
//! ```

mod beneath;
mod decoder;
mod encoder;
mod examples;
mod folder;
mod gains;
mod layers;
mod loss;
mod memory;
mod parameters;
mod record;
#[cfg(test)]
mod reference;
mod run;
mod sample;
mod slices;
mod train;
mod trainer;
mod upscaling;

pub use crate::medsegdb::{Layout, Part};
pub use folder::{Folder, FolderSlice};
pub use loss::SampleLoss;
pub use memory::{StepMemory, free_memory};
pub use parameters::{AdamW, Trained};
pub use record::Record;
pub use run::{Example, Observer, Options, Outcome, Validate, Validation, tune};
#[cfg(feature = "capi")]
pub(crate) use sample::Placed;
pub use sample::{Sample, Score};
pub use slices::{Labelled, Slices};
pub use train::Train;
pub use trainer::{Trainer, TrainerOptions};
