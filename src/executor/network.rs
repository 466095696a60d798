//! Parameters of a model, prepared once for a backend.

use std::collections::HashMap;
use std::sync::Arc;

use super::internal;
use crate::backend::Backend;
use crate::error::Result;
use crate::graph::{Graph, ParamId};
use crate::model::{Config, Masks, Prompts, image_encoder, mask_decoder};
use crate::weights::Weights;

/// A model on a device: sizes and every parameter in the form that the backend's kernels read. Sessions share it.
pub struct Network<B: Backend> {
    config: Config,
    backend: B,
    params: HashMap<String, Arc<B::Param>>,
}

impl<B: Backend> Network<B> {
    /// Reads `weights` once; they may be dropped afterwards.
    ///
    /// # Errors
    /// What reading returns, memory, or a device that fails.
    pub fn load(weights: &Weights, backend: B) -> Result<Network<B>> {
        Network::from_tensors(weights.config(), backend, |name| weights.load(name))
    }

    /// Makes every parameter that any encoder or decoder graph of `config` can ask for. `tensor` returns a checkpoint
    /// tensor by name, row-major; its answer is dropped as soon as the parameter is made.
    ///
    /// # Errors
    /// What `tensor` returns, a tensor of the wrong size, memory, or a device that fails.
    pub fn from_tensors(
        config: &Config,
        backend: B,
        mut tensor: impl FnMut(&str) -> Result<Vec<f32>>,
    ) -> Result<Network<B>> {
        let mut params = HashMap::new();
        for graph in every_graph(config) {
            for (index, param) in graph.params.iter().enumerate() {
                if params.contains_key(&param.name) {
                    continue;
                }
                let data = param.make(&mut tensor)?;
                params.insert(param.name.clone(), Arc::new(backend.prepare(&graph, ParamId(index), data)?));
            }
        }
        Ok(Network { config: config.clone(), backend, params })
    }

    /// Sizes of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The parameters of `graph`, in its order.
    pub(super) fn params_of(&self, graph: &Graph) -> Result<Vec<Arc<B::Param>>> {
        let missing = |name: &str| internal(format!("parameter {name} was not prepared"));
        let find = |name: &str| self.params.get(name).cloned().ok_or_else(|| missing(name));
        graph.params.iter().map(|param| find(&param.name)).collect()
    }
}

/// Graphs that together use every parameter of a model.
pub fn every_graph(config: &Config) -> [Graph; 3] {
    let prompts = |mask, masks| Prompts { points: 1, mask, masks };
    [
        image_encoder::graph(config, 1),
        mask_decoder::graph(config, 1, 1, prompts(false, Masks::Three)),
        mask_decoder::graph(config, 1, 1, prompts(true, Masks::Single)),
    ]
}
