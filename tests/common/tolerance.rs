//! How far results may be from the references, and why. Relative L2 distances unless said.

/// One line of the table.
pub struct Tolerance {
    /// Stage of the network, or operation.
    pub what: &'static str,
    /// Largest distance that passes.
    pub limit: f64,
    /// Where the number comes from.
    pub reason: &'static str,
}

const fn row(what: &'static str, limit: f64, reason: &'static str) -> Tolerance {
    Tolerance { what, limit, reason }
}

/// f32 arithmetic against golden tensors from f64; the published code run in f32 is within 2.2e-6 of the logits.
pub const F32: &[Tolerance] = &[
    row("patch_embed", 1e-6, "one product over 768 inputs"),
    row("prompt", 1e-6, "sines in f64, one addition"),
    row("norm", 2e-6, "normalises what the blocks before left of their rounding"),
    row("attn", 3e-6, "difference of two residual streams, each rounded at its own size"),
    row("mlp", 3e-6, "difference of two residual streams, each rounded at its own size"),
    row("gate", 5e-7, "softmax of a mean over all tokens"),
    row("block", 2e-6, "rounding of all blocks before, carried by the residual stream"),
    row("neck", 2e-6, "rounding of the encoder"),
    row("decoder", 1e-5, "nearly one-hot attention (SYNTH.md) amplifies the encoder's rounding"),
    row("logits", 1e-5, "required of every golden file"),
    row("iou", 1e-5, "required of every golden file"),
];

/// CUDA: f16 operands, f32 sums, f32 residual stream. Rounding those operands to 11 bits in f64 alone is 7.8e-4 to
/// 8.2e-4 off at the neck and 1.1e-3 to 1.7e-3 on the logits of the small model (`tools/rounding.py`).
pub const F16: &[Tolerance] = &[
    row("patch_embed", 4e-4, "one product of rounded pixels and rounded weights"),
    row("prompt", 1e-5, "f32 sines of the device"),
    row("norm", 1e-3, "stored in f16; carries the rounding of all blocks before"),
    row("attn", 2e-3, "rounded q, k, v, probabilities and heads; a difference of two residual streams"),
    row("mlp", 2e-3, "rounded hidden values; a difference of two residual streams"),
    row("gate", 2e-3, "required of every gate"),
    row("block", 1e-3, "rounding of all blocks before, carried by the residual stream"),
    row("neck", 1.5e-3, "required of the neck"),
    row("decoder", 5e-3, "nearly one-hot attention (SYNTH.md) amplifies the encoder's rounding"),
    row("logits", 5e-3, "required of the logits"),
    row("iou", 5e-3, "as the logits"),
];

/// f32 where some channels are 50 times larger. NumPy in f32 is then 4.9e-7 off at the worst gate and 2.4e-6 at the
/// neck, 3.1 and 4.6 times as far as without them (`tools/rounding.py`).
pub const F32_OUTLIERS: &[Tolerance] = &[
    row("gate", 2.5e-6, "5 times as without outliers: see the neck"),
    row("neck", 1e-5, "5 times as without outliers: scores of hundreds make attention one-hot and move near ties"),
    row("logits", 5e-5, "5 times as without outliers: see the neck"),
];

/// CUDA where some channels are 50 times larger. Rounding the operands in f64 alone gives 1.5e-3 at the worst gate,
/// 2.9e-3 at the neck and 5.9e-3 on the logits (`tools/rounding.py`), most of it in the one attention that reads such
/// channels.
pub const F16_OUTLIERS: &[Tolerance] = &[
    row("gate", 2e-3, "required of every gate"),
    row("neck", 5e-3, "scores of hundreds make attention one-hot, and 2^-12 of them moves near ties"),
    row("logits", 7e-3, "1.2 times what rounding the operands alone makes (5.9e-3): see the neck"),
];

/// bf16 in the encoder's large products (8 bits of mantissa: 2e-3 a number), f32 elsewhere, against the same golden
/// tensors; PyTorch's bf16 autocast is within 4e-2 of the logits.
pub const BF16: &[Tolerance] = &[
    row("patch_embed", 1e-6, "stays in f32"),
    row("prompt", 1e-6, "stays in f32"),
    row("norm", 1e-2, "stored in bf16, on a residual stream that bf16 products feed"),
    row("attn", 2e-2, "two bf16 products in a row, of the block's own and of those before"),
    row("mlp", 2e-2, "two bf16 products in a row, of the block's own and of those before"),
    row("gate", 5e-3, "mean over tokens of bf16 numbers, whose rounding cancels"),
    row("block", 1e-2, "all blocks before, carried by the residual stream"),
    row("neck", 1e-2, "the encoder's rounding"),
    row("decoder", 4e-2, "nearly one-hot attention (SYNTH.md) amplifies the encoder's rounding"),
    row("logits", 4e-2, "not worse than PyTorch's bf16 autocast"),
    row("iou", 4e-2, "not worse than PyTorch's bf16 autocast"),
];

/// LiteMedSAM's published weights in f32 against its golden tensors: what PyTorch needs in f32, and room for another
/// order of sums.
pub const LITEMEDSAM: &[Tolerance] = &[
    row("patch_embed", 1e-6, "two products"),
    row("prompt", 1e-6, "sines in f64, one addition"),
    row("encoder", 2e-5, "rounding of all blocks before, through gains of up to 319"),
    row("norm", 1e-5, "of all elements of a stage, those that are not stored too"),
    row("decoder", 1e-5, "rounding of the encoder"),
    row("logits", 5e-6, "PyTorch is within 9.5e-7"),
    row("iou", 2e-6, "one number"),
];

/// The same on CUDA, whose stem is f32 and whose operands are f16 behind it: in the stem too that would move the
/// embedding by 3e-3 to 8e-3 (../shared/spec/LITEMEDSAM.md); the mask is less sensitive than the embedding.
pub const LITEMEDSAM_CUDA: &[Tolerance] = &[
    row("patch_embed", 1e-6, "two products in f32, as on the CPU; GELU of the device"),
    row("prompt", 1e-5, "f32 sines of the device"),
    row("encoder", 5.5e-3, "what rounding the operands makes, through gains of up to 319: most behind the neck's norm"),
    row("embedding", 5e-3, "required of the kernels"),
    row("norm", 5e-3, "of a stage, as the embedding"),
    row("decoder", 5e-3, "as the embedding, whose rounding it carries"),
    row("logits", 5e-3, "required of the kernels"),
    row("iou", 5e-3, "as the logits"),
];

/// The same in f32 arithmetic from a file of `convert --litemedsam --dtype f16`: every weight is off by 2^-12 of itself
/// at most.
pub const LITEMEDSAM_F16: &[Tolerance] = &[
    row("patch_embed", 6e-4, "two products of rounded weights"),
    row("prompt", 1e-3, "the sines' phases are products with a rounded matrix, of some turns"),
    row("encoder", 8e-3, "rounded weights of all blocks before, through gains of up to 319"),
    row("norm", 8e-3, "of a stage, as the stage"),
    row("decoder", 8e-3, "as the embedding, whose rounding it carries"),
    row("logits", 3e-3, "the mask is less sensitive than the embedding"),
    row("iou", 1e-3, "one number"),
];

/// A step of tuning in f32 against PyTorch in f64, in the terms of ../shared/oracle/tune/README.md ("What float32
/// needs"): about five times what PyTorch is off in f32.
pub const TUNE: &[Tolerance] = &[
    row("loss", 1e-6, "PyTorch is within 2.1e-8"),
    row("dice and entropy", 5e-6, "of a single mask, sums of 65,536 pixels in stretches of f32"),
    row("loss of five steps", 5e-6, "PyTorch is within 7.2e-7"),
    row("loss of ten steps at 1e-3", 5e-5, "PyTorch is within 8.5e-6 over twenty"),
    row("gradient in the decoder", 2e-3, "PyTorch's worst tensor is 3.8e-4 off"),
    row("gradient in the encoder", 1e-3, "PyTorch's worst tensor is 1.9e-4 off"),
    row("gradients as one", 1e-4, "PyTorch is within 1.8e-5; nearly all of it is the decoder's"),
    row("gradients of the encoder as one", 1e-3, "as each of its tensors"),
    row(
        "five steps as one",
        5e-3,
        "PyTorch is 9.1e-4 off: Adam divides by the gradient's size, and so by its rounding",
    ),
    row("elements off in five steps", 2.5e-4, "share of those off by a tenth of the rate; PyTorch's is 5e-5"),
    row("decay", 4.0 / (1 << 24) as f64, "of a tensor without a gradient, five steps that round once or twice each"),
];

/// One operation's way back in f32 against central difference quotients of its definition in f64.
pub const BACKWARD: &[Tolerance] = &[
    row("gelu", 1e-6, "largest difference, value and slope: an error function within 1 ulp and an exponential"),
    row("layer_norm", 2e-6, "two means and a square root; gain and bias are sums over the rows"),
    row("frozen layer_norm", 1e-5, "numbers of 3e-3, whose differences from their mean have lost bits"),
    row("product", 1e-5, "largest difference, of sums of seven products of order 1"),
    row("convolution", 1e-6, "nine sums over the channels"),
    row("attention", 3e-6, "four sums, and exponentials whose relative error is the score's absolute one"),
    row("loss", 1e-5, "f64 sums of f32 numbers; a pixel's part is a difference of two"),
    row("value of the loss", 1e-6, "as the golden one"),
    row("experts", 1e-4, "each tensor's own sums, and quotients of its smallest elements"),
    row("experts' input", 1e-5, "two products, and the gate's mean in f64"),
    row(
        "decoder",
        3e-5,
        "some thirty operations one after the other, of numbers that a norm has made 200 times larger",
    ),
    row("block", 5e-6, "some ten operations one after the other"),
    row("neck", 5e-6, "two norms of small numbers, two sums"),
];

impl Tolerance {
    /// # Panics
    /// Where `distance` is above the limit, or no number.
    #[track_caller]
    pub fn check(&self, distance: f64, of: &str) {
        assert!(distance <= self.limit, "{} ({of}): {distance:.1e} above {:.1e}", self.what, self.limit);
    }
}

/// The row of `table` for `what`.
pub fn find(table: &'static [Tolerance], what: &str) -> &'static Tolerance {
    table.iter().find(|row| row.what == what).unwrap_or_else(|| panic!("no tolerance for {what}"))
}

/// f32 arithmetic of one operation against f64, on numbers of order 1.
pub const F32_OPS: &[Tolerance] = &[
    row("patch_embed", 5e-7, "a sum of up to 768 products in blocks of 256"),
    row("layer_norm", 5e-7, "two means and a square root"),
    row("gate", 1e-7, "f64 inside, one rounding"),
    row("linear", 5e-7, "sums in blocks of 256, exact GELU"),
    row("attention", 1e-6, "two sums and an exponential, whose relative error is the score's absolute one"),
    row("conv3x3", 5e-7, "nine sums over the channels"),
    row("convolution", 5e-7, "a sum of some hundred products, exact GELU"),
    row("depthwise", 5e-7, "nine products"),
    row("inverted_bottleneck", 1e-6, "three sums, up to three GELUs"),
    row("window_attention", 1e-6, "two sums and an exponential, whose relative error is the score's absolute one"),
    row("prompt_tokens", 1e-7, "f64 inside, two roundings"),
    row("mask_embed", 1e-6, "three small layers"),
    row("image_source", 1e-7, "one addition"),
    row("token_self_attention", 1e-6, "five sums, softmax, LayerNorm"),
    row("tokens_to_image", 1e-6, "four sums, softmax, LayerNorm"),
    row("token_mlp", 1e-6, "two sums, LayerNorm"),
    row("image_to_tokens", 1e-6, "three sums, softmax"),
    row("token_heads", 1e-6, "three sums"),
    row("upscale", 1e-6, "up to five sums, LayerNorms and GELUs"),
    row("chain of products", 1e-6, "two operations one after the other"),
];

/// The CPU's bf16, one operation against f64: what F32_OPS does not cover already, since all else stays in f32.
pub const BF16_OPS: &[Tolerance] = &[row(
    "chain of products",
    4e-3,
    "both sides of each product keep 8 bits: 1.1e-3 of each in the mean, 3.9e-3 at most",
)];

/// CUDA, one operation against f64, on numbers that f16 holds. Sums are f32; what a kernel stores in f16 (2^-12 of each
/// value, a third of that in the mean) or rounds on the way to tensor cores is the rest.
pub const F16_OPS: &[Tolerance] = &[
    row("patch_embed", 3e-4, "normalised pixels are rounded to f16"),
    row("layer_norm", 3e-4, "the result may be stored in f16"),
    row("gate", 5e-6, "f32, exponentials of the device"),
    row("linear", 3e-4, "the result may be stored in f16"),
    row("attention", 8e-4, "q, k, v, probabilities and the result are f16"),
    row("conv3x3", 2e-6, "sums of products that f16 operands make exact"),
    row("convolution", 1e-6, "f32 from weights to results; GELU of the device"),
    row("depthwise", 1e-6, "nine products in f32"),
    row("inverted_bottleneck", 3e-4, "the wide channels are stored in f16 ahead of the 3x3 and behind it"),
    row("window_attention", 5e-4, "q, k, v, probabilities and the result are f16"),
    row("prompt_tokens", 1e-5, "f32 sines of the device"),
    row("mask_embed", 1e-5, "f32, small layers"),
    row("image_source", 1e-6, "one addition"),
    row("token_self_attention", 1e-5, "f32, five sums, softmax, LayerNorm"),
    row("tokens_to_image", 5e-4, "k and v are read in f16"),
    row("token_mlp", 5e-4, "weights may be f16"),
    row("image_to_tokens", 5e-4, "q is read and the result stored in f16"),
    row("token_heads", 1e-5, "f32, three sums"),
    row("upscale", 1e-3, "f16 operands between the transposed convolutions"),
    row("chain of products", 1e-3, "what is stored in between is f16"),
];

/// CUDA, one kernel of the network's shapes against f64, on operands that f16 holds.
pub mod kernels {
    use super::{Tolerance, row};

    pub const SUM: Tolerance = row("f32 sums", 2e-6, "of at most some thousand products of order 1");
    pub const GATE: Tolerance = row("gate", 1e-5, "four sums in a row, two softmaxes with exponentials of the device");
    pub const STORE: Tolerance = row("f16 result", 3e-4, "one rounding: 2^-12 of each value at most, less in the mean");
    pub const PROBABILITIES: Tolerance =
        row("attention", 4e-4, "probabilities and result are rounded to f16, the rest is f32");
    pub const UPSCALE: Tolerance =
        row("upscale", 1.5e-3, "five products with both operands rounded to f16, and LayerNorms between them");
}
