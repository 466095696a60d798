//! Resizing pictures to the model's square and logits back.

use medsegx::image::resample::{Fit, LogitResizer, Resizer, fitted};

/// The picture of tools/resize_constants.py.
fn pixels(height: usize, width: usize) -> Vec<f32> {
    let pixel = |y: usize, x: usize| ((37 * y + 101 * x + 13 * x * y + y * y) % 251) as f32;
    (0..height).flat_map(|y| (0..width).map(move |x| pixel(y, x))).collect()
}

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max)
}

/// One axis in f64: the triangle filter as its definition has it, over every sample.
fn resize_axis(source: &[f64], to: usize, antialias: bool) -> Vec<f64> {
    let scale = source.len() as f64 / to as f64;
    let widening = if antialias { scale.max(1.0) } else { 1.0 };
    (0..to)
        .map(|i| {
            let center = scale * (i as f64 + 0.5) - 0.5;
            let center = if antialias { center } else { center.clamp(0.0, source.len() as f64 - 1.0) };
            let weight = |j: usize| (1.0 - ((j as f64 - center) / widening).abs()).max(0.0);
            let total: f64 = (0..source.len()).map(weight).sum();
            (0..source.len()).map(|j| weight(j) * source[j]).sum::<f64>() / total
        })
        .collect()
}

/// `[h, w]` in f64.
fn resize(source: &[f32], from: [usize; 2], to: [usize; 2], antialias: bool) -> Vec<f64> {
    let rows: Vec<Vec<f64>> = source
        .chunks_exact(from[1])
        .map(|row| resize_axis(&row.iter().map(|&v| v.into()).collect::<Vec<_>>(), to[1], antialias))
        .collect();
    let columns: Vec<Vec<f64>> =
        (0..to[1]).map(|x| resize_axis(&rows.iter().map(|row| row[x]).collect::<Vec<_>>(), to[0], antialias)).collect();
    (0..to[0]).flat_map(|y| columns.iter().map(move |column| column[y])).collect()
}

/// f32 weights and sums of values up to 250, in another order than the other side's.
const TOLERANCE: f32 = 2e-4;
/// PyTorch computes centres in f32, so a weight near sample 64 is off by up to 64 x 1.2e-7 on each axis; neighbouring
/// logits are up to 10 apart.
const LOGIT_TOLERANCE: f32 = 2e-4;

#[test]
fn resizing_is_pytorchs() {
    #[derive(serde::Deserialize)]
    struct Case {
        from: [usize; 2],
        to: [usize; 2],
        antialias: bool,
        values: Vec<f32>,
    }
    #[derive(serde::Deserialize)]
    struct File {
        cases: Vec<Case>,
    }
    let file: File = serde_json::from_str(include_str!("../data/resize.json")).unwrap();
    assert_eq!(file.cases.len(), 11);
    for case in file.cases {
        let mut resizer = Resizer::with_antialias(case.from, case.to, 1, case.antialias).unwrap();
        let mut found = vec![f32::NAN; case.values.len()];
        resizer.plane(&pixels(case.from[0], case.from[1]), case.from[1], &mut found).unwrap();
        let off = worst(&found, &case.values);
        assert!(off <= TOLERANCE, "{:?} to {:?}, antialias {}: off by {off}", case.from, case.to, case.antialias);
    }
}

#[test]
fn resizing_is_the_definitions() {
    for (from, to) in
        [([512, 512], [256, 256]), ([122, 101], [256, 256]), ([333, 1], [256, 256]), ([600, 300], [256, 256])]
    {
        for antialias in [true, false] {
            let source = pixels(from[0], from[1]);
            let expected: Vec<f32> = resize(&source, from, to, antialias).iter().map(|&v| v as f32).collect();
            let mut found = vec![f32::NAN; to[0] * to[1]];
            Resizer::with_antialias(from, to, 1, antialias).unwrap().plane(&source, from[1], &mut found).unwrap();
            let off = worst(&found, &expected);
            assert!(off <= TOLERANCE, "{from:?} to {to:?}, antialias {antialias}: off by {off}");
        }
    }
}

#[test]
fn pictures_are_rounded_half_to_even_and_grey_is_repeated() {
    // 0, 1 to one pixel is 0.5 -> 0; 1, 2 is 1.5 -> 2; 2, 3 is 2.5 -> 2
    for (pair, expected) in [([0, 1], 0), ([1, 2], 2), ([2, 3], 2), ([254, 255], 254)] {
        let mut out = [9; 3];
        Resizer::new([1, 2], [1, 1], 1).unwrap().picture(&pair, 1, &mut out, 1).unwrap();
        assert_eq!(out, [expected; 3]);
    }
    let grey: Vec<u8> = pixels(20, 30).iter().map(|&v| v as u8).collect();
    let colour: Vec<u8> = grey.iter().flat_map(|&v| [v, 255 - v, v / 2]).collect();
    let mut resizer = Resizer::new([20, 30], [16, 16], 3).unwrap();
    let (mut from_grey, mut from_colour) = (vec![0; 768], vec![0; 768]);
    resizer.picture(&grey, 1, &mut from_grey, 16).unwrap();
    resizer.picture(&colour, 3, &mut from_colour, 16).unwrap();
    let reference = resize(&grey.iter().map(|&v| v.into()).collect::<Vec<_>>(), [20, 30], [16, 16], true);
    for (i, expected) in reference.iter().enumerate() {
        let (grey, colour) = (&from_grey[3 * i..3 * i + 3], &from_colour[3 * i..3 * i + 3]);
        assert!(grey == [grey[0]; 3] && grey[0] == colour[0]);
        assert!((f64::from(grey[0]) - expected).abs() <= 0.5001, "{} for {expected}", grey[0]);
        assert!((i32::from(colour[1]) - (255 - i32::from(colour[0]))).abs() <= 1);
    }
}

#[test]
fn a_picture_of_the_right_size_is_copied() {
    let grey: Vec<u8> = pixels(16, 16).iter().map(|&v| v as u8).collect();
    let mut out = vec![0; 768];
    Resizer::new([16, 16], [16, 16], 1).unwrap().picture(&grey, 1, &mut out, 16).unwrap();
    assert!(out.chunks_exact(3).zip(&grey).all(|(o, g)| o == [*g; 3]));
}

#[test]
fn the_longest_side_is_fitted_and_the_rest_kept() {
    assert_eq!(fitted([512, 512], 1024, Fit::LongestSide), [1024, 1024]);
    assert_eq!(fitted([101, 122], 1024, Fit::LongestSide), [848, 1024]);
    assert_eq!(fitted([3000, 1], 1024, Fit::LongestSide), [1024, 1]);
    assert_eq!(fitted([101, 122], 256, Fit::Stretch), [256, 256]);
    let to = fitted([10, 20], 16, Fit::LongestSide);
    assert_eq!(to, [8, 16]);
    let mut out = vec![7; 768];
    Resizer::new([10, 20], to, 1).unwrap().picture(&[100; 200], 1, &mut out, 16).unwrap();
    assert!(out[..384].iter().all(|&v| v == 100) && out[384..].iter().all(|&v| v == 7));
}

#[test]
fn logits_go_back() {
    let logits: Vec<f32> = pixels(64, 64).iter().map(|v| v / 25.0 - 5.0).collect();
    for slice in [[101, 122], [40, 30], [64, 64], [1, 90]] {
        let mut found = vec![f32::NAN; slice[0] * slice[1]];
        LogitResizer::new(64, 64, slice, Fit::Stretch).unwrap().run(&logits, &mut found).unwrap();
        let expected: Vec<f32> = resize(&logits, [64, 64], slice, true).iter().map(|&v| v as f32).collect();
        let off = worst(&found, &expected);
        assert!(off < LOGIT_TOLERANCE, "stretch {slice:?}: off by {off}");

        LogitResizer::new(64, 256, slice, Fit::LongestSide).unwrap().run(&logits, &mut found).unwrap();
        let [h, w] = fitted(slice, 256, Fit::LongestSide);
        let large: Vec<f32> = resize(&logits, [64, 64], [256, 256], false).iter().map(|&v| v as f32).collect();
        let cut: Vec<f32> = large.chunks_exact(256).take(h).flat_map(|row| row[..w].to_vec()).collect();
        let expected: Vec<f32> = resize(&cut, [h, w], slice, false).iter().map(|&v| v as f32).collect();
        let off = worst(&found, &expected);
        assert!(off < LOGIT_TOLERANCE, "longest side {slice:?}: off by {off}");
    }
}

#[test]
fn buffers_that_do_not_fit_are_refused() {
    assert!(Resizer::new([0, 4], [4, 4], 1).is_err());
    assert!(Resizer::new([4, 4], [4, usize::MAX], 1).is_err());
    let mut resizer = Resizer::new([4, 4], [8, 8], 1).unwrap();
    assert!(resizer.picture(&[0; 16], 1, &mut [0; 3 * 63], 8).is_err());
    assert!(resizer.picture(&[0; 16], 1, &mut [0; 3 * 64], 7).is_err());
    assert!(resizer.picture(&[0; 15], 1, &mut [0; 3 * 64], 8).is_err());
    assert!(resizer.picture(&[0; 48], 3, &mut [0; 3 * 64], 8).is_err());
    assert!(resizer.plane(&[0.0; 16], 3, &mut [0.0; 64]).is_err());
    assert!(resizer.plane(&[0.0; 15], 4, &mut [0.0; 64]).is_err());
    assert!(resizer.plane(&[0.0; 16], 4, &mut [0.0; 63]).is_err());
}
