//! The closed list of fused operations. Each says what it reads, what it writes and the arithmetic it stands for;
//! shapes are those of the values and parameters, without the batch axis unless said.

use super::{ParamId, ValueId};

/// What a product adds to each output row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bias {
    /// Nothing.
    None,
    /// One row `[out]` for all tokens.
    Row(ParamId),
    /// One row a token, `[N, out]`.
    Token(ParamId),
}

/// Activation behind a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// None.
    Identity,
    /// Exact: `0.5 x (1 + erf(x / sqrt 2))`.
    Gelu,
}

/// How the mixture of experts enters a product (MODEL.md, ConMoAE; `gate` is `[E]` a slice).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gated {
    /// The last `E * R` output columns, after the activation, are multiplied by `scale * gate[k]`.
    Columns {
        /// `[E]`.
        gate: ValueId,
        /// R.
        bottleneck: usize,
        /// 0.1.
        scale: f32,
    },
    /// Every row gains `scale * sum_k gate[k] * biases[k]`.
    Biases {
        /// `[E]`.
        gate: ValueId,
        /// `[E, out]`.
        biases: ParamId,
        /// 0.1.
        scale: f32,
    },
}

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

/// Weight and bias of a small Linear inside a larger operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dense {
    /// `[out, in]`.
    pub weight: ParamId,
    /// `[out]`.
    pub bias: ParamId,
}

/// One fused operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// uint8 picture to patch tokens: `out[n] = W normalised_patch(n) + token_bias[n]`. A channel's value is
    /// `pixel * scale + offset`; a pixel outside the valid rectangle is 0 after that.
    PatchEmbed {
        /// u8 `[S, S, 3]`.
        pixels: ValueId,
        /// f32 `[8]`: three scales, three offsets, valid height, valid width.
        scaling: ValueId,
        /// `[D, patch, patch, 3]`.
        weight: ParamId,
        /// `[N, D]`.
        token_bias: ParamId,
        /// `[N, D]`.
        out: ValueId,
    },
    /// LayerNorm over channels; `mean` is the mean over tokens of the result, for the gate.
    LayerNorm {
        /// `[N, C]`.
        input: ValueId,
        /// Gain, bias, eps.
        norm: Norm,
        /// `[N, C]`.
        out: ValueId,
        /// `[C]`.
        mean: Option<ValueId>,
    },
    /// The gate of the mixture: organ vector, input vector, softmax over experts (MODEL.md, ConMoAE).
    Gate {
        /// `[D]`, mean over tokens of LN2.
        mean: ValueId,
        /// i32 `[5]`: modality, three organ indices, task.
        context: ValueId,
        /// Embedding tables of the organ tree `[rows, e]`; the last one is the task table.
        organ_embed: [ParamId; 5],
        /// `[modalities, e]`.
        modal_embed: ParamId,
        /// `4e -> 4`.
        organ_gate: Dense,
        /// `D -> e`.
        input_embed: Dense,
        /// `4e -> E`.
        gate: Dense,
        /// `[E]`.
        out: ValueId,
    },
    /// `out = residual + gated(activation(input W^T + bias))`.
    Linear {
        /// `[N, in]`.
        input: ValueId,
        /// `[out, in]`.
        weight: ParamId,
        /// Added before the activation.
        bias: Bias,
        /// Behind the bias.
        activation: Activation,
        /// Mixture of experts.
        gated: Option<Gated>,
        /// `[N, out]`; may share memory with `out`.
        residual: Option<ValueId>,
        /// `[N, out]`.
        out: ValueId,
    },
    /// Multi-head attention over the grid or over windows, with decomposed relative position. Padding is never
    /// computed: padded keys and values are the bias of qkv, in closed form (MODEL.md, Attention).
    Attention {
        /// `[N, 3D]`: (q|k|v) x heads x head dim.
        qkv: ValueId,
        /// `[3D]`.
        qkv_bias: ParamId,
        /// `[2g-1, d]`, g the side of the window or grid.
        rel_pos_h: ParamId,
        /// `[2g-1, d]`.
        rel_pos_w: ParamId,
        /// h.
        heads: usize,
        /// Side of the token grid.
        grid: usize,
        /// Side of a window; `None` is global.
        window: Option<usize>,
        /// `[N, D]`.
        out: ValueId,
    },
    /// 3x3 convolution over the token grid, padding 1, no bias.
    Conv3x3 {
        /// `[N, C]`.
        input: ValueId,
        /// `[out, 3, 3, C]`.
        weight: ParamId,
        /// Side of the token grid.
        grid: usize,
        /// `[N, out]`.
        out: ValueId,
    },
    /// Decoder tokens: IoU token, four mask tokens, one token a point (MODEL.md section 4). Labels: -1 not a point,
    /// 0 and 1 background and foreground, 2 and 3 the corners of a box.
    PromptTokens {
        /// f32 `[points, 2]`, pixels of the model frame (x, y).
        points: ValueId,
        /// i32 `[points]`.
        labels: ValueId,
        /// `[2, P/2]`.
        gaussian: ParamId,
        /// `[4, P]`: point_embeddings.0 to .3.
        point_embeddings: ParamId,
        /// `[1, P]`.
        not_a_point: ParamId,
        /// `[5, P]`: iou_token, mask_tokens.
        output_tokens: ParamId,
        /// S.
        image_size: usize,
        /// `[5 + points, P]`.
        out: ValueId,
    },
    /// Mask prompt to a dense embedding: two 2x2/2 convolutions with LN2d and GELU, one 1x1.
    MaskEmbed {
        /// f32 `[4g, 4g]` logits.
        mask: ValueId,
        /// `[c, ky, kx, in]` and bias: 1 -> 4, 4 -> 16, 16 -> P.
        convs: [Dense; 3],
        /// Behind the first and the second.
        norms: [Norm; 2],
        /// `[N, P]`.
        out: ValueId,
    },
    /// `out[b] = embedding[slot[b]] + dense`.
    ImageSource {
        /// `[slots, N, P]`: its first axis is the encoder's batch.
        embedding: ValueId,
        /// i32 `[1]`.
        slot: ValueId,
        /// `[N, P]` from a mask prompt.
        dense: Option<ValueId>,
        /// `[1, P]`, where there is no mask prompt.
        no_mask: ParamId,
        /// `[N, P]`.
        out: ValueId,
    },
    /// Self-attention on the decoder's tokens, then LayerNorm. In the first layer q = k = v = tokens and the result
    /// replaces the tokens; later q = k = tokens + position and it is added.
    TokenSelfAttention {
        /// `[T, P]`.
        tokens: ValueId,
        /// `[T, P]`, the initial tokens.
        position: ValueId,
        /// q, k, v, out projections, `P -> P`.
        projections: [Dense; 4],
        /// Behind it.
        norm: Norm,
        /// Layer 0.
        first: bool,
        /// `[T, P]`.
        out: ValueId,
    },
    /// Tokens attend to the image, result added, then LayerNorm.
    TokensToImage {
        /// `[T, P]`.
        tokens: ValueId,
        /// `[T, P]`, the initial tokens.
        position: ValueId,
        /// `[N, columns]`: k at column 0, v at column P/2 (8 heads over P/2 columns each).
        image: ValueId,
        /// q `P -> P/2` and out `P/2 -> P`.
        projections: [Dense; 2],
        /// Behind it.
        norm: Norm,
        /// `[T, P]`.
        out: ValueId,
    },
    /// MLP with ReLU on the tokens, result added, then LayerNorm.
    TokenMlp {
        /// `[T, P]`.
        tokens: ValueId,
        /// `P -> hidden -> P`.
        layers: [Dense; 2],
        /// Behind it.
        norm: Norm,
        /// `[T, P]`.
        out: ValueId,
    },
    /// The image attends to the tokens: 8 heads over P/2 columns, before the out projection.
    ImageToTokens {
        /// `[N, columns]`: q at column P.
        image: ValueId,
        /// `[T, P]`.
        tokens: ValueId,
        /// `[T, P]`, the initial tokens.
        position: ValueId,
        /// k and v, `P -> P/2`; k reads tokens + position.
        projections: [Dense; 2],
        /// `[N, P/2]`.
        out: ValueId,
    },
    /// Hyper-network vectors of the wanted masks and the predicted IoU of all four, from the final tokens.
    TokenHeads {
        /// `[T, P]`.
        tokens: ValueId,
        /// Three layers a wanted mask, mask `first_mask` first; `P -> P -> P -> C`, ReLU between.
        hyper: Vec<[Dense; 3]>,
        /// 0 or 1: the first wanted mask.
        first_mask: usize,
        /// `P -> hidden -> hidden -> 4`, ReLU between.
        iou: [Dense; 3],
        /// `[M, C]`.
        hyper_out: ValueId,
        /// `[4]`.
        iou_out: ValueId,
    },
    /// Mask upsampling: each token's P channels to its own pixels through all transposed convolutions (`FourTokens`),
    /// LayerNorms and GELUs (the last one has no LayerNorm), times the hyper vectors.
    Upscale {
        /// `[N, P]`.
        input: ValueId,
        /// `[M, C]`.
        hyper: ValueId,
        /// `[2, 2, out, in]` and bias, one a doubling.
        convs: Vec<Dense>,
        /// One less than `convs`.
        norms: Vec<Norm>,
        /// Side of the token grid.
        grid: usize,
        /// `[M, L, L]`, L = grid * 2^convs.
        out: ValueId,
    },
}

impl Op {
    /// The word that names the operation in plans and benches.
    pub fn name(&self) -> &'static str {
        match self {
            Op::PatchEmbed { .. } => "patch_embed",
            Op::LayerNorm { .. } => "layer_norm",
            Op::Gate { .. } => "gate",
            Op::Linear { .. } => "linear",
            Op::Attention { .. } => "attention",
            Op::Conv3x3 { .. } => "conv3x3",
            Op::PromptTokens { .. } => "prompt_tokens",
            Op::MaskEmbed { .. } => "mask_embed",
            Op::ImageSource { .. } => "image_source",
            Op::TokenSelfAttention { .. } => "token_self_attention",
            Op::TokensToImage { .. } => "tokens_to_image",
            Op::TokenMlp { .. } => "token_mlp",
            Op::ImageToTokens { .. } => "image_to_tokens",
            Op::TokenHeads { .. } => "token_heads",
            Op::Upscale { .. } => "upscale",
        }
    }

    /// Values this operation reads.
    pub fn reads(&self) -> Vec<ValueId> {
        match self {
            Op::PatchEmbed { pixels, scaling, .. } => vec![*pixels, *scaling],
            Op::LayerNorm { input, .. } | Op::Conv3x3 { input, .. } => vec![*input],
            Op::Gate { mean, context, .. } => vec![*mean, *context],
            Op::Linear { input, gated, residual, .. } => {
                let gate = gated.map(|g| match g {
                    Gated::Columns { gate, .. } | Gated::Biases { gate, .. } => gate,
                });
                [Some(*input), gate, *residual].into_iter().flatten().collect()
            }
            Op::Attention { qkv, .. } => vec![*qkv],
            Op::PromptTokens { points, labels, .. } => vec![*points, *labels],
            Op::MaskEmbed { mask, .. } => vec![*mask],
            Op::ImageSource { embedding, slot, dense, .. } => {
                [Some(*embedding), Some(*slot), *dense].into_iter().flatten().collect()
            }
            Op::TokenSelfAttention { tokens, position, .. } => vec![*tokens, *position],
            Op::TokensToImage { tokens, position, image, .. } | Op::ImageToTokens { tokens, position, image, .. } => {
                vec![*tokens, *position, *image]
            }
            Op::TokenMlp { tokens, .. } | Op::TokenHeads { tokens, .. } => vec![*tokens],
            Op::Upscale { input, hyper, .. } => vec![*input, *hyper],
        }
    }

    /// Values this operation writes.
    pub fn writes(&self) -> Vec<ValueId> {
        match self {
            Op::PatchEmbed { out, .. }
            | Op::Gate { out, .. }
            | Op::Linear { out, .. }
            | Op::Attention { out, .. }
            | Op::Conv3x3 { out, .. }
            | Op::PromptTokens { out, .. }
            | Op::MaskEmbed { out, .. }
            | Op::ImageSource { out, .. }
            | Op::TokenSelfAttention { out, .. }
            | Op::TokensToImage { out, .. }
            | Op::TokenMlp { out, .. }
            | Op::ImageToTokens { out, .. }
            | Op::Upscale { out, .. } => vec![*out],
            Op::LayerNorm { out, mean, .. } => [Some(*out), *mean].into_iter().flatten().collect(),
            Op::TokenHeads { hyper_out, iou_out, .. } => vec![*hyper_out, *iou_out],
        }
    }

    /// Parameters of this operation.
    pub fn params(&self) -> Vec<ParamId> {
        let dense = |layer: &Dense| [layer.weight, layer.bias];
        let norm_of = |norm: &Norm| [norm.gain, norm.bias];
        match self {
            Op::PatchEmbed { weight, token_bias, .. } => vec![*weight, *token_bias],
            Op::LayerNorm { norm, .. } => norm_of(norm).to_vec(),
            Op::Gate { organ_embed, modal_embed, organ_gate, input_embed, gate, .. } => {
                let layers = [organ_gate, input_embed, gate];
                organ_embed.iter().copied().chain([*modal_embed]).chain(layers.into_iter().flat_map(dense)).collect()
            }
            Op::Linear { weight, bias, gated, .. } => {
                let bias = match bias {
                    Bias::None => None,
                    Bias::Row(id) | Bias::Token(id) => Some(*id),
                };
                let biases = match gated {
                    Some(Gated::Biases { biases, .. }) => Some(*biases),
                    _ => None,
                };
                [Some(*weight), bias, biases].into_iter().flatten().collect()
            }
            Op::Attention { qkv_bias, rel_pos_h, rel_pos_w, .. } => vec![*qkv_bias, *rel_pos_h, *rel_pos_w],
            Op::Conv3x3 { weight, .. } => vec![*weight],
            Op::PromptTokens { gaussian, point_embeddings, not_a_point, output_tokens, .. } => {
                vec![*gaussian, *point_embeddings, *not_a_point, *output_tokens]
            }
            Op::MaskEmbed { convs, norms, .. } => {
                convs.iter().flat_map(dense).chain(norms.iter().flat_map(norm_of)).collect()
            }
            Op::ImageSource { no_mask, .. } => vec![*no_mask],
            Op::TokenSelfAttention { projections, norm, .. } => {
                projections.iter().flat_map(dense).chain(norm_of(norm)).collect()
            }
            Op::TokensToImage { projections, norm, .. } => {
                projections.iter().flat_map(dense).chain(norm_of(norm)).collect()
            }
            Op::TokenMlp { layers, norm, .. } => layers.iter().flat_map(dense).chain(norm_of(norm)).collect(),
            Op::ImageToTokens { projections, .. } => projections.iter().flat_map(dense).collect(),
            Op::TokenHeads { hyper, iou, .. } => hyper.iter().flatten().chain(iou).flat_map(dense).collect(),
            Op::Upscale { convs, norms, .. } => {
                convs.iter().flat_map(dense).chain(norms.iter().flat_map(norm_of)).collect()
            }
        }
    }
}
