//! The trained tensors, side by side in one vector, and their optimiser.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::backend::cpu::Level;
use crate::backend::cpu::training::{AdamStep, Gradient};
use crate::memory::{reserve, zeros};
use crate::model::{Config, Masks};
use crate::weights::{Weights, names};
use crate::{Error, Result};

/// What the tensors of the mask decoder start with.
const DECODER: &str = "mask_decoder.";
/// What those of the encoder start with.
const ENCODER: &str = "image_encoder.";
/// Never trained: no loss sees it, so its gradient is absent, and decay does not reach it either. So it is with the
/// hyper-networks of masks that are not taken.
const IOU_HEAD: &str = "mask_decoder.iou_prediction_head.";
const HYPER: &str = "mask_decoder.output_hypernetworks_mlps.";

/// One trained tensor.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Full name in the merged model.
    pub name: String,
    /// Row-major.
    pub shape: Vec<usize>,
    /// Where it lies among the parameters.
    pub(super) range: Range<usize>,
}

/// Names, shapes and places of the trained tensors.
pub(super) struct Table(pub Vec<Trained>);

impl Table {
    /// The decoder's tensors.
    pub fn decoder_of(config: &Config) -> Table {
        let masks = config.kind.masks();
        let taken = |name: &str| {
            let mask = name.strip_prefix(HYPER).and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
            mask.is_none_or(|mask| masks == Masks::Three || mask == 0)
        };
        Table::of(config, |name| name.starts_with(DECODER) && !name.starts_with(IOU_HEAD) && taken(name))
    }

    /// The encoder's: adapters, and the embeddings of MedSegDB's tree.
    pub fn encoder_of(config: &Config) -> Table {
        Table::of(config, |name| {
            name.strip_prefix(ENCODER).is_some_and(|rest| {
                rest.starts_with("modal_embed.") || rest.starts_with("organ_embed.") || rest.contains(".adapter_")
            })
        })
    }

    fn of(config: &Config, is_wanted: impl Fn(&str) -> bool) -> Table {
        let mut end = 0;
        let trained = |(name, shape): (String, Vec<usize>)| {
            let first = end;
            end += shape.iter().product::<usize>();
            Trained { name, shape, range: first..end }
        };
        Table(names(config).into_iter().filter(|(name, _)| is_wanted(name)).map(trained).collect())
    }

    /// The tensors of `other` behind these.
    pub fn followed_by(&self, other: &Table) -> Table {
        let start = self.len();
        let moved = |trained: &Trained| {
            let range = start + trained.range.start..start + trained.range.end;
            Trained { range, ..trained.clone() }
        };
        Table(self.0.iter().cloned().chain(other.0.iter().map(moved)).collect())
    }

    /// Numbers of all tensors.
    pub fn len(&self) -> usize {
        self.0.last().map_or(0, |last| last.range.end)
    }

    pub fn load(&self, weights: &Weights) -> Result<Vec<f32>> {
        let mut values = reserve(self.len(), "trained parameters")?;
        for trained in &self.0 {
            values.extend(weights.load(&trained.name)?);
        }
        Ok(values)
    }

    pub fn find(&self, name: &str) -> Result<&Trained> {
        self.0
            .iter()
            .find(|trained| trained.name == name)
            .ok_or_else(|| Error::Internal { place: "tune".into(), what: format!("{name} is no trained tensor") })
    }
}

/// Decoupled weight decay and Adam. The rate is constant and there is no clipping, as in the published tuning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub rate: f32,
    /// Share of a parameter that a step of rate 1 takes away.
    pub decay: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW { rate: 5e-5, decay: 0.01 }
    }
}

/// First and second moments, and how many steps were taken.
pub(super) struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
    steps: u32,
}

const BETA: [f64; 2] = [0.9, 0.999];
const EPS: f32 = 1e-8;
/// Parameters of a piece of work.
const PIECE: usize = 1 << 16;

impl Moments {
    pub fn new(len: usize) -> Result<Moments> {
        Ok(Moments { first: zeros(len, "moments")?, second: zeros(len, "moments")?, steps: 0 })
    }

    /// One step of `values` along the `gradients` of tensors that lie side by side in them, on `threads` threads.
    pub fn step(
        &mut self,
        optimiser: AdamW,
        values: &mut [f32],
        gradients: &[(Range<usize>, Gradient<'_>)],
        (level, threads): (Level, usize),
    ) {
        self.steps += 1;
        let missing = |beta: f64| 1.0 - beta.powi(self.steps.cast_signed());
        let step = AdamStep {
            decay: optimiser.rate * optimiser.decay,
            rate: (f64::from(optimiser.rate) / missing(BETA[0])) as f32,
            second_scale: missing(BETA[1]).recip() as f32,
            eps: EPS,
            keep: BETA.map(|beta| beta as f32),
            take: BETA.map(|beta| (1.0 - beta) as f32),
        };
        let mut all = [values, &mut self.first, &mut self.second];
        let pieces = gradients.iter().flat_map(|(range, gradient)| {
            let of_tensor = all.each_mut().map(|numbers| {
                let (tensor, rest) = std::mem::take(numbers).split_at_mut(range.len());
                *numbers = rest;
                tensor
            });
            let [values, first, second] = of_tensor;
            let piece = (PIECE / gradient.line()).max(1) * gradient.line();
            let pieces = values.chunks_mut(piece).zip(first.chunks_mut(piece)).zip(second.chunks_mut(piece));
            pieces.enumerate().map(move |(at, numbers)| (gradient, at * piece, numbers))
        });
        let pieces = Mutex::new(pieces.collect::<Vec<_>>().into_iter());
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        let serve = || {
            while let Some((gradient, at, ((values, first), second))) = next() {
                gradient.step(level, step, at, values, [first, second]);
            }
        };
        std::thread::scope(|scope| {
            // A thread that cannot be had is done without: this one does everything if need be.
            (1..threads).for_each(|_| drop(std::thread::Builder::new().spawn_scoped(scope, serve)));
            serve();
        });
    }
}
