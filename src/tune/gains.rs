//! What the decoder's tensors gain by one slice.

use std::collections::HashMap;
use std::ops::Range;

use super::memory::WHAT;
use super::parameters::Trained;
use crate::Result;
use crate::backend::cpu::training::{Factors, Gradient, Multiplier};
use crate::memory::{copied, zeros};

/// Rows up to which a weight's gain is kept as its factors: it is far larger than they are, and needed once.
const FEW: usize = 16;

/// By the first number of a tensor's place among the parameters. A tensor that no loss sees has none.
#[derive(Default)]
pub(super) struct Gains(HashMap<usize, Gain>);

enum Gain {
    Sum(Vec<f32>),
    /// `[rows, outputs]` and `[rows, inputs]`.
    Factors {
        d: Vec<f32>,
        x: Vec<f32>,
    },
}

impl Gains {
    /// A tensor's whole gain.
    pub fn set(&mut self, tensor: &Range<usize>, gain: Vec<f32>) {
        self.0.insert(tensor.start, Gain::Sum(gain));
    }

    /// What a weight `[outputs, inputs]` gains by `d` `[rows, outputs]` at the result of `x` `[rows, inputs]`.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory).
    pub fn product(
        &mut self,
        m: &mut Multiplier,
        weight: &Range<usize>,
        d: &[f32],
        x: &[f32],
        rows: usize,
    ) -> Result<()> {
        let gain = if rows <= FEW {
            Gain::Factors { d: copied(d, WHAT)?, x: copied(x, WHAT)? }
        } else {
            let mut sum = zeros(weight.len(), WHAT)?;
            m.outer(d, x, rows, &mut sum)?;
            Gain::Sum(sum)
        };
        self.0.insert(weight.start, gain);
        Ok(())
    }
}

impl Trained {
    /// Its gradient by what slices add, in their order.
    pub(super) fn gradient<'a>(&self, gains: &'a [Gains]) -> Gradient<'a> {
        // Only one of them is filled: all slices have as many rows at a tensor.
        let (mut sums, mut factors) = (Vec::new(), Vec::new());
        for gain in gains.iter().filter_map(|gains| gains.0.get(&self.range.start)) {
            match gain {
                Gain::Sum(sum) => sums.push(sum.as_slice()),
                Gain::Factors { d, x } => factors.push(Factors { d, x }),
            }
        }
        if factors.is_empty() {
            return Gradient::Sums(sums);
        }
        let outputs = self.shape.first().copied().unwrap_or(1);
        Gradient::Factors { parts: factors, outputs, inputs: self.range.len() / outputs }
    }
}
