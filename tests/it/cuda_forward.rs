//! The whole forward pass as one recording, on ptxvm: the bits of encoder and decoder run apart, one launch a batch,
//! nothing allocated, and the queues in an order that no device can spoil.
#![cfg(feature = "cuda")]

use crate::common::answers;
use crate::common::deferred;
use crate::common::watched;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use answers::{DIMS, answers, config, context, place, volume};
use deferred::Deferred;
use medsegx::backend::cuda::driver::ptxvm::{Checks, Interpreter};
use medsegx::backend::cuda::driver::{Driver, Queue};
use medsegx::backend::cuda::dry_run::launches;
use medsegx::mask::MaskChoice;
use medsegx::model::{Config, Kind, Masks, Preset, Prompts, image_encoder, mask_decoder};
use medsegx::prompt::PixelBox;
use medsegx::segment::volume::{Observer, Outcome, Request, segment_volume};
use medsegx::segment::{Capacity, Fetch, Model, Picture, Prompt, Segmenter, prompt_points};
use medsegx::volume::{Intensity, Orientation, Volume, Voxels};
use medsegx::weights::Weights;
use watched::{Counts, Watched};

fn interpreter() -> Interpreter {
    Interpreter::new(2, Checks::Fast)
}

fn segmenter(driver: impl Driver, batch: usize, choice: MaskChoice) -> Segmenter {
    let weights = Weights::synthetic(&config(), 22);
    let model = Arc::new(Model::on_driver(&weights, driver).unwrap());
    Segmenter::new(&model, Capacity { batch, ..Capacity::default() }, choice).unwrap()
}

/// Launches of encoder and decoder for one box on a slice each.
fn network(config: &Config, masks: Masks) -> usize {
    let prompts = Prompts { points: 2, mask: false, masks };
    let graphs = [image_encoder::graph(config, 1), mask_decoder::graph(config, 1, 1, prompts)];
    graphs.into_iter().map(|graph| launches(graph, false).unwrap().1.iter().map(Vec::len).sum::<usize>()).sum()
}

#[test]
fn a_batch_is_one_launch_with_the_bits_of_the_parts() {
    let (driver, seen) = Watched::new(interpreter());
    let mut whole = segmenter(driver, 2, MaskChoice::Auto);
    let (driver, seen_apart) = Watched::new(interpreter());
    let mut apart = segmenter(driver, 2, MaskChoice::Auto);
    let (volume, pairs) = (volume(), [[0, 1], [2, 3], [4, 5], [1, 6], [5, 2], [0, 3]]);
    let mut nodes = 0;
    for (batch, pair) in pairs.iter().enumerate() {
        let (mut found, mut expected) = (None, None);
        let counts = seen.during(|| found = Some(answers(&mut whole, &volume, pair, true)));
        let parts = seen_apart.during(|| expected = Some(answers(&mut apart, &volume, pair, false)));
        assert!(found == expected, "batch {batch}: other bits than encoder and decoder apart");
        // Both halves of the memory come once outside of a recording, once to be recorded, and are replayed from then
        // on.
        match batch {
            0 | 1 => {
                assert_eq!((counts.replays, counts.captured), (0, 0), "batch {batch}");
                nodes = counts.launches;
                // Grey levels, pictures, counts, masks.
                let ahead_and_behind = 4;
                let expected = network(&config(), Masks::Three) + ahead_and_behind;
                assert_eq!(nodes, expected, "nodes of the whole recording");
            }
            2 | 3 => assert_eq!((counts.replays, counts.captured, counts.launches), (1, nodes, 0), "batch {batch}"),
            _ => {
                // A copy for each slice, one for the rest; scores and masks; the logits that this test asks for.
                let expected = Counts { replays: 1, queued_writes: 3, queued_reads: 1, reads: 1, ..Counts::default() };
                assert_eq!(counts, expected, "batch {batch}");
                assert!(
                    parts.replays == 2 && parts.launches > 0,
                    "batch {batch}: apart, masks are launched one by one"
                );
            }
        }
    }
    assert_eq!(seen.recordings(), (2, 0));
    drop(whole);
    assert_eq!(seen.recordings(), (0, 0), "recordings left, buffers freed before those that use them");
}

#[test]
fn other_sizes_and_numbers_have_their_own_recordings() {
    let (driver, seen) = Watched::new(interpreter());
    let mut whole = segmenter(driver, 2, MaskChoice::Fixed(2));
    let mut apart = segmenter(interpreter(), 2, MaskChoice::Fixed(2));
    let levels = (0..80 * 60).map(|i| (i / 9 % 251) as u8).collect();
    let small = Volume::from_voxels("v", [80, 60, 1], 1, Voxels::U8(levels)).unwrap();
    let large = volume();
    for (run, (volume, indices)) in
        [(&large, &[0, 1][..]), (&small, &[0]), (&large, &[2]), (&large, &[3, 4]), (&large, &[5]), (&small, &[0])]
            .into_iter()
            .enumerate()
    {
        let [found, expected] = [(&mut whole, true), (&mut apart, false)]
            .map(|(segmenter, whole)| answers(segmenter, volume, indices, whole));
        assert!(found == expected, "run {run}: other bits");
    }
    assert_eq!(seen.recordings().1, 0, "memory freed that a recording uses");
}

#[test]
fn the_range_of_a_picture_scales_it() {
    let mut config = Preset::Tiny.sam();
    (config.kind, config.image_size) = (Kind::MedSam, 128);
    let weights = Weights::synthetic(&config, 4);
    let [mut whole, mut apart] = [0; 2].map(|_| {
        // With every check of the interpreter.
        let model = Arc::new(Model::on_driver(&weights, Interpreter::new(2, Checks::Full)).unwrap());
        Segmenter::new(&model, Capacity::default(), MaskChoice::Auto).unwrap()
    });
    let volume = volume();
    let map = Intensity::MinMax.resolve(&volume).unwrap();
    for index in [3, 5] {
        let logits = [(&mut whole, true), (&mut apart, false)].map(|(segmenter, in_one)| {
            let (_, points) = place(segmenter, &volume, &map, &[index]);
            let prompts = [Prompt { slot: 0, points: &points[0], mask: None }];
            answers::run(segmenter, &prompts, in_one).logits(0).unwrap().to_vec()
        });
        assert!(logits[0] == logits[1] && logits[0].iter().any(|&logit| logit != logits[0][0]), "slice {index}");
    }
}

/// Logits and masks of prompts on two pictures, prompt i on picture `slots[i]`, with a rough mask each or without.
fn several(segmenter: &mut Segmenter, slots: &[usize], rough: bool, in_one: bool) -> (Vec<f32>, Vec<u8>) {
    let volume = volume();
    let map = Intensity::MinMax.resolve(&volume).unwrap();
    let (frame, _) = place(segmenter, &volume, &map, &[2, 4]);
    let mut points = vec![Vec::new(); slots.len()];
    for (i, points) in points.iter_mut().enumerate() {
        prompt_points(&frame, &[], Some([3.0 + 5.0 * i as f64, 6.0, 80.0, 30.0 + 8.0 * i as f64]), points);
    }
    let pixels = (4 * config().image_size / config().patch).pow(2);
    let rough_masks: Vec<Vec<f32>> =
        (0..slots.len()).map(|i| (0..pixels).map(|j| ((j * (i + 3)) % 17) as f32 - 8.0).collect()).collect();
    let prompt =
        |(i, &slot): (usize, &usize)| Prompt { slot, points: &points[i], mask: rough.then_some(&rough_masks[i][..]) };
    let prompts: Vec<Prompt<'_>> = slots.iter().enumerate().map(prompt).collect();
    let mut answers = answers::run(segmenter, &prompts, in_one);
    let mut masks = vec![9; slots.len() * 3 * frame.slice[0] * frame.slice[1]];
    answers.masks(0..slots.len(), 1..4, &mut masks).unwrap();
    let logits = (0..slots.len()).flat_map(|i| answers.logits(i).unwrap().to_vec()).collect();
    (logits, masks)
}

#[test]
fn several_prompts_on_a_picture_and_rough_masks_are_one_launch_too() {
    let (driver, seen) = Watched::new(interpreter());
    let weights = Weights::synthetic(&config(), 22);
    let capacity = || Capacity { batch: 3, mask_prompt: true, ..Capacity::default() };
    let mut whole = {
        let model = Arc::new(Model::on_driver(&weights, driver).unwrap());
        Segmenter::new(&model, capacity(), MaskChoice::Auto).unwrap()
    };
    let mut apart = {
        let model = Arc::new(Model::on_driver(&weights, interpreter()).unwrap());
        Segmenter::new(&model, capacity(), MaskChoice::Auto).unwrap()
    };
    // Which prompt is on which picture is an input: recordings are of so many pictures and prompts, with masks or
    // without.
    let plain = [&[1, 0, 1][..], &[0, 0, 1], &[1, 1, 0], &[0, 1, 1], &[1, 0, 0], &[0, 0, 0], &[1], &[0]];
    let rough = [&[1, 0][..], &[0, 0], &[1, 1], &[0, 1], &[1, 0], &[0, 0]];
    for (rough, runs) in [(false, &plain[..]), (true, &rough)] {
        let mut masks = Vec::new();
        for (run, slots) in runs.iter().enumerate() {
            let mut found = None;
            let counts = seen.during(|| found = Some(several(&mut whole, slots, rough, true)));
            let expected = several(&mut apart, slots, rough, false);
            assert!(found.as_ref() == Some(&expected), "rough masks {rough}, prompts on {slots:?}: other bits");
            let replayed = usize::from((2..6).contains(&run));
            assert_eq!(counts.replays, replayed, "rough masks {rough}, run {run}");
            assert_eq!(counts.launches == 0, replayed == 1, "rough masks {rough}, run {run}");
            masks.push(expected.0);
        }
        assert!(masks[1] != masks[2], "the case says something");
    }
}

#[test]
fn two_batches_are_under_way_at_most() {
    let mut segmenter = segmenter(interpreter(), 1, MaskChoice::Auto);
    let volume = volume();
    let map = Intensity::MinMax.resolve(&volume).unwrap();
    let expected = [2, 3, 4].map(|slice| answers(&mut segmenter, &volume, &[slice], true));
    let submit = |segmenter: &mut Segmenter, slice| {
        let (_, points) = place(segmenter, &volume, &map, &[slice]);
        let prompts = [Prompt { slot: 0, points: &points[0], mask: None }];
        (segmenter.takes(&prompts), segmenter.submit(&prompts, Fetch::OnDemand))
    };
    let (takes, first) = submit(&mut segmenter, 2);
    let (takes_beside, second) = submit(&mut segmenter, 3);
    assert!(takes && takes_beside);
    // No third, and encoder and decoder apart not beside a forward pass.
    let prompts = [Prompt { slot: 0, points: &[], mask: None }];
    assert!(!segmenter.takes(&prompts) && segmenter.submit(&prompts, Fetch::All).is_err());
    let picture = Picture { pixels: &[7; 64], height: 8, width: 8, channels: 1 };
    assert!(segmenter.place(0, &picture, Some(&context("CT_Liver"))).is_err());
    let ([height, width], mut masks) = ([DIMS[1], DIMS[0]], vec![9; 3 * DIMS[0] * DIMS[1]]);
    let mut check = |answers: &mut medsegx::segment::Answers<'_>, expected: &answers::Answers| {
        answers.masks(0..1, 1..4, &mut masks[..3 * height * width]).unwrap();
        assert!(masks == expected.0 && format!("{:?}", answers.verdict(0)) == expected.1[0]);
    };
    let mut answers = segmenter.collect(first.unwrap()).unwrap();
    assert!(answers.logits(0).is_err(), "those of the batch behind");
    check(&mut answers, &expected[0]);
    let (_, third) = submit(&mut segmenter, 4);
    check(&mut segmenter.collect(second.unwrap()).unwrap(), &expected[1]);
    let mut answers = segmenter.collect(third.unwrap()).unwrap();
    check(&mut answers, &expected[2]);
    assert!(answers.logits(0).unwrap() == expected[2].2);
}

struct Quiet;

impl Observer for Quiet {
    fn progress(&mut self, _done: usize, _total: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn logits(&mut self, _index: usize, _logits: &[f32]) -> medsegx::Result<()> {
        Ok(())
    }
}

/// Six boxes, on as many slices as there are for each task.
fn requests(tasks: &[&str]) -> Vec<Request> {
    let request = |(label, task): (usize, &&str)| {
        let corners = |z: usize| PixelBox { x0: 5 + z as i64, y0: 8, x1: 70, y1: 60 - (z * label) as i64 };
        let boxes = (0..6 / tasks.len()).map(|z| (z, corners(z))).collect();
        Request { label: label as u16 + 1, context: Some(context(task)), boxes, points: BTreeMap::new() }
    };
    tasks.iter().enumerate().map(request).collect()
}

fn segmented(segmenter: &mut Segmenter, tasks: &[&str]) -> medsegx::Result<Outcome> {
    let volume = volume();
    let map = Intensity::Window { level: 300.0, width: 1200.0 }.resolve(&volume).unwrap();
    let slices = volume.frame(2, Orientation::Stored).unwrap();
    segment_volume(segmenter, &volume, &slices, &map, &requests(tasks), &mut Quiet)
}

/// Labels and scores.
fn digest(outcome: &Outcome) -> (Vec<u16>, String) {
    let labels = (0..DIMS.iter().product()).map(|i| outcome.labels.get(i).unwrap()).collect();
    (labels, format!("{:?}", outcome.slices))
}

const QUEUES: [Queue; 3] = [Queue::Up, Queue::Run, Queue::Down];

#[test]
fn queues_may_run_as_early_and_as_late_as_they_like() {
    // One slice a batch, so that both halves of the memory are replayed; two tasks on one slice.
    let every: Vec<usize> = (0..8).collect();
    for (tasks, batch, choice, orders) in [
        (&["CT_Liver"][..], 1, MaskChoice::Auto, &every[..]),
        (&["CT_Liver", "CT_Spleen"], 2, MaskChoice::Fixed(1), &[0, 7]),
    ] {
        let expected = digest(&segmented(&mut segmenter(interpreter(), batch, choice), tasks).unwrap());
        assert!(expected.0.iter().any(|&label| label > 0), "the case says something");
        for order in orders {
            let eager: Vec<Queue> = QUEUES.into_iter().filter(|&queue| order >> queue as usize & 1 == 1).collect();
            let mut segmenter = segmenter(Deferred::new(interpreter(), &eager), batch, choice);
            let found = digest(&segmented(&mut segmenter, tasks).unwrap());
            assert!(found == expected, "{tasks:?}, eager {eager:?}");
        }
    }
}

#[test]
fn a_queue_that_is_not_held_is_noticed() {
    let tasks = &["CT_Liver"];
    let expected = digest(&segmented(&mut segmenter(interpreter(), 1, MaskChoice::Auto), tasks).unwrap());
    // Slices read before they are there, and masks before they are made.
    for (deaf, eager) in [(Queue::Run, &[Queue::Run]), (Queue::Down, &[Queue::Down])] {
        let driver = Deferred::new(interpreter(), eager).without_holds(deaf);
        let mut segmenter = segmenter(driver, 1, MaskChoice::Auto);
        // Counts that are no counts may even end the run.
        let found = catch_unwind(AssertUnwindSafe(|| segmented(&mut segmenter, tasks).map(|found| digest(&found))));
        assert!(!matches!(found, Ok(Ok(found)) if found == expected), "{deaf:?} is not held");
    }
}
