//! Rows of the decoder's kernels: `token_*`, `tokens_to_image`, `image_to_tokens`, `mask_embed`, `image_source`.

use super::Kernel;

const P64: &[(&str, i64)] = &[("p", 64)];
const P128: &[(&str, i64)] = &[("p", 128)];
const P256: &[(&str, i64)] = &[("p", 256)];

/// Partial sums of the splits of a projection: 8 tokens a thread.
const SPLITS: u32 = 8192;

const fn latency(
    entry: &'static str,
    template: &'static str,
    constants: &'static [(&'static str, i64)],
    tile: &'static str,
    shared: u32,
) -> Kernel {
    Kernel { entry, template, constants, tile, threads: 256, shared, bound: "latency" }
}

const fn self_attention(entry: &'static str, constants: &'static [(&'static str, i64)], p: u32) -> Kernel {
    let shared = 64 * p + SPLITS + 3 * 256 * (p / 8 + 1);
    latency(entry, "token_self_attention", constants, "one head of one prompt", shared)
}

const fn to_image(
    entry: &'static str,
    constants: &'static [(&'static str, i64)],
    p: u32,
    channels: u32,
    tile: &'static str,
) -> Kernel {
    // x, q of 8 tokens, keys and values of 128.
    let shared = 32 * p + SPLITS + (8 + 2 * 128) * 4 * channels;
    latency(entry, "tokens_to_image", constants, tile, shared)
}

const fn mlp(entry: &'static str, constants: &'static [(&'static str, i64)], p: u32) -> Kernel {
    latency(entry, "token_mlp", constants, "64 hidden channels of one prompt", 32 * p + SPLITS + 2048)
}

const fn to_tokens(entry: &'static str, constants: &'static [(&'static str, i64)], p: u32) -> Kernel {
    let shared = 64 * p + SPLITS + 24576;
    latency(entry, "image_to_tokens", constants, "16 channels of 256 image tokens", shared)
}

const HEADS: Kernel = Kernel {
    entry: "token_heads",
    template: "token_heads",
    constants: &[("slices", 8)],
    tile: "an eighth of the first hidden layer of one MLP of one token",
    threads: 256,
    shared: 8192 + 1024,
    bound: "latency",
};

const IMAGE_SOURCE: Kernel = Kernel {
    entry: "image_source",
    template: "image_source",
    constants: &[],
    tile: "1024 floats of the image, or a token",
    threads: 256,
    shared: 0,
    bound: "memory",
};

const MASK_EMBED: Kernel = Kernel {
    entry: "mask_embed",
    template: "mask_embed",
    constants: &[],
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
