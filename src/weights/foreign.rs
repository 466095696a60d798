//! Weights as others store them: names with wrappers before them, which are taken off, and networks and file formats
//! that are none of this engine's, which are named.

use std::collections::BTreeMap;

use super::shapes::Shapes;

/// The parts of a model of SAM's kind.
const PARTS: [&str; 3] = ["image_encoder.", "prompt_encoder.", "mask_decoder."];

/// What training programs put before every name.
const WRAPPERS: [&str; 4] = ["module.", "model.", "_orig_mod.", "state_dict."];

/// The parts of an image encoder, by which one that was saved alone is known.
const ENCODER: [&str; 6] = ["patch_embed.", "pos_embed", "blocks.", "neck.", "modal_embed.", "organ_embed."];

/// The same values by the published names: without wrappers, and with `image_encoder.` before the names of an encoder
/// that was saved alone. As they are where two names would become one.
pub(super) fn renamed<T>(values: BTreeMap<String, T>) -> BTreeMap<String, T> {
    let names: Vec<&str> = values.keys().map(String::as_str).collect();
    let new = published(&names);
    let distinct: std::collections::BTreeSet<&String> = new.iter().collect();
    if distinct.len() < new.len() {
        return values;
    }
    new.into_iter().zip(values.into_values()).collect()
}

fn published(names: &[&str]) -> Vec<String> {
    let mut names: Vec<&str> = names.to_vec();
    while let Some(wrapper) = WRAPPERS.iter().find(|wrapper| names.iter().all(|name| name.starts_with(**wrapper))) {
        if names.is_empty() {
            break;
        }
        names.iter_mut().for_each(|name| *name = &name[wrapper.len()..]);
    }
    let is_part = |name: &str| PARTS.iter().any(|part| name.starts_with(part));
    if !names.iter().any(|name| is_part(name)) {
        let inside = |name: &&str| PARTS.iter().filter_map(|part| name.find(&format!(".{part}"))).min();
        if let Some(prefix) = names.iter().find_map(|name| inside(name).map(|at| &name[..=at])) {
            names.iter_mut().for_each(|name| *name = name.strip_prefix(prefix).unwrap_or(name));
        }
    }
    let alone = !names.iter().any(|name| name.starts_with(PARTS[0]));
    let of_encoder = |name: &str| alone && ENCODER.iter().any(|part| name.starts_with(part));
    names.iter().map(|name| if of_encoder(name) { format!("{}{name}", PARTS[0]) } else { name.to_string() }).collect()
}

/// A known network that is built otherwise, by the names of its tensors, and what to do about it.
pub(super) fn network(shapes: &Shapes) -> Option<&'static str> {
    let any = |parts: &[&str]| shapes.keys().any(|name| parts.iter().any(|part| name.contains(part)));
    if any(&["image_encoder.trunk.", "memory_attention.", "sam_mask_decoder.", "vision_encoder.backbone."]) {
        return Some("this is SAM 2, another network, which medsegx does not run");
    }
    if any(&["vision_encoder.layers.", "shared_image_embedding.", "vision_encoder.patch_embed."]) {
        return Some(
            "this is a SAM of Hugging Face's transformers, whose tensors are named and laid out otherwise: take the \
             original checkpoint, as sam_vit_b_01ec64.pth, and `medsegx convert --sam`",
        );
    }
    if any(&["image_encoder.patch_embed.seq.", "image_encoder.layers."]) {
        return Some(
            "this has a TinyViT encoder, as LiteMedSAM and MobileSAM do: `medsegx convert --litemedsam` reads LiteMedSAM",
        );
    }
    None
}

/// What a file is by its first bytes, if it is one of the formats in which weights are passed on.
pub(super) fn format(first: &[u8]) -> Option<&'static str> {
    match *first {
        [0x89, b'H', b'D', b'F', ..] => Some("an HDF5 file (.h5)"),
        [b'G', b'G', b'U', b'F', ..] => Some("a GGUF file"),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some("a NumPy array"),
        // Field 1 of a protocol buffer, the version, then the producer's name or the graph.
        [0x08, 1..=32, 0x12 | 0x1a | 0x22 | 0x2a | 0x32 | 0x3a, ..] => Some("an ONNX model"),
        [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => Some("a PyTorch checkpoint"),
        [_, _, _, _, 0, 0, 0, 0, b'{', b'"', ..] => Some("a safetensors file"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Preset;
    use crate::weights::names;

    fn wrapped(wrap: impl Fn(&str) -> String) -> Vec<String> {
        let table = names(&Preset::Tiny.sam());
        let given: Vec<String> = table.iter().map(|(name, _)| wrap(name)).collect();
        published(&given.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn wrappers_are_taken_off_and_a_lone_encoder_gets_its_name() {
        let plain: Vec<String> = names(&Preset::Tiny.sam()).into_iter().map(|(name, _)| name).collect();
        for wrapper in ["", "module.", "model.", "module.model.", "_orig_mod.module.", "sam_model.", "net.sam."] {
            assert_eq!(wrapped(|name| format!("{wrapper}{name}")), plain, "{wrapper}");
        }
        for wrapper in ["", "module."] {
            let bare = |name: &str| format!("{wrapper}{}", name.strip_prefix("image_encoder.").unwrap_or(name));
            assert_eq!(wrapped(bare), plain, "without image_encoder");
        }
        assert!(published(&[]).is_empty());
        let clash = BTreeMap::from([("a.image_encoder.x".to_string(), 1), ("b.image_encoder.x".to_string(), 2)]);
        assert_eq!(renamed(clash.clone()).len(), clash.len());
        let twice = BTreeMap::from([("image_encoder.x".to_string(), 1), ("q.image_encoder.x".to_string(), 2)]);
        assert_eq!(renamed(twice.clone()), twice);
    }

    #[test]
    fn other_networks_are_named() {
        let shape: &[usize] = &[1];
        for (name, words) in [
            ("image_encoder.trunk.pos_embed", "SAM 2"),
            ("vision_encoder.backbone.blocks.0.attn.qkv.weight", "SAM 2"),
            ("vision_encoder.layers.0.attn.qkv.weight", "Hugging Face"),
            ("image_encoder.patch_embed.seq.0.c.weight", "--litemedsam"),
        ] {
            let found = network(&Shapes::from([(name, shape), ("mask_decoder.iou_token.weight", shape)])).unwrap();
            assert!(found.contains(words), "{name}: {found}");
        }
        let table = names(&Preset::Tiny.medsegx());
        assert_eq!(network(&table.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect()), None);
    }
}
