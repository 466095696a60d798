//! `--orient ras` turns the picture that the network sees and nothing else: axis, slice numbers and boxes stay those of
//! the stored array, whatever order its axes have.

use std::collections::BTreeMap;
use std::path::Path;

use medsegx::volume::{OpenOptions, Volume};

use crate::common::command::{medsegx, message};
use crate::common::nifti_file::NiftiFile;

/// Voxels along patient R, A, S, the ball's centre there, and its radius.
const SIZE: [usize; 3] = [56, 52, 48];
const CENTRE: [f64; 3] = [30.0, 25.0, 22.0];
const RADIUS: f64 = 18.0;

/// A grid whose voxel axis `i` runs along patient axis `axes[i]`, backwards where `reversed`.
#[derive(Clone, Copy, Debug)]
struct Storage {
    axes: [usize; 3],
    reversed: [bool; 3],
}

impl Storage {
    fn dims(&self) -> [usize; 3] {
        self.axes.map(|axis| SIZE[axis])
    }

    /// Index along R, A, S of a stored voxel.
    fn canonical(&self, stored: [usize; 3]) -> [usize; 3] {
        let mut at = [0; 3];
        for ((&axis, &reversed), along) in self.axes.iter().zip(&self.reversed).zip(stored) {
            at[axis] = if reversed { SIZE[axis] - 1 - along } else { along };
        }
        at
    }

    fn each(&self, mut visit: impl FnMut([usize; 3])) {
        let [ni, nj, nk] = self.dims();
        (0..nk).for_each(|k| (0..nj).for_each(|j| (0..ni).for_each(|i| visit([i, j, k]))));
    }

    /// The picture: the ball before a ramp that no turn leaves as it is. The axes are a little oblique if `tilt` is not
    /// 0.
    fn write(&self, path: &Path, tilt: f64) {
        let mut data = Vec::new();
        self.each(|at| {
            let c = self.canonical(at);
            let level = if inside(c) { 190 } else { 30 + c[0] / 2 + c[1] / 3 + c[2] / 4 };
            data.push(level as u8);
        });
        let mut file = NiftiFile::new(2, self.dims().map(|n| n as i64), 2, 0);
        (file.data, file.qform_code, file.rows) = (data, 0, [[0.0; 4]; 3]);
        for i in 0..3 {
            let sign = if self.reversed[i] { -1.0 } else { 1.0 };
            file.rows[self.axes[i]][i] = 1.5 * sign * tilt.cos();
            file.rows[(self.axes[i] + 1) % 3][i] += 1.5 * tilt.sin();
        }
        std::fs::write(path, file.bytes()).unwrap();
    }

    /// Tight boxes of the ball on every sixth slice across stored axis `across`.
    fn boxes(&self, across: usize) -> BTreeMap<usize, [usize; 4]> {
        let (x, y) = [(1, 2), (0, 2), (0, 1)][across];
        let mut boxes: BTreeMap<usize, [usize; 4]> = BTreeMap::new();
        self.each(|at| {
            if inside(self.canonical(at)) && at[across] % 6 == 0 {
                let b = boxes.entry(at[across]).or_insert([at[x], at[y], at[x], at[y]]);
                *b = [b[0].min(at[x]), b[1].min(at[y]), b[2].max(at[x]), b[3].max(at[y])];
            }
        });
        // A cap of a few voxels is not a disc.
        boxes.retain(|_, b| b[2] - b[0] >= 20);
        boxes
    }
}

fn inside(at: [usize; 3]) -> bool {
    (0..3).map(|i| (at[i] as f64 - CENTRE[i]).powi(2)).sum::<f64>() <= RADIUS * RADIUS
}

/// The mask on R, A, S of a run on `storage` with `boxes`, and the report's axis and slices.
fn segmented(
    folder: &Path,
    (storage, tilt): (Storage, f64),
    across: usize,
    orient: &str,
    boxes: &BTreeMap<usize, [usize; 4]>,
) -> Vec<bool> {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    storage.write(&folder.join("v.nii"), tilt);
    let slices: BTreeMap<String, [usize; 4]> = boxes.iter().map(|(k, b)| (k.to_string(), *b)).collect();
    let file = serde_json::json!({ "version": 1, "space": "voxel", "inclusive": true,
        "targets": [{ "name": "o", "label": 1, "slices": slices }] });
    std::fs::write(folder.join("b.json"), file.to_string()).unwrap();
    let axis = ["i", "j", "k"][across];
    let (input, output, list, report) = (path("v.nii"), path("m.nii"), path("b.json"), path("r.json"));
    let run = medsegx(&[
        "segment", &input, "-o", &output, "--force", "--quiet", "--device", "cpu", "--task", "CT_Liver", "--boxes",
        &list, "--axis", axis, "--orient", orient, "--report", &report,
    ]);
    assert!(run.status.success(), "{storage:?} {axis} {orient}: {}", message(&run));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["slices"]["axis"], across, "{storage:?} {axis} {orient}");
    let rows = report["targets"][0]["slices"].as_array().unwrap();
    assert_eq!(
        rows.iter().map(|row| row["slice"].as_u64().unwrap() as usize).collect::<Vec<_>>(),
        boxes.keys().copied().collect::<Vec<_>>()
    );
    let mask = Volume::open(&output, &OpenOptions::default()).unwrap();
    let mut canonical = vec![false; SIZE.iter().product()];
    storage.each(|at| {
        let c = storage.canonical(at);
        let voxel = at[0] + storage.dims()[0] * (at[1] + storage.dims()[1] * at[2]);
        canonical[c[0] + SIZE[0] * (c[1] + SIZE[1] * c[2])] = mask.voxels().get(voxel) == Some(1.0);
    });
    canonical
}

fn dice(a: &[bool], b: &[bool]) -> f64 {
    let both = a.iter().zip(b).filter(|(a, b)| **a && **b).count();
    2.0 * both as f64 / (a.iter().chain(b).filter(|inside| **inside).count()) as f64
}

#[test]
fn boxes_are_those_of_the_stored_array_in_every_orientation() {
    let folder = tempfile::tempdir().unwrap();
    let canonical = Storage { axes: [0, 1, 2], reversed: [false; 3] };
    let storages = [
        ([0, 1, 2], [true, false, false]),
        ([1, 2, 0], [false, false, true]),
        ([2, 0, 1], [true, true, false]),
        ([0, 2, 1], [false, true, true]),
        ([1, 0, 2], [true, true, true]),
        ([2, 1, 0], [false, true, false]),
    ];
    for (number, (axes, reversed)) in storages.into_iter().enumerate() {
        let storage = Storage { axes, reversed };
        for (across, &axis) in axes.iter().enumerate() {
            let boxes = storage.boxes(across);
            let tilt = if number % 2 == 0 { 0.0 } else { 0.2 };
            let found = segmented(folder.path(), (storage, tilt), across, "ras", &boxes);
            // The same slices and boxes of the volume that is stored as R, A, S, whose stored pictures are the turned
            // ones.
            let turned = turned_boxes(&storage, across, &boxes);
            let expected = segmented(folder.path(), (canonical, 0.0), axis, "stored", &turned);
            let same = dice(&found, &expected);
            assert!(same >= 0.99, "{storage:?} across {across}: Dice {same} to the turned picture's mask");
            let truth = truth_on(&storage, across, &boxes);
            let right = dice(&found, &truth);
            assert!(right >= 0.95, "{storage:?} across {across}: Dice {right} to the ball");
        }
    }
}

/// Boxes of stored slices as boxes of the canonical volume's slices across the same patient axis.
fn turned_boxes(storage: &Storage, across: usize, boxes: &BTreeMap<usize, [usize; 4]>) -> BTreeMap<usize, [usize; 4]> {
    let (x, y) = [(1, 2), (0, 2), (0, 1)][across];
    let axis = storage.axes[across];
    let (column, row) = [(1, 2), (0, 2), (0, 1)][axis];
    let turn = |(&slice, b): (&usize, &[usize; 4])| {
        let corner = |px: usize, py: usize| {
            let mut at = [0; 3];
            (at[across], at[x], at[y]) = (slice, px, py);
            storage.canonical(at)
        };
        let (one, other) = (corner(b[0], b[1]), corner(b[2], b[3]));
        let [low, high] = [usize::min, usize::max].map(|f| [column, row].map(|i| f(one[i], other[i])));
        (one[axis], [low[0], low[1], high[0], high[1]])
    };
    boxes.iter().map(turn).collect()
}

/// The ball on the boxed slices, on R, A, S.
fn truth_on(storage: &Storage, across: usize, boxes: &BTreeMap<usize, [usize; 4]>) -> Vec<bool> {
    let mut truth = vec![false; SIZE.iter().product()];
    storage.each(|at| {
        let c = storage.canonical(at);
        truth[c[0] + SIZE[0] * (c[1] + SIZE[1] * c[2])] = boxes.contains_key(&at[across]) && inside(c);
    });
    truth
}
