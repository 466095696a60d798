//! A whole tuning: which slices are held out, how many steps are taken, and which of them is kept.

use std::ops::ControlFlow;

use super::{Sample, Score, Trainer};
use crate::memory::copied;
use crate::{Error, Result};

/// A labelled slice among those given.
pub struct Example {
    /// What it became.
    pub sample: Sample,
    /// Which volume it is of.
    pub volume: usize,
    /// Index along the slicing axis.
    pub slice: usize,
}

/// How it is found out whether tuning helps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Validate {
    /// One slice in five is held out, whole volumes where there are several; below five slices each of these is held
    /// out once.
    Auto,
    /// Not at all: the last step is kept.
    Never,
    /// This share, of slices or of volumes, however few there are.
    Share(f64),
}

/// What was held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// Nothing: it was not asked for, or there is one slice alone.
    None,
    /// So many slices of the same volumes.
    Slices(usize),
    /// All slices of so many volumes.
    Volumes(usize),
    /// Each slice once, or where there are several volumes all slices of each of them; then all were trained on.
    LeaveOneOut,
}

/// How to tune.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Steps; with [`Validate::Auto`] the best of ten moments among them is kept.
    pub steps: usize,
    /// Slices of a step.
    pub batch: usize,
    /// Most pixels of the model's frame that each side of a box goes outward, at random.
    pub jitter: u32,
    /// Of the order of slices and of the jitter.
    pub seed: u64,
    /// Which slices are held out.
    pub validate: Validate,
}

impl Default for Options {
    fn default() -> Self {
        Options { steps: 50, batch: 4, jitter: 0, seed: 2025, validate: Validate::Auto }
    }
}

/// Follows a tuning.
pub trait Observer {
    /// Called after each step with how many were taken in all, of how many, and the loss. `Break` ends the tuning: the
    /// best that is known by then is kept.
    fn step(&mut self, done: usize, total: usize, loss: f64) -> ControlFlow<()>;
}

/// What came of it. The trainer holds the parameters that were kept.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// What was held out.
    pub validation: Validation,
    /// Mean over the held-out slices (all, where none was held out) before tuning.
    pub before: Score,
    /// The same after tuning, whether it was kept or not.
    pub after: Score,
    /// Steps behind the parameters that were kept; 0 where those of the base were.
    pub steps: usize,
    /// Loss of the first and the last step.
    pub losses: [f64; 2],
    /// Whether the observer ended it.
    pub stopped: bool,
}

/// Moments at which held-out slices are looked at.
const MOMENTS: usize = 10;
/// What memory of a moment is for.
const KEPT: &str = "parameters that are kept";
/// Below so many slices each is held out once.
const FEW: usize = 5;

struct Run<'a> {
    trainer: &'a mut Trainer,
    examples: &'a [Example],
    options: Options,
    observer: &'a mut dyn Observer,
    base: Vec<f32>,
    done: usize,
    total: usize,
    losses: Option<[f64; 2]>,
    stopped: bool,
}

/// One look at the held-out slices.
#[derive(Clone, Copy)]
struct Moment {
    steps: usize,
    score: Score,
}

/// Tunes on `examples`.
///
/// # Errors
/// [`Error::Argument`] for no examples, steps or slices of a batch, a share that is not between 0 and 1, or a loss that
/// is not finite; memory.
pub fn tune(
    trainer: &mut Trainer,
    examples: &[Example],
    options: Options,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let wrong =
        |name: &'static str, expected: &str, found: String| Error::Argument { name, expected: expected.into(), found };
    for (name, number) in [("slices", examples.len()), ("steps", options.steps), ("batch", options.batch)] {
        if number == 0 {
            return Err(wrong(name, "at least 1", "0".into()));
        }
    }
    let share = match options.validate {
        Validate::Share(share) if share > 0.0 && share < 1.0 => share,
        Validate::Share(share) => return Err(wrong("validate", "a share between 0 and 1", share.to_string())),
        Validate::Auto | Validate::Never => 0.2,
    };
    let base = copied(&trainer.values, KEPT)?;
    trainer.restart(&base)?;
    let run =
        Run { trainer, examples, options, observer, base, done: 0, total: options.steps, losses: None, stopped: false };
    match options.validate {
        Validate::Never => run.without_validation(),
        _ if examples.len() == 1 => run.without_validation(),
        Validate::Auto if examples.len() < FEW => run.leave_one_out(),
        _ => run.hold_out(share),
    }
}

impl Run<'_> {
    fn without_validation(mut self) -> Result<Outcome> {
        let all: Vec<usize> = (0..self.examples.len()).collect();
        let before = self.score(&all)?;
        let steps = self.train(&all, self.options.steps, self.every(), &mut |_, _| Ok(()))?;
        let after = self.score(&all)?;
        self.outcome(Validation::None, before, after, steps)
    }

    fn hold_out(mut self, share: f64) -> Result<Outcome> {
        let (training, held, validation) = self.split(share);
        let before = self.score(&held)?;
        let (mut best, mut kept) = (Moment { steps: 0, score: before }, None);
        let mut after = before;
        self.train(&training, self.options.steps, self.every(), &mut |run, steps| {
            let score = run.score(&held)?;
            after = score;
            if score.choice > best.score.choice {
                best = Moment { steps, score };
                kept = Some(copied(&run.trainer.values, KEPT)?);
            }
            Ok(())
        })?;
        if let Some(kept) = kept {
            after = best.score;
            self.trainer.restart(&kept)?;
        } else {
            let base = std::mem::take(&mut self.base);
            self.trainer.restart(&base)?;
        }
        self.outcome(validation, before, after, best.steps)
    }

    fn leave_one_out(mut self) -> Result<Outcome> {
        let all: Vec<usize> = (0..self.examples.len()).collect();
        let groups = self.groups();
        self.total = self.options.steps * (groups.len() + 1);
        let before = self.score(&all)?;
        let mut moments: Vec<(usize, Vec<Score>)> = Vec::new();
        for held in &groups {
            let others: Vec<usize> = all.iter().copied().filter(|other| !held.contains(other)).collect();
            self.restart()?;
            self.train(&others, self.options.steps, self.every(), &mut |run, steps| {
                let each = run.score_each(held)?;
                match moments.iter_mut().find(|(at, _)| *at == steps) {
                    Some((_, scores)) => scores.extend(each),
                    None => moments.push((steps, each)),
                }
                Ok(())
            })?;
        }
        self.restart()?;
        let moment = |(steps, scores): &(usize, Vec<Score>)| Moment { steps: *steps, score: mean(scores) };
        let whole: Vec<Moment> = moments.iter().filter(|(_, scores)| scores.len() == all.len()).map(moment).collect();
        let best = whole.iter().fold(None, |best: Option<&Moment>, next| match best {
            Some(best) if best.score.choice >= next.score.choice => Some(best),
            _ => Some(next),
        });
        let Some(best) = best.filter(|_| !self.stopped) else {
            return self.outcome(Validation::LeaveOneOut, before, before, 0);
        };
        if best.score.choice <= before.choice {
            return self.outcome(Validation::LeaveOneOut, before, best.score, 0);
        }
        self.total = self.done + best.steps;
        // Only of these moments it is known what they are worth: stopped on the way, the best that was passed is kept.
        let (mut passed, mut kept) = (Moment { steps: 0, score: before }, None);
        self.train(&all, best.steps, self.every(), &mut |run, steps| {
            let here = whole.iter().find(|moment| moment.steps == steps);
            if let Some(here) = here.filter(|here| here.score.choice > passed.score.choice) {
                passed = *here;
                kept = Some(copied(&run.trainer.values, KEPT)?);
            }
            Ok(())
        })?;
        match kept {
            Some(kept) => self.trainer.restart(&kept)?,
            None => self.restart()?,
        }
        self.outcome(Validation::LeaveOneOut, before, passed.score, passed.steps)
    }

    /// Steps from one moment to the next.
    fn every(&self) -> usize {
        self.options.steps.div_ceil(MOMENTS)
    }

    /// What is held out at once where all are in turn: a slice, or all slices of a volume where there are several.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut volumes: Vec<usize> = self.examples.iter().map(|example| example.volume).collect();
        volumes.sort_unstable();
        volumes.dedup();
        if volumes.len() == 1 {
            return (0..self.examples.len()).map(|index| vec![index]).collect();
        }
        let of = |volume| (0..self.examples.len()).filter(|&i| self.examples[i].volume == volume).collect();
        volumes.into_iter().map(of).collect()
    }

    fn restart(&mut self) -> Result<()> {
        self.trainer.restart(&self.base)
    }

    fn outcome(self, validation: Validation, before: Score, after: Score, steps: usize) -> Result<Outcome> {
        let losses = self.losses.unwrap_or_default();
        Ok(Outcome { validation, before, after, steps, losses, stopped: self.stopped })
    }

    /// Trained on, held out. Held-out slices lie evenly among the others; held-out volumes too.
    fn split(&self, share: f64) -> (Vec<usize>, Vec<usize>, Validation) {
        let mut volumes: Vec<usize> = self.examples.iter().map(|example| example.volume).collect();
        volumes.sort_unstable();
        volumes.dedup();
        let evenly = |count: usize| -> Vec<usize> {
            let wanted = ((count as f64 * share).round() as usize).clamp(1, count - 1);
            (0..wanted).map(|i| (2 * i + 1) * count / (2 * wanted)).collect()
        };
        let all = 0..self.examples.len();
        let (held, validation) = if volumes.len() > 1 {
            let chosen: Vec<usize> = evenly(volumes.len()).into_iter().map(|at| volumes[at]).collect();
            let held: Vec<usize> = all.clone().filter(|&i| chosen.contains(&self.examples[i].volume)).collect();
            (held, Validation::Volumes(chosen.len()))
        } else {
            let held = evenly(self.examples.len());
            let count = held.len();
            (held, Validation::Slices(count))
        };
        (all.filter(|index| !held.contains(index)).collect(), held, validation)
    }

    fn score(&mut self, of: &[usize]) -> Result<Score> {
        Ok(mean(&self.score_each(of)?))
    }

    fn score_each(&mut self, of: &[usize]) -> Result<Vec<Score>> {
        let samples: Vec<&Sample> = of.iter().map(|&index| &self.examples[index].sample).collect();
        self.trainer.scores(&samples)
    }

    /// Takes steps on the examples of `on`, unless it was ended; `look` is called after each `every` of them and after
    /// the last. How many steps were taken.
    fn train(
        &mut self,
        on: &[usize],
        steps: usize,
        every: usize,
        look: &mut dyn FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<usize> {
        let mut random = Random(self.options.seed);
        let mut waiting: Vec<usize> = Vec::new();
        for step in 1..=steps {
            if self.stopped {
                return Ok(step - 1);
            }
            if waiting.is_empty() {
                waiting = on.to_vec();
                // Fisher and Yates, from the last to the first.
                for i in (1..waiting.len()).rev() {
                    waiting.swap(i, random.below(i + 1));
                }
            }
            let next = waiting.split_off(waiting.len() - self.options.batch.min(waiting.len()));
            let size = self.trainer.config.image_size as f32;
            let jitter = self.options.jitter as usize;
            let batch: Vec<(&Sample, [f32; 4])> = next
                .iter()
                .map(|&index| {
                    let sample = &self.examples[index].sample;
                    let [x0, y0, x1, y1] = sample.region;
                    let mut outward = || random.below(jitter + 1) as f32;
                    let low = [x0 - outward(), y0 - outward()].map(|c| c.max(0.0));
                    let high = [x1 + outward(), y1 + outward()].map(|c| c.min(size - 1.0));
                    (sample, [low[0], low[1], high[0], high[1]])
                })
                .collect();
            let loss = self.trainer.step(&batch)?;
            self.done += 1;
            self.losses = Some([self.losses.map_or(loss, |[first, _]| first), loss]);
            self.stopped = self.observer.step(self.done, self.total, loss).is_break();
            if step % every == 0 || step == steps || self.stopped {
                look(self, step)?;
            }
        }
        Ok(steps)
    }
}

fn mean(scores: &[Score]) -> Score {
    let of = |part: fn(&Score) -> f64| scores.iter().map(part).sum::<f64>() / scores.len().max(1) as f64;
    Score { ellipse: of(|s| s.ellipse), choice: of(|s| s.choice), best: of(|s| s.best) }
}

/// SplitMix64: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Evenly below `limit`, as far as 2^64 allows.
    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}
