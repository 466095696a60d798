//! The choice of masks over a volume against a search over all choices.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use medsegx::Result;
use medsegx::mask::{CONTINUITY_WEIGHT, MaskChoice};
use medsegx::model::Preset;
use medsegx::prompt::PixelBox;
use medsegx::segment::volume::{Observer, Outcome, Request, segment_volume};
use medsegx::segment::{Capacity, Device, Model, ModelOptions, Picture, Prompt, Segmenter, prompt_points};
use medsegx::taxonomy::{Query, resolve};
use medsegx::volume::{Intensity, Orientation, Volume, Voxels};
use medsegx::weights::Weights;

const WIDTH: usize = 50;
const HEIGHT: usize = 40;
const DEPTH: usize = 7;
/// Slice 3 has no box, so the slices beside it are no neighbours.
const SLICES: [usize; 6] = [0, 1, 2, 4, 5, 6];

struct Silent;

impl Observer for Silent {
    fn progress(&mut self, _done: usize, _total: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn logits(&mut self, _index: usize, _logits: &[f32]) -> Result<()> {
        Ok(())
    }
}

fn model() -> Arc<Model> {
    // A seed whose slices disagree when each is judged alone.
    let weights = Weights::synthetic(&Preset::Tiny.medsegx(), 22);
    Arc::new(Model::load(&weights, &ModelOptions { device: Device::Cpu, ..ModelOptions::default() }).unwrap())
}

fn voxels() -> Vec<u8> {
    let voxel = |i: usize| {
        let [x, y, z] = [i % WIDTH, i / WIDTH % HEIGHT, i / (WIDTH * HEIGHT)];
        ((x * 5 + y * (3 + z)) % 37 + 90 * ((x / (5 + z) + y / 9 + z * z) % 3)) as u8
    };
    (0..WIDTH * HEIGHT * DEPTH).map(voxel).collect()
}

fn region(slice: usize) -> PixelBox {
    let shift = (slice * slice) as i64 % 9;
    PixelBox { x0: 3 + shift, y0: 2 + shift, x1: 30 + 2 * shift, y1: 36 }
}

fn request() -> Request {
    let context = resolve(&Query { task: Some("CT_Liver".into()), ..Query::default() }).unwrap();
    let boxes = SLICES.iter().map(|&slice| (slice, region(slice))).collect();
    Request { label: 1, context: Some(context), boxes, points: BTreeMap::new() }
}

fn run(model: &Arc<Model>, batch: usize, choice: MaskChoice) -> Outcome {
    let volume = Volume::from_voxels("made", [WIDTH, HEIGHT, DEPTH], 1, Voxels::U8(voxels())).unwrap();
    let frame = volume.frame(2, Orientation::Stored).unwrap();
    let map = "raw".parse::<Intensity>().unwrap().resolve(&volume).unwrap();
    let mut segmenter = Segmenter::new(model, Capacity { batch, ..Capacity::default() }, choice).unwrap();
    segment_volume(&mut segmenter, &volume, &frame, &map, &[request()], &mut Silent).unwrap()
}

/// Scores and masks of every slice on its own.
fn alone(model: &Arc<Model>) -> Vec<([f64; 3], [Vec<bool>; 3])> {
    let mut segmenter = Segmenter::new(model, Capacity::default(), MaskChoice::Auto).unwrap();
    let (voxels, context) = (voxels(), request().context);
    let slice = |&slice: &usize| {
        let pixels = &voxels[slice * WIDTH * HEIGHT..][..WIDTH * HEIGHT];
        let picture = Picture { pixels, height: HEIGHT, width: WIDTH, channels: 1 };
        let frame = segmenter.place(0, &picture, context.as_ref()).unwrap();
        let (corners, mut points) = (region(slice).corners(), Vec::new());
        prompt_points(&frame, &[], Some(corners), &mut points);
        let mut answers = segmenter.answer(&[Prompt { slot: 0, points: &points, mask: None }]).unwrap();
        let verdict = answers.verdict(0);
        let mut mask = vec![0; WIDTH * HEIGHT];
        let masks = [1, 2, 3].map(|token| {
            answers.mask(0, token, &mut mask).unwrap();
            mask.iter().map(|&inside| inside == 1).collect()
        });
        ([0, 1, 2].map(|m| verdict.scores[m]), masks)
    };
    SLICES.iter().map(slice).collect()
}

fn dice(a: &[bool], b: &[bool]) -> f64 {
    let area = |mask: &[bool]| mask.iter().filter(|&&inside| inside).count();
    let both = a.iter().zip(b).filter(|&(&a, &b)| a && b).count();
    if area(a) + area(b) == 0 { 1.0 } else { 2.0 * both as f64 / (area(a) + area(b)) as f64 }
}

#[test]
fn neighbours_take_part_in_the_choice() {
    let model = model();
    let slices = alone(&model);
    let value = |path: &[usize]| {
        let own: f64 = path.iter().zip(&slices).map(|(&m, (scores, _))| scores[m]).sum();
        let pair = |s: usize| match SLICES[s] - SLICES[s - 1] {
            1 => {
                let ([before, after], [a, b]) = ([&slices[s - 1], &slices[s]], [path[s - 1], path[s]]);
                dice(&before.1[a], &after.1[b]) * (before.0[a] * after.0[b]).sqrt()
            }
            _ => 0.0,
        };
        own + CONTINUITY_WEIGHT * (1..path.len()).map(pair).sum::<f64>()
    };
    let paths = (0..3usize.pow(6)).map(|code| (0..6).map(|s| code / 3usize.pow(s) % 3).collect::<Vec<_>>());
    let highest = paths.map(|path| value(&path)).fold(f64::MIN, f64::max);
    let greedy: Vec<usize> = slices
        .iter()
        .map(|(scores, _)| (1..3).fold(0, |best, m| if scores[m] > scores[best] { m } else { best }))
        .collect();
    assert!(value(&greedy) < highest, "the case has to need its neighbours");

    for batch in [1, 4] {
        let outcome = run(&model, batch, MaskChoice::Auto);
        let chosen: Vec<usize> = outcome.slices.iter().map(|slice| slice.verdict.index).collect();
        assert!((value(&chosen) - highest).abs() < 1e-9, "batch {batch}: {chosen:?}");
        for (place, slice) in outcome.slices.iter().enumerate() {
            assert_eq!(slice.verdict.chosen, slice.verdict.index + 1);
            let mask = &slices[place].1[chosen[place]];
            let label = |i: usize| outcome.labels.get(slice.slice * WIDTH * HEIGHT + i).unwrap() == 1;
            assert!((0..WIDTH * HEIGHT).all(|i| label(i) == mask[i]), "slice {}", slice.slice);
            assert_eq!(slice.pixels, mask.iter().filter(|&&inside| inside).count() as u64);
        }
        let beside = |place: usize| dice(&slices[place].1[chosen[place]], &slices[place + 1].1[chosen[place + 1]]);
        let expected = [beside(0), (beside(0) + beside(1)) / 2.0, beside(1)];
        let found: Vec<f64> = outcome.slices[..3].iter().map(|slice| slice.continuity.unwrap()).collect();
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12), "{found:?}");
        assert!((0..WIDTH * HEIGHT).all(|i| outcome.labels.get(3 * WIDTH * HEIGHT + i) == Some(0)), "no box, no label");
    }
}

#[test]
fn a_fixed_mask_stays() {
    let model = model();
    let slices = alone(&model);
    let outcome = run(&model, 2, MaskChoice::Fixed(3));
    for (slice, (_, masks)) in outcome.slices.iter().zip(&slices) {
        assert_eq!(slice.verdict.chosen, 3);
        assert_eq!(slice.pixels, masks[2].iter().filter(|&&inside| inside).count() as u64);
    }
}
