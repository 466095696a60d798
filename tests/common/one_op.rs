//! Runs graphs of one operation on a backend, with random data.

use std::sync::Arc;

use half::f16;
use medsegx::Error;
use medsegx::backend::Backend;
use medsegx::graph::{Graph, ParamId, Plan, Role, ValueId};
use medsegx::params::InMemory;
use medsegx::params::Recipe;

/// Numbers that differ from test to test and are the same at every run.
pub struct Random(pub u64);

impl Random {
    /// Uniform in [-1, 1).
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// `len` values in [-scale, scale).
    pub fn vec(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.next() * scale).collect()
    }

    /// As `vec`, rounded to f16, so that a conversion to f16 changes nothing.
    pub fn halves(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| f16::from_f32(self.next() * scale).to_f32()).collect()
    }
}

/// A graph with data for its inputs and parameters.
pub struct Case {
    pub graph: Graph,
    inputs: Vec<(ValueId, Vec<u8>)>,
    params: Vec<Vec<f32>>,
}

impl Case {
    pub fn new(batch: usize) -> Self {
        Case { graph: Graph::new(batch), inputs: Vec::new(), params: Vec::new() }
    }

    /// Adds a parameter with its data.
    pub fn param(&mut self, shape: &[usize], data: &[f32]) -> ParamId {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        self.params.push(data.to_vec());
        let name = format!("param {}", self.params.len());
        self.graph.param(name.clone(), shape, Recipe::Tensor(name))
    }

    /// Adds an input with its data; `shape` is without the batch.
    pub fn input(&mut self, shape: &[usize], element: medsegx::graph::Element, bytes: &[u8]) -> ValueId {
        let name = format!("input {}", self.inputs.len());
        let id = self.graph.value(name, shape, element, Role::Input);
        assert_eq!(bytes.len(), self.graph[id].len() * element.bytes());
        self.inputs.push((id, bytes.to_vec()));
        id
    }

    /// Adds an f32 input.
    pub fn floats(&mut self, shape: &[usize], data: &[f32]) -> ValueId {
        self.input(shape, medsegx::graph::Element::F32, bytemuck::cast_slice(data))
    }

    /// Adds an f32 output.
    pub fn output(&mut self, shape: &[usize]) -> ValueId {
        let name = format!("output {}", self.graph.values.len());
        self.graph.value(name, shape, medsegx::graph::Element::F32, Role::Output)
    }

    /// Runs all steps for `active` slices and reads the f32 `outputs`.
    pub fn run<B: Backend>(&self, backend: &B, active: usize, outputs: &[ValueId]) -> Result<Vec<Vec<f32>>, Error> {
        let plan = Plan::new(backend.lower(self.graph.clone()));
        let params: Vec<Arc<B::Param>> = self
            .params
            .iter()
            .enumerate()
            .map(|(id, data)| backend.prepare(&plan.graph, ParamId(id), &mut InMemory(data.clone())).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let mut arena = backend.arena(&[&plan])?;
        for (id, bytes) in &self.inputs {
            backend.write(&mut arena, &plan, *id, 0, bytes)?;
        }
        for step in 0..plan.graph.nodes.len() {
            backend.run(&mut arena, &plan, &params, step, active)?;
        }
        let read = |&id: &ValueId| {
            let mut data = vec![0f32; self.graph[id].stride() * active];
            backend.read(&mut arena, &plan, id, bytemuck::cast_slice_mut(&mut data))?;
            Ok(data)
        };
        outputs.iter().map(read).collect()
    }
}
