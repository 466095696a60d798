//! The shipped kernels with one instruction taken out: ptxvm has to notice, and to say where.
#![cfg(feature = "cuda")]

use crate::common::watched;

use crate::common::golden::Golden;
use crate::common::run::{boxes, corners, scaling, synthetic};
use crate::common::tolerance;
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::ptxvm::{Checks, Interpreter};
use medsegx::executor::{Prompt, Session, Slice};
use medsegx::model::Preset;
use watched::Watched;

/// What a run of the small network says with `instruction` number `which` (from the end where negative) of the kernel
/// `entry` left out.
fn without(entry: &'static str, instruction: &'static str, which: isize) -> String {
    let edit = move |kernel: &'static medsegx::backend::cuda::kernels::Kernel, ptx: &str| {
        if kernel.entry != entry {
            return ptx.to_string();
        }
        let found: Vec<usize> = ptx.match_indices(instruction).map(|(at, _)| at).collect();
        let index = which.rem_euclid(found.len().max(1) as isize) as usize;
        let at = *found.get(index).unwrap_or_else(|| panic!("{entry} has no {instruction}"));
        let end = at + ptx[at..].find(';').unwrap() + 1;
        [&ptx[..at], &ptx[end..]].concat()
    };
    let (driver, _) = Watched::new(Interpreter::new(2, Checks::Full));
    let network = synthetic(&Preset::Tiny.medsegx(), Cuda::new(driver.editing(edit)).unwrap());
    let mut session = Session::new(network, boxes(1)).unwrap();
    let case = Golden::portable("tiny", tolerance::F16).case(0);
    let slice = Slice { pixels: &case.pixels, scaling: scaling(256), context: case.context };
    let encoded = session.encode(&[slice]);
    let points = corners(case.rectangle);
    let (mut logits, mut iou) = (vec![0.0; 3 * 256 * 256], [0.0; 4]);
    let prompt = Prompt { slot: 0, points: &points, mask: None };
    let decoded = encoded.and_then(|()| session.decode(&[prompt], &mut logits, &mut iou));
    decoded.expect_err("a kernel without one of its instructions fails").to_string()
}

#[track_caller]
fn check(entry: &'static str, instruction: &'static str, which: isize, expected: &str) {
    let message = without(entry, instruction, which);
    assert!(message.contains(&format!("{entry}, line ")), "{message}");
    assert!(message.contains(expected), "{message}");
}

#[test]
fn products_without_their_waits() {
    check("patch_embed_64x32", "bar.sync 0", 0, "reads uninitialised memory");
    check("patch_embed_64x32", "bar.sync 0", 1, "race on shared memory");
    check("gemm_64x32_f16_f16", "cp.async.wait_group", 0, "cp.async");
    check("attention_d64_row16", "cp.async.wait_group", 0, "cp.async");
}

#[test]
fn hand_overs_between_blocks_without_their_fences() {
    check("token_self_attention_256", "membar.gl", 0, "nothing orders these CTAs");
    check("token_self_attention_256", "membar.gl", -1, "nothing orders these CTAs");
    check("token_mlp_256", "membar.gl", 0, "nothing orders these CTAs");
    check("tokens_to_image_256", "membar.gl", -1, "nothing orders these CTAs");
    check("layer_norm_256_f16_gate", "membar.gl", 0, "nothing orders these CTAs");
    check("layer_norm_256_f16_gate", "membar.gl", -1, "nothing orders these CTAs");
}
