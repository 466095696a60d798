//! Parameters of a model, prepared once for a backend.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::graph::{Graph, ParamId};
use crate::model::{Config, Masks, Prompts, image_encoder, mask_decoder};
use crate::params::{Param, Reader, Tensors};
use crate::weights::Weights;

/// A model on a device: sizes and every parameter in the form that the backend's kernels read. Sessions share it.
pub struct Network<B: Backend> {
    config: Config,
    backend: Arc<B>,
    params: HashMap<String, Arc<B::Param>>,
}

impl<B: Backend> Network<B> {
    /// Reads `weights` once; they may be dropped afterwards.
    ///
    /// # Errors
    /// What reading returns, memory, or a device that fails.
    pub fn load(weights: &Weights, backend: B) -> Result<Network<B>> {
        Network::new(weights.config(), weights, backend)
    }

    /// Makes every parameter that any encoder or decoder graph of `config` can ask for, on as many threads as the
    /// backend takes. Each thread has memory of its own for numbers that were just read.
    ///
    /// # Errors
    /// What `tensors` return, a tensor of the wrong size, memory, or a device that fails.
    pub fn new(config: &Config, tensors: &dyn Tensors, backend: B) -> Result<Network<B>> {
        let params = prepare(config, tensors, &backend, &|_| true)?;
        Ok(Network { config: config.clone(), backend: Arc::new(backend), params })
    }

    /// The same network with other values of the tensors that `is_changed` names: parameters that are made of them are
    /// made anew of `tensors`, and all others shared, as is the device.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn with_changed(&self, tensors: &dyn Tensors, is_changed: &dyn Fn(&str) -> bool) -> Result<Network<B>> {
        let is_made_of = |param: &Param| param.recipe.sources().iter().any(|name| is_changed(name));
        let mut params = self.params.clone();
        params.extend(prepare(&self.config, tensors, self.backend(), &is_made_of)?);
        Ok(Network { config: self.config.clone(), backend: Arc::clone(&self.backend), params })
    }

    /// Sizes of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// A parameter as it is prepared.
    ///
    /// # Errors
    /// None of that name.
    pub(crate) fn param(&self, name: &str) -> Result<Arc<B::Param>> {
        let missing = || Error::internal("executor", format!("parameter {name} was not prepared"));
        self.params.get(name).cloned().ok_or_else(missing)
    }

    /// The parameters of `graph`, in its order.
    pub(crate) fn params_of(&self, graph: &Graph) -> Result<Vec<Arc<B::Param>>> {
        graph.params.iter().map(|param| self.param(&param.name)).collect()
    }
}

/// Makes the parameters of `config` that are wanted, by name.
fn prepare<B: Backend>(
    config: &Config,
    tensors: &dyn Tensors,
    backend: &B,
    is_wanted: &dyn Fn(&Param) -> bool,
) -> Result<HashMap<String, Arc<B::Param>>> {
    let graphs = every_graph(config).map(|graph| backend.lower(graph));
    let all = graphs.iter().flat_map(|graph| (0..graph.params.len()).map(move |id| (graph, ParamId(id))));
    let mut seen = HashSet::new();
    let mut wanted: Vec<_> =
        all.filter(|(graph, id)| is_wanted(&graph[*id]) && seen.insert(&graph[*id].name)).collect();
    // The largest first: what their making needs besides is free again, and reused, before memory is fullest.
    wanted.sort_by_key(|(graph, id)| Reverse(graph[*id].len()));
    let (next, params) = (AtomicUsize::new(0), Mutex::new(HashMap::with_capacity(wanted.len())));
    let load = || -> Result<()> {
        let mut rows = Vec::new();
        while let Some(&(graph, id)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let param = Arc::new(backend.prepare(graph, id, &mut Reader::new(&graph[id], tensors, &mut rows))?);
            params.lock().unwrap_or_else(PoisonError::into_inner).insert(graph[id].name.clone(), param);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        // A thread that cannot be had is done without: this one loads everything if need be.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, load).ok();
        let others: Vec<_> = (1..backend.loaders()).filter_map(spawn).collect();
        let panicked = |_| Err(Error::internal("executor", "a loading thread panicked"));
        others.into_iter().fold(load(), |result, other| result.and(other.join().unwrap_or_else(panicked)))
    })?;
    Ok(params.into_inner().unwrap_or_else(PoisonError::into_inner))
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
