//! Volumes in, slices, masks out: geometry, intensity, resizing.

mod common;

use medsegx::volume::resize::Resizer;

/// The picture of tools/resize_constants.py.
fn pixels(height: usize, width: usize) -> Vec<f32> {
    let pixel = |y: usize, x: usize| ((37 * y + 101 * x + 13 * x * y + y * y) % 251) as f32;
    (0..height).flat_map(|y| (0..width).map(move |x| pixel(y, x))).collect()
}

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max)
}

/// f32 sums of up to a thousand products of 0..250 in another order than ATen's vector code.
const RESIZE_TOLERANCE: f32 = 1e-3;

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
    let file: File = serde_json::from_str(include_str!("data/resize.json")).unwrap();
    assert_eq!(file.cases.len(), 11);
    for case in file.cases {
        let mut resizer = Resizer::with_antialias(case.from, case.to, 1, case.antialias).unwrap();
        let mut found = vec![f32::NAN; case.values.len()];
        resizer.plane(&pixels(case.from[0], case.from[1]), case.from[1], &mut found).unwrap();
        let off = worst(&found, &case.values);
        assert!(
            off <= RESIZE_TOLERANCE,
            "{:?} to {:?}, antialias {}: off by {off}",
            case.from,
            case.to,
            case.antialias
        );
    }
}
