//! A run allocates nothing: every allocation of the process is counted while slices are encoded and decoded.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::golden::Golden;
use common::run::{boxes, corners, scaling, synthetic};
use common::tolerance;
use medsegx::backend::cpu::{Cpu, CpuOptions};
use medsegx::executor::{Prompt, Session, Slice};
use medsegx::model::Preset;

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn runs_allocate_nothing() {
    const RUNS: usize = 200;
    let case = Golden::portable("tiny", tolerance::F32).case(0);
    let cpu = Cpu::new(CpuOptions { threads: Some(2), ..CpuOptions::default() }).unwrap();
    let mut session = Session::new(synthetic(&Preset::Tiny.medsegx(), cpu), boxes(1)).unwrap();
    let (mut logits, mut iou) = (vec![0.0; 3 * 256 * 256], [0.0; 4]);
    let slices = [Slice { pixels: &case.pixels, scaling: scaling(256), context: case.context }];
    let points = corners(case.rectangle);
    let prompts = [Prompt { slot: 0, points: &points, mask: None }];
    let mut run = || {
        session.encode(&slices).unwrap();
        session.decode(&prompts, &mut logits, &mut iou).unwrap();
    };
    run();
    let before = COUNT.load(Ordering::Relaxed);
    (0..RUNS).for_each(|_| run());
    let found = COUNT.load(Ordering::Relaxed) - before;
    assert_eq!(found, 0, "allocations in {RUNS} runs");
}
