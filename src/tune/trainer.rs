//! The decoder in training: parameters, gradients, steps.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use super::decoder::{Decoder, Given};
use super::loss::SampleLoss;
use super::parameters::{AdamW, Moments, Table, Trained};
use super::sample::{Frozen, Sample, Score, resize, score, tight_box};
use super::{layers, loss, upscaling};
use crate::backend::cpu::Level;
use crate::backend::cpu::training::Multiplier;
use crate::memory::zeros;
use crate::model::{Config, Kind, Masks};
use crate::segment::Frame;
use crate::weights::Weights;
use crate::{Error, Result};

/// How a [`Trainer`] computes.
#[derive(Clone, Copy, Debug)]
pub struct TrainerOptions {
    /// Threads; as many as the processor runs at once where absent.
    pub threads: Option<usize>,
    /// Instructions; the widest at hand where absent.
    pub level: Option<Level>,
    /// The optimiser.
    pub adam: AdamW,
    /// What of the mean of the three masks' losses is added to the least of them. The published loss has none of it,
    /// and then nothing teaches masks by which to choose without the truth.
    pub mean_share: f64,
}

impl Default for TrainerOptions {
    fn default() -> Self {
        TrainerOptions { threads: None, level: None, adam: AdamW::default(), mean_share: 0.5 }
    }
}

/// A decoder in training: its parameters, gradients and optimiser.
pub struct Trainer {
    pub(super) config: Config,
    options: TrainerOptions,
    table: Table,
    decoder: Decoder,
    frozen: Frozen,
    /// For each pixel of a logit map, its place in the decoder's order.
    places: Vec<usize>,
    pub(super) values: Vec<f32>,
    /// One for each sample of a batch.
    gradients: Vec<Vec<f32>>,
    moments: Moments,
    multipliers: Vec<Multiplier>,
    /// Samples of the batch that gradients are of.
    batch: usize,
}

impl Trainer {
    /// The decoder of MedSegX or LiteMedSAM, as `weights` have it.
    ///
    /// # Errors
    /// [`Error::Argument`] for plain SAM or MedSAM, or instructions that the processor lacks; what reading returns;
    /// memory.
    pub fn new(weights: &Weights, options: TrainerOptions) -> Result<Trainer> {
        let config = weights.config().clone();
        if !matches!(config.kind, Kind::MedSegX | Kind::LiteMedSam) {
            let (expected, found) = ("MedSegX or LiteMedSAM, for tuning".into(), format!("{:?}", config.kind));
            return Err(Error::Argument { name: "weights", expected, found });
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

    /// Puts what every trained tensor holds by now on top of `weights`, for
    /// [`Model::with_tuned`](crate::segment::Model::with_tuned).
    ///
    /// # Errors
    /// [`Error::Tensor`] for weights of another model.
    pub fn put_on(&self, weights: &mut Weights) -> Result<()> {
        self.table.0.iter().try_for_each(|trained| weights.put(&trained.name, &self.values[trained.range.clone()]))
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

    /// The masks that the loss sees.
    pub fn masks(&self) -> Masks {
        self.config.kind.masks()
    }

    /// Logits `[M, L, L]` of these masks of each sample with its own box.
    ///
    /// # Errors
    /// Memory; [`Error::Cancelled`].
    pub fn logits(&mut self, samples: &[&Sample]) -> Result<Vec<Vec<f32>>> {
        let count = self.masks().count();
        let Trainer { decoder, frozen, values, multipliers, places, .. } = self;
        let mut all = vec![Vec::new(); samples.len()];
        each(multipliers, samples.iter().zip(&mut all), |m, (sample, raster)| {
            let corners = frozen.corners(sample.region);
            let given = Given { image: &sample.image, position: &frozen.position, corners: &corners };
            let pass = decoder.forward(m, values, &given);
            raster.reserve(pass.logits.len());
            for map in pass.logits.chunks_exact(pass.logits.len() / count) {
                raster.extend(places.iter().map(|&place| map[place]));
            }
        })?;
        Ok(all)
    }

    /// Takes all parameters, and begins the optimiser anew.
    pub(super) fn restart(&mut self, values: &[f32]) -> Result<()> {
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

impl Trainer {
    /// A sample of a slice of `frame`: its `embedding` `[N, P]`, and its `label` `[height, width]`, not 0 inside.
    ///
    /// # Errors
    /// [`Error::Prompt`] for a label that is empty, fills the slice, or is lost at the model's size;
    /// [`Error::Argument`] for lengths that do not fit.
    pub fn sample(&self, embedding: &[f32], frame: &Frame, label: &[u8]) -> Result<Sample> {
        let [height, width] = frame.slice;
        let lengths = [embedding.len(), label.len()];
        if lengths != [self.frozen.position.len(), height * width] {
            let expected =
                format!("{} numbers of the embedding, {height} x {width} labels", self.frozen.position.len());
            return Err(Error::Argument { name: "sample", expected, found: format!("{lengths:?}") });
        }
        let wrong = |found: &str| {
            let expected = "pixels inside and pixels outside, also at the model's size".into();
            Error::Prompt { what: "label".into(), expected, found: found.into() }
        };
        let region = tight_box(label, width).ok_or_else(|| wrong("no pixel inside"))?;
        let side = self.config.logits_size();
        // Padding right and below is outside.
        let valid = frame.valid.map(|valid| valid * side / frame.size);
        let resized = resize(label, [height, width], valid, side);
        let inside = resized.iter().filter(|&&inside| inside).count();
        if inside == 0 || inside == resized.len() {
            return Err(wrong(if inside == 0 { "none inside at the model's size" } else { "none outside" }));
        }
        let mut ordered = vec![0.0; side * side];
        for (&place, &inside) in self.places.iter().zip(&resized) {
            ordered[place] = f32::from(u8::from(inside));
        }
        let mut image = embedding.to_vec();
        image
            .chunks_exact_mut(self.frozen.no_mask.len())
            .for_each(|token| super::layers::add(token, &self.frozen.no_mask));
        Ok(Sample { image, region: frame.region(region), label: ordered })
    }

    /// How well the decoder as it is by now finds each sample from its box.
    ///
    /// # Errors
    /// As [`Trainer::logits`].
    pub fn scores(&mut self, samples: &[&Sample]) -> Result<Vec<Score>> {
        let logits = self.logits(samples)?;
        let (config, places) = (&self.config, &self.places);
        Ok(samples.iter().zip(&logits).map(|(sample, logits)| score(config, places, sample, logits)).collect())
    }
}
