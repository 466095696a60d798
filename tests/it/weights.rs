//! Weight files: what is written is read back, and nothing malformed is accepted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use medsegx::Error;
use medsegx::model::{Config, Kind, Preset};
use medsegx::weights::{self, Access, Dtype, Weights};

/// As small as a model can be, with everything in it: three blocks, global and windowed, with and without adapters.
fn small() -> Config {
    let mut config = Preset::Tiny.medsegx();
    (config.width, config.heads, config.head_dim, config.mlp) = (16, 2, 8, 20);
    config.global = vec![false, true, false];
    let adapters = config.adapters.as_mut().unwrap();
    (adapters.experts, adapters.bottleneck, adapters.embedding) = (3, 2, 5);
    adapters.blocks = vec![true, false, true];
    (config.prompt_width, config.decoder_mlp, config.iou_hidden) = (16, 12, 10);
    config.upscaling = vec![8, 4, 3, 2];
    config
}

fn write(folder: &Path, config: &Config, dtype: Dtype) -> PathBuf {
    let path = folder.join(format!("{}.safetensors", dtype.name()));
    let weights = Weights::synthetic(config, 5);
    weights::write(&path, false, &weights::names(config), weights.metadata(), dtype, |name| weights.load(name))
        .unwrap();
    path
}

fn half_rounded(values: &[f32], dtype: Dtype) -> Vec<f32> {
    let round = |&value: &f32| match dtype {
        Dtype::F32 => value,
        Dtype::F16 => half::f16::from_f32(value).to_f32(),
        Dtype::BF16 => half::bf16::from_f32(value).to_f32(),
    };
    values.iter().map(round).collect()
}

#[test]
fn what_is_written_is_read_back_in_every_format_and_by_every_access() {
    let (folder, config) = (tempfile::tempdir().unwrap(), small());
    let made = Weights::synthetic(&config, 5);
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let path = write(folder.path(), &config, dtype);
        let bytes = std::fs::read(&path).unwrap();
        let all = [
            Weights::open(&path, Access::Map).unwrap(),
            Weights::open(&path, Access::Read).unwrap(),
            Weights::from_static(bytes.clone().leak(), "static").unwrap(),
            Weights::from_bytes(bytes.clone(), "bytes").unwrap(),
        ];
        for weights in all {
            assert_eq!(weights.config(), &config);
            assert_eq!(weights.dtype(), dtype);
            assert_eq!(weights.metadata()["seed"], "5");
            assert_eq!(weights.sha256().unwrap().unwrap(), weights::sha256(&bytes));
            assert!(weights.names().eq(made.names()));
            for name in made.names() {
                assert_eq!(weights.shape(name), made.shape(name), "{name}");
                assert_eq!(weights.load(name).unwrap(), half_rounded(&made.load(name).unwrap(), dtype), "{name}");
            }
        }
    }
}

#[test]
fn another_reader_agrees() {
    let (folder, config) = (tempfile::tempdir().unwrap(), small());
    let made = Weights::synthetic(&config, 5);
    let bytes = std::fs::read(write(folder.path(), &config, Dtype::F32)).unwrap();
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.len(), made.names().count());
    for name in made.names() {
        let (tensor, values) = (theirs.tensor(name).unwrap(), made.load(name).unwrap());
        assert_eq!(tensor.shape(), made.shape(name).unwrap());
        assert_eq!(tensor.data(), bytemuck::cast_slice::<f32, u8>(&values), "{name}");
    }
}

#[test]
fn a_loaded_tensor_must_exist_and_fit() {
    let weights = Weights::synthetic(&small(), 0);
    let error = weights.load("image_encoder.blocks.9.norm1.bias").unwrap_err().to_string();
    assert!(error.contains("image_encoder.blocks.9.norm1.bias"), "{error}");
    let error = weights.load_into("image_encoder.pos_embed", &mut [0.0; 3]).unwrap_err().to_string();
    assert!(error.contains("image_encoder.pos_embed") && error.contains('3'), "{error}");
}

#[test]
fn values_too_large_for_the_format_are_refused_by_name() {
    let (folder, config) = (tempfile::tempdir().unwrap(), small());
    let weights = Weights::synthetic(&config, 0);
    let name = "mask_decoder.transformer.layers.1.norm3.weight";
    let cases = [
        (Dtype::F16, 65505.0),
        (Dtype::F16, -1e6),
        (Dtype::BF16, f32::MAX),
        (Dtype::F32, f32::INFINITY),
        (Dtype::F32, f32::NAN),
    ];
    for (dtype, value) in cases {
        let path = folder.path().join("refused");
        let with = |tensor: &str| {
            let mut values = weights.load(tensor)?;
            if tensor == name {
                values[1] = value;
            }
            Ok(values)
        };
        let error = weights::write(&path, false, &weights::names(&config), &BTreeMap::new(), dtype, with).unwrap_err();
        assert!(matches!(&error, Error::Tensor { name: named, .. } if named == name), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }
}

#[test]
fn a_1024_px_model_needs_its_kind() {
    let mut config = small();
    (config.image_size, config.adapters, config.upscaling) = (1024, None, vec![4, 2]);
    for (kind, expected) in [
        (Some("sam"), Some(Kind::Sam)),
        (Some("medsam"), Some(Kind::MedSam)),
        (Some("medsegx"), None),
        (Some("other"), None),
        (None, None),
    ] {
        let metadata: BTreeMap<_, _> = kind.map(|kind| ("kind".to_string(), kind.to_string())).into_iter().collect();
        let (folder, weights) = (tempfile::tempdir().unwrap(), Weights::synthetic(&config, 0));
        let path = folder.path().join("w");
        weights::write(&path, false, &weights::names(&config), &metadata, Dtype::BF16, |n| weights.load(n)).unwrap();
        match (Weights::open(&path, Access::Map), expected) {
            (Ok(weights), Some(kind)) => assert_eq!(weights.config(), &Config { kind, ..config.clone() }),
            (Err(error), None) => assert!(error.to_string().contains("metadata kind"), "{error}"),
            (found, expected) => panic!("{kind:?}: {:?} instead of {expected:?}", found.map(|w| w.config().kind)),
        }
    }
}

/// Kilobytes of the mapping of `path` that are in this process's memory, by what Linux says; `None` when it is not
/// mapped.
#[cfg(target_os = "linux")]
fn resident(path: &Path) -> Option<u64> {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let after = maps.split(path.to_str().unwrap()).nth(1)?;
    let rss = after.lines().find(|line| line.starts_with("Rss:")).unwrap();
    Some(rss.split_whitespace().nth(1).unwrap().parse().unwrap())
}

/// A window of 16 MiB is kept at most, and what the system maps beside the last piece.
#[cfg(target_os = "linux")]
#[test]
fn mapped_pages_are_dropped_while_they_are_read_and_all_in_the_end() {
    const MOST: u64 = (16 + 1) << 10;
    let (folder, config) = (tempfile::tempdir().unwrap(), Preset::Tiny.medsegx());
    let path = write(folder.path(), &config, Dtype::F32);
    assert!(std::fs::metadata(&path).unwrap().len() >> 10 > MOST + (4 << 10), "the file is larger than the window");
    let weights = Weights::open(&path, Access::Map).unwrap();
    for name in weights.names() {
        weights.load(name).unwrap();
        let found = resident(&path).expect("the file is mapped");
        assert!(found <= MOST, "{name}: {found} kB stay in memory");
    }
    drop(weights);
    assert_eq!(resident(&path), None, "a file that was read may be cut short");
}
