//! The model in training: parameters, gradients, steps.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use super::beneath::Beneath;
use super::decoder::{Decoder, Given};
use super::encoder::{Beginning, Encoder};
use super::gains::Gains;
use super::loss::SampleLoss;
use super::memory::{StepMemory, WHAT, free_memory};
use super::parameters::{AdamW, Moments, Table, Trained};
use super::sample::{Frozen, Sample};
use super::train::Train;
use super::{loss, upscaling};
use crate::backend::cpu::training::{Gradient, Multiplier};
use crate::backend::cpu::{Cpu, CpuOptions, Level, Precision};
use crate::executor::Network;
use crate::memory::{copied, grow_to, zeros};
use crate::model::{Config, Kind, Masks};
use crate::segment::Model;
use crate::weights::Weights;
use crate::{Error, Result};

/// How a [`Trainer`] computes.
#[derive(Clone, Copy, Debug)]
pub struct TrainerOptions {
    /// What is trained.
    pub train: Train,
    /// Bytes that a step may take above the loaded model, as [`StepMemory`] counts them: where they do not suffice,
    /// blocks of the encoder are computed anew on the way back. Half of what the machine has free where absent. Either
    /// way the bits are the same.
    pub memory: Option<usize>,
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
        let (train, adam) = (Train::Decoder, AdamW::default());
        TrainerOptions { train, memory: None, threads: None, level: None, adam, mean_share: 0.5 }
    }
}

/// A model in training: its parameters, gradients and optimiser.
pub struct Trainer {
    pub(super) config: Config,
    options: TrainerOptions,
    /// The decoder's tensors, and behind them, where they are trained, the encoder's.
    table: Table,
    /// Which of them are trained.
    trained: Range<usize>,
    /// Numbers of the decoder.
    split: usize,
    decoder: Decoder,
    pub(super) encoder: Option<Encoder>,
    pub(super) frozen: Frozen,
    /// For each pixel of a logit map, its place in the decoder's order.
    pub(super) places: Vec<usize>,
    pub(super) values: Vec<f32>,
    /// What the decoder's tensors gain by each sample of the last batch.
    gains: Vec<Gains>,
    encoder_gradient: Vec<f32>,
    /// The decoder's and the encoder's, where they are trained.
    moments: [Option<Moments>; 2],
    multipliers: Vec<Multiplier>,
    stop: Option<Arc<AtomicBool>>,
    /// Bytes of a step.
    memory: usize,
    /// Samples of the batch that gradients are of.
    batch: usize,
    pub(super) beneath: Beneath,
}

impl Trainer {
    /// MedSegX or the decoder of LiteMedSAM, as `weights` have it. Where more than the decoder is trained the encoder
    /// is loaded; [`Trainer::on`] shares that of a loaded model.
    ///
    /// # Errors
    /// [`Error::Argument`] for plain SAM or MedSAM, adapters of a model that has none, or instructions that the
    /// processor lacks; what reading returns; memory.
    pub fn new(weights: &Weights, options: TrainerOptions) -> Result<Trainer> {
        check(weights.config(), options)?;
        if options.train == Train::Decoder {
            return Trainer::with(weights, options, None);
        }
        let cpu = CpuOptions { threads: options.threads, level: options.level, ..CpuOptions::default() };
        let network = Arc::new(Network::load(weights, Cpu::new(cpu)?)?);
        Trainer::with(weights, options, Some(&network))
    }

    /// As [`Trainer::new`], on `model`, which was loaded from `weights`: whatever is frozen is the model's own, as it
    /// lies, and so are the encoder's threads and instructions.
    ///
    /// # Errors
    /// As [`Trainer::new`]; where the encoder is trained, a model that is not on the CPU or not in f32.
    pub fn on(model: &Model, weights: &Weights, options: TrainerOptions) -> Result<Trainer> {
        check(weights.config(), options)?;
        if options.train == Train::Decoder {
            return Trainer::with(weights, options, None);
        }
        let wrong = |found: String| Error::Argument { name: "device", expected: "cpu in f32, for this".into(), found };
        let network = model.on_cpu().ok_or_else(|| wrong(model.device().into()))?;
        let cpu = network.backend();
        if cpu.precision() != Precision::F32 || network.config() != weights.config() {
            return Err(wrong(format!("{}, a model of {:?}", model.arithmetic(), network.config().kind)));
        }
        let options = TrainerOptions { threads: Some(cpu.threads()), level: Some(cpu.level()), ..options };
        Trainer::with(weights, options, Some(network))
    }

    fn with(weights: &Weights, options: TrainerOptions, network: Option<&Arc<Network<Cpu>>>) -> Result<Trainer> {
        let config = weights.config().clone();
        let level = options.level.unwrap_or_else(Level::detect);
        let at_hand = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or_else(at_hand).max(1);
        let decoder = Table::decoder_of(&config);
        let of_encoder = if network.is_some() { Table::encoder_of(&config) } else { Table(Vec::new()) };
        let table = decoder.followed_by(&of_encoder);
        let (count, all) = (decoder.0.len(), table.0.len());
        let trained = match options.train {
            Train::Decoder => 0..count,
            Train::Adapters => count..all,
            Train::All => 0..all,
        };
        let beneath = Beneath::of(weights, &table.0[trained.clone()])?;
        let moments = |wanted: bool, of: &Table| wanted.then(|| Moments::new(of.len())).transpose();
        Ok(Trainer {
            moments: [moments(trained.start == 0, &decoder)?, moments(network.is_some(), &of_encoder)?],
            decoder: Decoder::new(&decoder, &config)?,
            encoder: network.map(|network| Encoder::new(network, &of_encoder)).transpose()?,
            frozen: Frozen::load(weights)?,
            places: upscaling::places(config.grid(), config.upscaling.len())?,
            values: table.load(weights)?,
            gains: Vec::new(),
            encoder_gradient: zeros(of_encoder.len(), "gradients")?,
            multipliers: (0..threads).map(|_| Multiplier::new(level)).collect(),
            stop: None,
            memory: options.memory.or_else(|| Some(free_memory()? / 2)).unwrap_or(usize::MAX),
            batch: 0,
            beneath,
            split: decoder.len(),
            trained,
            table,
            config,
            options,
        })
    }

    /// Ends what is being computed with [`Error::Cancelled`] soon after `stop` is set.
    pub fn set_stop(&mut self, stop: &Arc<AtomicBool>) {
        self.stop = Some(Arc::clone(stop));
        self.multipliers.iter_mut().for_each(|multiplier| multiplier.set_stop(Some(Arc::clone(stop))));
    }

    pub(super) fn stop(&self) -> Option<&AtomicBool> {
        self.stop.as_deref()
    }

    /// What is trained.
    pub fn train(&self) -> Train {
        self.options.train
    }

    /// Every trained tensor.
    pub fn trained(&self) -> &[Trained] {
        &self.table.0[self.trained.clone()]
    }

    fn find(&self, name: &str) -> Result<&Trained> {
        self.trained().iter().find(|trained| trained.name == name).ok_or_else(|| not_trained(name))
    }

    fn level(&self) -> Level {
        self.multipliers.first().map_or(Level::Portable, Multiplier::level)
    }

    /// What a tensor holds by now, row-major.
    ///
    /// # Errors
    /// A name that is not among [`Trainer::trained`].
    pub fn value(&self, name: &str) -> Result<&[f32]> {
        Ok(&self.values[self.find(name)?.range.clone()])
    }

    /// Puts what every trained tensor holds by now on top of `weights`, for
    /// [`Model::with_tuned`](crate::segment::Model::with_tuned).
    ///
    /// # Errors
    /// [`Error::Tensor`] for weights of another model.
    pub fn put_on(&self, weights: &mut Weights) -> Result<()> {
        self.trained().iter().try_for_each(|trained| weights.put(&trained.name, &self.values[trained.range.clone()]))
    }

    /// The gradient of a tensor by the mean loss of the last batch.
    ///
    /// # Errors
    /// A name that is not among [`Trainer::trained`].
    pub fn gradient(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.find(name)?;
        let range = tensor.range.clone();
        if range.start >= self.split {
            return copied(&self.encoder_gradient[range.start - self.split..range.end - self.split], WHAT);
        }
        let mut sum = zeros(range.len(), WHAT)?;
        tensor.gradient(&self.gains).numbers(self.level(), 0, &mut sum);
        Ok(sum)
    }

    /// What a step of `batch` slices takes above the loaded model.
    pub fn step_memory(&self, batch: usize) -> StepMemory {
        StepMemory::new(&self.config, self.options.train, batch, self.multipliers.len())
    }

    /// Computes the gradients of a batch: samples, and a box for each in pixels of the model's frame.
    ///
    /// # Errors
    /// Samples that were made for a trainer of something else; memory; [`Error::Cancelled`].
    pub fn gradients(&mut self, batch: &[(&Sample, [f32; 4])]) -> Result<Vec<SampleLoss>> {
        self.gains = batch.iter().map(|_| Gains::default()).collect();
        self.batch = batch.len();
        let samples: Vec<&Sample> = batch.iter().map(|(sample, _)| *sample).collect();
        let kept = self.step_memory(batch.len()).kept(self.memory);
        let mut by_images = zeros(samples.len() * self.embedded(), "gradients")?;
        let wants_image = self.encoder.is_some();
        let weight = 1.0 / batch.len().max(1) as f64;
        let mut losses = vec![SampleLoss::default(); batch.len()];
        let Trainer { decoder, encoder, frozen, values, gains, multipliers, options, split, stop, .. } = self;
        let (of_decoder, of_encoder) = values.split_at(*split);
        let images = Images::new(encoder.as_mut(), of_encoder, &samples, kept, frozen, stop.as_deref())?;
        let by_image = by_images.chunks_mut(frozen.position.len());
        let by_image = by_image.map(Some).chain(std::iter::repeat_with(|| None));
        let work: Vec<_> = batch.iter().zip(gains).zip(&mut losses).zip(by_image).enumerate().collect();
        each(multipliers, work.into_iter(), |m, (index, ((((sample, region), gains), loss), by_image))| {
            let corners = frozen.corners(*region);
            let image = images.of(index, sample)?;
            let given = Given { image: &image, position: &frozen.position, corners: &corners };
            let mut pass = decoder.forward(m, of_decoder, &given)?;
            let mut d = std::mem::take(&mut pass.logits);
            *loss = loss::loss(m.level(), &mut d, &sample.label, options.mean_share, weight)?;
            let by = decoder.back(m, of_decoder, &pass, &d, gains, wants_image)?;
            if let Some(to) = by_image {
                to.copy_from_slice(&by);
            }
            Ok(())
        })?;
        if let Some(encoder) = encoder {
            self.encoder_gradient.fill(0.0);
            encoder.back(of_encoder, &by_images, &mut self.encoder_gradient, stop.as_deref())?;
        }
        Ok(losses)
    }

    /// Numbers of an embedding that a step makes; none where it is not the encoder's to train.
    fn embedded(&self) -> usize {
        if self.encoder.is_some() { self.frozen.position.len() } else { 0 }
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
        let how = (self.level(), self.multipliers.len());
        let (of_decoder, of_encoder) = self.values.split_at_mut(self.split);
        let (adam, [decoder, encoder]) = (self.options.adam, &mut self.moments);
        if let Some(moments) = decoder {
            let tensors = self.table.0.iter().take_while(|tensor| tensor.range.start < self.split);
            let gradients: Vec<_> =
                tensors.map(|tensor| (tensor.range.clone(), tensor.gradient(&self.gains))).collect();
            moments.step(adam, of_decoder, &gradients, how);
        }
        if let Some(moments) = encoder {
            let gradient = Gradient::Sums(vec![&self.encoder_gradient]);
            moments.step(adam, of_encoder, &[(0..of_encoder.len(), gradient)], how);
        }
        Ok(mean)
    }

    /// The masks that the loss sees.
    pub fn masks(&self) -> Masks {
        self.config.kind.masks()
    }

    /// Logits `[M, L, L]` of these masks of each sample with its own box.
    ///
    /// # Errors
    /// Samples that were made for a trainer of something else; memory; [`Error::Cancelled`].
    pub fn logits(&mut self, samples: &[&Sample]) -> Result<Vec<Vec<f32>>> {
        let count = self.masks().count();
        let at_once = if self.encoder.is_some() { self.batch.max(1) } else { samples.len().max(1) };
        let Trainer { decoder, encoder, frozen, values, multipliers, places, split, stop, .. } = self;
        let (of_decoder, of_encoder) = values.split_at(*split);
        let mut all = vec![Vec::new(); samples.len()];
        for (samples, all) in samples.chunks(at_once).zip(all.chunks_mut(at_once)) {
            let images = Images::new(encoder.as_mut(), of_encoder, samples, 0, frozen, stop.as_deref())?;
            each(multipliers, samples.iter().zip(all).enumerate(), |m, (index, (sample, raster))| {
                let corners = frozen.corners(sample.region);
                let image = images.of(index, sample)?;
                let given = Given { image: &image, position: &frozen.position, corners: &corners };
                let pass = decoder.forward(m, of_decoder, &given)?;
                grow_to(raster, pass.logits.len(), WHAT)?;
                for map in pass.logits.chunks_exact(pass.logits.len() / count) {
                    raster.extend(places.iter().map(|&place| map[place]));
                }
                Ok(())
            })?;
        }
        Ok(all)
    }

    /// Takes all parameters, and begins the optimiser anew.
    pub(super) fn restart(&mut self, values: &[f32]) -> Result<()> {
        self.values.copy_from_slice(values);
        for (moments, len) in self.moments.iter_mut().zip([self.split, values.len() - self.split]) {
            if let Some(moments) = moments {
                *moments = Moments::new(len)?;
            }
        }
        Ok(())
    }
}

fn not_trained(name: &str) -> Error {
    Error::Internal { place: "tune".into(), what: format!("{name} is no trained tensor") }
}

/// Refuses what cannot be trained.
fn check(config: &Config, options: TrainerOptions) -> Result<()> {
    let of_kind = |expected: &str| Error::Argument {
        name: "weights",
        expected: expected.into(),
        found: format!("{:?}", config.kind),
    };
    match config.kind {
        Kind::MedSegX => {}
        Kind::LiteMedSam if options.train == Train::Decoder => {}
        Kind::LiteMedSam => {
            return Err(of_kind("MedSegX, for --train adapters or all; --train decoder takes LiteMedSAM"));
        }
        Kind::Sam | Kind::MedSam => return Err(of_kind("MedSegX or LiteMedSAM, for tuning")),
    }
    match options.level {
        Some(level) if !Level::available().contains(&level) => {
            let expected = format!("one of {:?}", Level::available());
            Err(Error::Argument { name: "level", expected, found: level.to_string() })
        }
        _ => Ok(()),
    }
}

/// What the decoder sees of each sample of a batch.
struct Images<'a> {
    /// `[B, N, P]`, where the encoder makes them.
    embeddings: Option<&'a [f32]>,
    frozen: &'a Frozen,
}

impl<'a> Images<'a> {
    fn new(
        encoder: Option<&'a mut Encoder>,
        values: &[f32],
        samples: &[&Sample],
        kept: usize,
        frozen: &'a Frozen,
        stop: Option<&AtomicBool>,
    ) -> Result<Images<'a>> {
        let wrong = |expected: &str| {
            let found = "one that was made for a trainer of something else".into();
            Error::Argument { name: "sample", expected: expected.into(), found }
        };
        let Some(encoder) = encoder else {
            if samples.iter().any(|sample| sample.image.is_empty()) {
                return Err(wrong("one with an embedding"));
            }
            return Ok(Images { embeddings: None, frozen });
        };
        let beginnings: Option<Vec<&Beginning>> = samples.iter().map(|sample| sample.beginning.as_ref()).collect();
        let beginnings = beginnings.ok_or_else(|| wrong("one of Trainer::sample_placed"))?;
        Ok(Images { embeddings: Some(encoder.forward(values, &beginnings, kept, stop)?), frozen })
    }

    /// Embedding and dense prompt of sample `index`.
    fn of<'b>(&'b self, index: usize, sample: &'b Sample) -> Result<Cow<'b, [f32]>> {
        let Some(embeddings) = self.embeddings else { return Ok(Cow::Borrowed(&sample.image)) };
        let length = self.frozen.position.len();
        self.frozen.with_prompt(&embeddings[index * length..][..length]).map(Cow::Owned)
    }
}

/// Calls `work` for each of `items`, on a thread for each of `multipliers`; the first of its errors, or one once those
/// are stopped.
fn each<T: Send>(
    multipliers: &mut [Multiplier],
    items: impl ExactSizeIterator<Item = T> + Send,
    work: impl Fn(&mut Multiplier, T) -> Result<()> + Sync,
) -> Result<()> {
    let count = items.len().min(multipliers.len()).max(1);
    let items = Mutex::new(items);
    let failed = Mutex::new(Ok(()));
    let (items, work, outcome) = (&items, &work, &failed);
    let serve = move |m: &mut Multiplier| {
        loop {
            if m.is_stopped() || outcome.lock().unwrap_or_else(PoisonError::into_inner).is_err() {
                break;
            }
            let Some(item) = items.lock().unwrap_or_else(PoisonError::into_inner).next() else { break };
            if let Err(error) = work(m, item) {
                let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                *outcome = std::mem::replace(&mut *outcome, Ok(())).and(Err(error));
            }
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
    if own.is_stopped() {
        return Err(Error::Cancelled);
    }
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}
