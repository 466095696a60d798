//! TinyViT in models of other sizes than the published one.

use std::sync::Arc;

use crate::common::command::{medsegx, message};
use crate::common::pth;
use crate::common::run::{tiny_vit as small, tiny_vit_logits};
use medsegx::backend::Backend as _;
use medsegx::backend::cpu::{Cpu, CpuOptions, Level};
use medsegx::graph::{Graph, Plan};
use medsegx::mask::MaskChoice;
use medsegx::model::{Config, Kind, Preset, image_encoder};
use medsegx::segment::{Capacity, Device, Model, ModelOptions, Picture, Segmenter};
use medsegx::tune::{Trainer, TrainerOptions};
use medsegx::weights::{self, Access, Dtype, Weights, convert, convert_tiny_vit};

#[test]
fn sizes_are_read_off_the_shapes() {
    for expected in [Config::litemedsam(), Config::mobile_sam(), small(1), small(3)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let made_up = Weights::synthetic(&expected, 3);
        let load = |name: &str| made_up.load(name);
        if expected.width < 100 {
            weights::write(&path, false, &weights::names(&expected), made_up.metadata(), Dtype::F16, load).unwrap();
            let weights = Weights::open(&path, Access::Read).unwrap();
            assert_eq!(weights.config(), &expected);
            // Halves would lose small variances.
            let name = "image_encoder.layers.0.blocks.0.conv1.bn.running_var";
            assert_eq!(weights.load(name).unwrap(), made_up.load(name).unwrap());
        }
        let plan = Plan::new(image_encoder::graph(&expected, 2));
        plan.graph.check().unwrap();
    }
    let parameters: usize = weights::names(&Config::litemedsam())
        .iter()
        .filter(|(name, _)| !name.contains(".running_"))
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    // As published, the position matrix included.
    assert_eq!(parameters, 9_791_556);
    let flop = |graph: &Graph| (0..graph.nodes.len()).map(|step| graph.cost(step).flop).sum::<u64>();
    let encoder = flop(&image_encoder::graph(&Config::litemedsam(), 1)) as f64 * 1e-9;
    assert!((encoder - 71.2).abs() < 0.1, "{encoder} GFLOP");
    let encoder = flop(&image_encoder::graph(&Config::mobile_sam(), 1)) as f64 * 1e-9;
    assert!((encoder - 73.8).abs() < 0.1, "{encoder} GFLOP");
}

fn bits(config: &Config, level: Level, threads: usize, batch: usize) -> Vec<u32> {
    let cpu = Cpu::new(CpuOptions { threads: Some(threads), level: Some(level), ..CpuOptions::default() }).unwrap();
    tiny_vit_logits(config, cpu, batch).into_iter().map(f32::to_bits).collect()
}

#[test]
fn threads_and_batches_change_no_bit_of_a_tiny_vit() {
    let config = small(1);
    for level in Level::available() {
        let expected = bits(&config, level, 1, 1);
        for (threads, batch) in [(2, 1), (1, 2), (3, 2)] {
            assert!(bits(&config, level, threads, batch) == expected, "{level}: {threads} threads, batch {batch}");
        }
    }
    let config = small(3);
    assert!(bits(&config, Level::detect(), 1, 1) == bits(&config, Level::detect(), 2, 2));
}

fn checkpoint(folder: &std::path::Path, config: &Config, counters: bool) -> std::path::PathBuf {
    let made_up = Weights::synthetic(config, 2);
    let tensor =
        |(name, shape): (String, Vec<usize>)| pth::Tensor { values: made_up.load(&name).unwrap(), name, shape };
    let mut tensors: Vec<_> = weights::names(config).into_iter().map(tensor).collect();
    if counters {
        let name = "image_encoder.patch_embed.seq.0.bn.num_batches_tracked".to_string();
        tensors.push(pth::Tensor { name, shape: vec![1], values: vec![7.0] });
    }
    let path = folder.join(format!("{:?}{}.pth", config.kind, config.tiny_vit.is_some()));
    std::fs::write(&path, pth::plain_zip(&tensors)).unwrap();
    path
}

#[test]
fn checkpoints_are_converted_under_their_own_names() {
    let folder = tempfile::tempdir().unwrap();
    for (config, kind) in [(small(1), "litemedsam"), (small(3), "sam")] {
        let source = checkpoint(folder.path(), &config, true);
        let output = folder.path().join(format!("{kind}.safetensors"));
        let found = convert_tiny_vit(&source, &output, Dtype::F32, false, &mut || Ok(())).unwrap();
        assert_eq!(found, config);
        let (weights, made_up) = (Weights::open(&output, Access::Read).unwrap(), Weights::synthetic(&config, 2));
        assert!(weights.names().eq(made_up.names()));
        for name in weights.names() {
            assert_eq!(weights.load(name).unwrap(), made_up.load(name).unwrap(), "{name}");
        }
        assert_eq!(weights.metadata()["kind"], kind);
        assert_eq!(weights.metadata()["litemedsam.sha256"], weights::sha256(&std::fs::read(&source).unwrap()));
    }
}

#[test]
fn a_checkpoint_of_another_encoder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.safetensors");
    let vit = Config { width: 8, heads: 2, head_dim: 4, mlp: 12, prompt_width: 32, ..Preset::Tiny.sam() };
    let (vit, tiny) = (checkpoint(folder.path(), &vit, false), checkpoint(folder.path(), &small(1), false));
    let error = convert_tiny_vit(&vit, &output, Dtype::F32, false, &mut || Ok(())).unwrap_err().to_string();
    assert!(error.contains("LiteMedSAM or MobileSAM") && error.contains("--sam"), "{error}");
    let error =
        convert(&tiny, None, Some(Kind::Sam), &output, Dtype::F32, false, &mut || Ok(())).unwrap_err().to_string();
    assert!(error.contains("--litemedsam"), "{error}");
    assert!(!output.exists());
}

#[test]
fn a_kind_that_the_stem_contradicts_is_refused() {
    for (config, said, expected) in [(small(1), "medsam", "litemedsam"), (small(3), "litemedsam", "sam or medsam")] {
        let made_up = Weights::synthetic(&config, 0);
        let metadata = [("kind".to_string(), said.to_string())].into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let load = |name: &str| made_up.load(name);
        weights::write(&path, false, &weights::names(&config), &metadata, Dtype::F32, load).unwrap();
        let error = Weights::open(&path, Access::Read).err().unwrap().to_string();
        assert!(error.contains(&format!("; needs {expected} of a TinyViT")), "{error}");
    }
}

/// Neither window padding nor the wide channels of a bottleneck take memory: the arena stays near the largest value.
#[test]
fn the_published_model_needs_little_memory() {
    let cpu = Cpu::new(CpuOptions { threads: Some(2), ..CpuOptions::default() }).unwrap();
    let plan = Plan::new(cpu.lower(image_encoder::graph(&Config::litemedsam(), 1)));
    assert!(plan.arena_bytes < 64_000_000, "{} MB", plan.arena_bytes / 1_000_000);
}

/// The gradient of mask 0's loss is what the loss gains along it, tensor by tensor.
#[test]
fn gradients_of_mask_0_are_difference_quotients() {
    let config = small(1);
    let made_up = Weights::synthetic(&config, 4);
    let options = ModelOptions { device: Device::Cpu, ..ModelOptions::default() };
    let model = Arc::new(Model::load(&made_up, &options).unwrap());
    let mut segmenter = Segmenter::new(&model, Capacity::default(), MaskChoice::Auto).unwrap();
    let (height, width) = (90, 120);
    let pixels: Vec<u8> = (0..height * width).map(|i| (i * i % 251) as u8).collect();
    let frame = segmenter.set_slice(&Picture { pixels: &pixels, height, width, channels: 1 }, None).unwrap();
    let mut embedding = vec![0.0; segmenter.embedding_len()];
    segmenter.embeddings(&mut embedding).unwrap();
    let inside = |i: usize| (i / width).abs_diff(40).pow(2) + (i % width).abs_diff(70).pow(2) < 500;
    let label: Vec<u8> = (0..height * width).map(|i| u8::from(inside(i))).collect();

    let trainer = |weights: &Weights| {
        let mut trainer = Trainer::new(weights, TrainerOptions::default()).unwrap();
        let sample = trainer.sample(&embedding, &frame, &label).unwrap();
        let loss = trainer.gradients(&[(&sample, sample.region())]).unwrap()[0];
        assert_eq!((loss.chosen, loss.dice[1], loss.entropy[2]), (0, 0.0, 0.0));
        (trainer, loss.total)
    };
    let (tuned, _) = trainer(&made_up);
    assert!(tuned.trained().iter().all(|trained| !trained.name.contains("output_hypernetworks_mlps.1")));
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "mask_decoder.iou_token.weight",
        "mask_decoder.mask_tokens.weight",
        "mask_decoder.transformer.layers.0.self_attn.q_proj.weight",
        "mask_decoder.transformer.layers.1.cross_attn_image_to_token.v_proj.weight",
        "mask_decoder.transformer.layers.1.mlp.lin1.weight",
        "mask_decoder.transformer.norm_final_attn.bias",
        "mask_decoder.output_upscaling.0.weight",
        "mask_decoder.output_upscaling.1.weight",
        "mask_decoder.output_hypernetworks_mlps.0.layers.2.bias",
    ] {
        let gradient = tuned.gradient(name).unwrap();
        let size = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let moved = |by: f64| {
            let path = folder.path().join("moved.safetensors");
            let load = |wanted: &str| {
                let mut values = made_up.load(wanted)?;
                if wanted == name {
                    let step = |(w, &g): (&mut f32, &f32)| *w += (by * f64::from(g) / size) as f32;
                    values.iter_mut().zip(&gradient).for_each(step);
                }
                Ok(values)
            };
            weights::write(&path, true, &weights::names(&config), made_up.metadata(), Dtype::F32, load).unwrap();
            trainer(&Weights::open(&path, Access::Read).unwrap()).1
        };
        const STEP: f64 = 5e-3;
        let quotient = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        println!("{name}: {size:.5e} and {quotient:.5e}");
        assert!((quotient / size - 1.0).abs() < 1e-2, "{name}: {size} and {quotient}");
    }
}

#[test]
fn several_targets_are_segmented_and_a_task_only_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let model = at("w.safetensors");
    let made_up = Weights::synthetic(&small(1), 5);
    let (names, load) = (weights::names(made_up.config()), |name: &str| made_up.load(name));
    weights::write(std::path::Path::new(&model), false, &names, made_up.metadata(), Dtype::F32, load).unwrap();
    let boxes = r#"{"version": 1, "space": "voxel", "inclusive": true, "targets": [
        {"name": "one", "label": 1, "slices": {"9": [22, 43, 97, 108], "10": [22, 43, 103, 108]}},
        {"name": "two", "label": 2, "slices": {"9": [45, 39, 69, 64]}}]}"#;
    std::fs::write(at("boxes.json"), boxes).unwrap();
    let segment = |name: &str, more: &[&str]| {
        let (mask, report) = (at(&format!("{name}.npy")), at(&format!("{name}.json")));
        let fixed = ["segment", "tests/data/phantom.nii.gz", "--weights", &model, "--device", "cpu", "--quiet"];
        let run = medsegx(&[&fixed[..], &["-o", &mask, "--report", &report], more].concat());
        assert!(run.status.success(), "{}", message(&run));
        let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        let targets = report["targets"].as_array().unwrap().clone();
        let names = targets.iter().map(|target| target["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        (std::fs::read(mask).unwrap(), names, targets.iter().map(|target| target["slices"].clone()).collect::<Vec<_>>())
    };
    let (_, names, slices) = segment("both", &["--boxes", &at("boxes.json")]);
    assert_eq!(names, ["one", "two"]);
    let (bare, _, alone) = segment("bare", &["--box", "45,39,69,64", "--slice", "9"]);
    assert_eq!(slices[1], alone[0], "beside others a target has the scores and areas that it has alone");
    let (named, names, _) = segment("named", &["--box", "45,39,69,64", "--slice", "9", "--task", "CT_Liver"]);
    assert_eq!(names, ["CT_Liver"]);
    assert!(bare == named, "the task changed the mask");
}
