//! Few-shot tuning of the mask decoder on the user's own labelled slices, on the CPU.
//!
//! The image embedding of a slice does not depend on the decoder: it is made once, by the engine's own encoder
//! ([`Segmenter::embeddings`](crate::segment::Segmenter::embeddings)), and every step starts from it.
//!
//! ```text
//! slice, label -> embedding, box, label in the decoder's order (sample) -> decoder forward (decoder, layers, upscaling)
//!     -> loss -> the way back -> gradients summed sample by sample -> AdamW (parameters); run: which steps, and which are kept
//! ```
//!
//! A sample's arithmetic is one thread's alone and sums over samples have a fixed order, so that neither the number of
//! threads nor their timing changes a bit.

mod decoder;
mod layers;
mod loss;
mod parameters;
mod record;
mod run;
mod sample;
mod slices;
mod upscaling;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

pub use loss::SampleLoss;
pub use parameters::{AdamW, Trained};
pub use record::Record;
pub use run::{Example, Observer, Options, Outcome, Validate, Validation, tune};
pub use sample::{Sample, Score};
pub use slices::{Labelled, Slices};

use crate::backend::cpu::Level;
use crate::backend::cpu::training::Multiplier;
use crate::memory::zeros;
use crate::model::{Config, Kind};
use crate::weights::Weights;
use crate::{Error, Result};
use decoder::{Decoder, Given, MASKS};
use parameters::{Moments, Table};
use sample::Frozen;

/// How a [`Trainer`] computes.
#[derive(Clone, Copy, Debug)]
pub struct TrainerOptions {
    /// Threads; as many as the processor runs at once where absent.
    pub threads: Option<usize>,
    /// Instructions; the widest at hand where absent.
    pub level: Option<Level>,
    /// The optimiser.
    pub adam: AdamW,
    /// What of the mean of the three masks' losses is added to the least of them. The published loss has none of it, and
    /// then nothing teaches masks by which to choose without the truth.
    pub mean_share: f64,
}

impl Default for TrainerOptions {
    fn default() -> Self {
        TrainerOptions { threads: None, level: None, adam: AdamW::default(), mean_share: 0.5 }
    }
}

/// A decoder in training: its parameters, gradients and optimiser.
pub struct Trainer {
    config: Config,
    options: TrainerOptions,
    table: Table,
    decoder: Decoder,
    frozen: Frozen,
    /// For each pixel of a logit map, its place in the decoder's order.
    places: Vec<usize>,
    values: Vec<f32>,
    /// One for each sample of a batch.
    gradients: Vec<Vec<f32>>,
    moments: Moments,
    multipliers: Vec<Multiplier>,
    /// Samples of the batch that gradients are of.
    batch: usize,
}

impl Trainer {
    /// The decoder of a MedSegX model, as `weights` have it.
    ///
    /// # Errors
    /// [`Error::Argument`] for plain SAM or MedSAM, or instructions that the processor lacks; what reading returns; memory.
    pub fn new(weights: &Weights, options: TrainerOptions) -> Result<Trainer> {
        let config = weights.config().clone();
        if config.kind != Kind::MedSegX {
            let found = format!("{:?}", config.kind);
            return Err(Error::Argument { name: "weights", expected: "a MedSegX model, for tuning".into(), found });
        }
        let level = options.level.unwrap_or_else(Level::detect);
        if !Level::available().contains(&level) {
            let expected = format!("one of {:?}", Level::available());
            return Err(Error::Argument { name: "level", expected, found: level.to_string() });
        }
        let at_hand = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or_else(at_hand).max(1);
        let table = Table::decoder(weights);
        Ok(Trainer {
            decoder: Decoder::new(&table, &config)?,
            frozen: Frozen::load(weights)?,
            places: upscaling::places(config.grid(), config.upscaling.len()),
            values: table.load(weights)?,
            gradients: Vec::new(),
            moments: Moments::new(table.len())?,
            multipliers: (0..threads).map(|_| Multiplier::new(level)).collect(),
            batch: 0,
            table,
            config,
            options,
        })
    }

    /// Ends what is being computed with [`Error::Cancelled`] soon after `stop` is set.
    pub fn set_stop(&mut self, stop: &Arc<AtomicBool>) {
        self.multipliers.iter_mut().for_each(|multiplier| multiplier.set_stop(Some(Arc::clone(stop))));
    }

    /// Every trained tensor.
    pub fn trained(&self) -> &[Trained] {
        &self.table.0
    }

    /// What a tensor holds by now, row-major.
    ///
    /// # Errors
    /// A name that is not among [`Trainer::trained`].
    pub fn value(&self, name: &str) -> Result<&[f32]> {
        Ok(&self.values[self.table.find(name)?.range.clone()])
    }

    /// The gradient of a tensor by the mean loss of the last batch.
    ///
    /// # Errors
    /// A name that is not among [`Trainer::trained`].
    pub fn gradient(&self, name: &str) -> Result<Vec<f32>> {
        let range = self.table.find(name)?.range.clone();
        let mut sum = vec![0.0; range.len()];
        self.gradients[..self.batch].iter().for_each(|gradient| layers::add(&mut sum, &gradient[range.clone()]));
        Ok(sum)
    }

    /// Computes the gradients of a batch: samples, and a box for each in pixels of the model's frame.
    ///
    /// # Errors
    /// Memory; [`Error::Cancelled`].
    pub fn gradients(&mut self, batch: &[(&Sample, [f32; 4])]) -> Result<Vec<SampleLoss>> {
        while self.gradients.len() < batch.len() {
            self.gradients.push(zeros(self.table.len(), "gradients")?);
        }
        self.batch = batch.len();
        let Trainer { decoder, frozen, values, gradients, multipliers, options, .. } = self;
        let weight = 1.0 / batch.len().max(1) as f64;
        let mut losses = vec![SampleLoss::default(); batch.len()];
        let work = batch.iter().zip(gradients).zip(&mut losses);
        each(multipliers, work, |m, (((sample, region), gradient), loss)| {
            gradient.fill(0.0);
            let corners = frozen.corners(*region);
            let given = Given { image: &sample.image, position: &frozen.position, corners: &corners };
            let mut pass = decoder.forward(m, values, &given);
            let mut d = std::mem::take(&mut pass.logits);
            *loss = loss::loss(m.level(), &mut d, &sample.label, options.mean_share, weight);
            decoder.back(m, values, &pass, &d, gradient);
        })?;
        Ok(losses)
    }

    /// Computes the gradients of a batch and takes a step. The mean loss before it.
    ///
    /// # Errors
    /// [`Error::Argument`] where the loss is not finite, and no step is taken then; memory; [`Error::Cancelled`].
    pub fn step(&mut self, batch: &[(&Sample, [f32; 4])]) -> Result<f64> {
        let losses = self.gradients(batch)?;
        let mean = losses.iter().map(|loss| loss.total).sum::<f64>() / losses.len().max(1) as f64;
        if !mean.is_finite() {
            let expected = "a finite number; a lower --rate may help".into();
            return Err(Error::Argument { name: "loss", expected, found: mean.to_string() });
        }
        let gradients: Vec<&[f32]> = self.gradients[..batch.len()].iter().map(Vec::as_slice).collect();
        self.moments.step(self.options.adam, &mut self.values, &gradients, self.multipliers.len());
        Ok(mean)
    }

    /// Logits `[3, L, L]` of masks 1 to 3 of each sample with its own box.
    ///
    /// # Errors
    /// Memory; [`Error::Cancelled`].
    pub fn logits(&mut self, samples: &[&Sample]) -> Result<Vec<Vec<f32>>> {
        let Trainer { decoder, frozen, values, multipliers, places, .. } = self;
        let mut all = vec![Vec::new(); samples.len()];
        each(multipliers, samples.iter().zip(&mut all), |m, (sample, raster)| {
            let corners = frozen.corners(sample.region);
            let given = Given { image: &sample.image, position: &frozen.position, corners: &corners };
            let pass = decoder.forward(m, values, &given);
            raster.reserve(pass.logits.len());
            for map in pass.logits.chunks_exact(pass.logits.len() / MASKS) {
                raster.extend(places.iter().map(|&place| map[place]));
            }
        })?;
        Ok(all)
    }

    /// Takes all parameters, and begins the optimiser anew.
    fn restart(&mut self, values: &[f32]) -> Result<()> {
        self.values.copy_from_slice(values);
        self.moments = Moments::new(values.len())?;
        Ok(())
    }
}

/// Calls `work` for each of `items`, on a thread for each of `multipliers`; an error once those are stopped.
fn each<T: Send>(
    multipliers: &mut [Multiplier],
    items: impl ExactSizeIterator<Item = T> + Send,
    work: impl Fn(&mut Multiplier, T) + Sync,
) -> Result<()> {
    let count = items.len().min(multipliers.len()).max(1);
    let items = Mutex::new(items);
    let (items, work) = (&items, &work);
    let serve = move |m: &mut Multiplier| {
        loop {
            if m.is_stopped() {
                break;
            }
            let Some(item) = items.lock().unwrap_or_else(PoisonError::into_inner).next() else { break };
            work(m, item);
        }
    };
    let Some((own, others)) = multipliers[..count].split_first_mut() else { return Ok(()) };
    std::thread::scope(|scope| {
        // A thread that cannot be had is done without: this one does everything if need be.
        for m in others {
            drop(std::thread::Builder::new().spawn_scoped(scope, move || serve(m)));
        }
        serve(own);
    });
    if own.is_stopped() { Err(Error::Cancelled) } else { Ok(()) }
}
