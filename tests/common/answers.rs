//! Slices of a made-up volume with a box each, through a segmenter.

use medsegx::model::{Config, Preset};
use medsegx::segment::{self, Fetch, Frame, Point, Prompt, Segmenter, prompt_points};
use medsegx::taxonomy::{Context, Query, resolve};
use medsegx::volume::{Intensity, IntensityMap, Orientation, Volume, Voxels};

/// A small model of 64 tokens: what orders queues and recordings depends on no size, and the interpreter takes a
/// quarter of the time. Grids of 256 pixels are the golden tensors' and `cuda_blocks`'.
pub fn config() -> Config {
    Config { image_size: 128, ..Preset::Tiny.medsegx() }
}

/// Voxels along x, y, z.
pub const DIMS: [usize; 3] = [90, 70, 7];

/// Slices that differ.
pub fn volume() -> Volume {
    let value = |i: usize| {
        let [x, y, z] = [i % DIMS[0], i / DIMS[0] % DIMS[1], i / DIMS[0] / DIMS[1]];
        (x * x + 17 * y * (z + 1) + 100 * ((x / 7 + y / (5 + z)) % 2)) as i16 - 500
    };
    Volume::from_voxels("v", DIMS, 1, Voxels::I16((0..DIMS.iter().product()).map(value).collect())).unwrap()
}

/// A place in the model's tables.
pub fn context(task: &str) -> Context {
    resolve(&Query { task: Some(task.into()), ..Query::default() }).unwrap()
}

/// Masks of all maps, scores and logits of a batch.
#[derive(PartialEq)]
pub struct Answers(pub Vec<u8>, pub Vec<String>, pub Vec<f32>);

/// Slices `indices` of the volume with a box each, all in one run or encoder and decoder apart.
pub fn answers(segmenter: &mut Segmenter, volume: &Volume, indices: &[usize], whole: bool) -> Answers {
    let map = Intensity::MinMax.resolve(volume).unwrap();
    let (frame, points) = place(segmenter, volume, &map, indices);
    let prompts: Vec<Prompt<'_>> =
        points.iter().enumerate().map(|(slot, points)| Prompt { slot, points, mask: None }).collect();
    let mut answers = run(segmenter, &prompts, whole);
    let mut masks = vec![9; indices.len() * 3 * frame.slice[0] * frame.slice[1]];
    answers.masks(0..indices.len(), 1..4, &mut masks).unwrap();
    let verdicts = (0..indices.len()).map(|i| format!("{:?}", answers.verdict(i))).collect();
    let logits = (0..indices.len()).flat_map(|i| answers.logits(i).unwrap().to_vec()).collect();
    Answers(masks, verdicts, logits)
}

/// Answers to prompts on the placed slices, in one run or encoder and decoder apart.
pub fn run<'a>(segmenter: &'a mut Segmenter, prompts: &[Prompt<'_>], whole: bool) -> segment::Answers<'a> {
    if !whole {
        segmenter.encode().unwrap();
    }
    let ticket = segmenter.submit(prompts, Fetch::All).unwrap();
    segmenter.collect(ticket).unwrap()
}

/// Slices `indices` in slots of their own; their frame, and points of a box on each.
pub fn place(
    segmenter: &mut Segmenter,
    volume: &Volume,
    map: &IntensityMap,
    indices: &[usize],
) -> (Frame, Vec<Vec<Point>>) {
    let cut = volume.frame(2, Orientation::Stored).unwrap();
    let (mut frame, mut points) = (None, vec![Vec::new(); indices.len()]);
    for (slot, &index) in indices.iter().enumerate() {
        let slice = volume.stored_slice(&cut, index, map).unwrap();
        let placed = segmenter.place_stored(slot, &slice, Some(&context("CT_Liver"))).unwrap();
        let region = [4.0 + index as f64, 6.0, 60.0, 50.0 - index as f64];
        prompt_points(&placed, &[], Some(region), &mut points[slot]);
        frame = Some(placed);
    }
    (frame.unwrap(), points)
}
