//! One list of operations on random data, each with what it should give, computed in f64 by its definition. Any backend
//! runs it. Numbers fit f16, so that a backend that stores operands in f16 starts from the same ones.

mod attention;
mod chains;
mod decoder;
mod encoder;
mod tiny_vit;

use medsegx::backend::Backend;
use medsegx::graph::op::{Dense, Norm};
use medsegx::graph::{Op, ValueId};

use super::gelu::gelu;
use super::one_op::{Case, Random};

/// An operation, its data and what it should give.
pub struct OpCase {
    /// What is particular about it.
    pub name: String,
    /// The word of the operation, as in the tolerance table.
    pub op: &'static str,
    case: Case,
    /// Outputs and their numbers for the whole batch.
    expected: Vec<(ValueId, Vec<f64>)>,
}

/// Every case.
pub fn all() -> Vec<OpCase> {
    let all = [encoder::cases(), attention::cases(), tiny_vit::cases(), decoder::cases(), chains::cases()];
    all.into_iter().flatten().collect()
}

impl OpCase {
    fn new(name: impl Into<String>, mut case: Case, op: Op, expected: Vec<(ValueId, Vec<f64>)>) -> OpCase {
        let word = op.name();
        case.graph.push(word, op);
        OpCase { name: name.into(), op: word, case, expected }
    }

    /// Runs it for the whole batch, and for its first slice or prompt alone: the relative L2 distance of each output.
    pub fn distances<B: Backend>(&self, backend: &B) -> Vec<f64> {
        self.try_distances(backend).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// As [`OpCase::distances`], for a backend that may refuse the case.
    pub fn try_distances<B: Backend>(&self, backend: &B) -> Result<Vec<f64>, medsegx::Error> {
        let mut distances = self.distances_of(&self.outputs(backend)?);
        if self.case.graph.batch > 1 {
            distances.extend(self.distances_of(&self.first(backend, 1)?));
        }
        Ok(distances)
    }

    /// Runs it for the whole batch: each output.
    pub fn outputs<B: Backend>(&self, backend: &B) -> Result<Vec<Vec<f32>>, medsegx::Error> {
        self.first(backend, self.case.graph.batch)
    }

    fn first<B: Backend>(&self, backend: &B, active: usize) -> Result<Vec<Vec<f32>>, medsegx::Error> {
        let ids: Vec<ValueId> = self.expected.iter().map(|(id, _)| *id).collect();
        self.case.run(backend, active, &ids)
    }

    /// The relative L2 distance of each output, or of its first slices, from what it should be.
    pub fn distances_of(&self, found: &[Vec<f32>]) -> Vec<f64> {
        found.iter().zip(&self.expected).map(|(found, (_, all))| distance(found, &all[..found.len()])).collect()
    }
}

fn distance(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "lengths differ");
    let difference: f64 = found.iter().zip(expected).map(|(&f, e)| (f64::from(f) - e).powi(2)).sum();
    let norm: f64 = expected.iter().map(|e| e * e).sum();
    let distance = (difference / norm).sqrt();
    assert!(norm > 0.0, "a case of zeros shows nothing");
    distance
}

fn wide(data: &[f32]) -> Vec<f64> {
    data.iter().map(|&x| f64::from(x)).collect()
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = row.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|x| x / sum).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Weight and bias of a Linear.
struct Linear {
    ids: Dense,
    weight: Vec<f64>,
    bias: Vec<f64>,
}

impl Linear {
    fn new(case: &mut Case, random: &mut Random, inputs: usize, outputs: usize) -> Linear {
        let weight = random.halves(inputs * outputs, (3.0 / inputs as f32).sqrt());
        let bias = random.halves(outputs, 0.5);
        let ids = Dense { weight: case.param(&[outputs, inputs], &weight), bias: case.param(&[outputs], &bias) };
        Linear { ids, weight: wide(&weight), bias: wide(&bias) }
    }

    /// For rows of inputs, side by side.
    fn apply(&self, x: &[f64]) -> Vec<f64> {
        let inputs = self.weight.len() / self.bias.len();
        let one = |x: &[f64]| -> Vec<f64> {
            self.weight.chunks_exact(inputs).zip(&self.bias).map(|(row, b)| dot(row, x) + b).collect()
        };
        x.chunks_exact(inputs).flat_map(one).collect()
    }
}

/// Gain and bias of a LayerNorm.
struct LayerNorm {
    ids: Norm,
    gain: Vec<f64>,
    bias: Vec<f64>,
}

impl LayerNorm {
    fn new(case: &mut Case, random: &mut Random, channels: usize, eps: f32) -> LayerNorm {
        let gain: Vec<f32> = random.halves(channels, 0.5).iter().map(|x| 1.0 + x).collect();
        let bias = random.halves(channels, 0.5);
        let ids = Norm { gain: case.param(&[channels], &gain), bias: case.param(&[channels], &bias), eps };
        LayerNorm { ids, gain: wide(&gain), bias: wide(&bias) }
    }

    fn apply(&self, x: &[f64]) -> Vec<f64> {
        let one = |row: &[f64]| -> Vec<f64> {
            let n = row.len() as f64;
            let mean = row.iter().sum::<f64>() / n;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let scale = 1.0 / (variance + f64::from(self.ids.eps)).sqrt();
            row.iter().zip(&self.gain).zip(&self.bias).map(|((x, g), b)| (x - mean) * scale * g + b).collect()
        };
        x.chunks_exact(self.gain.len()).flat_map(one).collect()
    }
}

fn relu(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(|x| x.max(0.0)).collect()
}
