//! PyTorch checkpoints: read exactly and merged as published.

use crate::common;
use crate::common::pth;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::golden::Golden;
use crate::common::run::{boxes, segment};
use crate::common::tolerance;
use medsegx::backend::cpu::{Cpu, CpuOptions};
use medsegx::executor::{Network, Session};
use medsegx::model::{Config, Kind, Preset};
use medsegx::weights::torch::Checkpoint;
use medsegx::weights::{self, Access, Dtype, Weights, convert};
use pth::{Pickle, Storage, Tensor};

/// A MedSegX and the SAM below it, as small as they can be.
fn small() -> (Config, Config) {
    let mut medsegx = Preset::Tiny.medsegx();
    (medsegx.width, medsegx.heads, medsegx.head_dim, medsegx.mlp) = (8, 2, 4, 12);
    medsegx.global = vec![false, true];
    let adapters = medsegx.adapters.as_mut().unwrap();
    (adapters.experts, adapters.bottleneck, adapters.embedding) = (2, 2, 3);
    adapters.blocks = vec![true, false];
    (medsegx.prompt_width, medsegx.decoder_mlp, medsegx.iou_hidden) = (16, 6, 5);
    medsegx.upscaling = vec![4, 3, 2, 1];
    let sam = Config { kind: Kind::Sam, image_size: 1024, adapters: None, upscaling: vec![4, 3], ..medsegx.clone() };
    (medsegx, sam)
}

fn tensors(config: &Config, seed: u64, keep: impl Fn(&str) -> bool) -> Vec<Tensor> {
    let weights = Weights::synthetic(config, seed);
    let all = weights::names(config).into_iter().filter(|(name, _)| keep(name));
    all.map(|(name, shape)| Tensor { values: weights.load(&name).unwrap(), name, shape }).collect()
}

fn sam_tensors() -> Vec<Tensor> {
    tensors(&small().1, 1, |_| true)
}

fn medsegx_tensors() -> Vec<Tensor> {
    let parts = ["adapter", "modal_embed", "organ_embed", "mask_decoder"];
    tensors(&small().0, 2, |name| parts.iter().any(|part| name.contains(part)))
}

fn save(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn names_left(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// SAM's file `sam` and MedSegX's beside it, converted to `path`.
fn merged(folder: &Path, sam: &str, path: &Path) -> Weights {
    let medsegx = folder.join("micro_medsegx.pth");
    convert(&folder.join(sam), Some(&medsegx), None, path, Dtype::F32, false, &mut || Ok(())).unwrap();
    Weights::open(path, Access::Map).unwrap()
}

#[test]
fn published_pair_is_merged_bit_for_bit() {
    let Some(folder) = common::shared("published_pair_is_merged_bit_for_bit", "oracle/checkpoints") else { return };
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("micro_merged.json")).unwrap()).unwrap();
    let resized = std::fs::read(folder.join("merged_resized.safetensors")).unwrap();
    let resized = safetensors::SafeTensors::deserialize(&resized).unwrap();
    let tensors = expected["tensors"].as_object().unwrap();
    let output = tempfile::tempdir().unwrap();
    for sam in ["micro_sam.pth", "micro_sam_legacy.pth"] {
        let weights = merged(&folder, sam, &output.path().join(sam));
        assert!(weights.names().eq(tensors.keys().map(String::as_str)));
        for (name, tensor) in tensors {
            let values = weights.load(name).unwrap();
            match resized.tensor(name) {
                Ok(golden) => {
                    let golden: Vec<f32> = bytemuck::pod_collect_to_vec(golden.data());
                    let error = values.iter().zip(&golden).map(|(v, g)| (v - g).abs()).fold(0.0, f32::max);
                    assert!(values.len() == golden.len() && error <= 1e-6, "{name}: {error}");
                }
                Err(_) => assert_eq!(weights::sha256(bytemuck::cast_slice(&values)), tensor["sha256"], "{name}"),
            }
        }
        assert_eq!(weights.metadata()["sam.sha256"], weights::sha256(&std::fs::read(folder.join(sam)).unwrap()));
        assert_eq!(weights.metadata()["medsegx.file"], "micro_medsegx.pth");
    }
}

#[test]
fn the_merged_pair_computes_the_published_logits() {
    let Some(golden) = Golden::merged_checkpoint(tolerance::F32) else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/oracle/checkpoints");
    let output = tempfile::tempdir().unwrap();
    for sam in ["micro_sam.pth", "micro_sam_legacy.pth"] {
        let weights = merged(&folder, sam, &output.path().join(sam));
        let network = Network::load(&weights, Cpu::new(CpuOptions::default()).unwrap()).unwrap();
        let mut session = Session::new(Arc::new(network), boxes(1)).unwrap();
        let (logits, _) = segment(&mut session, &[golden.case(0)]);
        assert!(golden.check("logits", "case0.logits", &logits), "{sam}");
    }
}

#[test]
fn every_container_gives_the_same_merged_model() {
    let folder = tempfile::tempdir().unwrap();
    let (config, _) = small();
    let (sam, medsegx) = (sam_tensors(), medsegx_tensors());
    let from_sam: BTreeMap<_, _> = sam.iter().map(|tensor| (tensor.name.as_str(), &tensor.values)).collect();
    let from_medsegx: BTreeMap<_, _> = medsegx.iter().map(|tensor| (tensor.name.as_str(), &tensor.values)).collect();
    let bases = [pth::plain_zip(&sam), pth::plain_legacy(&sam)];
    let extras = [pth::plain_zip(&medsegx), pth::plain_legacy(&medsegx), pth::training_zip(&medsegx)];
    for (i, base) in bases.iter().enumerate() {
        for (j, extra) in extras.iter().enumerate() {
            let base = save(folder.path(), &format!("sam{i}.pth"), base);
            let extra = save(folder.path(), &format!("medsegx{j}.pth"), extra);
            let path = folder.path().join(format!("{i}{j}.safetensors"));
            assert_eq!(convert(&base, Some(&extra), None, &path, Dtype::F32, false, &mut || Ok(())).unwrap(), config);
            let weights = Weights::open(&path, Access::Read).unwrap();
            for name in weights.names() {
                let found = weights.load(name).unwrap();
                if let Some(expected) = from_medsegx.get(name) {
                    assert_eq!(&&found, expected, "{name}");
                } else if name.contains("pos_embed") {
                    assert_near(name, &found, &means_of_the_middle_four(from_sam[name]));
                } else if name.contains("blocks.1.attn.rel_pos") {
                    assert_near(name, &found, &interpolated_rows(from_sam[name]));
                } else {
                    assert_eq!(&found, from_sam[&*name.replace(".mlp.mlp.", ".mlp.")], "{name}");
                }
            }
        }
    }
}

fn assert_near(name: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let error = found.iter().zip(expected).map(|(&f, e)| (f64::from(f) - e).abs()).fold(0.0, f64::max);
    // torch computes the places in f32, which moves a value by up to 1e-5 of the step to its neighbour.
    assert!(error <= 2e-6, "{name}: {error}");
}

/// A 64 x 64 grid of 8 channels on 16 x 16: each place lies in the middle of the middle four of its sixteen.
fn means_of_the_middle_four(grid: &[f32]) -> Vec<f64> {
    let at = |row: usize, column: usize, channel: usize| f64::from(grid[(row * 64 + column) * 8 + channel]);
    let mean = |i: usize| {
        let (row, column, channel) = (4 * (i / 128) + 1, 4 * (i / 8 % 16) + 1, i % 8);
        let upper = at(row, column, channel) + at(row, column + 1, channel);
        (upper + at(row + 1, column, channel) + at(row + 1, column + 1, channel)) / 4.0
    };
    (0..16 * 16 * 8).map(mean).collect()
}

/// 127 rows of 4 on 31.
fn interpolated_rows(rows: &[f32]) -> Vec<f64> {
    let value = |i: usize| {
        let place = ((i / 4) as f64 + 0.5) * 127.0 / 31.0 - 0.5;
        let (row, weight) = (place.floor() as usize, place.fract());
        f64::from(rows[row * 4 + i % 4]) * (1.0 - weight) + f64::from(rows[(row + 1) * 4 + i % 4]) * weight
    };
    (0..31 * 4).map(value).collect()
}

#[test]
fn a_sam_type_model_stays_as_it_is() {
    let (folder, tensors) = (tempfile::tempdir().unwrap(), sam_tensors());
    let sam = save(folder.path(), "sam.pth", &pth::plain_zip(&tensors));
    for (kind, name) in [(Kind::Sam, "sam"), (Kind::MedSam, "medsam")] {
        let path = folder.path().join(name);
        let config = convert(&sam, None, Some(kind), &path, Dtype::F32, false, &mut || Ok(())).unwrap();
        assert_eq!(config, Config { kind, ..small().1 });
        let weights = Weights::open(&path, Access::Map).unwrap();
        assert_eq!((weights.config(), &*weights.metadata()["kind"]), (&config, name));
        for tensor in &tensors {
            assert_eq!(weights.load(&tensor.name).unwrap(), tensor.values, "{}", tensor.name);
        }
    }
    let error = convert(&sam, None, None, &folder.path().join("x"), Dtype::F32, false, &mut || Ok(())).unwrap_err();
    assert!(matches!(error, medsegx::Error::Argument { name: "kind", .. }), "{error}");
    assert_eq!(names_left(folder.path()), ["medsam", "sam", "sam.pth"]);
}

#[test]
fn a_value_that_f16_cannot_hold_is_refused_by_name_and_leaves_no_file() {
    let (folder, mut tensors) = (tempfile::tempdir().unwrap(), sam_tensors());
    let tensor = tensors.iter_mut().find(|tensor| tensor.name == "image_encoder.neck.1.weight").unwrap();
    tensor.values[3] = 65505.0;
    let sam = save(folder.path(), "sam.pth", &pth::plain_zip(&tensors));
    let output = folder.path().join("x");
    let error =
        convert(&sam, None, Some(Kind::Sam), &output, Dtype::F16, false, &mut || Ok(())).unwrap_err().to_string();
    assert!(error.contains("image_encoder.neck.1.weight") && error.contains("65505"), "{error}");
    assert_eq!(names_left(folder.path()), ["sam.pth"]);
    convert(&sam, None, Some(Kind::Sam), &output, Dtype::BF16, false, &mut || Ok(())).unwrap();
}

#[test]
fn incomplete_sources_are_named_tensor_by_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let fail = |sam: &[Tensor], medsegx: Option<&[Tensor]>| {
        let sam = save(folder.path(), "sam.pth", &pth::plain_zip(sam));
        let medsegx = medsegx.map(|tensors| save(folder.path(), "medsegx.pth", &pth::plain_zip(tensors)));
        let kind = medsegx.is_none().then_some(Kind::Sam);
        convert(&sam, medsegx.as_deref(), kind, &folder.path().join("x"), Dtype::F32, false, &mut || Ok(()))
            .unwrap_err()
            .to_string()
    };
    let (mut sam, mut medsegx) = (sam_tensors(), medsegx_tensors());
    assert!(fail(&medsegx, Some(&sam)).contains("tensors of MedSegX, which are added to SAM's"));
    assert!(fail(&sam, Some(&sam)).contains("none of its adapters"));
    let lost = medsegx.remove(5).name;
    let error = fail(&sam, Some(&medsegx));
    assert!(error.contains(&lost) && error.contains("medsegx.pth"), "{error}");
    medsegx[3].name = "image_encoder.blocks.0.mlp.adapter_typo.bias".into();
    let error = fail(&sam, Some(&medsegx));
    assert!(error.contains("adapter_typo") && error.contains(&lost), "{error}");
    let lost = sam.remove(40).name;
    for error in [fail(&sam, None), fail(&sam, Some(&medsegx_tensors()))] {
        assert!(error.contains(&lost) && error.contains("sam.pth"), "{error}");
    }
}

#[test]
fn views_types_and_parameters_are_read_as_torch_means_them() {
    let values: Vec<f32> = (0..12).map(|x| x as f32).collect();
    let half = |dtype: fn(f32) -> [u8; 2]| values.iter().flat_map(|&value| dtype(value)).collect::<Vec<u8>>();
    let storages = [
        pth::floats("a", &values),
        Storage {
            key: "h".into(),
            class: "HalfStorage",
            length: 12,
            bytes: half(|v| half::f16::from_f32(v).to_le_bytes()),
        },
        Storage {
            key: "b".into(),
            class: "BFloat16Storage",
            length: 12,
            bytes: half(|v| half::bf16::from_f32(v).to_le_bytes()),
        },
        Storage { key: "i".into(), class: "LongStorage", length: 1, bytes: vec![1, 0, 0, 0, 0, 0, 0, 0] },
    ];
    for legacy in [false, true] {
        let storage = |i: usize| {
            let (class, key, length) = (storages[i].class, &storages[i].key, storages[i].length as i64);
            move |pickle: Pickle| pickle.storage(class, key, length, legacy)
        };
        let pickle = Pickle::new().op(b"}(").text("whole").tensor(storage(0), 0, &[3, 4], &[4, 1]);
        let pickle = pickle.text("transposed").tensor(storage(0), 0, &[4, 3], &[1, 4]);
        let pickle =
            pickle.text("part").tensor(storage(0), 5, &[2, 2], &[4, 1]).text("scalar").tensor(storage(0), 7, &[], &[]);
        let pickle =
            pickle.text("f16").tensor(storage(1), 1, &[2], &[1]).text("bf16").tensor(storage(2), 2, &[2], &[1]);
        let pickle = pickle.text("parameter").global("torch._utils", "_rebuild_parameter").op(b"(");
        let pickle = pickle.tensor(storage(0), 9, &[3], &[1]).op(&[0x88]).ordered_dict().op(b"tR");
        let pickle = pickle.text("count").tensor(storage(3), 0, &[], &[]).op(b"u").stop();
        let file = if legacy { pth::legacy(&pickle, &storages) } else { pth::zip(&pickle, &storages) };
        let checkpoint = Checkpoint::from_bytes(file, "views").unwrap();
        let shapes: BTreeMap<_, _> = checkpoint.tensors().collect();
        assert_eq!(shapes["transposed"], [4, 3]);
        assert_eq!(checkpoint.load("whole").unwrap(), values);
        assert_eq!(checkpoint.load("transposed").unwrap(), [0., 4., 8., 1., 5., 9., 2., 6., 10., 3., 7., 11.]);
        assert_eq!(checkpoint.load("part").unwrap(), [5., 6., 9., 10.]);
        assert_eq!(checkpoint.load("scalar").unwrap(), [7.]);
        assert_eq!(checkpoint.load("f16").unwrap(), [1., 2.]);
        assert_eq!(checkpoint.load("bf16").unwrap(), [2., 3.]);
        assert_eq!(checkpoint.load("parameter").unwrap(), [9., 10., 11.]);
        assert!(checkpoint.load("count").unwrap_err().to_string().contains("int64"));
        assert!(checkpoint.load("none").is_err());
    }
}

/// A fine-tuned model is a MedSegX whose trained tensors lie beside the optimizer's, which are none of the model.
#[test]
fn the_best_of_a_published_fine_tuning_goes_on_top_of_sam() {
    let folder = tempfile::tempdir().unwrap();
    let parts = ["adapter", "modal_embed", "organ_embed", "mask_decoder"];
    let tuned = tensors(&small().0, 5, |name| parts.iter().any(|part| name.contains(part)));
    save(folder.path(), "sam.pth", &pth::plain_zip(&sam_tensors()));
    save(folder.path(), "model_best.pth", &pth::fine_tuned_zip(&tuned));
    let [sam, best, output] = ["sam.pth", "model_best.pth", "out.safetensors"].map(|name| folder.path().join(name));
    let files = ["--sam", sam.to_str().unwrap(), "--medsegx", best.to_str().unwrap(), "-o", output.to_str().unwrap()];
    let found = common::command::medsegx(&[&["convert", "--dtype", "f32"], &files[..]].concat());
    assert!(found.status.success(), "{}", common::command::message(&found));
    let weights = Weights::open(&output, Access::Map).unwrap();
    assert_eq!(weights.config().kind, Kind::MedSegX);
    for Tensor { name, values, .. } in &tuned {
        assert!(weights.load(name).unwrap() == *values, "{name}");
    }
    assert_eq!(weights.metadata()["medsegx.file"], "model_best.pth");
}

#[test]
fn the_command_converts_and_tells_usage_from_failure() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "sam.pth", &pth::plain_legacy(&sam_tensors()));
    save(folder.path(), "medsegx.pth", &pth::training_zip(&medsegx_tensors()));
    save(folder.path(), "cut.pth", &pth::plain_zip(&sam_tensors())[..5000]);
    let run = |arguments: &str| {
        let command = std::process::Command::new(env!("CARGO_BIN_EXE_medsegx"))
            .args(arguments.split(' '))
            .current_dir(folder.path())
            .output()
            .unwrap();
        (command.status.code().unwrap(), String::from_utf8(command.stderr).unwrap())
    };
    let merge = "convert --sam sam.pth --medsegx medsegx.pth -o out.safetensors --dtype bf16";
    assert_eq!(run(merge).0, 0);
    let (code, message) = run(merge);
    assert!(code == 1 && message.contains("out.safetensors") && message.contains("existing"), "{message}");
    assert_eq!(run(&format!("{merge} --force")).0, 0);
    assert_eq!(Weights::open(&folder.path().join("out.safetensors"), Access::Map).unwrap().dtype(), Dtype::BF16);
    let (code, message) = run("convert --sam sam.pth -o x");
    assert!(code == 2 && message.contains("kind"), "{message}");
    assert_eq!(run("convert --sam sam.pth --medsegx medsegx.pth --kind sam -o x").0, 2);
    let (code, message) = run("convert --sam cut.pth --kind sam -o x");
    assert!(code == 1 && message.contains("cut.pth"), "{message}");
    assert_eq!(run("convert --sam none.pth --kind sam -o x").0, 1);
    assert_eq!(names_left(folder.path()), ["cut.pth", "medsegx.pth", "out.safetensors", "sam.pth"]);
}
