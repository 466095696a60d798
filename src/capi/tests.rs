//! What C programs cannot provoke or compare: a panic inside a call, and the cost of the C layer itself.

mod odd;
mod prompted;
mod stopped;
mod tuned;

use std::ffi::CStr;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

use super::boundary::guard;
use super::codes::{medsegx_intensity, medsegx_pixel};
use super::model::medsegx_model;
use super::session::{medsegx_session, medsegx_session_free, medsegx_session_new, with};
use super::slice::medsegx_segment_slice;
use super::status::{medsegx_error, medsegx_error_free, medsegx_error_message, medsegx_status};
use super::structs::{medsegx_context, medsegx_prompt, medsegx_result, medsegx_session_options, medsegx_slice};
use super::versioned::Versioned;
use crate::backend::cpu::CpuOptions;
use crate::executor::Prompt;
use crate::model::Preset;
use crate::segment::{self, Device, Picture, Segmenter, prompt_points};
use crate::taxonomy::Context;
use crate::volume::{Intensity, Statistics};
use crate::weights::Weights;

fn model() -> medsegx_model {
    let weights = Weights::synthetic(&Preset::Tiny.medsegx(), 0);
    let cpu = CpuOptions { threads: Some(1), ..CpuOptions::default() };
    let model = segment::Model::load(&weights, &segment::ModelOptions { device: Device::Cpu, cpu }).unwrap();
    medsegx_model::new(model, "")
}

fn session(model: &medsegx_model, side: usize) -> *mut medsegx_session {
    let mut options = medsegx_session_options::initial();
    (options.max_height, options.max_width) = (side as u32, side as u32);
    let mut session = null_mut();
    // SAFETY: all pointers are valid or NULL where that is allowed.
    let status = unsafe { medsegx_session_new(model, &options, &mut session, null_mut()) };
    assert_eq!(status, medsegx_status::Ok);
    session
}

/// A slice in the manner of a CT, in Hounsfield units.
fn pixels(side: usize) -> Vec<i16> {
    (0..side * side).map(|i| ((i * 7919) % 1400) as i16 - 700 + (i / side) as i16).collect()
}

fn slice(pixels: &[i16], side: usize) -> medsegx_slice {
    medsegx_slice {
        pixel_type: medsegx_pixel::I16 as i32,
        pixels: pixels.as_ptr().cast(),
        height: side as u32,
        width: side as u32,
        intensity: medsegx_intensity::Minmax as i32,
        ..medsegx_slice::initial()
    }
}

const BOX: [f64; 4] = [60.0, 40.0, 200.0, 180.0];

/// The first row of every table.
fn first_rows() -> medsegx_context {
    medsegx_context { modality: 0, body_part: 0, subregion: 0, organ: 0, task: 0, ..medsegx_context::initial() }
}

#[test]
fn a_panic_poisons_the_session_and_prints_nothing() {
    // In a process of its own, since all that it writes to stderr counts.
    const CHILD: &str = "MEDSEGX_TEST_PANIC";
    if std::env::var_os(CHILD).is_none() {
        let name = "capi::tests::a_panic_poisons_the_session_and_prints_nothing";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let found = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let printed = String::from_utf8_lossy(&found.stderr);
        assert!(found.status.success() && printed.is_empty(), "{}\n{printed}", String::from_utf8_lossy(&found.stdout));
        return;
    }
    let (model, side) = (model(), 64);
    let session = session(&model, side);
    let mut error: *mut medsegx_error = null_mut();
    // SAFETY: all pointers are valid or NULL where that is allowed; each handle is freed once.
    unsafe {
        let status = guard(&mut error, || with(session, |_| panic!("made up")));
        assert_eq!(status, medsegx_status::Internal);
        let message = CStr::from_ptr(medsegx_error_message(error)).to_str().unwrap();
        assert!(message.contains("src/capi/tests.rs") && message.contains("made up"), "{message}");
        medsegx_error_free(error);

        let (pixels, context) = (pixels(side), first_rows());
        let prompt = medsegx_prompt { has_box: 1, r#box: [5.0, 5.0, 40.0, 40.0], ..medsegx_prompt::initial() };
        let (view, mut result) = (slice(&pixels, side), medsegx_result::initial());
        let status = medsegx_segment_slice(session, &view, &context, &prompt, &mut result, null(), &mut error);
        assert_eq!(status, medsegx_status::Poisoned);
        medsegx_error_free(error);
        medsegx_session_free(session);

        // On a thread of the model's pool or a loader's the same hook is at work.
        let status = guard(&mut error, || {
            let _ = std::thread::spawn(|| panic!("elsewhere")).join();
            Ok(())
        });
        assert_eq!(status, medsegx_status::Ok);
    }
}

/// What a Rust host does for one slice, with the same session.
fn rust_call(segmenter: &mut Segmenter, buffers: &mut Buffers, pixels: &[i16], side: usize, mask: &mut [u8]) -> u64 {
    let statistics = Statistics::of(pixels, 1.0, 0.0);
    let map = Intensity::MinMax.resolve_range(&statistics).unwrap();
    buffers.grey.clear();
    buffers.grey.extend(pixels.iter().map(|&pixel| map.level(f64::from(pixel))));
    let picture = Picture { pixels: &buffers.grey, height: side, width: side, channels: 1 };
    let context = Context { modality: 0, organ: [0; 3], task: 0 };
    let frame = segmenter.place(0, &picture, Some(&context)).unwrap();
    prompt_points(&frame, &[], Some(BOX), &mut buffers.points);
    let mut answers = segmenter.answer(&[Prompt { slot: 0, points: &buffers.points, mask: None }]).unwrap();
    answers.mask(0, answers.verdict(0).chosen, mask).unwrap();
    mask.iter().map(|&inside| u64::from(inside)).sum()
}

struct Buffers {
    grey: Vec<u8>,
    points: Vec<crate::executor::Point>,
}

#[test]
#[ignore = "a time, measured by itself: tests/capi/run.sh"]
fn a_call_through_c_takes_no_longer_than_one_in_rust() {
    const PAIRS: usize = 200;
    const LIMIT: f64 = 1.05;
    let (model, side) = (model(), 256);
    let session = session(&model, side);
    let pixels = pixels(side);
    let mut mask = vec![0; side * side];
    let context = first_rows();
    let prompt = medsegx_prompt { has_box: 1, r#box: BOX, ..medsegx_prompt::initial() };
    let view = slice(&pixels, side);
    let mut c_call = || {
        let (mask_size, start) = (mask.len(), Instant::now());
        let mut result = medsegx_result { mask: mask.as_mut_ptr(), mask_size, ..medsegx_result::initial() };
        // SAFETY: all pointers are valid or NULL where that is allowed.
        let status =
            unsafe { medsegx_segment_slice(session, &view, &context, &prompt, &mut result, null(), null_mut()) };
        let elapsed = start.elapsed();
        assert_eq!(status, medsegx_status::Ok);
        (elapsed, result.pixels)
    };
    let mut rust_mask = vec![0; side * side];
    let mut buffers = Buffers { grey: Vec::new(), points: Vec::new() };
    let mut rust_call = || {
        let (mut found, mut elapsed) = (0, Duration::ZERO);
        // SAFETY: the session is valid, and no call uses it.
        let outcome = unsafe {
            with(session, |state| {
                let start = Instant::now();
                found = rust_call(&mut state.segmenter, &mut buffers, &pixels, side, &mut rust_mask);
                elapsed = start.elapsed();
                Ok(())
            })
        };
        assert!(outcome.is_ok());
        (elapsed, found)
    };
    assert_eq!(c_call().1, rust_call().1, "both mean the same mask");
    let pairs: Vec<(f64, f64)> = (0..PAIRS)
        .map(|pair| {
            let (c, rust) = if pair % 2 == 0 {
                let c = c_call().0;
                (c, rust_call().0)
            } else {
                let rust = rust_call().0;
                (c_call().0, rust)
            };
            (c.as_secs_f64(), rust.as_secs_f64())
        })
        .collect();
    // SAFETY: it came from medsegx_session_new and is freed once.
    unsafe { medsegx_session_free(session) };
    assert_eq!(mask, rust_mask);

    let ratios: Vec<f64> = pairs.iter().map(|(c, rust)| c / rust).collect();
    let (low, high) = bootstrap(&ratios);
    let (c, rust): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    println!(
        "C {:.3} ms, Rust {:.3} ms; C / Rust over {PAIRS} alternating pairs: median {:.4}, 95 % interval {low:.4} to {high:.4}",
        median(c) * 1e3,
        median(rust) * 1e3,
        median(ratios),
    );
    assert!(low <= LIMIT, "the C call takes longer: {low:.4} to {high:.4} lies above {LIMIT}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] }
}

/// The 95 % interval of the median, by resampling.
fn bootstrap(values: &[f64]) -> (f64, f64) {
    const ROUNDS: usize = 2000;
    let mut state = 1_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        values[(state >> 33) as usize % values.len()]
    };
    let mut medians: Vec<f64> = (0..ROUNDS).map(|_| median((0..values.len()).map(|_| draw()).collect())).collect();
    medians.sort_by(f64::total_cmp);
    (medians[ROUNDS / 40], medians[ROUNDS - 1 - ROUNDS / 40])
}
