//! One box on one slice into a mask of the whole target, held against the sample volume's labels.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::common::command::{medsegx, message};
use medsegx::Error;
use medsegx::mask::MaskChoice;
use medsegx::prompt::PixelBox;
use medsegx::segment::volume::{Propagated, PropagationRule, Request, Stop, propagate};
use medsegx::segment::{Capacity, Model, ModelOptions, Segmenter};
use medsegx::taxonomy::{Query, resolve_for};
use medsegx::volume::{Intensity, IntensityMap, OpenOptions, Orientation, SliceFrame, Volume};
use medsegx::weights::{Access, Weights};
use serde_json::{Value, json};

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Tight boxes of label `label` on all slices that have any of it.
fn tight(labels: &Volume, frame: &SliceFrame, label: u16) -> BTreeMap<usize, PixelBox> {
    let (_, width) = frame.shape();
    let on = |slice: usize| {
        let inside = labels.label_slice(frame, slice, label).unwrap();
        let mut found: Option<PixelBox> = None;
        for at in (0..inside.len()).filter(|&at| inside[at] != 0) {
            let (x, y) = ((at % width) as i64, (at / width) as i64);
            let PixelBox { x0, y0, x1, y1 } = found.unwrap_or(PixelBox { x0: x, y0: y, x1: x, y1: y });
            found = Some(PixelBox { x0: x0.min(x), y0: y0.min(y), x1: x1.max(x), y1: y1.max(y) });
        }
        found.map(|found| (slice, found))
    };
    (0..frame.slices()).filter_map(on).collect()
}

fn dice(a: &[u8], b: &[u8]) -> f64 {
    let count = |mask: &[u8]| mask.iter().filter(|&&v| v != 0).count();
    let both = a.iter().zip(b).filter(|&(&a, &b)| a != 0 && b != 0).count();
    2.0 * both as f64 / (count(a) + count(b)) as f64
}

struct Sample {
    image: Volume,
    labels: Volume,
    frame: SliceFrame,
    map: IntensityMap,
    segmenter: Segmenter,
}

impl Sample {
    fn new() -> Sample {
        let open = |name| Volume::open(data(name), &OpenOptions::default()).unwrap();
        let (image, labels) = (open("phantom.nii.gz"), open("phantom_labels.nii.gz"));
        let weights = Weights::open(&data("../../weights/demo.safetensors"), Access::Read).unwrap();
        let model = Arc::new(Model::load(&weights, &ModelOptions::default()).unwrap());
        let segmenter = Segmenter::new(&model, Capacity { batch: 4, ..Capacity::default() }, MaskChoice::Auto).unwrap();
        let frame = image.frame(2, Orientation::Stored).unwrap();
        let map = Intensity::MinMax.resolve(&image).unwrap();
        Sample { image, labels, frame, map, segmenter }
    }

    fn propagate(&mut self, requests: &mut [Request], rule: &PropagationRule) -> medsegx::Result<Vec<Propagated>> {
        let Sample { image, frame, map, segmenter, .. } = self;
        propagate(segmenter, image, frame, map, requests, rule, &mut || ControlFlow::Continue(()))
    }
}

fn request(label: u16, task: &str, boxes: BTreeMap<usize, PixelBox>) -> Request {
    let query = Query { task: Some(task.into()), ..Query::default() };
    Request { label, context: resolve_for(&query, true).unwrap(), boxes, points: BTreeMap::new() }
}

const KIDNEY: (u16, &str) = (3, "CT_RightKidney");
const SPLEEN: (u16, &str) = (2, "CT_Spleen");
const STOMACH: (u16, &str) = (6, "CT_Stomach");
const AORTA: (u16, &str) = (7, "CT_Aorta");

#[test]
fn ends_lie_at_most_one_slice_beyond_the_target_and_boxes_lie_on_it() {
    let mut sample = Sample::new();
    // The kidney's last slice is a tip that fat hides; below the stomach lies bowel with its grey values.
    let targets = [KIDNEY, SPLEEN, STOMACH];
    let truth = targets.map(|(label, _)| tight(&sample.labels, &sample.frame, label));
    let middle = |boxes: &BTreeMap<usize, PixelBox>| *boxes.keys().nth(boxes.len() / 2).unwrap();
    let one = |boxes: &BTreeMap<usize, PixelBox>| BTreeMap::from([(middle(boxes), boxes[&middle(boxes)])]);
    let mut requests: Vec<Request> =
        targets.iter().zip(&truth).map(|(&(label, task), truth)| request(label, task, one(truth))).collect();
    let done = sample.propagate(&mut requests, &PropagationRule::default()).unwrap();
    for ((truth, request), done) in truth.iter().zip(&requests).zip(&done) {
        let (first, last) = (*truth.keys().next().unwrap(), *truth.keys().last().unwrap());
        let [low, high] = done.ends.map(|end| end.slice);
        assert_eq!(done.given, [middle(truth)]);
        assert!(low + 1 >= first && low <= first, "{low} for {first}");
        assert!(high <= last + 1 && high >= last, "{high} for {last}");
        assert_eq!(request.boxes.keys().copied().collect::<Vec<_>>(), (low..=high).collect::<Vec<_>>());
        assert_eq!(request.boxes[&middle(truth)], truth[&middle(truth)], "a given box stays");
        for (slice, found) in request.boxes.iter().filter(|(slice, _)| truth.contains_key(slice)) {
            let PixelBox { x0, y0, x1, y1 } = truth[slice];
            let width = (x1.min(found.x1) - x0.max(found.x0) + 1).max(0) as u64;
            let height = (y1.min(found.y1) - y0.max(found.y0) + 1).max(0) as u64;
            let both = (width * height) as f64;
            let whole = (truth[slice].area() + found.area()) as f64 - both;
            assert!(both / whole > 0.4, "label {} on slice {slice}: {found:?} for {:?}", request.label, truth[slice]);
        }
    }
    assert_eq!(done[1].ends[1].stop, Stop::Border, "the spleen leaves the volume");
    assert_ne!(done[1].ends[0].stop, Stop::Border);
}

#[test]
fn key_boxes_stay_and_those_between_lie_on_straight_lines() {
    let mut sample = Sample::new();
    let truth = tight(&sample.labels, &sample.frame, KIDNEY.0);
    let keys = BTreeMap::from([(6, truth[&6]), (10, truth[&10])]);
    let mut requests = [request(3, KIDNEY.1, keys)];
    let done = sample.propagate(&mut requests, &PropagationRule::default()).unwrap();
    assert_eq!(done[0].given, [6, 10]);
    let (a, b) = (truth[&6], truth[&10]);
    let half = |a: i64, b: i64| (a as f64 + (b - a) as f64 * 0.5).round() as i64;
    let expected = PixelBox { x0: half(a.x0, b.x0), y0: half(a.y0, b.y0), x1: half(a.x1, b.x1), y1: half(a.y1, b.y1) };
    assert_eq!((requests[0].boxes[&6], requests[0].boxes[&8], requests[0].boxes[&10]), (a, expected, b));
    assert!(done[0].ends[0].slice < 6 && done[0].ends[1].slice > 10);
}

#[test]
fn each_limit_of_the_rule_ends_a_target() {
    let mut sample = Sample::new();
    let truth = tight(&sample.labels, &sample.frame, KIDNEY.0);
    let plain = PropagationRule::default();
    for (rule, stop) in [
        (PropagationRule { least_share: 1e9, ..plain }, Stop::Share),
        (PropagationRule { least_dice: 1.1, ..plain }, Stop::Dice),
        (PropagationRule { least_agreement: 1.1, ..plain }, Stop::Agreement),
        (PropagationRule { most_of_slice: 0.0, ..plain }, Stop::WholeSlice),
    ] {
        let mut requests = [request(3, KIDNEY.1, BTreeMap::from([(9, truth[&9])]))];
        let done = sample.propagate(&mut requests, &rule).unwrap();
        assert_eq!(done[0].ends.map(|end| (end.slice, end.stop)), [(9, stop), (9, stop)]);
        assert_eq!(requests[0].boxes.keys().copied().collect::<Vec<_>>(), [9]);
    }
}

#[test]
fn what_cannot_be_propagated_is_refused_and_a_run_can_be_stopped() {
    let mut sample = Sample::new();
    let one = BTreeMap::from([(9, PixelBox { x0: 45, y0: 39, x1: 69, y1: 64 })]);
    let plain = PropagationRule::default();
    let nothing = sample.propagate(&mut [request(3, KIDNEY.1, BTreeMap::new())], &plain);
    assert!(matches!(nothing, Err(Error::Prompt { .. })), "{nothing:?}");
    let mut clicked = request(3, KIDNEY.1, one.clone());
    clicked.points.insert(9, vec![(50.0, 50.0, true)]);
    assert!(matches!(sample.propagate(&mut [clicked], &plain), Err(Error::Prompt { .. })));
    let outside = BTreeMap::from([(20, one[&9])]);
    assert!(matches!(sample.propagate(&mut [request(3, KIDNEY.1, outside)], &plain), Err(Error::Prompt { .. })));
    let Sample { image, frame, map, segmenter, .. } = &mut sample;
    let mut requests = [request(3, KIDNEY.1, one)];
    let stopped = propagate(segmenter, image, frame, map, &mut requests, &plain, &mut || ControlFlow::Break(()));
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
}

/// Dice of label `label` on each of its slices, with tight boxes and propagated from its slice `given`, by the command,
/// whose report of the latter is `told`.
fn dice_of_both(
    sample: &Sample,
    (label, task): (u16, &str),
    given: usize,
    told: impl FnOnce(&Value, &str),
) -> Vec<(usize, [f64; 2])> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let truth = tight(&sample.labels, &sample.frame, label);
    let slices: BTreeMap<String, Value> =
        truth.iter().map(|(slice, b)| (slice.to_string(), json!([b.x0, b.y0, b.x1, b.y1]))).collect();
    let file = json!({ "version": 1, "space": "voxel", "inclusive": true,
        "targets": [{ "name": "target", "task": task, "label": 1, "slices": slices }] });
    std::fs::write(path("boxes.json"), file.to_string()).unwrap();
    let run = |name: &str, more: &[&str]| {
        let (input, output, report) = (data("phantom.nii.gz"), path(name), path(&format!("{name}.json")));
        let fixed = ["segment", input.to_str().unwrap(), "-o", &output, "--report", &report, "--device", "cpu"];
        let run = medsegx(&[&fixed[..], more].concat());
        assert!(run.status.success(), "{}", message(&run));
        let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        (Volume::open(&output, &OpenOptions::default()).unwrap(), report, message(&run))
    };
    let (every, plain, _) = run("every.nii.gz", &["--boxes", &path("boxes.json")]);
    assert!(plain["propagation"].is_null(), "nothing unless asked for");
    let (b, slice) = (truth[&given], given.to_string());
    let corners = format!("{},{},{},{}", b.x0, b.y0, b.x1, b.y1);
    let (found, report, said) =
        run("one.nii.gz", &["--box", &corners, "--slice", &slice, "--task", task, "--propagate"]);
    told(&report, &said);
    let on = |slice: usize| {
        let of = |volume: &Volume, label| volume.label_slice(&sample.frame, slice, label).unwrap();
        let reference = of(&sample.labels, label);
        let both = [&every, &found].map(|volume| dice(&of(volume, 1), &reference));
        println!("{task}, slice {slice}: tight boxes {:.3}, propagated {:.3}", both[0], both[1]);
        (slice, both)
    };
    truth.keys().map(|&slice| on(slice)).collect()
}

#[test]
fn masks_are_nearly_those_of_tight_boxes_on_every_slice() {
    let sample = Sample::new();
    let kidney = dice_of_both(&sample, KIDNEY, 9, |report, said| {
        let told = &report["propagation"];
        assert_eq!(told["rule"]["least_share"], json!(PropagationRule::default().least_share));
        assert_eq!(told["targets"][0]["given"], json!([9]));
        let rows = report["targets"][0]["slices"].as_array().unwrap();
        assert_eq!(rows.first().unwrap()["slice"], told["targets"][0]["ends"][0]["slice"]);
        assert_eq!(rows.last().unwrap()["slice"], told["targets"][0]["ends"][1]["slice"]);
        let ends = [0, 1].map(|end| told["targets"][0]["ends"][end]["slice"].as_u64().unwrap());
        assert!(
            said.contains(&format!("{}: from slices [9] to slices {} to {}", KIDNEY.1, ends[0], ends[1])),
            "{said}"
        );
    });
    let (&(_, [_, tip]), body) = kidney.split_last().unwrap();
    assert!(tip > 0.4, "a tip of 13 pixels is found, though not to the pixel: {tip}");
    let aorta = dice_of_both(&sample, AORTA, 10, |_, _| {});
    for &(slice, [every, found]) in body.iter().chain(&aorta) {
        assert!(every - found <= 0.03, "slice {slice}: {found} for {every}");
    }
}
