//! The operations of prompt encoder and mask decoder.

use super::{Dense, Norm, Operation, dense};
use crate::graph::{Graph, ParamId, ValueId};

/// Decoder tokens: IoU token, four mask tokens, one token a point (MODEL.md section 4). Labels: -1 not a point,
/// 0 and 1 background and foreground, 2 and 3 the corners of a box.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptTokens {
    /// f32 `[points, 2]`, pixels of the model frame (x, y).
    pub points: ValueId,
    /// i32 `[points]`.
    pub labels: ValueId,
    /// `[2, P/2]`.
    pub gaussian: ParamId,
    /// `[4, P]`: point_embeddings.0 to .3.
    pub point_embeddings: ParamId,
    /// `[1, P]`.
    pub not_a_point: ParamId,
    /// `[5, P]`: iou_token, mask_tokens.
    pub output_tokens: ParamId,
    /// S.
    pub image_size: usize,
    /// `[5 + points, P]`.
    pub out: ValueId,
}

impl Operation for PromptTokens {
    fn name(&self) -> &'static str {
        "prompt_tokens"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.points, self.labels]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        vec![self.gaussian, self.point_embeddings, self.not_a_point, self.output_tokens]
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        let fixed = &graph[self.output_tokens].shape;
        vec![vec![fixed[0] + graph[self.points].shape[1], fixed[1]]]
    }
}

/// Mask prompt to a dense embedding: two 2x2/2 convolutions with LN2d and GELU, one 1x1.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskEmbed {
    /// f32 `[4g, 4g]` logits.
    pub mask: ValueId,
    /// `[c, ky, kx, in]` and bias: 1 -> 4, 4 -> 16, 16 -> P.
    pub convs: [Dense; 3],
    /// Behind the first and the second.
    pub norms: [Norm; 2],
    /// `[N, P]`.
    pub out: ValueId,
}

impl Operation for MaskEmbed {
    fn name(&self) -> &'static str {
        "mask_embed"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.mask]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        dense(&self.convs).chain(self.norms.iter().flat_map(Norm::params)).collect()
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        vec![vec![(graph[self.mask].shape[1] / 4).pow(2), graph[self.convs[2].weight].shape[0]]]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        let [first, second, third] = self.convs.each_ref().map(|conv| graph.dense(conv));
        graph.rows(self.out) * (4 * first + second + third)
    }
}

/// `out[b] = embedding[slot[b]] + dense`.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSource {
    /// `[slots, N, P]`: its first axis is the encoder's batch.
    pub embedding: ValueId,
    /// i32 `[1]`.
    pub slot: ValueId,
    /// `[N, P]` from a mask prompt.
    pub dense: Option<ValueId>,
    /// `[1, P]`, where there is no mask prompt.
    pub no_mask: ParamId,
    /// `[N, P]`.
    pub out: ValueId,
}

impl Operation for ImageSource {
    fn name(&self) -> &'static str {
        "image_source"
    }

    fn reads(&self) -> Vec<ValueId> {
        [Some(self.embedding), Some(self.slot), self.dense].into_iter().flatten().collect()
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        vec![self.no_mask]
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        vec![graph[self.embedding].shape[1..].to_vec()]
    }
}

/// Self-attention on the decoder's tokens, then LayerNorm. In the first layer q = k = v = tokens and the result
/// replaces the tokens; later q = k = tokens + position and it is added.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenSelfAttention {
    /// `[T, P]`.
    pub tokens: ValueId,
    /// `[T, P]`, the initial tokens.
    pub position: ValueId,
    /// q, k, v, out projections, `P -> P`.
    pub projections: [Dense; 4],
    /// Behind it.
    pub norm: Norm,
    /// Layer 0.
    pub first: bool,
    /// `[T, P]`.
    pub out: ValueId,
}

impl Operation for TokenSelfAttention {
    fn name(&self) -> &'static str {
        "token_self_attention"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.tokens, self.position]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        dense(&self.projections).chain(self.norm.params()).collect()
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        vec![graph[self.tokens].shape[1..].to_vec()]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        let tokens = graph.rows(self.tokens);
        tokens * graph.layers(&self.projections) + 4 * tokens * tokens * graph[self.tokens].shape[2] as u64
    }
}

/// Tokens attend to the image, result added, then LayerNorm.
#[derive(Clone, Debug, PartialEq)]
pub struct TokensToImage {
    /// `[T, P]`.
    pub tokens: ValueId,
    /// `[T, P]`, the initial tokens.
    pub position: ValueId,
    /// `[N, columns]`: k at column 0, v at column P/2 (8 heads over P/2 columns each).
    pub image: ValueId,
    /// q `P -> P/2` and out `P/2 -> P`.
    pub projections: [Dense; 2],
    /// Behind it.
    pub norm: Norm,
    /// `[T, P]`.
    pub out: ValueId,
}

impl Operation for TokensToImage {
    fn name(&self) -> &'static str {
        "tokens_to_image"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.tokens, self.position, self.image]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        dense(&self.projections).chain(self.norm.params()).collect()
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        vec![graph[self.tokens].shape[1..].to_vec()]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        graph.cross_attention(self.tokens, self.image, &self.projections)
    }
}

/// MLP with ReLU on the tokens, result added, then LayerNorm.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenMlp {
    /// `[T, P]`.
    pub tokens: ValueId,
    /// `P -> hidden -> P`.
    pub layers: [Dense; 2],
    /// Behind it.
    pub norm: Norm,
    /// `[T, P]`.
    pub out: ValueId,
}

impl Operation for TokenMlp {
    fn name(&self) -> &'static str {
        "token_mlp"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.tokens]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        dense(&self.layers).chain(self.norm.params()).collect()
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        vec![graph[self.tokens].shape[1..].to_vec()]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        graph.rows(self.tokens) * graph.layers(&self.layers)
    }
}

/// The image attends to the tokens: 8 heads over P/2 columns, before the out projection.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageToTokens {
    /// `[N, columns]`: q at column P.
    pub image: ValueId,
    /// `[T, P]`.
    pub tokens: ValueId,
    /// `[T, P]`, the initial tokens.
    pub position: ValueId,
    /// k and v, `P -> P/2`; k reads tokens + position.
    pub projections: [Dense; 2],
    /// `[N, P/2]`.
    pub out: ValueId,
}

impl Operation for ImageToTokens {
    fn name(&self) -> &'static str {
        "image_to_tokens"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.tokens, self.position, self.image]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        dense(&self.projections).collect()
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        vec![vec![graph[self.image].shape[1], graph[self.projections[0].weight].shape[0]]]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        graph.cross_attention(self.tokens, self.image, &self.projections)
    }
}

/// Hyper-network vectors of the wanted masks and the predicted IoU of all four, from the final tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenHeads {
    /// `[T, P]`.
    pub tokens: ValueId,
    /// Three layers a wanted mask, mask `first_mask` first; `P -> P -> P -> C`, ReLU between.
    pub hyper: Vec<[Dense; 3]>,
    /// 0 or 1: the first wanted mask.
    pub first_mask: usize,
    /// `P -> hidden -> hidden -> 4`, ReLU between.
    pub iou: [Dense; 3],
    /// `[M, C]`.
    pub hyper_out: ValueId,
    /// `[4]`.
    pub iou_out: ValueId,
}

impl Operation for TokenHeads {
    fn name(&self) -> &'static str {
        "token_heads"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.tokens]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.hyper_out, self.iou_out]
    }

    fn params(&self) -> Vec<ParamId> {
        self.hyper.iter().chain([&self.iou]).flat_map(|layers| dense(layers)).collect()
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        let outputs = |layers: &[Dense; 3]| graph[layers[2].weight].shape[0];
        vec![vec![self.hyper.len(), self.hyper.first().map_or(0, outputs)], vec![outputs(&self.iou)]]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        self.hyper.iter().chain([&self.iou]).map(|layers| graph.layers(layers)).sum()
    }
}

/// Mask upsampling: each token's P channels to its own pixels through all transposed convolutions (`FourTokens`),
/// LayerNorms and GELUs (the last one has no LayerNorm), times the hyper vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Upscale {
    /// `[N, P]`.
    pub input: ValueId,
    /// `[M, C]`.
    pub hyper: ValueId,
    /// `[2, 2, out, in]` and bias, one a doubling.
    pub convs: Vec<Dense>,
    /// One less than `convs`.
    pub norms: Vec<Norm>,
    /// Side of the token grid.
    pub grid: usize,
    /// `[M, L, L]`, L = grid * 2^convs.
    pub out: ValueId,
}

impl Operation for Upscale {
    fn name(&self) -> &'static str {
        "upscale"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.input, self.hyper]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        dense(&self.convs).chain(self.norms.iter().flat_map(Norm::params)).collect()
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        let side = self.grid << self.convs.len();
        vec![vec![graph[self.hyper].shape[1], side, side]]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        let mut tokens = graph.rows(self.input);
        let mut flop = 0;
        for conv in &self.convs {
            flop += tokens * graph.dense(conv);
            tokens *= 4;
        }
        flop + 2 * graph[self.out].stride() as u64 * graph[self.hyper].shape[2] as u64
    }
}
