//! Volumes of lent voxels against the same voxels in a volume of their own.

use medsegx::image::Intensity;
use medsegx::volume::{DataType, Lender, Lent, Orientation, SliceSource, Volume, VolumeInfo, Voxels};
use medsegx::{Error, Result};

const DIMS: [usize; 3] = [7, 5, 4];

/// Voxels in any order of axes, as an array has them.
struct Strided {
    values: Vec<f32>,
    strides: [usize; 3],
}

impl Strided {
    /// The voxels of `value`, with the axes in `order` from the fastest to the slowest.
    fn new(order: [usize; 3], value: impl Fn([usize; 3]) -> f32) -> Strided {
        let mut strides = [0; 3];
        order.iter().fold(1, |step, &axis| {
            strides[axis] = step;
            step * DIMS[axis]
        });
        let mut values = vec![0.0; DIMS.iter().product()];
        each_voxel(|at| values[at.iter().zip(strides).map(|(n, stride)| n * stride).sum::<usize>()] = value(at));
        Strided { values, strides }
    }
}

impl Lender for Strided {
    fn plane(&self, axis: usize, index: usize) -> Result<Voxels> {
        let [column, row] = [[1, 2], [0, 2], [0, 1]][axis];
        let place = |x: usize, y: usize| index * self.strides[axis] + x * self.strides[column] + y * self.strides[row];
        let rows = (0..DIMS[row]).flat_map(|y| (0..DIMS[column]).map(move |x| (x, y)));
        Ok(Voxels::F32(rows.map(|(x, y)| self.values[place(x, y)]).collect()))
    }

    fn outermost(&self) -> usize {
        (0..3).max_by_key(|&axis| self.strides[axis]).unwrap()
    }
}

fn each_voxel(mut visit: impl FnMut([usize; 3])) {
    for z in 0..DIMS[2] {
        for y in 0..DIMS[1] {
            (0..DIMS[0]).for_each(|x| visit([x, y, z]));
        }
    }
}

fn value([x, y, z]: [usize; 3]) -> f32 {
    ((x * 37 + y * 101 + z * 53) % 211) as f32 - 40.5
}

fn info() -> VolumeInfo {
    let affine = [[0.0, -2.0, 0.0, 3.0], [1.5, 0.0, 0.0, -9.0], [0.0, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 1.0]];
    let info = VolumeInfo::of_array("array", DIMS, 1, DataType::F32, false).unwrap();
    info.placed(affine).unwrap().scaled(0.1, -1024.3).unwrap()
}

fn owned(value: impl Fn([usize; 3]) -> f32) -> Volume {
    let mut values = Vec::new();
    each_voxel(|at| values.push(value(at)));
    Volume::from_voxels("array", DIMS, 1, Voxels::F32(values)).unwrap().scaled(0.1, -1024.3).unwrap()
}

const ORDERS: [[usize; 3]; 4] = [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]];

#[test]
fn slices_and_grey_levels_are_those_of_a_volume() {
    let whole = owned(value);
    for order in ORDERS {
        for rule in ["minmax", "robust", "percentile", "window:-1020,12"] {
            let rule: Intensity = rule.parse().unwrap();
            let mut lent = Lent::new(info(), Strided::new(order, value));
            // All values are below 0, so that percentile has none.
            let expected = rule.examine(&whole);
            let Ok((map, _)) = expected else {
                assert!(lent.examine(Some(rule)).is_err(), "{rule} {order:?}");
                continue;
            };
            assert_eq!(lent.examine(Some(rule)).unwrap().0, map, "{rule} {order:?}");
            for (axis, slices) in DIMS.into_iter().enumerate() {
                let frame = lent.info().frame(axis, Orientation::Ras).unwrap();
                for index in 0..slices {
                    let (held, cut, at) = lent.holding(&frame, index).unwrap();
                    let (mut found, mut wanted) = (Vec::new(), Vec::new());
                    held.slice_u8_in(&cut, at, &map, &mut found).unwrap();
                    whole.slice_u8_in(&frame, index, &map, &mut wanted).unwrap();
                    assert_eq!(found, wanted, "{rule} {order:?} {axis} {index}");
                }
            }
        }
    }
}

#[test]
fn the_first_value_that_is_no_number_is_named_whatever_the_order() {
    let broken = |at: [usize; 3]| match at {
        [4, 2, 1] => f32::NAN,
        [1, 3, 3] => f32::INFINITY,
        at => value(at),
    };
    let told = |error: Error| error.to_string();
    let expected = told(Intensity::MinMax.examine(&owned(broken)).unwrap_err());
    assert!(expected.contains("2 NaN or infinite, the first at voxel (4, 2, 1)"), "{expected}");
    for order in ORDERS {
        let error = Lent::new(info(), Strided::new(order, broken)).examine(Some(Intensity::MinMax)).err().unwrap();
        assert_eq!(told(error), expected);
    }
}

#[test]
fn a_copy_of_all_is_in_the_engines_order() {
    for order in ORDERS {
        let whole = Lent::new(info(), Strided::new(order, value)).whole().unwrap();
        assert_eq!(whole.voxels(), owned(value).voxels());
    }
}
