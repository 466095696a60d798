//! What goes ahead of the encoder on ptxvm: stored values to the model's pictures, the same bytes as on the CPU.
#![cfg(feature = "cuda")]

use crate::common::deferred;
use crate::common::one_op;
use crate::common::pictures;
use crate::common::watched;

use std::sync::Arc;

use deferred::Deferred;
use medsegx::Error;
use medsegx::backend::Backend;
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::ptxvm::Interpreter;
use medsegx::backend::cuda::driver::{Driver, Queue};
use medsegx::graph::{Element, Graph, Plan, Role};
use medsegx::image::resample::Resizer;
use medsegx::volume::{DataType, Intensity, IntensityMap, Volume, Voxels};
use one_op::Random;
use watched::Watched;

fn interpreter() -> Interpreter {
    Interpreter::new(2, ptxvm::Checks::Full)
}

/// Voxels of every type, that use much of what the type holds.
fn every_type(count: usize) -> Vec<Voxels> {
    let random = &mut Random(count as u64);
    let mut numbers = |scale: f64| -> Vec<f64> { (0..count).map(|_| f64::from(random.next()) * scale).collect() };
    let (small, middle, large, huge) = (numbers(128.0), numbers(32768.0), numbers(2e9), numbers(9e18));
    vec![
        Voxels::U8(small.iter().map(|v| (v + 128.0) as u8).collect()),
        Voxels::I8(small.iter().map(|&v| v as i8).collect()),
        Voxels::U16(middle.iter().map(|v| (v + 32768.0) as u16).collect()),
        Voxels::I16(middle.iter().map(|&v| v as i16).collect()),
        Voxels::U32(large.iter().map(|v| (v + 2e9) as u32).collect()),
        Voxels::I32(large.iter().map(|&v| v as i32).collect()),
        Voxels::U64(huge.iter().map(|v| (v + 9e18) as u64).collect()),
        Voxels::I64(huge.iter().map(|&v| v as i64).collect()),
        Voxels::F32(middle.iter().map(|&v| v as f32).collect()),
        Voxels::F64(huge),
    ]
}

/// Asserts that device and CPU agree on all pictures, and that the case says something.
#[track_caller]
fn check(backend: &Cuda<Interpreter>, what: (&Volume, usize, &IntensityMap), size: ([usize; 2], usize), name: &str) {
    let (found, _) = pictures::make(backend, what, size, false);
    let expected = pictures::expected(what, size);
    // Rows end in whole words: bytes behind a row are nobody's.
    let ([rows, columns], side) = size;
    let inside = |i: &usize| i / 3 % side < columns && i / 3 / side % side < rows;
    let differing = (0..found.len()).filter(inside).filter(|&i| found[i] != expected[i]).count();
    assert_eq!(differing, 0, "{name}: bytes that differ of {}", found.len());
    let (least, most) = (expected.iter().min(), expected.iter().max());
    assert!(most.zip(least).is_some_and(|(most, least)| most - least > 20), "{name}: {least:?} to {most:?}");
}

#[test]
fn pictures_of_every_stored_type_are_those_of_the_cpu() {
    let backend = Cuda::new(interpreter()).expect("the interpreter starts");
    let dims = [37, 21, 2];
    for voxels in every_type(37 * 21 * 2) {
        let data_type = voxels.data_type();
        let volume = Volume::from_voxels("v", dims, 1, voxels).unwrap();
        for (slope, intercept) in [(1.0, 0.0), (0.31, -7.5), (-2.0, 3.0)] {
            let volume = Volume::from_voxels("v", dims, 1, volume.voxels().clone()).unwrap();
            let volume = volume.scaled(slope, intercept).unwrap();
            let range = volume.statistics();
            let middle = (range.minimum + range.maximum) / 2.0;
            let window = Intensity::Window { level: middle, width: (range.maximum - range.minimum) / 3.0 };
            for rule in [Intensity::MinMax, window] {
                let map = rule.resolve(&volume).unwrap();
                check(&backend, (&volume, 2, &map), ([16, 16], 16), &format!("{data_type:?} x {slope}, {rule}"));
            }
        }
    }
}

#[test]
fn pictures_of_every_size_are_those_of_the_cpu() {
    let backend = Cuda::new(interpreter()).expect("the interpreter starts");
    for ([width, height], (valid, side)) in [
        ([64, 48], ([64, 64], 64)),
        ([301, 190], ([64, 64], 64)),
        ([5, 7], ([256, 256], 256)),
        ([256, 256], ([256, 256], 256)),
        ([1, 300], ([1, 64], 64)),
        ([1000, 3], ([64, 64], 64)),
        ([7001, 2], ([64, 64], 64)),
        ([400, 512], ([160, 125], 160)),
        ([90, 33], ([59, 160], 160)),
    ] {
        let random = &mut Random((width * height) as u64);
        for channels in [1, 3] {
            let values = random.vec(width * height * channels, 900.0).iter().map(|&v| v as i16).collect();
            let volume = Volume::from_voxels("v", [width, height, 1], channels, Voxels::I16(values)).unwrap();
            let map = Intensity::Soft.resolve(&volume).unwrap();
            let name = format!("{width} x {height} x {channels} to {valid:?}");
            check(&backend, (&volume, 2, &map), (valid, side), &name);
            let levels = random.vec(width * height * channels, 128.0).iter().map(|&v| (v + 128.0) as u8).collect();
            let volume = Volume::from_voxels("v", [width, height, 1], channels, Voxels::U8(levels)).unwrap();
            let map = Intensity::Raw.resolve(&volume).unwrap();
            check(&backend, (&volume, 2, &map), (valid, side), &format!("{name}, as it is"));
        }
    }
}

#[test]
fn slices_across_every_axis_are_gathered() {
    let backend = Cuda::new(interpreter()).expect("the interpreter starts");
    let values = Random(3).vec(9 * 34 * 5, 500.0).iter().map(|&v| v as i16).collect();
    let volume = Volume::from_voxels("v", [9, 34, 5], 1, Voxels::I16(values)).unwrap();
    let map = Intensity::MinMax.resolve(&volume).unwrap();
    for axis in 0..3 {
        check(&backend, (&volume, axis, &map), ([16, 16], 16), &format!("axis {axis}"));
    }
}

#[test]
fn ranges_are_those_of_the_pictures() {
    let backend = Cuda::new(interpreter()).expect("the interpreter starts");
    for (channels, low, high) in [(1, 17, 211), (3, 1, 90), (1, 80, 80)] {
        let random = &mut Random(high);
        let scale = (high - low) as f32 / 2.0;
        let levels =
            random.vec(150 * 40 * 2 * channels, scale).iter().map(|v| (v + scale + low as f32) as u8).collect();
        let volume = Volume::from_voxels("v", [150, 40, 2], channels, Voxels::U8(levels)).unwrap();
        let map = Intensity::Raw.resolve(&volume).unwrap();
        let (pixels, scaling) = pictures::make(&backend, (&volume, 2, &map), ([192, 192], 192), true);
        for (picture, scaling) in pixels.chunks_exact(192 * 192 * 3).zip(scaling.chunks_exact(8)) {
            let least = f32::from(*picture.iter().min().unwrap());
            let most = f32::from(*picture.iter().max().unwrap());
            let scale = 1.0 / (most - least).max(1.0);
            let offset = -least * scale;
            assert_eq!(scaling, [scale, scale, scale, offset, offset, offset, 192.0, 192.0], "{least} to {most}");
        }
    }
}

#[test]
fn a_kernel_that_is_off_is_noticed() {
    let values = Random(5).vec(50 * 40, 900.0).iter().map(|&v| v as i16).collect();
    let volume = Volume::from_voxels("v", [50, 40, 1], 1, Voxels::I16(values)).unwrap();
    let map = Intensity::Soft.resolve(&volume).unwrap();
    let what = (&volume, 2, &map);
    let expected = pictures::expected(what, ([64, 64], 64));
    for (entry, right, wrong) in [
        ("grey_level_2", "setp.gt.u32 %below", "setp.ge.u32 %below"),
        ("picture_1", "cvt.rni.u32.f32", "cvt.rzi.u32.f32"),
        ("picture_1", "add.rn.f32 %line1, %line1, %sample", "sub.rn.f32 %line1, %line1, %sample"),
    ] {
        let edit = move |kernel: &'static medsegx::backend::cuda::kernels::Kernel, ptx: &str| {
            assert!(kernel.entry != entry || ptx.contains(right), "{entry} has no {right}");
            if kernel.entry == entry { ptx.replace(right, wrong) } else { ptx.into() }
        };
        let backend = Cuda::new(Watched::new(interpreter()).0.editing(edit)).expect("the interpreter starts");
        assert!(pictures::make(&backend, what, ([64, 64], 64), false).0 != expected, "{entry}: {wrong}");
    }
}

/// Pictures of four batches of one 8-bit slice each, as long as nobody waits for anything in between. Batch b is all b.
fn batches<D: Driver>(driver: D) -> Result<Vec<u8>, Error> {
    let (backend, side) = (Cuda::new(driver)?, 32);
    let mut graph = Graph::new(1);
    let pixels = graph.value("pixels", &[side, side, 3], Element::U8, Role::Input);
    let scaling = graph.value("scaling", &[8], Element::F32, Role::Input);
    let plan = Plan::separate(backend.lower(graph));
    let mut arenas = (0..4).map(|_| backend.arena(&[&plan])).collect::<Result<Vec<_>, _>>()?;
    let map = IntensityMap { rule: Intensity::Raw, low: 0.0, high: 255.0 };
    let resizer = Resizer::new([side, side], [side, side], 1)?;
    let recipe = backend.recipe(&resizer, 1, (&map, DataType::U8, (1.0, 0.0)), false)?;
    let (recipe, mut staging) = (Arc::new(recipe), backend.slice_staging(1)?);
    backend.make_room(&mut staging, &recipe)?;
    for (batch, arena) in arenas.iter_mut().enumerate() {
        backend.take_slice(&mut staging, 0, &recipe, |rows| rows.fill(batch as u8))?;
        backend.make_pictures(&mut staging, 1, (arena, &plan, [pixels, scaling]))?;
    }
    let mut first = vec![9; side * side * 3];
    let read = |arena: &mut _| {
        backend.read(arena, &plan, pixels, &mut first)?;
        Ok(first[0])
    };
    arenas.iter_mut().map(read).collect()
}

#[test]
fn slices_wait_for_those_that_read_their_memory() {
    for eager in [&[][..], &[Queue::Up], &[Queue::Run], &[Queue::Up, Queue::Run]] {
        assert_eq!(batches(Deferred::new(interpreter(), eager)).unwrap(), [0, 1, 2, 3], "eager {eager:?}");
    }
    for deaf in [Queue::Up, Queue::Run] {
        let found = batches(Deferred::new(interpreter(), &[deaf]).without_holds(deaf));
        assert!(found.map_or(true, |found| found != [0, 1, 2, 3]), "{deaf:?} is not held");
    }
}
