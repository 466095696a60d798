//! A network on a backend against golden tensors, stage by stage: a failure names the stage and how far it is off.

use medsegx::backend::Backend;
use medsegx::executor::{Point, Prompt, Session, SessionOptions, Slice};
use medsegx::model::{Config, Masks};
use medsegx::weights::Weights;

use super::golden::{Case, Golden};
use super::run::{boxes, corners, decode, encode, scaling, segment, synthetic};

fn difference(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// `[a, b]` to `[b, a]`.
fn transposed(data: &[f32], rows: usize) -> Vec<f32> {
    let columns = data.len() / rows;
    (0..data.len()).map(|i| data[i % rows * columns + i / rows]).collect()
}

/// The real tokens of windows `[4, 14, 14, D]`, in the grid's order; a global block's `[16, 16, D]` as it is.
fn real_tokens(shape: &[usize], data: &[f32], grid: usize) -> Vec<f32> {
    let &[windows, side, _, width] = shape else { return data.to_vec() };
    let across = (windows as f64).sqrt() as usize;
    let mut out = Vec::with_capacity(grid * grid * width);
    for (y, x) in (0..grid * grid).map(|i| (i / grid, i % grid)) {
        let window = y / side * across + x / side;
        let at = ((window * side + y % side) * side + x % side) * width;
        out.extend_from_slice(&data[at..at + width]);
    }
    out
}

/// Every stage of case 0 that the file has.
pub fn stages<B: Backend>(golden: &Golden, config: &Config, backend: B) -> bool {
    let mut session = Session::for_probing(synthetic(config, backend), boxes(1)).unwrap();
    let case = golden.case(0);
    encode(&mut session, std::slice::from_ref(&case));
    let mut good = true;
    let position = Weights::synthetic(config, 0).load("image_encoder.pos_embed").unwrap();
    let mut before = session.probe("image_encoder.patch_embed").unwrap();
    let mut check = |stage: &str, name: &str, found: &[f32]| {
        let name = format!("case0.{name}");
        if let Some((shape, data)) = golden.tensor(&name) {
            good &= golden.compare(stage, &name, found, &real_tokens(&shape, &data, 16));
        }
    };
    check("patch_embed", "patch_embed", &difference(&before, &position));
    for block in 0..config.depth() {
        let name = |part: &str| format!("blocks.{block}{part}");
        let mut probe = |part: &str| session.probe(&format!("image_encoder.blocks.{block}{part}")).unwrap();
        for norm in [".norm1", ".norm2"] {
            check("norm", &name(norm), &probe(norm));
        }
        let attended = probe(".attn.proj");
        check("attn", &name(".attn"), &difference(&attended, &before));
        if config.adapters.as_ref().is_some_and(|a| a.blocks[block]) {
            check("gate", &name(".gate"), &probe(".gate"));
        }
        let after = probe("");
        check("mlp", &name(".mlp"), &difference(&after, &attended));
        check("block", &name(""), &after);
        before = after;
    }
    let p = config.prompt_width;
    check("neck", "neck", &transposed(&session.probe("embedding").unwrap(), config.tokens()));

    let (logits, iou) = decode(&mut session, &[case]);
    check("prompt", "prompt.sparse", &session.probe("prompt_encoder").unwrap()[5 * p..]);
    let tokens = session.probe("mask_decoder.transformer.final_attn_token_to_image").unwrap();
    check("decoder", "decoder.tokens", &tokens);
    check("decoder", "decoder.keys", &session.probe("mask_decoder.transformer.layers.1.norm4").unwrap());
    check("iou", "decoder.iou", &iou);
    check("logits", "logits", &logits);
    good
}

/// Logits of every case, all in one batch; only every `step`th row and column where the file is thinned out.
pub fn all_logits<B: Backend>(golden: &Golden, config: &Config, backend: B) -> bool {
    let cases: Vec<Case> = (0..golden.cases()).map(|case| golden.case(case)).collect();
    let mut session = Session::new(synthetic(config, backend), boxes(cases.len())).unwrap();
    let (logits, _) = segment(&mut session, &cases);
    let side = config.logits_size();
    let mut good = true;
    for (index, logits) in logits.chunks_exact(3 * side * side).enumerate() {
        let name = format!("case{index}.logits");
        let (shape, _) = golden.tensor(&name).unwrap();
        let step = side / shape[1];
        let kept = |i: usize| (i % side).is_multiple_of(step) && (i / side % side).is_multiple_of(step);
        let thinned: Vec<f32> = (0..logits.len()).filter(|&i| kept(i)).map(|i| logits[i]).collect();
        good &= golden.check("logits", &name, &thinned);
        if let Some(norm) = golden.meta["cases"][index]["logits_l2_norm"].as_f64().filter(|_| step == 8) {
            let found = logits.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let off = (found / norm - 1.0).abs();
            println!("case{index}: norm of all logits off by {off:.1e}");
            good &= off < golden.limit("logits");
        }
    }
    good
}

/// Plain SAM at 1024 px: a box, points, and points with a box and a mask for a single output.
pub fn sam<B: Backend>(golden: &Golden, config: &Config, backend: B) -> bool {
    let case = &golden.meta["cases"][0];
    let small = golden.case_pixels(0);
    let side = 1024;
    let pixels: Vec<u8> =
        (0..side * side * 3).map(|i| small[((i / 3 / side / 4) * 256 + i / 3 % side / 4) * 3 + i % 3]).collect();
    let network = synthetic(config, backend);
    let points: Vec<Point> = case["points"]
        .as_array()
        .unwrap()
        .iter()
        .zip(case["labels"].as_array().unwrap())
        .map(|(xy, label)| Point {
            x: xy[0].as_f64().unwrap() as f32,
            y: xy[1].as_f64().unwrap() as f32,
            label: label.as_i64().unwrap() as i32,
        })
        .collect();
    let rectangle: Vec<f32> = case["box"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
    let corners = corners(rectangle.try_into().unwrap()).to_vec();
    let not_a_point = Point { x: 0.0, y: 0.0, label: -1 };
    let (_, box_logits) = golden.tensor("case0.box.logits").unwrap();
    let area = config.logits_size().pow(2);
    let mask = &box_logits[area..2 * area];
    let runs = [
        ("box", corners.clone(), None, Masks::Three),
        ("points", [points.clone(), vec![not_a_point]].concat(), None, Masks::Three),
        ("points_box_mask", [points, corners].concat(), Some(mask), Masks::Single),
    ];
    let mut good = true;
    for (run, points, mask, masks) in runs {
        let options =
            SessionOptions { slices: 1, prompts: 1, points: points.len(), mask_prompt: mask.is_some(), masks };
        let mut session = Session::for_probing(network.clone(), options).unwrap();
        session.encode(&[Slice { pixels: &pixels, scaling: scaling(side), context: [0; 5] }]).unwrap();
        if run == "box" {
            let embedding = transposed(&session.probe("embedding").unwrap(), config.tokens());
            good &= golden.check("neck", "case0.embedding", &embedding);
        }
        let (mut logits, mut iou) = (vec![0.0; masks.count() * area], [0.0; 4]);
        session.decode(&[Prompt { slot: 0, points: &points, mask }], &mut logits, &mut iou).unwrap();
        good &= golden.check("logits", &format!("case0.{run}.logits"), &logits);
        let kept = masks.first()..masks.first() + masks.count();
        good &= golden.check("iou", &format!("case0.{run}.iou"), &iou[kept]);
    }
    good
}
