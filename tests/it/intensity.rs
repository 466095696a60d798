//! Grey levels: fractions, padding, isolated extremes, and what is said of pictures that show little.

use medsegx::codes::{Code, Warning};
use medsegx::volume::{Intensity, OpenOptions, Volume, Voxels};

fn memory(dims: [usize; 3], channels: usize, voxels: Voxels) -> Volume {
    Volume::from_voxels("test", dims, channels, voxels).unwrap()
}

/// 96 x 96 x 3 voxels of 40 with a square of 120 and one of -1000, with `extra` voxels.
fn organ(extra: &[(usize, i16)]) -> Volume {
    let mut values = vec![40_i16; 96 * 96 * 3];
    for (at, value) in values.iter_mut().enumerate() {
        let (x, y) = (at % 96, at / 96 % 96);
        if (30..70).contains(&x) && (30..70).contains(&y) {
            *value = 120;
        }
    }
    values[0] = -1000;
    extra.iter().for_each(|&(at, value)| values[at] = value);
    memory([96, 96, 3], 1, Voxels::I16(values))
}

fn warnings(mut volume: Volume, rule: Intensity) -> Vec<Warning> {
    let map = rule.resolve(&volume).unwrap();
    volume.check_levels(&map);
    volume.warnings().to_vec()
}

#[test]
fn fractions_are_stretched_by_default_and_refused_under_raw() {
    let colour = |values: Vec<f32>| memory([2, 1, 1], 3, Voxels::F32(values));
    let fractions = || colour(vec![0.15, 0.15, 0.15, 0.8, 0.8, 0.8]);
    let rule = Intensity::default_for_values(&fractions());
    let map = rule.resolve(&fractions()).unwrap();
    assert_eq!((rule, map.low, map.high), (Intensity::Unit, 0.0, 1.0));
    let mut levels = Vec::new();
    fractions().slice_u8(2, 0, &map, &mut levels).unwrap();
    assert_eq!(levels, [38, 38, 38, 204, 204, 204]);
    let error = Intensity::Raw.resolve(&fractions()).unwrap_err().to_string();
    assert!(error.contains("--intensity unit") && error.contains("0.8"), "{error}");
    // Grey levels as floats stay what they are, as do black pictures and 8-bit ones of 0 and 1.
    let grey = colour(vec![0.0, 0.5, 1.0, 200.0, 254.5, 255.0]);
    for (volume, levels) in [
        (grey, [0, 0, 1, 200, 254, 255]),
        (colour(vec![0.0; 6]), [0; 6]),
        (memory([2, 1, 1], 3, Voxels::U8(vec![0, 1, 0, 1, 0, 1])), [0, 1, 0, 1, 0, 1]),
    ] {
        let rule = Intensity::default_for_values(&volume);
        assert_eq!(rule, Intensity::Raw);
        let mut found = Vec::new();
        volume.slice_u8(2, 0, &rule.resolve(&volume).unwrap(), &mut found).unwrap();
        assert_eq!(found, levels);
    }
    for wrong in [vec![-0.1, 0.5, 0.5, 0.5, 0.5, 0.5], vec![0.0, 0.5, 0.5, 0.5, 0.5, 1.5]] {
        let error = Intensity::Unit.resolve(&colour(wrong)).unwrap_err().to_string();
        assert!(error.contains("0 to 1 for unit"), "{error}");
    }
    assert_eq!("unit".parse::<Intensity>().unwrap().to_string(), "unit");
}

#[test]
fn robust_limits_leave_out_padding_and_isolated_extremes() {
    let limits = |volume: &Volume| {
        let (map, aside) = Intensity::Robust.examine(volume).unwrap();
        (map.low, map.high, aside.unwrap())
    };
    let (low, high, aside) = limits(&organ(&[(90, 30_000), (95, -3024)]));
    assert_eq!((low, high, aside.below, aside.above, aside.padding), (40.0, 120.0, 2, 1, [None, None]));

    // A CT: air to bone, a corner of padding, and saturated metal.
    let mut values: Vec<i16> = (0..100_000_i32).map(|i| (i * 7919 % 2400 - 1024) as i16).collect();
    let (low, high, aside) = limits(&memory([1000, 100, 1], 1, Voxels::I16(values.clone())));
    assert_eq!((low, high, aside.below + aside.above + aside.padding_values), (-1024.0, 1375.0, 0));
    values[..20_000].fill(-3024);
    values[40_000..40_200].fill(32_767);
    let volume = memory([1000, 100, 1], 1, Voxels::I16(values.clone()));
    let (low, high, aside) = limits(&volume);
    assert_eq!((low, high), (-1024.0, 1375.0));
    assert_eq!((aside.padding, aside.padding_values), ([Some(-3024.0), Some(32_767.0)], 20_200));
    let plain = Intensity::MinMax.resolve(&volume).unwrap();
    assert_eq!((plain.low, plain.high), (-3024.0, 32_767.0));

    // Stored the other way round: the same values.
    let negative: Vec<i16> = values.iter().map(|&v| -v).collect();
    let turned = memory([1000, 100, 1], 1, Voxels::I16(negative)).scaled(-1.0, 0.0).unwrap();
    assert_eq!(limits(&turned), (low, high, aside));
    // As floats too, with a value that no integer holds.
    let mut floats: Vec<f32> = values.iter().map(|&v| v.into()).collect();
    floats[40_000..40_200].fill(1e30);
    let (low, high, aside) = limits(&memory([1000, 100, 1], 1, Voxels::F32(floats)));
    assert_eq!((low, high, aside.padding), (-1024.0, 1375.0, [Some(-3024.0), Some(f64::from(1e30_f32))]));
}

#[test]
fn robust_limits_keep_what_is_not_padding() {
    let limits = |values: Vec<i16>| {
        let map = Intensity::Robust.resolve(&memory([values.len(), 1, 1], 1, Voxels::I16(values))).unwrap();
        (map.low, map.high)
    };
    // A background of 0 or of air is a picture's own, whatever lies between.
    for background in [0, -1000, -1024] {
        let values = (0..9000).map(|i| if i < 8000 { background } else { 300 + (i % 100) as i16 }).collect();
        assert_eq!(limits(values), (f64::from(background), 399.0));
    }
    // Below -1024 but joined to the rest.
    assert_eq!(
        limits((0..9000).map(|i| if i < 3000 { -1100 } else { -1050 + i as i16 % 900 }).collect()),
        (-1100.0, -151.0)
    );
    // Too few values for a thousandth; one value; two values.
    assert_eq!(limits(vec![1, 2, 3, 900]), (1.0, 900.0));
    assert_eq!(limits(vec![5; 40]), (5.0, 5.0));
    assert_eq!(limits((0..5000).map(|i| if i < 4900 { 40 } else { 200 }).collect()), (40.0, 200.0));
    // A small object before a constant background is no extreme.
    assert_eq!(limits((0..50_000).map(|i| if (100..130).contains(&i) { 80 } else { 40 }).collect()), (40.0, 80.0));
}

#[test]
fn pictures_that_show_little_are_told() {
    let squeezed = |warnings: &[Warning]| warnings.iter().any(|w| w.code == Code::LevelsCrowded);
    let few = |warnings: &[Warning]| warnings.iter().any(|w| w.code == Code::FewLevels);
    let metal = || organ(&[(90, 30_000)]);
    let found = warnings(metal(), Intensity::MinMax);
    assert!(squeezed(&found) && few(&found), "{found:?}");
    let found = warnings(metal(), Intensity::Robust);
    assert!(!squeezed(&found) && few(&found), "{found:?}");

    // A ramp uses all levels, whatever the rule and however long.
    for length in [1000_usize, 3_000_000] {
        let ramp = || memory([length, 1, 1], 1, Voxels::I32((0..length as i32).collect()));
        for rule in [Intensity::MinMax, Intensity::Robust] {
            assert!(warnings(ramp(), rule).is_empty());
        }
        let mut values: Vec<i32> = (0..length as i32).collect();
        values[length / 2] = 1 << 30;
        let found = warnings(memory([length, 1, 1], 1, Voxels::I32(values)), Intensity::MinMax);
        assert!(squeezed(&found), "{length}: {found:?}");
    }
    // Exactly 64 levels in the middle are enough, 63 are not; a window says what it is to be.
    for (spread, told) in [(64, false), (63, true)] {
        let values: Vec<u8> = (0..6400).map(|i| if i == 0 { 255 } else { (i % spread) as u8 }).collect();
        let volume = || memory([6400, 1, 1], 1, Voxels::U8(values.clone()));
        assert_eq!(squeezed(&warnings(volume(), Intensity::MinMax)), told, "{spread}");
        assert!(!squeezed(&warnings(volume(), "window:500,1000".parse().unwrap())));
    }
    // A background of one value is none that crowds.
    let values = (0..10_000).map(|i| if i < 50 { 200 } else { 40 }).collect();
    assert!(!squeezed(&warnings(memory([10_000, 1, 1], 1, Voxels::I16(values)), Intensity::MinMax)));
    // Eight levels are enough.
    for (levels, told) in [(7, true), (8, false)] {
        let values = (0..800).map(|i| (i % levels * 30) as u8).collect();
        assert_eq!(few(&warnings(memory([800, 1, 1], 1, Voxels::U8(values)), Intensity::Raw)), told);
    }
}

#[test]
fn info_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fractions.npy");
    let mut bytes = Vec::new();
    let values: Vec<f32> = (0..300).map(|i| if i % 2 == 0 { 0.15 } else { 0.8 }).collect();
    medsegx::volume::npy::write(&mut bytes, &[10, 10, 3], &values).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let described = medsegx::volume::describe(&path, &OpenOptions::default()).unwrap();
    assert_eq!(described.default_intensity, "unit");
    assert!(described.warnings.iter().any(|w| w.message.contains("2 grey levels of 256")), "{:?}", described.warnings);
}
