//! `medsegx::score` against the numbers of the packages whose definitions it has.
//!
//! The expected numbers were printed by medpy 0.5.2 and surface-distance 0.1 themselves, and for border voxels by
//! SciPy's erosion and distance transform put together as MONAI and MetricsReloaded do; none of these is needed here.
//! `tools/check_formats.py` compares random masks with the packages.

use medsegx::score::{Definition, Grid, Scores, Unscored, score, score_labels, summary};
use medsegx::volume::{LabelVolume, Volume, Voxels};

type Inside = Box<dyn Fn([usize; 3]) -> bool>;

fn mask(dims: [usize; 3], inside: &Inside) -> Vec<bool> {
    let index = |i: usize| [i % dims[0], i / dims[0] % dims[1], i / (dims[0] * dims[1])];
    (0..dims.iter().product()).map(|i| inside(index(i))).collect()
}

fn pair(dims: [usize; 3], spacing: [f64; 3], masks: [&Inside; 2], definition: Definition, tolerance: f64) -> Scores {
    let [a, b] = masks.map(|inside| mask(dims, inside));
    let found = score(&a, &b, &Grid { dims, spacing }, definition, tolerance).unwrap().unwrap();
    let swapped = score(&b, &a, &Grid { dims, spacing }, definition, tolerance).unwrap().unwrap();
    assert_eq!((found.dice, found.hd95), (swapped.dice, swapped.hd95), "symmetric");
    found
}

/// HD95 of medpy, of border voxels (MONAI, MetricsReloaded) and of surface-distance, then NSD of the last two.
fn check(name: &str, dims: [usize; 3], spacing: [f64; 3], masks: [Inside; 2], tolerance: f64, expected: [f64; 5]) {
    let found = Definition::ALL.map(|definition| pair(dims, spacing, [&masks[0], &masks[1]], definition, tolerance));
    assert_eq!(found[0].nsd, None);
    assert_eq!(found[1], found[2], "MetricsReloaded is MONAI between masks that are not empty");
    let numbers = [found[0].hd95, found[1].hd95, found[3].hd95, found[1].nsd.unwrap(), found[3].nsd.unwrap()];
    for (found, expected) in numbers.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-12 * expected.max(1.0), "{name}: {numbers:?}");
    }
}

fn rectangles(all: &'static [[usize; 4]]) -> Inside {
    Box::new(move |[x, y, _]| all.iter().any(|&[x0, y0, x1, y1]| (x0..x1).contains(&x) && (y0..y1).contains(&y)))
}

#[test]
fn masks_with_no_border_in_reach_have_a_plain_zero() {
    let masks = [rectangles(&[[2, 2, 6, 6]]), rectangles(&[[30, 30, 36, 36]])];
    for definition in Definition::ALL.into_iter().filter(|&definition| definition != Definition::Medpy) {
        let nsd = pair([40, 40, 1], [1.0; 3], [&masks[0], &masks[1]], definition, 2.0).nsd.unwrap();
        assert_eq!(nsd.to_bits(), 0, "{definition:?}: {nsd}");
    }
}

#[test]
fn a_square_its_shifted_copy_and_an_island() {
    let dims = [160, 160, 1];
    let square = || rectangles(&[[20, 20, 40, 40]]);
    let cases: [(&str, Inside, [f64; 5]); 3] = [
        (
            "pixel",
            rectangles(&[[23, 20, 43, 40], [100, 100, 101, 101]]),
            [3.0, 3.0, 3.0, 0.49673202614379086, 0.49118789243310557],
        ),
        (
            "3 x 3",
            rectangles(&[[23, 20, 43, 40], [80, 80, 83, 83]]),
            [5.749137802863907, 59.305850998041535, 59.413803110051795, 0.475, 0.46786536177989885],
        ),
        (
            "6 x 6",
            rectangles(&[[23, 20, 43, 40], [90, 90, 96, 96]]),
            [76.04759427487505, 77.27651991738043, 77.10382610480494, 0.4418604651162791, 0.436758202799343],
        ),
    ];
    for (name, other, expected) in cases {
        check(name, dims, [1.0; 3], [square(), other], 1.0, expected);
    }
}

fn slab(first: usize) -> Inside {
    Box::new(move |[x, y, z]| (10..30).contains(&x) && (10..30).contains(&y) && (first..first + 7).contains(&z))
}

#[test]
fn a_slab_shifted_by_one_thick_slice() {
    let scores = |definition| pair([80, 80, 20], [1.0, 1.0, 5.0], [&slab(5), &slab(6)], definition, 1.0).nsd.unwrap();
    assert!((scores(Definition::Monai) - 0.4440677966101695).abs() < 1e-15);
    assert!((scores(Definition::SurfaceDistance) - 0.7566196596283387).abs() < 1e-12);
}

fn ellipsoid(radius: [f64; 3], spacing: [f64; 3], centre: [f64; 3]) -> Inside {
    Box::new(move |index| {
        let term = |axis: usize| ((index[axis] as f64 * spacing[axis] - centre[axis]) / radius[axis]).powi(2);
        term(0) + term(1) + term(2) <= 1.0
    })
}

#[test]
fn ellipsoids_of_thick_slices() {
    let spacing = [1.0, 1.0, 5.0];
    let masks = [
        ellipsoid([18.0, 14.0, 24.0], spacing, [31.0, 30.0, 46.0]),
        ellipsoid([15.0, 16.0, 30.0], spacing, [33.0, 32.0, 50.0]),
    ];
    let expected = [7.681145747868608, 8.831760866327848, 7.0710678118654755, 0.4257518796992481, 0.505960799660004];
    check("ellipsoids", [64, 64, 20], spacing, masks, 1.0, expected);
    let spacing = [0.7, 0.9, 2.5];
    let masks = [
        ellipsoid([11.0, 9.0, 20.0], spacing, [15.0, 17.0, 28.0]),
        ellipsoid([12.0, 8.0, 17.0], spacing, [17.0, 18.0, 33.0]),
    ];
    let expected = [6.11310068623117, 7.5, 5.730619512757761, 0.35254522507362224, 0.44795940625440084];
    check("three spacings", [48, 40, 24], spacing, masks, 1.0, expected);
}

#[test]
fn a_tube_that_touches_both_ends_of_the_image() {
    let tube = |end: usize| -> Inside {
        Box::new(move |[x, y, z]| (x as i64 - 20).pow(2) + (y as i64 - 20).pow(2) <= 36 && z < end)
    };
    let expected = [30.0, 30.0, 25.0, 0.8045563549160671, 0.8575190401515541];
    check("tube", [40, 40, 24], [1.0, 1.0, 5.0], [tube(18), tube(24)], 1.0, expected);
}

#[test]
fn a_lattice_with_cells_of_every_kind() {
    let lattice = |k: usize| -> Inside {
        Box::new(move |[x, y, z]| (x * 7 + y * 13 + z * 29 + x * y * k + y * z * 3 + x * z * 5) % 11 < 4)
    };
    let expected = [1.3601470508735445, 1.6, 0.0, 0.9634941329856584, 0.999289514826098];
    check("lattice", [14, 13, 12], [0.8, 1.1, 3.0], [lattice(1), lattice(2)], 1.5, expected);
}

fn labels(values: &[u8]) -> LabelVolume {
    let volume = Volume::from_voxels("labels", [values.len(), 1, 1], 1, Voxels::U8(values.to_vec())).unwrap();
    LabelVolume::from_volume(&volume).unwrap().0
}

#[test]
fn missed_and_spurious_labels_are_counted() {
    let mask = labels(&[1, 1, 0, 3, 3, 0, 0, 5]);
    let reference = labels(&[1, 1, 0, 0, 2, 2, 0, 5]);
    let found = score_labels(&mask, &reference, [1.0; 3], Definition::Monai, 1.0, None).unwrap();
    let scores: Vec<_> = found.iter().map(|score| (score.label, score.scores.err())).collect();
    assert_eq!(scores, [(1, None), (2, Some(Unscored::Missed)), (3, Some(Unscored::Spurious)), (5, None)]);
    let total = summary(&found, Definition::Monai, 8.0);
    assert_eq!((total.labels, total.missed, total.spurious), (4, 1, 1));
    assert_eq!((total.dice, total.nsd), (Some(0.5), Some(0.5)));
    assert_eq!((total.hd95_of_found, total.hd95_with_diagonal), (Some(0.0), Some(4.0)));
    let chosen = score_labels(&mask, &reference, [1.0; 3], Definition::Medpy, 1.0, Some(&[5, 9])).unwrap();
    assert_eq!(chosen[1].scores, Err(Unscored::Absent));
    let total = summary(&chosen, Definition::Medpy, 8.0);
    assert_eq!((total.labels, total.nsd), (1, None));
}

#[test]
fn what_has_no_score_is_none_or_an_error() {
    let grid = Grid { dims: [3, 2, 1], spacing: [1.0; 3] };
    let full = vec![true; 6];
    assert_eq!(score(&full, &[false; 6], &grid, Definition::Monai, 1.0).unwrap(), None);
    assert_eq!(score(&[false; 6], &[false; 6], &grid, Definition::SurfaceDistance, 1.0).unwrap(), None);
    assert!(score(&full, &full[1..], &grid, Definition::Monai, 1.0).is_err());
    assert!(score(&full, &full, &grid, Definition::Monai, -1.0).is_err());
    assert!(score(&full, &full, &Grid { spacing: [1.0, 0.0, 1.0], ..grid }, Definition::Monai, 1.0).is_err());
    for definition in Definition::ALL {
        let found = score(&full, &full, &grid, definition, 0.0).unwrap().unwrap();
        assert_eq!((found.dice, found.hd95), (1.0, 0.0), "{definition:?}");
    }
}

#[test]
fn values_that_are_no_labels() {
    let open = |values: Vec<f64>| {
        let volume = Volume::from_voxels("m", [values.len(), 1, 1], 1, Voxels::F64(values)).unwrap();
        LabelVolume::from_volume(&volume)
    };
    let (labels, odd) = open(vec![0.0, 0.99999999977, 300.0]).unwrap();
    assert_eq!((labels.get(1), labels.get(2)), (Some(1), Some(300)));
    assert_eq!(odd, 0);
    assert_eq!(open(vec![0.0, 1.4]).unwrap().1, 1);
    for wrong in [-1.0, 65536.0, f64::NAN, f64::INFINITY] {
        assert!(open(vec![wrong]).is_err(), "{wrong}");
    }
}
