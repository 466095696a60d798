//! Made-up weights and pictures that any program can generate bit for bit: a value depends on the tensor's name and the
//! element's flat index alone. For tests and benchmarks; a model made of them segments nothing.
//!
//! ```
//! use medsegx::weights::synth::tensor;
//!
//! let values = tensor("neck.0.weight", &[4, 3], 7);
//! assert_eq!((values.len(), &values), (12, &tensor("neck.0.weight", &[4, 3], 7)));
//! assert_ne!(values, tensor("neck.0.weight", &[4, 3], 8), "another seed");
//! ```

use std::collections::BTreeMap;

use super::sizes::kind_name;
use crate::model::Config;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Values of tensor `name`, row-major, `shape.iter().product()` of them.
pub fn tensor(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
    let mut values = vec![0.0; shape.iter().product()];
    fill(name, shape, seed, &mut values);
    values
}

/// As [`tensor`], into the caller's memory.
pub fn fill(name: &str, shape: &[usize], seed: u64, values: &mut [f32]) {
    fill_from(name, shape, seed, 0, values);
}

/// As [`fill`], from element `first` on.
pub(super) fn fill_from(name: &str, shape: &[usize], seed: u64, first: usize, values: &mut [f32]) {
    let (scale, offset) = scale_and_offset(name, shape);
    let base = base(name, seed);
    for (index, value) in (first..).zip(values) {
        *value = unit(base, index) * scale + offset;
    }
}

/// The metadata of a file of such weights, which say what they are.
pub fn metadata(config: &Config, seed: u64) -> BTreeMap<String, String> {
    [
        ("kind", kind_name(config.kind).to_string()),
        ("note", "synthetic weights for tests and benchmarks: not trained, segments nothing".into()),
        ("seed", seed.to_string()),
        ("producer", format!("medsegx {}", crate::VERSION)),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .into()
}

/// A made-up picture `[3, 256, 256]`, channels first, with coarse, middle and fine structure.
pub fn image(case: usize) -> Vec<u8> {
    const SIDE: usize = 256;
    let layer = |kind: &str, cell: usize, keep: u32| {
        let (base, cells) = (base(&format!("image.{kind}.{case}"), 0), SIDE / cell);
        move |channel: usize, row: usize, column: usize| {
            let index = (channel * cells + row / cell) * cells + column / cell;
            (hash(base, index) >> (64 - keep)) as u8
        }
    };
    let (coarse, middle, fine) = (layer("coarse", 32, 7), layer("middle", 8, 6), layer("fine", 1, 5));
    let mut image = Vec::with_capacity(3 * SIDE * SIDE);
    for channel in 0..3 {
        for row in 0..SIDE {
            image.extend((0..SIDE).map(|column| {
                coarse(channel, row, column) + middle(channel, row, column) + fine(channel, row, column)
            }));
        }
    }
    image
}

/// Scale and offset of a tensor, by the first rule that fits its name.
fn scale_and_offset(name: &str, shape: &[usize]) -> (f32, f32) {
    const TABLES: [&str; 6] = ["_embed.", "_embeddings.", "_token.", "_tokens.", "not_a_point_embed", "no_mask_embed"];
    let has = |part: &str| name.contains(part);
    if has("positional_encoding_gaussian_matrix") {
        (1.5, 0.0)
    } else if has("running_var") {
        (0.2, 1.0)
    } else if has("rel_pos") || has("attention_biases") {
        (0.1, 0.0)
    } else if has("pos_embed") {
        (0.3, 0.0)
    } else if shape.len() == 2 && !has("adapter") && TABLES.iter().any(|table| has(table)) {
        (1.0, 0.0)
    } else if shape.len() == 1 && name.rsplit('.').next() == Some("weight") {
        (0.2, 1.0)
    } else if shape.len() == 1 {
        (0.1, 0.0)
    } else {
        let transposed = has("output_upscaling");
        let fan_in: usize = if transposed { shape.iter().take(1).product() } else { shape.iter().skip(1).product() };
        ((3.0 / fan_in as f64).sqrt() as f32, 0.0)
    }
}

/// In [-1, 1), an exact multiple of 2^-23.
fn unit(base: u64, index: usize) -> f32 {
    const STEP: f32 = 1.0 / (1 << 23) as f32;
    (hash(base, index) >> 40) as f32 * STEP - 1.0
}

fn base(name: &str, seed: u64) -> u64 {
    fnv1a64(name).wrapping_add(seed.wrapping_mul(GOLDEN))
}

fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The finaliser of splitmix64.
fn hash(base: u64, index: usize) -> u64 {
    let z = base.wrapping_add((index as u64).wrapping_add(1).wrapping_mul(GOLDEN));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, shape, seed and the SHA-256 of the little-endian values that the definition in NumPy gives.
    const DEFINITION: [(&str, &[usize], u64, &str); 10] = [
        (
            "image_encoder.blocks.0.attn.rel_pos_h",
            &[27, 64],
            0,
            "3c7d17683624a267b165794a91666e631e15ab682172c5fca43fb6f8752b4783",
        ),
        (
            "image_encoder.pos_embed",
            &[1, 16, 16, 8],
            0,
            "0c20dc9f466bf182d294ce86fc0d368d8c05c0f4847f0d1cf8feba7fcd0776ad",
        ),
        (
            "image_encoder.modal_embed.weight",
            &[10, 16],
            0,
            "2fcd46ba41471cd29d874ed12b8551bc7c040416fb566b35e6c92d552a318889",
        ),
        (
            "image_encoder.blocks.0.norm1.weight",
            &[128],
            0,
            "5f9df98ecc8421dae341cefb95154db326724448aadd06829bc6f7e73e882936",
        ),
        (
            "image_encoder.blocks.0.norm1.bias",
            &[128],
            3,
            "d22fdfcac865273e8c3df3d4ece75a702eac6035d63a547c38639d3de3de7d1d",
        ),
        (
            "image_encoder.blocks.0.mlp.adapter_input_embed.weight",
            &[16, 128],
            0,
            "490dfc668a15f3305a931da272f1e5614fe7bcf045736330507f64c58b87f3ee",
        ),
        (
            "mask_decoder.output_upscaling.0.weight",
            &[64, 16, 2, 2],
            0,
            "b97aae4837387fb3872fdb96d90d94c254f95757b1250e91f02e599924434a1b",
        ),
        (
            "image_encoder.patch_embed.proj.weight",
            &[32, 3, 16, 16],
            18446744073709551615,
            "672022092ea997304754aa0f9ea241473371387ed8eaf7613031ccbcac6650d8",
        ),
        (
            "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
            &[2, 32],
            0,
            "fc869ff6869b76a475a5d635452f5a522768ef957b078cd40376ca3e3b4cd285",
        ),
        (
            "mask_decoder.transformer.layers.0.cross_attn_image_to_token.q_proj.weight",
            &[32, 64],
            7,
            "95e9b4d020711012f2fe1f146df11ea33ec6970be73ea0d7627811bdc96a2fbf",
        ),
    ];

    #[test]
    fn tensors_are_bit_identical_to_the_definition() {
        for (name, shape, seed, expected) in DEFINITION {
            let bytes: Vec<u8> = tensor(name, shape, seed).iter().flat_map(|value| value.to_le_bytes()).collect();
            assert_eq!(crate::weights::sha256(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn pictures_are_bit_identical_to_the_definition() {
        const EXPECTED: [&str; 2] = [
            "f73810ac3e19315f4068cdeed82c4062ceb8634ee1907b97121d9763d4092174",
            "b7854633c8a7dce96e9f15510612665654efc949a0620f82570ca1bdc572cd74",
        ];
        for (case, expected) in EXPECTED.into_iter().enumerate() {
            assert_eq!(crate::weights::sha256(&image(case)), expected, "case {case}");
        }
    }
}
