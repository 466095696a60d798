//! Boxes of .npz files: whatever comes in, no panic, and what comes out lies inside the grid.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use medsegx::prompt::{Grid, parse_npz};

fuzz_target!(|bytes: &[u8]| {
    for (dims, axis) in [([40, 30, 20], 2), ([40, 30, 20], 0), ([40, 30, 1], 2)] {
        let grid = Grid { dims, axis, affine: None, forms_apart: None };
        let Ok(targets) = parse_npz(bytes, Path::new("fuzz"), &grid) else { continue };
        let (width, height) = grid.slice_size();
        for target in &targets {
            assert!(target.label > 0 && !target.boxes.is_empty());
            for (&slice, pixel_box) in &target.boxes {
                assert!(slice < grid.slices());
                assert!(pixel_box.check("fuzz", width, height).is_ok());
            }
        }
    }
});
