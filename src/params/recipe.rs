//! What a parameter is and how it is made from checkpoint tensors.

/// One parameter array, f32 on the host; a backend packs or converts it once.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Path of the module that uses it.
    pub name: String,
    /// Row-major. A matrix is `[out, in]`, as in the checkpoint.
    pub shape: Vec<usize>,
    /// Where the numbers come from.
    pub recipe: Recipe,
}

impl Param {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True for a parameter without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How a parameter is made from checkpoint tensors.
#[derive(Clone, Debug, PartialEq)]
pub enum Recipe {
    /// The tensor of this name, unchanged.
    Tensor(String),
    /// Tensors stacked along the first axis: the prompt encoder's embeddings, the experts' biases.
    Rows(Vec<String>),
    /// As `Rows`, `gap` rows of zeros behind the first tensor: expert Downs under lin1.
    RowsWithGap {
        /// The tensors.
        names: Vec<String>,
        /// Rows.
        gap: usize,
    },
    /// Matrices side by side along the second axis, `gap` columns of zeros behind the first: expert Ups beside lin2.
    ColumnsWithGap {
        /// The tensors.
        names: Vec<String>,
        /// Columns.
        gap: usize,
    },
    /// Convolution weight `[out, in, ky, kx]` as `[out, ky, kx, in]`, the order of channels-last pixels.
    ChannelsLast(String),
    /// Transposed convolution weight `[in, out, 2, 2]` as `[2, 2, out, in]`: a Linear from one token to four.
    FourTokens(String),
    /// Weight `[out, in, ky, kx]` of the convolution `path.c` as `[out, ky, kx, in]`, times the gain of the batch norm
    /// `path.bn` behind it.
    Normed(String),
    /// As `Normed`, of a convolution with one input a channel: `[ky, kx, out]`.
    NormedTaps(String),
    /// What the batch norm `path.bn` adds behind its gain, `[out]`.
    NormedBias(String),
    /// What a Linear makes of the bias of a LayerNorm, that is of a token of zeros behind that norm.
    OfZeros {
        /// Module path of the LayerNorm.
        norm: String,
        /// Module path of the Linear.
        linear: String,
    },
    /// `position_embedding[n] + bias`: what the patch embedding adds to token n, `[N, D]`.
    PatchPosition {
        /// `[1, g, g, D]`.
        position: String,
        /// `[D]`.
        bias: String,
    },
    /// What a stack of Linears adds to image token n, `[N, sum of outs]`: `W pe(n) + b` where the Linear reads
    /// `src + pos`, `b` where it reads `src`. pe is the dense position encoding (MODEL.md section 4).
    DensePosition {
        /// The Gaussian matrix `[2, P/2]`.
        gaussian: String,
        /// Side of the token grid.
        grid: usize,
        /// Module path of each Linear and whether it reads the position.
        linears: Vec<(String, bool)>,
    },
}

impl Recipe {
    /// Whether its numbers can be read piece by piece.
    pub fn is_streamed(&self) -> bool {
        matches!(self, Recipe::Tensor(_) | Recipe::Rows(_) | Recipe::RowsWithGap { .. } | Recipe::ColumnsWithGap { .. })
    }

    /// The checkpoint tensors this recipe reads.
    pub fn sources(&self) -> Vec<String> {
        match self {
            Recipe::Tensor(name) | Recipe::ChannelsLast(name) | Recipe::FourTokens(name) => vec![name.clone()],
            Recipe::Rows(names) | Recipe::RowsWithGap { names, .. } | Recipe::ColumnsWithGap { names, .. } => {
                names.clone()
            }
            Recipe::PatchPosition { position, bias } => vec![position.clone(), bias.clone()],
            Recipe::Normed(path) | Recipe::NormedTaps(path) => {
                [".c.weight", ".bn.weight", ".bn.running_var"].map(|name| format!("{path}{name}")).to_vec()
            }
            Recipe::NormedBias(path) => {
                ["weight", "bias", "running_mean", "running_var"].map(|name| format!("{path}.bn.{name}")).to_vec()
            }
            Recipe::OfZeros { norm, linear } => {
                vec![format!("{norm}.bias"), format!("{linear}.weight"), format!("{linear}.bias")]
            }
            Recipe::DensePosition { gaussian, linears, .. } => {
                let weights = linears.iter().filter(|(_, reads)| *reads).map(|(path, _)| format!("{path}.weight"));
                let biases = linears.iter().map(|(path, _)| format!("{path}.bias"));
                std::iter::once(gaussian.clone()).chain(weights).chain(biases).collect()
            }
        }
    }
}
