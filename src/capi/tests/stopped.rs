//! Calls that are to stop: one that waits for another's run, and what looking costs those that go on.

use std::hint::black_box;
use std::ptr::{from_ref, null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{BOX, pixels, session, slice};
use crate::backend::cpu::{CpuOptions, LOOKS};
use crate::capi::model::medsegx_model;
use crate::capi::session::{
    medsegx_cancel, medsegx_cancel_free, medsegx_cancel_new, medsegx_cancel_set, medsegx_session_free,
};
use crate::capi::slice::medsegx_segment_slice;
use crate::capi::status::medsegx_status;
use crate::capi::structs::{medsegx_prompt, medsegx_result};
use crate::capi::versioned::Versioned;
use crate::executor::Prompt;
use crate::mask::MaskChoice;
use crate::model::{Config, Preset};
use crate::segment::{self, Capacity, Device, Picture, Segmenter, prompt_points};
use crate::taxonomy::Context;
use crate::weights::Weights;

const SIDE: usize = 256;

/// On one thread, with made-up weights.
fn loaded(config: &Config) -> segment::Model {
    let weights = Weights::synthetic(config, 0);
    let cpu = CpuOptions { threads: Some(1), ..CpuOptions::default() };
    segment::Model::load(&weights, &segment::ModelOptions { device: Device::Cpu, cpu }).unwrap()
}

/// A whole call in a session of its own, and how long it took.
fn call(model: &medsegx_model, cancel: *const medsegx_cancel) -> (medsegx_status, Duration) {
    let (session, pixels, context) = (session(model, SIDE), pixels(SIDE), super::first_rows());
    let prompt = medsegx_prompt { has_box: 1, r#box: BOX, ..medsegx_prompt::initial() };
    let (view, mut result) = (slice(&pixels, SIDE), medsegx_result::initial());
    let start = Instant::now();
    // SAFETY: all pointers are valid or NULL where that is allowed; the session is freed once.
    unsafe {
        let status = medsegx_segment_slice(session, &view, &context, &prompt, &mut result, cancel, null_mut());
        medsegx_session_free(session);
        (status, start.elapsed())
    }
}

/// The other call's encoder alone takes most of its time, so a call that had to wait for it would come back that late.
#[test]
#[ignore = "a time, measured by itself: tests/capi/run.sh"]
fn a_call_that_waits_for_another_is_cancelled_at_once() {
    let model = medsegx_model::new(loaded(&Config { image_size: 512, ..Preset::VitB.medsegx() }), "");
    let mut cancel = null_mut();
    // SAFETY: `out` is valid, the error is not asked for.
    assert_eq!(unsafe { medsegx_cancel_new(&mut cancel, null_mut()) }, medsegx_status::Ok);
    // SAFETY: it was just made, and is freed when no call uses it any more.
    let flag = unsafe { &*cancel };
    let ((other, whole), (waiting, late)) = thread::scope(|scope| {
        let other = scope.spawn(|| call(&model, null()));
        thread::sleep(Duration::from_millis(200));
        let waiting = scope.spawn(|| (call(&model, from_ref(flag)).0, Instant::now()));
        thread::sleep(Duration::from_millis(50));
        let asked = Instant::now();
        // SAFETY: the flag is valid.
        unsafe { medsegx_cancel_set(flag, 1) };
        let (status, ended) = waiting.join().unwrap();
        (other.join().unwrap(), (status, ended.saturating_duration_since(asked)))
    });
    // SAFETY: no call uses it any more.
    unsafe { medsegx_cancel_free(cancel) };
    assert_eq!((other, waiting), (medsegx_status::Ok, medsegx_status::Cancelled));
    println!("cancelled {late:?} after it was asked for, beside a call of {whole:?}");
    assert!(late < whole / 4, "cancelled {late:?} after it was asked for, beside a call of {whole:?}");
}

/// Seconds that one look at a flag takes.
fn look() -> f64 {
    const LOOKS: u32 = 10_000_000;
    let (flag, start) = (AtomicBool::new(false), Instant::now());
    for _ in 0..LOOKS {
        let stop = black_box(Some(&flag));
        assert!(!stop.is_some_and(|stop| stop.load(Ordering::Relaxed)));
    }
    start.elapsed().as_secs_f64() / f64::from(LOOKS)
}

/// Looks at the flag and seconds of one slice with one box.
fn of_a_slice(config: &Config) -> (usize, f64) {
    let model = Arc::new(loaded(config));
    let mut segmenter = Segmenter::new(&model, Capacity::default(), MaskChoice::Auto).unwrap();
    segmenter.set_stop(Some(Arc::default()));
    let grey: Vec<u8> = (0..SIDE * SIDE).map(|i| ((i * 7919) % 251) as u8).collect();
    let picture = Picture { pixels: &grey, height: SIDE, width: SIDE, channels: 1 };
    let context = Context { modality: 0, organ: [0; 3], task: 0 };
    let frame = segmenter.place(0, &picture, config.adapters.is_some().then_some(&context)).unwrap();
    let mut points = Vec::new();
    prompt_points(&frame, &[], Some(BOX), &mut points);
    let (before, start) = (LOOKS.load(Ordering::Relaxed), Instant::now());
    segmenter.answer(&[Prompt { slot: 0, points: &points, mask: None }]).unwrap();
    (LOOKS.load(Ordering::Relaxed) - before, start.elapsed().as_secs_f64())
}

/// With `MEDSEGX_STOP_COST` set SAM at 1024 pixels too, at every size.
#[test]
#[ignore = "a time, measured by itself: tests/capi/run.sh"]
fn looking_whether_to_stop_costs_next_to_nothing() {
    const LIMIT: f64 = 0.005;
    let mut models: Vec<_> = [Preset::Tiny, Preset::VitB].map(|preset| (preset, preset.medsegx())).into();
    if std::env::var_os("MEDSEGX_STOP_COST").is_some() {
        models.extend([Preset::VitB, Preset::VitL, Preset::VitH].map(|preset| (preset, preset.sam())));
    }
    let look = (0..5).map(|_| look()).fold(f64::INFINITY, f64::min);
    println!("| model | looks a slice | ns a look | s a slice, one thread | share |\n|---|---|---|---|---|");
    for (preset, config) in models {
        let (looks, seconds) = of_a_slice(&config);
        let share = looks as f64 * look / seconds;
        let name = format!("{:?} {preset:?}, {} px", config.kind, config.image_size);
        println!("| {name} | {looks} | {:.2} | {seconds:.2} | {:.5} % |", look * 1e9, share * 100.0);
        assert!(looks > 0 && share < LIMIT, "{name}: {looks} looks of {look} s in {seconds} s");
    }
}
