//! Masks that are chosen, painted and written as a run goes on: the same labels and the same bytes as at its end.

use crate::common::command;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::common::nifti_file::NiftiFile;
use command::only_these_files;
use medsegx::mask::MaskChoice;
use medsegx::model::Preset;
use medsegx::prompt::PixelBox;
use medsegx::segment::volume::{Observer, Outcome, Request, segment_volume};
use medsegx::segment::{Capacity, Device, Model, ModelOptions, Segmenter};
use medsegx::taxonomy::{Query, resolve};
use medsegx::volume::{
    Intensity, LabelVolume, Legend, MaskStream, OpenOptions, Orientation, Volume, Voxels, mask_writer,
};
use medsegx::weights::Weights;
use medsegx::{Error, Result};

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }
}

const DIMS: [usize; 3] = [40, 30, 12];

/// What was told while the run went on: the end of the final slices, and the labels at that moment.
#[derive(Default)]
struct Told {
    composed: Vec<(usize, LabelVolume)>,
    done: usize,
    /// How many prompts were done each time.
    when: Vec<usize>,
    fail: bool,
}

impl Observer for Told {
    fn progress(&mut self, done: usize, _total: usize) -> ControlFlow<()> {
        self.done = done;
        ControlFlow::Continue(())
    }

    fn logits(&mut self, _index: usize, _logits: &[f32]) -> Result<()> {
        Ok(())
    }

    fn composed(&mut self, end: usize, labels: &LabelVolume) -> Result<()> {
        self.composed.push((end, labels.clone()));
        self.when.push(self.done);
        if self.fail { Err(Error::Cancelled) } else { Ok(()) }
    }
}

fn model() -> Arc<Model> {
    let weights = Weights::synthetic(&Preset::Tiny.medsegx(), 22);
    Arc::new(Model::load(&weights, &ModelOptions { device: Device::Cpu, ..ModelOptions::default() }).unwrap())
}

fn volume() -> Volume {
    let [width, height, depth] = DIMS;
    let voxel = |i: usize| {
        let [x, y, z] = [i % width, i / width % height, i / (width * height)];
        ((x * 5 + y * (3 + z)) % 37 + 90 * ((x / (5 + z) + y / 9 + z * z) % 3)) as u8
    };
    Volume::from_voxels("made", DIMS, 1, Voxels::U8((0..width * height * depth).map(voxel).collect())).unwrap()
}

fn run(model: &Arc<Model>, requests: &[Request], batch: usize, choice: MaskChoice, axis: usize) -> (Outcome, Told) {
    let volume = volume();
    let frame = volume.frame(axis, Orientation::Stored).unwrap();
    let map = Intensity::Raw.resolve(&volume).unwrap();
    let mut segmenter = Segmenter::new(model, Capacity { batch, points: 4, ..Capacity::default() }, choice).unwrap();
    let mut told = Told::default();
    (segment_volume(&mut segmenter, &volume, &frame, &map, requests, &mut told).unwrap(), told)
}

/// Boxes on runs of slices with gaps.
fn request(random: &mut Random, label: u16, axis: usize) -> Request {
    let sides: Vec<usize> = (0..3).filter(|&a| a != axis).map(|a| DIMS[a]).collect();
    let context = resolve(&Query { task: Some("CT_Liver".into()), ..Query::default() }).unwrap();
    let mut boxes = BTreeMap::new();
    for slice in 0..DIMS[axis].min(12) {
        let mut span = |side: usize| {
            let first = random.below(side / 2);
            (first as i64, (first + 1 + random.below(side / 2)).min(side - 1) as i64)
        };
        let ((x0, x1), (y0, y1)) = (span(sides[0]), span(sides[1]));
        if random.below(7) < 5 {
            boxes.insert(slice, PixelBox { x0, y0, x1, y1 });
        }
    }
    Request { label, context: Some(context), boxes, points: BTreeMap::new() }
}

#[test]
fn slices_that_are_told_final_stay_and_later_requests_win() {
    let (model, mut random) = (model(), Random(3));
    let mut overlaps = 0;
    for (case, choice) in
        [MaskChoice::Auto, MaskChoice::Auto, MaskChoice::Fixed(2), MaskChoice::Auto].into_iter().enumerate()
    {
        let axis = [2, 2, 2, 1][case];
        let labels = [[3, 1, 2], [1, 300, 7], [9, 9, 4], [2, 1, 3]][case];
        let requests: Vec<Request> = labels.iter().map(|&label| request(&mut random, label, axis)).collect();
        let (outcome, told) = run(&model, &requests, 1 + case, choice, axis);

        let ends: Vec<usize> = told.composed.iter().map(|&(end, _)| end).collect();
        assert!(ends.is_sorted_by(|a, b| a < b) && ends.last() == Some(&DIMS[axis]), "{ends:?}");
        assert!(
            ends.len() > 3 && told.when[0] < outcome.slices.len() / 2,
            "it is told while the run goes on: {ends:?}"
        );
        let at = |i: usize| [i % DIMS[0], i / DIMS[0] % DIMS[1], i / (DIMS[0] * DIMS[1])][axis];
        let count = DIMS.iter().product::<usize>();
        for (end, labels) in &told.composed {
            let same = |i: usize| at(i) >= *end || labels.get(i) == outcome.labels.get(i);
            assert!((0..count).all(same), "case {case}: a slice below {end} changed");
        }

        // What each request finds alone does not depend on the others, so that later masks over earlier ones are the
        // whole.
        let mut expected = vec![0; count];
        for request in requests {
            let alone = run(&model, std::slice::from_ref(&request), 3, choice, axis).0;
            for (i, expected) in expected.iter_mut().enumerate() {
                if alone.labels.get(i) != Some(0) {
                    overlaps += usize::from(*expected != 0 && *expected != request.label);
                    *expected = request.label;
                }
            }
        }
        assert!((0..count).all(|i| outcome.labels.get(i) == Some(expected[i])), "case {case}");
    }
    assert!(overlaps > 500, "the case needs masks that overlap: {overlaps}");
}

#[test]
fn an_observer_that_fails_ends_the_run() {
    let (model, volume) = (model(), volume());
    let (frame, map) = (volume.frame(2, Orientation::Stored).unwrap(), Intensity::Raw.resolve(&volume).unwrap());
    let mut segmenter =
        Segmenter::new(&model, Capacity { points: 4, ..Capacity::default() }, MaskChoice::Auto).unwrap();
    let mut told = Told { fail: true, ..Told::default() };
    let request = request(&mut Random(5), 1, 2);
    let run = segment_volume(&mut segmenter, &volume, &frame, &map, &[request], &mut told);
    assert!(matches!(run, Err(Error::Cancelled)) && told.composed.len() == 1);
}

/// Labels in blobs and in noise, so that some of them compress well and some do not.
fn labels(random: &mut Random, volume: &Volume, highest: u16) -> LabelVolume {
    let mut labels = LabelVolume::new(volume.dims(), highest).unwrap();
    let frame = volume.frame(2, Orientation::Stored).unwrap();
    let (height, width) = frame.shape();
    for slice in 0..frame.slices() {
        let (modulus, shift) = (2 + random.below(9), random.below(5));
        let inside: Vec<bool> = match random.below(3) {
            0 => (0..height * width).map(|i| (i % width / modulus + i / width / modulus + shift) % 3 == 0).collect(),
            1 => (0..height * width).map(|_| random.below(modulus) == 0).collect(),
            _ => continue,
        };
        labels.paint(&frame, slice, &inside, 1 + random.below(usize::from(highest)) as u16).unwrap();
        labels
            .paint(
                &frame,
                slice,
                &vec![true; 5].into_iter().chain(vec![false; height * width - 5]).collect::<Vec<_>>(),
                highest,
            )
            .unwrap();
    }
    labels
}

fn open(file: &NiftiFile) -> Volume {
    Volume::from_bytes("image", &file.bytes(), &OpenOptions::default()).unwrap()
}

#[test]
fn a_mask_written_meanwhile_has_the_bytes_of_one_written_at_the_end() {
    let (folder, mut random) = (tempfile::tempdir().unwrap(), Random(11));
    let (path, at_end) = (folder.path().join("mask.nii.gz"), folder.path().join("end.nii.gz"));
    for case in 0..40 {
        let sides = [[7, 5, 9], [64, 48, 30], [200, 150, 3], [1, 1, 40]][case % 4];
        let mut file = NiftiFile::new(1 + (case / 4 % 2) as u8, sides, 4, 0);
        file.slope = 2.0;
        if case / 8 % 2 == 1 {
            file = file.swapped();
        }
        let volume = open(&file);
        let highest = [3, 255, 256, 60000][case / 2 % 4];
        let labels = if volume.dims()[0] > 4 {
            labels(&mut random, &volume, highest)
        } else {
            LabelVolume::new(volume.dims(), highest).unwrap()
        };
        let frame = volume.frame(2, [Orientation::Stored, Orientation::Ras][case % 2]).unwrap();
        let mut stream = MaskStream::start(&volume, &frame, highest, &Legend::default(), &path).unwrap().unwrap();
        let mut end = 0;
        while end < frame.slices() && random.below(20) > 0 {
            end = (end + random.below(4)).min(frame.slices());
            stream.send(&labels, end).unwrap();
        }
        assert!(!path.exists() || case > 0);
        stream.finish(&labels, true).unwrap();
        mask_writer::write(&volume, &labels, &at_end, true).unwrap();
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&at_end).unwrap(), "case {case}");
    }
    only_these_files(folder.path(), &["end.nii.gz", "mask.nii.gz"]);
}

#[test]
fn a_stream_that_is_dropped_leaves_nothing_and_an_existing_mask_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.nii.gz");
    let volume = open(&NiftiFile::new(1, [64, 48, 30], 4, 0));
    let frame = volume.frame(2, Orientation::Stored).unwrap();
    let labels = labels(&mut Random(1), &volume, 4);
    let start = |path: &Path| MaskStream::start(&volume, &frame, 4, &Legend::default(), path).unwrap();
    let mut stream = start(&path).unwrap();
    stream.send(&labels, 17).unwrap();
    drop(stream);
    only_these_files(folder.path(), &[]);

    std::fs::write(&path, "precious").unwrap();
    assert!(start(&path).unwrap().finish(&labels, false).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    start(&path).unwrap().finish(&labels, true).unwrap();
    assert!(Volume::open(&path, &OpenOptions::default()).is_ok());
    assert!(start(&folder.path().join("none/mask.nii.gz")).unwrap().finish(&labels, false).is_err());
    only_these_files(folder.path(), &["mask.nii.gz"]);
}

#[test]
fn what_cannot_be_written_by_slices_is_left_to_the_end() {
    let volume = open(&NiftiFile::new(1, [7, 5, 9], 4, 0));
    let start = |axis: usize, name: &str| {
        MaskStream::start(
            &volume,
            &volume.frame(axis, Orientation::Stored).unwrap(),
            1,
            &Legend::default(),
            Path::new(name),
        )
    };
    assert!(start(2, "a.nii.gz").unwrap().is_some());
    for (axis, name) in [(0, "a.nii.gz"), (1, "a.nii.gz"), (2, "a.nii"), (2, "a.npy")] {
        assert!(start(axis, name).unwrap().is_none(), "{name}");
    }
    assert!(start(2, "a.png").is_err() && start(2, "a.mgz").is_err(), "refused as by the writer");
}
