//! Checkpoints whose names have wrappers are read, and weights that are none of this engine's are named.

use medsegx::model::{Config, Kind, Preset};
use medsegx::weights::{self, Weights};

use crate::common::command::{medsegx, message};
use crate::common::pth::{Tensor, plain_legacy, plain_zip};

/// A SAM as small as it can be.
fn sam() -> Config {
    let mut config = Preset::Tiny.sam();
    (config.width, config.heads, config.head_dim, config.mlp) = (8, 2, 4, 12);
    config.global = vec![false, true];
    (config.prompt_width, config.decoder_mlp, config.iou_hidden) = (16, 6, 5);
    config.upscaling = vec![4, 3];
    Config { kind: Kind::Sam, ..config }
}

fn tensors(rename: impl Fn(&str) -> String) -> Vec<Tensor> {
    let (config, weights) = (sam(), Weights::synthetic(&sam(), 1));
    let tensor = |(name, shape): (String, Vec<usize>)| Tensor {
        values: weights.load(&name).unwrap(),
        name: rename(&name),
        shape,
    };
    weights::names(&config).into_iter().map(tensor).collect()
}

#[test]
fn wrapped_names_convert_to_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let convert = |bytes: &[u8]| {
        std::fs::write(path("in.pth"), bytes).unwrap();
        let done = medsegx(&["convert", "--sam", &path("in.pth"), "--kind", "sam", "-o", &path("w"), "--force"]);
        assert!(done.status.success(), "{}", message(&done));
        let weights = Weights::open(path("w").as_ref(), weights::Access::Read).unwrap();
        weights.names().map(|name| (name.to_string(), weights.load(name).unwrap())).collect::<Vec<_>>()
    };
    let expected = convert(&plain_zip(&tensors(str::to_string)));
    for wrapper in ["module.", "model.", "module.model.", "sam_model."] {
        assert!(convert(&plain_zip(&tensors(|name| format!("{wrapper}{name}")))) == expected, "{wrapper}");
    }
    assert!(convert(&plain_legacy(&tensors(|name| format!("module.{name}")))) == expected);
    let bare = |name: &str| name.strip_prefix("image_encoder.").unwrap_or(name).to_string();
    assert!(convert(&plain_zip(&tensors(bare))) == expected, "without image_encoder");
}

#[test]
fn networks_and_formats_of_others_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let one = |name: &str| Tensor { name: name.into(), shape: vec![2], values: vec![1.0, 2.0] };
    for (name, words) in [
        ("vision_encoder.layers.0.attn.qkv.weight", "Hugging Face"),
        ("image_encoder.trunk.patch_embed.proj.weight", "SAM 2"),
        ("module.image_encoder.trunk.patch_embed.proj.weight", "SAM 2"),
        ("image_encoder.patch_embed.seq.0.c.weight", "litemedsam"),
    ] {
        let bytes = plain_zip(&[one(name), one("mask_decoder.iou_token.weight")]);
        std::fs::write(path("in.pth"), bytes).unwrap();
        let refused = medsegx(&["convert", "--sam", &path("in.pth"), "--kind", "sam", "-o", &path("w")]);
        let said = message(&refused);
        assert!(!refused.status.success() && said.contains(words) && said.len() < 900, "{name}: {said}");
    }
    let long = |start: &[u8]| [start, &[0x77; 64]].concat();
    for (name, bytes, words) in [
        ("a.pth", plain_zip(&tensors(str::to_string)), "`medsegx convert`"),
        ("b.pt", plain_legacy(&tensors(str::to_string)), "`medsegx convert`"),
        ("c.onnx", long(&[8, 7, 0x12, 7]), "an ONNX model: `medsegx convert`"),
        ("d.h5", long(b"\x89HDF\r\n\x1a\n"), "an HDF5 file (.h5): `medsegx convert`"),
        ("e.bin", long(b"something"), "`medsegx convert`"),
    ] {
        std::fs::write(path(name), bytes).unwrap();
        let image = "tests/data/phantom.nii.gz";
        let mask = path("mask.nii.gz");
        let flags = ["--task", "CT_Liver", "--box3d", "3,3,3,9,9,5"];
        let refused = medsegx(&[&["segment", image, "-o", &mask, "--weights", &path(name)][..], &flags].concat());
        assert_eq!(refused.status.code(), Some(1));
        assert!(message(&refused).contains(words), "{name}: {}", message(&refused));
    }
    std::fs::write(path("w.safetensors"), long(b"\x10\0\0\0\0\0\0\0{\"")).unwrap();
    let refused = medsegx(&["convert", "--sam", &path("w.safetensors"), "-o", &path("w")]);
    assert!(message(&refused).contains("got a safetensors file"), "{}", message(&refused));
}
