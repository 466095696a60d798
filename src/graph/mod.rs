//! A network as a list of fused operations over values with shapes. Pure data: nothing here computes.
//!
//! Activations are channels-last, `[B, tokens, channels]`. Nodes stand in execution order and every value is written
//! once. A graph is built for a batch capacity `B`; a run may fill fewer slices.

pub mod cost;
pub mod op;
pub mod plan;

pub use op::{Bias, Gated, Op, Operation};
pub use plan::Plan;

use crate::error::{Error, Result};
use crate::params::{Param, Recipe};

/// Index of a value in [`Graph::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// Index of a parameter in [`Graph::params`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub usize);

/// What a value's elements are on the host side of the graph. A backend may keep f32 activations in f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Activations, coordinates, scales.
    F32,
    /// Pixels.
    U8,
    /// Indices and point labels.
    I32,
}

impl Element {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Element::U8 => 1,
            Element::F32 | Element::I32 => 4,
        }
    }
}

/// How a backend keeps the elements of a value or parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// As the graph says.
    #[default]
    Native,
    /// f16 in place of f32.
    F16,
    /// bf16 in place of f32.
    Bf16,
}

impl Storage {
    /// Bytes of one element.
    pub fn bytes(self, element: Element) -> usize {
        match self {
            Storage::Native => element.bytes(),
            Storage::F16 | Storage::Bf16 => 2,
        }
    }
}

/// Who owns a value's memory and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Written by the host before a run.
    Input,
    /// Lives from its writer to its last reader.
    Intermediate,
    /// Read by the host after a run.
    Output,
    /// The embeddings: written by the encoder's graph and read by the decoder's, so it outlives both runs.
    Embedding,
}

/// One array that operations read and write.
#[derive(Clone, Debug)]
pub struct Value {
    /// The checkpoint's path of the module that writes it: `image_encoder.blocks.3.norm1`.
    pub name: String,
    /// Row-major; the first axis is the batch.
    pub shape: Vec<usize>,
    /// Element type.
    pub element: Element,
    /// Owner and lifetime.
    pub role: Role,
    /// Native until a backend lowers the graph.
    pub storage: Storage,
}

impl Value {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True for a value without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes it takes as it is stored.
    pub fn bytes(&self) -> usize {
        self.len() * self.storage.bytes(self.element)
    }

    /// Elements of one slice or prompt: everything behind the batch axis.
    pub fn stride(&self) -> usize {
        self.shape[1..].iter().product()
    }
}

/// One step: an operation and the checkpoint path it stands for.
#[derive(Clone, Debug)]
pub struct Node {
    /// `image_encoder.blocks.3.attn.qkv`.
    pub name: String,
    /// What to do.
    pub op: Op,
    /// Memory that the kernel uses while it runs: a value that lives for this step.
    pub scratch: Option<ValueId>,
}

/// A network, or a part of one, for a batch capacity.
#[derive(Clone, Debug)]
pub struct Graph {
    /// B: how many slices or prompts a run may hold.
    pub batch: usize,
    /// Every array.
    pub values: Vec<Value>,
    /// Every parameter, with the recipe that makes it from checkpoint tensors.
    pub params: Vec<Param>,
    /// Steps in execution order.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// An empty graph for `batch` slices or prompts.
    pub fn new(batch: usize) -> Self {
        Graph { batch, values: Vec::new(), params: Vec::new(), nodes: Vec::new() }
    }

    /// Adds an array of `shape` behind the batch axis.
    pub fn value(&mut self, name: impl Into<String>, shape: &[usize], element: Element, role: Role) -> ValueId {
        let mut full = vec![self.batch];
        full.extend_from_slice(shape);
        self.values.push(Value { name: name.into(), shape: full, element, role, storage: Storage::Native });
        ValueId(self.values.len() - 1)
    }

    /// Adds an f32 array that lives inside the graph.
    pub fn activation(&mut self, name: impl Into<String>, shape: &[usize]) -> ValueId {
        self.value(name, shape, Element::F32, Role::Intermediate)
    }

    /// Adds a parameter.
    pub fn param(&mut self, name: impl Into<String>, shape: &[usize], recipe: Recipe) -> ParamId {
        self.params.push(Param { name: name.into(), shape: shape.to_vec(), recipe });
        ParamId(self.params.len() - 1)
    }

    /// Adds the parameter that is the checkpoint tensor `name`, seen with `shape`.
    pub fn tensor(&mut self, name: impl Into<String>, shape: &[usize]) -> ParamId {
        let name = name.into();
        self.param(name.clone(), shape, Recipe::Tensor(name))
    }

    /// Appends a step.
    pub fn push(&mut self, name: impl Into<String>, op: impl Into<Op>) {
        self.nodes.push(Node { name: name.into(), op: op.into(), scratch: None });
    }

    /// Holds every value that a step writes against the shape that follows from what the step reads.
    ///
    /// # Errors
    /// [`Error::Internal`] with the first value that has another one.
    pub fn check(&self) -> Result<()> {
        for Node { name, op, .. } in &self.nodes {
            for (id, expected) in op.writes().into_iter().zip(op.shapes(self)) {
                let found = &self[id].shape[1..];
                if found != expected {
                    let what = format!("{} of {}: got {found:?}; needs {expected:?}", self[id].name, op.name());
                    return Err(Error::Internal { place: name.clone(), what });
                }
            }
        }
        Ok(())
    }

    /// The value with this name, if there is one.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.values.iter().position(|v| v.name == name).map(ValueId)
    }
}

impl std::ops::Index<ValueId> for Graph {
    type Output = Value;

    fn index(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }
}

impl std::ops::Index<ParamId> for Graph {
    type Output = Param;

    fn index(&self, id: ParamId) -> &Param {
        &self.params[id.0]
    }
}
