//! What is beneath a tuning: a tuned file that it begins from.

use std::collections::BTreeMap;

use super::parameters::Trained;
use crate::Result;
use crate::memory::copied;
use crate::weights::Weights;

/// What a tuned file that training began from holds besides the trained tensors: it goes on into the next file, which
/// is put on top of the same base.
#[derive(Default)]
pub(super) struct Beneath {
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    metadata: BTreeMap<String, String>,
}

impl Beneath {
    pub fn of(weights: &Weights, trained: &[Trained]) -> Result<Beneath> {
        let metadata = weights.tuned_file().map(|(_, metadata)| metadata.clone()).unwrap_or_default();
        let mut tensors = Vec::new();
        for (name, values) in weights.tuned_tensors() {
            if trained.iter().all(|trained| trained.name != name) {
                let shape = weights.shape(name).map(<[usize]>::to_vec).unwrap_or_default();
                tensors.push((name.to_string(), shape, copied(values, "a tuned tensor")?));
            }
        }
        Ok(Beneath { tensors, metadata })
    }

    /// `own` words of the metadata `key`, and behind them those of the file beneath that are not among them.
    pub fn join(&self, key: &str, own: &str) -> String {
        let mut words: Vec<&str> = own.split(' ').filter(|word| !word.is_empty()).collect();
        for word in self.metadata.get(key).into_iter().flat_map(|words| words.split(' ')) {
            if !word.is_empty() && !words.contains(&word) {
                words.push(word);
            }
        }
        words.join(" ")
    }
}
