//! LiteMedSAM with its published weights against golden tensors, stage by stage. `tools/litemedsam.py` fetches and
//! converts the weights, and says where they are in MEDSEGX_LITEMEDSAM.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::tolerance::{self, LITEMEDSAM, LITEMEDSAM_CUDA, LITEMEDSAM_F16, Tolerance};
use crate::common::{self, relative_l2, shared};
use medsegx::backend::Backend;
use medsegx::backend::cpu::{Cpu, CpuOptions, Level};
#[cfg(feature = "cuda")]
use medsegx::backend::cuda::{Cuda, driver::ptxvm::Interpreter};
use medsegx::executor::{Network, Session, SessionOptions, Slice};
use medsegx::image::area::AreaResizer;
use medsegx::image::resample::{Fit, fitted};
use medsegx::model::{Config, Masks};
use medsegx::segment::{
    Capacity, Device, Frame, Model, ModelOptions, Picture, Point, Prompt, Segmenter, prompt_points,
};
use medsegx::weights::{self, Access, Dtype, Weights};
use safetensors::SafeTensors;
use serde_json::Value;

/// What the stage `name` may be off: by a row of its own, else by that of its part of the network.
fn limit(table: &'static [Tolerance], name: &str) -> f64 {
    let stage = match name {
        _ if table.iter().any(|row| row.what == name) => name,
        _ if name.starts_with("patch_embed") => "patch_embed",
        _ if name.starts_with("decoder") => "decoder",
        _ => "encoder",
    };
    tolerance::find(table, stage).limit
}

fn weights(check: &str) -> Option<Weights> {
    match std::env::var_os("MEDSEGX_LITEMEDSAM") {
        Some(path) => Some(Weights::open(Path::new(&path), Access::Read).unwrap()),
        None => {
            common::lacking("litemedsam", check, "MEDSEGX_LITEMEDSAM names no weights (tools/litemedsam.py)");
            None
        }
    }
}

struct Cases {
    folder: PathBuf,
    list: Vec<Value>,
}

impl Cases {
    fn open(check: &str) -> Option<Cases> {
        let folder = shared(check, "oracle/litemedsam")?;
        let all: Value = serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
        Some(Cases { folder, list: all["cases"].as_array().unwrap().clone() })
    }

    fn file(&self, index: usize) -> Vec<u8> {
        let name = self.list[index]["name"].as_str().unwrap();
        std::fs::read(self.folder.join(format!("{name}.safetensors"))).unwrap()
    }
}

fn bytes(file: &[u8], name: &str) -> (Vec<usize>, Vec<u8>) {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    (tensor.shape().to_vec(), tensor.data().to_vec())
}

fn numbers<const N: usize>(value: &Value) -> [f64; N] {
    let all: Vec<f64> = value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    all.try_into().unwrap()
}

/// The stored elements of the golden tensor `name` beside what was found.
fn distance(case: &Value, file: &[u8], name: &str, found: &[f32]) -> f64 {
    let stride = case["tensors"][name]["stride"].as_u64().unwrap() as usize;
    let golden: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes(file, name).1);
    let found: Vec<f32> = found.iter().step_by(stride).copied().collect();
    // All of it, by its norm, so that an element that is not stored cannot be anything.
    relative_l2(&found, &golden)
}

/// Every stage of case `index` that is a value of the graph.
fn stages<B: Backend>(
    cases: &Cases,
    index: usize,
    session: &mut Session<B>,
    table: &'static [Tolerance],
) -> Vec<String> {
    let limit = |name: &str| limit(table, name);
    let (case, file) = (&cases.list[index], cases.file(index));
    let (shape, picture) = bytes(&file, "picture");
    let mut pixels = vec![0; 256 * 256 * 3];
    for (row, from) in picture.chunks_exact(3 * shape[1]).enumerate() {
        pixels[3 * 256 * row..][..from.len()].copy_from_slice(from);
    }
    let config = session.network().config().clone();
    let scaling = Frame::new(&config, shape[0], shape[1]).unwrap().scaling(&pixels);
    session.encode(&[Slice { pixels: &pixels, scaling, context: [0; 5] }]).unwrap();
    let mut far = Vec::new();
    let mut check = |name: &str, found: &[f32], golden: &str| {
        let distance = distance(case, &file, golden, found);
        println!("case{index} {name}: {distance:.1e}, {:.0} % of the tolerance", 100.0 * distance / limit(golden));
        if distance.is_nan() || distance > limit(golden) {
            far.push(format!("case{index} {name}: {distance:.1e} of {:.0e}", limit(golden)));
        }
    };
    let all: Vec<String> = case["tensors"].as_object().unwrap().keys().cloned().collect();
    let norms: BTreeMap<&str, f64> =
        all.iter().map(|name| (name.as_str(), case["tensors"][name]["norm"].as_f64().unwrap())).collect();
    let mut seen = 0;
    for name in &all {
        if name == "embedding" {
            check(name, &session.probe("embedding").unwrap(), name);
        } else if name.starts_with("layers.") || name.starts_with("neck.") || name == "patch_embed" {
            // What attention and MLP add there is no value of the graph: products have the sum.
            if name.ends_with(".attn") || name.ends_with(".mlp") {
                continue;
            }
            let Ok(found) = session.probe(&format!("image_encoder.{name}")) else { continue };
            let norm = found.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            // Of all elements: the stored ones alone would leave the rest unseen.
            let off = (norm / norms[name.as_str()] - 1.0).abs();
            assert!(off < limit("norm"), "{name}: norm {norm}, {}", norms[name.as_str()]);
            check(name, &found, name);
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen} stages compared");
    let [x0, y0, x1, y1] = numbers(&case["box256"]).map(|at: f64| at as f32);
    let points = common::run::corners([x0, y0, x1, y1]);
    let (mut logits, mut iou) = (vec![0.0; 256 * 256], [0.0; 4]);
    session.decode(&[Prompt { slot: 0, points: &points, mask: None }], &mut logits, &mut iou).unwrap();
    check("prompt", &session.probe("prompt_encoder").unwrap()[5 * 256..], "prompt");
    check("tokens", &session.probe("mask_decoder.transformer.final_attn_token_to_image").unwrap(), "decoder.tokens");
    check("keys", &session.probe("mask_decoder.transformer.layers.1.norm4").unwrap(), "decoder.keys");
    check("iou", &iou, "iou");
    let (_, golden) = bytes(&file, "logits");
    let golden: Vec<f32> = bytemuck::pod_collect_to_vec(&golden);
    let distance = relative_l2(&logits, &golden[..logits.len()]);
    println!(
        "case{index} logits of mask 0: {distance:.1e}, {:.0} % of the tolerance",
        100.0 * distance / limit("logits")
    );
    if distance.is_nan() || distance > limit("logits") {
        far.push(format!("case{index} logits: {distance:.1e}"));
    }
    far
}

#[test]
fn stages_at_every_level() {
    let Some(cases) = Cases::open("stages of LiteMedSAM") else { return };
    let Some(weights) = weights("stages of LiteMedSAM") else { return };
    assert_eq!(weights.config(), &Config::litemedsam());
    for level in Level::available() {
        let cpu = Cpu::new(CpuOptions { level: Some(level), ..CpuOptions::default() }).unwrap();
        let mut session = session(&weights, cpu);
        // One case where instructions are slow.
        let count = if level == Level::Portable { 1 } else { cases.list.len() };
        let far: Vec<String> = (0..count).flat_map(|index| stages(&cases, index, &mut session, LITEMEDSAM)).collect();
        assert!(far.is_empty(), "{level}: {far:#?}");
    }
}

fn session<B: Backend>(weights: &Weights, backend: B) -> Session<B> {
    let network = Arc::new(Network::load(weights, backend).unwrap());
    let options = SessionOptions { slices: 1, prompts: 1, points: 2, mask_prompt: false, masks: Masks::Single };
    Session::for_probing(network, options).unwrap()
}

/// The kernels of the CUDA backend, whose weights and operands are f16, on the interpreter.
#[cfg(feature = "cuda")]
#[test]
fn stages_on_the_interpreter() {
    let name = "stages of LiteMedSAM on the interpreter";
    let Some(cases) = Cases::open(name) else { return };
    let Some(weights) = weights(name) else { return };
    let backend = Cuda::new(Interpreter::new(2, ptxvm::Checks::Fast)).unwrap();
    let mut session = session(&weights, backend);
    let far = stages(&cases, 0, &mut session, LITEMEDSAM_CUDA);
    assert!(far.is_empty(), "{far:#?}");
    assert_eq!(session.network().backend().saturated().unwrap().values, 0);
}

/// A file of `convert --litemedsam --dtype f16`, in f32 arithmetic.
#[test]
fn stages_of_a_file_in_f16() {
    let Some(cases) = Cases::open("stages of LiteMedSAM in f16") else { return };
    let Some(weights) = weights("stages of LiteMedSAM in f16") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.safetensors");
    let (names, load) = (weights::names(weights.config()), |name: &str| weights.load(name));
    weights::write(&path, false, &names, weights.metadata(), Dtype::F16, load).unwrap();
    let halves = Weights::open(&path, Access::Read).unwrap();
    let mut session = session(&halves, Cpu::new(CpuOptions::default()).unwrap());
    let far: Vec<String> =
        (0..cases.list.len()).flat_map(|index| stages(&cases, index, &mut session, LITEMEDSAM_F16)).collect();
    assert!(far.is_empty(), "{far:#?}");
}

/// The whole path, from bytes of any size to the mask at the picture's own size.
#[test]
fn pictures_to_masks() {
    let Some(cases) = Cases::open("masks of LiteMedSAM") else { return };
    let Some(weights) = weights("masks of LiteMedSAM") else { return };
    let model =
        Arc::new(Model::load(&weights, &ModelOptions { device: Device::Cpu, ..ModelOptions::default() }).unwrap());
    let mut segmenter = Segmenter::new(&model, Capacity::default(), "auto".parse().unwrap()).unwrap();
    for (index, case) in cases.list.iter().enumerate() {
        let file = cases.file(index);
        let [height, width] = numbers(&case["size"]).map(|side: f64| side as usize);
        let (pixels, channels) = source(&cases, index, &file, [height, width]);
        let frame = segmenter.set_slice(&Picture { pixels: &pixels, height, width, channels }, None).unwrap();
        let mut points: Vec<Point> = Vec::new();
        prompt_points(&frame, &[], Some(numbers(&case["box"])), &mut points);
        let corners = [points[0].x, points[0].y, points[1].x, points[1].y];
        assert_eq!(corners.map(f64::from), numbers(&case["box256"]), "case{index}");
        let mut mask = vec![9; height * width];
        let mut answers = segmenter.answer(&[Prompt { slot: 0, points: &points, mask: None }]).unwrap();
        answers.mask(0, 0, &mut mask).unwrap();
        let differing = mask.iter().zip(&bytes(&file, "mask").1).filter(|(a, b)| **a != u8::from(**b > 0)).count();
        println!("case{index}: {differing} pixels of the mask differ");
        assert!(differing <= case["within_1e-3"].as_u64().unwrap() as usize, "case{index}: {differing} pixels");
    }
}

/// The picture of a case at its own size.
fn source(cases: &Cases, index: usize, file: &[u8], [height, width]: [usize; 2]) -> (Vec<u8>, usize) {
    let case = &cases.list[index];
    match case["kind"].as_str().unwrap() {
        "npy" => {
            let data = cases.folder.join("../../data").join(case["image"].as_str().unwrap());
            let npy = std::fs::read(data).unwrap();
            (npy[npy.len() - 3 * height * width..].to_vec(), 3)
        }
        _ if height == 180 => (made_up(2, height, width), 3),
        _ => {
            let (shape, slice) = bytes(file, "slice");
            let channels = shape.get(2).copied().unwrap_or(1);
            (slice, channels)
        }
    }
}

fn hash(name: &str, index: usize, keep: u32) -> usize {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let fnv = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let base = name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    let z = base.wrapping_add((index as u64 + 1).wrapping_mul(GOLDEN));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> (64 - keep)) as usize
}

/// A made-up picture of any size, as the goldens' own samples are.
fn made_up(case: usize, height: usize, width: usize) -> Vec<u8> {
    let noise = |layer: &str, cell: usize, keep: u32, [c, y, x]: [usize; 3]| {
        let (rows, columns) = (height.div_ceil(cell), width.div_ceil(cell));
        hash(&format!("lite.{layer}.{case}"), (c * rows + y / cell) * columns + x / cell, keep)
    };
    let [cx, cy, rx, ry] = [9 * width / 20, 11 * height / 20, width / 5, height / 4];
    let value = |i: usize| {
        let at @ [_, y, x] = [i % 3, i / 3 / width, i / 3 % width];
        let rough = (noise("coarse", 32, 7, at) + noise("middle", 8, 6, at) + noise("fine", 1, 5, at)) / 2;
        let inside = x.abs_diff(cx).pow(2) * ry * ry + y.abs_diff(cy).pow(2) * rx * rx <= rx * rx * ry * ry;
        (rough + if inside { 90 } else { 0 }) as u8
    };
    (0..3 * height * width).map(value).collect()
}

/// Bytes of OpenCV for ten sizes, larger, smaller and whole ratios.
#[test]
fn resizing_by_area_bit_for_bit() {
    let Some(path) = shared("resizing by area", "oracle/litemedsam/resize.safetensors") else { return };
    let file = std::fs::read(path).unwrap();
    for name in SafeTensors::deserialize(&file).unwrap().names() {
        let [height, width, channels] = name.split('x').map(|n| n.parse::<usize>().unwrap()).collect::<Vec<_>>()[..]
        else {
            panic!("{name}")
        };
        let full = made_up(7, height, width);
        let source: Vec<u8> = full.chunks_exact(3).flat_map(|pixel| pixel[..channels].to_vec()).collect();
        let to = fitted([height, width], 256, Fit::LongestSide);
        let mut target = vec![7; 256 * 256 * 3];
        AreaResizer::new([height, width], to, channels).unwrap().picture(&source, channels, &mut target, 256).unwrap();
        let (shape, golden) = bytes(&file, name);
        assert_eq!(shape[..2], to, "{name}");
        let each = shape.get(2).copied().unwrap_or(1);
        for (i, &expected) in golden.iter().enumerate() {
            let (pixel, c) = (i / each, i % each);
            let found = target[3 * (pixel / to[1] * 256 + pixel % to[1]) + c];
            assert_eq!(found, expected, "{name}: pixel {pixel}");
        }
    }
}
