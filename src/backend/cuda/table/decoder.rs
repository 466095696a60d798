//! Rows of the decoder's kernels: `token_*`, `tokens_to_image`, `image_to_tokens`, `mask_embed`, `image_source`.

use super::Kernel;
use super::Type::{self, F32, Pointer, U32};

const P64: &[(&str, i64)] = &[("p", 64)];
const P128: &[(&str, i64)] = &[("p", 128)];
const P256: &[(&str, i64)] = &[("p", 256)];

/// Partial sums of the splits of a projection: 8 tokens a thread.
const SPLITS: u32 = 8192;

const fn latency(
    entry: &'static str,
    template: &'static str,
    constants: &'static [(&'static str, i64)],
    params: &'static [(&'static str, Type)],
    tile: &'static str,
    shared: u32,
) -> Kernel {
    Kernel { entry, template, constants, params, tile, threads: 256, shared, bound: "latency" }
}

const fn self_attention(entry: &'static str, constants: &'static [(&'static str, i64)], p: u32) -> Kernel {
    const PARAMS: &[(&str, Type)] = &[
        ("x", Pointer),
        ("position", Pointer),
        ("wq", Pointer),
        ("bq", Pointer),
        ("wk", Pointer),
        ("bk", Pointer),
        ("wv", Pointer),
        ("bv", Pointer),
        ("wo", Pointer),
        ("partial", Pointer),
        ("bias", Pointer),
        ("residual", Pointer),
        ("gain", Pointer),
        ("shift", Pointer),
        ("out", Pointer),
        ("counters", Pointer),
        ("eps", F32),
        ("tokens", U32),
        ("positioned", U32),
    ];
    let shared = 64 * p + SPLITS + 3 * 256 * (p / 8 + 1);
    latency(entry, "token_self_attention", constants, PARAMS, "one head of one prompt", shared)
}

const fn to_image(
    entry: &'static str,
    constants: &'static [(&'static str, i64)],
    p: u32,
    channels: u32,
    tile: &'static str,
) -> Kernel {
    const PARAMS: &[(&str, Type)] = &[
        ("x", Pointer),
        ("position", Pointer),
        ("image", Pointer),
        ("wq", Pointer),
        ("bq", Pointer),
        ("wo", Pointer),
        ("partial", Pointer),
        ("bias", Pointer),
        ("residual", Pointer),
        ("gain", Pointer),
        ("shift", Pointer),
        ("out", Pointer),
        ("counters", Pointer),
        ("eps", F32),
        ("tokens", U32),
        ("keys", U32),
        ("columns", U32),
    ];
    // x, q of 8 tokens, keys and values of 128.
    let shared = 32 * p + SPLITS + (8 + 2 * 128) * 4 * channels;
    latency(entry, "tokens_to_image", constants, PARAMS, tile, shared)
}

const fn mlp(entry: &'static str, constants: &'static [(&'static str, i64)], p: u32) -> Kernel {
    const PARAMS: &[(&str, Type)] = &[
        ("x", Pointer),
        ("w1", Pointer),
        ("b1", Pointer),
        ("w2", Pointer),
        ("partial", Pointer),
        ("bias", Pointer),
        ("residual", Pointer),
        ("gain", Pointer),
        ("shift", Pointer),
        ("out", Pointer),
        ("counters", Pointer),
        ("eps", F32),
        ("tokens", U32),
        ("hidden", U32),
    ];
    latency(entry, "token_mlp", constants, PARAMS, "64 hidden channels of one prompt", 32 * p + SPLITS + 2048)
}

const fn to_tokens(entry: &'static str, constants: &'static [(&'static str, i64)], p: u32) -> Kernel {
    const PARAMS: &[(&str, Type)] = &[
        ("image", Pointer),
        ("x", Pointer),
        ("position", Pointer),
        ("wk", Pointer),
        ("bk", Pointer),
        ("wv", Pointer),
        ("bv", Pointer),
        ("out", Pointer),
        ("saturated", Pointer),
        ("tokens", U32),
        ("queries", U32),
        ("columns", U32),
    ];
    let shared = 64 * p + SPLITS + 24576;
    latency(entry, "image_to_tokens", constants, PARAMS, "16 channels of 256 image tokens", shared)
}

const HEADS: Kernel = Kernel {
    entry: "token_heads",
    template: "token_heads",
    constants: &[],
    params: &[
        ("x", Pointer),
        ("w00", Pointer),
        ("b00", Pointer),
        ("w01", Pointer),
        ("b01", Pointer),
        ("w02", Pointer),
        ("b02", Pointer),
        ("w10", Pointer),
        ("b10", Pointer),
        ("w11", Pointer),
        ("b11", Pointer),
        ("w12", Pointer),
        ("b12", Pointer),
        ("w20", Pointer),
        ("b20", Pointer),
        ("w21", Pointer),
        ("b21", Pointer),
        ("w22", Pointer),
        ("b22", Pointer),
        ("iou_w0", Pointer),
        ("iou_b0", Pointer),
        ("iou_w1", Pointer),
        ("iou_b1", Pointer),
        ("iou_w2", Pointer),
        ("iou_b2", Pointer),
        ("hyper", Pointer),
        ("iou", Pointer),
        ("tokens", U32),
        ("width", U32),
        ("iou_hidden", U32),
        ("channels", U32),
        ("masks", U32),
        ("first", U32),
    ],
    tile: "one MLP of one token",
    threads: 1024,
    shared: 8192,
    bound: "latency",
};

const IMAGE_SOURCE: Kernel = Kernel {
    entry: "image_source",
    template: "image_source",
    constants: &[],
    params: &[
        ("embedding", Pointer),
        ("slot", Pointer),
        ("dense", Pointer),
        ("out", Pointer),
        ("slots", U32),
        ("size", U32),
        ("dense_size", U32),
        ("dense_step", U32),
        ("points", Pointer),
        ("labels", Pointer),
        ("gaussian", Pointer),
        ("point_embeddings", Pointer),
        ("not_a_point", Pointer),
        ("output_tokens", Pointer),
        ("tokens", Pointer),
        ("token_rows", U32),
        ("half", U32),
        ("inverse_size", F32),
    ],
    tile: "1024 floats of the image, or a token",
    threads: 256,
    shared: 0,
    bound: "memory",
};

const MASK_EMBED: Kernel = Kernel {
    entry: "mask_embed",
    template: "mask_embed",
    constants: &[],
    params: &[
        ("mask", Pointer),
        ("w1", Pointer),
        ("b1", Pointer),
        ("g1", Pointer),
        ("s1", Pointer),
        ("w2", Pointer),
        ("b2", Pointer),
        ("g2", Pointer),
        ("s2", Pointer),
        ("w3", Pointer),
        ("b3", Pointer),
        ("out", Pointer),
        ("grid", U32),
        ("width", U32),
        ("eps", F32),
    ],
    tile: "64 image tokens",
    threads: 256,
    shared: 5440 + 64 * 256,
    bound: "latency",
};

/// One kernel an operation and prompt width.
pub const KERNELS: &[Kernel] = &[
    MASK_EMBED,
    IMAGE_SOURCE,
    self_attention("token_self_attention_64", P64, 64),
    self_attention("token_self_attention_128", P128, 128),
    self_attention("token_self_attention_256", P256, 256),
    to_image("tokens_to_image_64", P64, 64, 8, "two heads of one prompt, 8 tokens x 128 keys"),
    to_image("tokens_to_image_128", P128, 128, 8, "one head of one prompt, 8 tokens x 128 keys"),
    to_image("tokens_to_image_256", P256, 256, 16, "one head of one prompt, 8 tokens x 128 keys"),
    mlp("token_mlp_64", P64, 64),
    mlp("token_mlp_128", P128, 128),
    mlp("token_mlp_256", P256, 256),
    to_tokens("image_to_tokens_64", P64, 64),
    to_tokens("image_to_tokens_128", P128, 128),
    to_tokens("image_to_tokens_256", P256, 256),
    HEADS,
];
