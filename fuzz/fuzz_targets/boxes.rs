//! Boxes files and markups of 3D Slicer: whatever comes in, no panic, and what comes out lies inside the grid.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use medsegx::prompt::{Grid, parse_boxes};

const AFFINE: [[f64; 4]; 4] =
    [[0.0, 0.5, 0.0, -10.0], [-2.0, 0.1, 0.0, 7.0], [0.0, 0.0, 3.0, 100.0], [0.0, 0.0, 0.0, 1.0]];

fuzz_target!(|bytes: &[u8]| {
    for axis in 0..3 {
        let grid = Grid { dims: [40, 30, 20], axis, affine: Some(AFFINE), forms_apart: None };
        let Ok(targets) = parse_boxes(bytes, Path::new("fuzz"), &grid) else { continue };
        let (width, height) = grid.slice_size();
        for target in &targets {
            assert!(target.label > 0 && !(target.boxes.is_empty() && target.points.is_empty()));
            for (&slice, pixel_box) in &target.boxes {
                assert!(slice < grid.slices());
                assert!(pixel_box.check("fuzz", width, height).is_ok());
            }
        }
    }
});
