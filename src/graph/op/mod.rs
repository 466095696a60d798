//! The closed list of fused operations: a struct each, and what the planner, the reports and the backends ask of it.
//! Shapes are those of the values and parameters, without the batch axis unless said.

mod convolution;
mod decoder;
mod encoder;
mod fused;
mod window;

pub use convolution::{Convolution, Depthwise, InvertedBottleneck};
pub use decoder::{
    ImageSource, ImageToTokens, MaskEmbed, PromptTokens, TokenHeads, TokenMlp, TokenSelfAttention, TokensToImage,
    Upscale,
};
pub use encoder::{Activation, Attention, Bias, Conv3x3, Gate, Gated, LayerNorm, Linear, PatchEmbed};
pub use fused::{DecoderInput, LayerNormGate};
pub use window::WindowAttention;
pub(crate) use window::padded_bias;

use super::{Graph, ParamId, ValueId};

/// What is known of an operation without its kernels.
pub trait Operation {
    /// The word that names the operation in plans and benches.
    fn name(&self) -> &'static str;

    /// Values it reads.
    fn reads(&self) -> Vec<ValueId>;

    /// Values it writes.
    fn writes(&self) -> Vec<ValueId>;

    /// Its parameters.
    fn params(&self) -> Vec<ParamId>;

    /// The shape of each value that it writes, without the batch axis, as it follows from what it reads.
    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>>;

    /// Floating-point operations of its products for one slice or prompt; a multiply-add counts 2.
    fn flop(&self, _graph: &Graph) -> u64 {
        0
    }

    /// Bytes of its parameters, as f32.
    fn param_bytes(&self, graph: &Graph) -> u64 {
        self.params().into_iter().map(|id| 4 * graph[id].len() as u64).sum()
    }

    /// Bytes of the values that it reads and writes, for a full batch, as the graph stores them.
    fn value_bytes(&self, graph: &Graph) -> u64 {
        let values = self.reads().into_iter().chain(self.writes());
        values.map(|id| (graph[id].len() * graph[id].element.bytes()) as u64).sum()
    }

    /// A value that it reads and one that it writes which may be one array: each element is read just before the same
    /// element of the result is written.
    fn replaces(&self) -> Option<[ValueId; 2]> {
        None
    }
}

/// The enum of all operations, a variant of the name of each struct.
macro_rules! operations {
    ($($op:ident),*) => {
        /// One fused operation.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            $(
                #[doc = concat!("See [`struct@", stringify!($op), "`].")]
                $op($op),
            )*
        }

        impl std::ops::Deref for Op {
            type Target = dyn Operation;

            fn deref(&self) -> &Self::Target {
                match self {
                    $(Op::$op(op) => op,)*
                }
            }
        }

        $(
            impl From<$op> for Op {
                fn from(op: $op) -> Op {
                    Op::$op(op)
                }
            }
        )*
    };
}

/// Hands the names of all operations to the macro `$then`: a new operation is added to this list, and whatever is made
/// by it asks for its part.
macro_rules! for_each_operation {
    ($then:ident) => {
        $then! {
            PatchEmbed, LayerNorm, Gate, Linear, Attention, Conv3x3, PromptTokens, MaskEmbed, ImageSource,
            TokenSelfAttention, TokensToImage, TokenMlp, ImageToTokens, TokenHeads, Upscale, LayerNormGate, DecoderInput,
            Convolution, Depthwise, InvertedBottleneck, WindowAttention
        }
    };
}
pub(crate) use for_each_operation;

for_each_operation!(operations);

/// Gain and bias of a LayerNorm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// `[channels]`.
    pub gain: ParamId,
    /// `[channels]`.
    pub bias: ParamId,
    /// Added to the biased variance.
    pub eps: f32,
}

impl Norm {
    fn params(&self) -> [ParamId; 2] {
        [self.gain, self.bias]
    }
}

/// Weight and bias of a small Linear inside a larger operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dense {
    /// `[out, in]`.
    pub weight: ParamId,
    /// `[out]`.
    pub bias: ParamId,
}

/// Weights and biases of `layers`.
fn dense(layers: &[Dense]) -> impl Iterator<Item = ParamId> {
    layers.iter().flat_map(|layer| [layer.weight, layer.bias])
}

/// What FLOP are counted with.
impl Graph {
    fn rows(&self, id: ValueId) -> u64 {
        self[id].shape[1] as u64
    }

    /// FLOP of a row times this matrix.
    fn matrix(&self, id: ParamId) -> u64 {
        2 * self[id].len() as u64
    }

    fn dense(&self, layer: &Dense) -> u64 {
        self.matrix(layer.weight)
    }

    fn layers(&self, layers: &[Dense]) -> u64 {
        layers.iter().map(|layer| self.dense(layer)).sum()
    }

    /// Attention between tokens and image behind projections of the tokens.
    fn cross_attention(&self, tokens: ValueId, image: ValueId, projections: &[Dense]) -> u64 {
        let (count, pixels) = (self.rows(tokens), self.rows(image));
        count * self.layers(projections) + 2 * count * pixels * self[tokens].shape[2] as u64
    }
}
