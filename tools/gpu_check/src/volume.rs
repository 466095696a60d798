//! A made-up CT: an ellipsoid of tissue with organs in air, int16, uncompressed NIfTI.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context as _;

/// Writes a volume of `dims` voxels.
pub fn write(path: &Path, dims: [usize; 3]) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let mut out = BufWriter::new(file);
    out.write_all(&header(dims))?;
    let [width, height, slices] = dims;
    let mut row = Vec::with_capacity(2 * width);
    for z in 0..slices {
        for y in 0..height {
            row.clear();
            for x in 0..width {
                let at = |i: usize, of: usize| 2.0 * (i as f32 + 0.5) / of as f32 - 1.0;
                row.extend(voxel(at(x, width), at(y, height), at(z, slices)).to_le_bytes());
            }
            out.write_all(&row)?;
        }
    }
    out.flush().with_context(|| format!("write {}", path.display()))
}

/// Hounsfield units at a place in -1..1.
fn voxel(x: f32, y: f32, z: f32) -> i16 {
    let ball =
        |at: [f32; 3], radius: f32| (x - at[0]).powi(2) + (y - at[1]).powi(2) + (z - at[2]).powi(2) < radius * radius;
    let texture = (40.0 * ((23.0 * x).sin() * (31.0 * y).sin() + (17.0 * z).cos())) as i16;
    if ball([-0.3, 0.1, 0.0], 0.35) {
        110 + texture / 4
    } else if ball([0.35, 0.2, 0.1], 0.2) {
        190 + texture / 4
    } else if (x / 0.9).powi(2) + (y / 0.75).powi(2) < 1.0 {
        20 + texture
    } else {
        -1000
    }
}

/// NIfTI-1 with spacing 1 mm.
fn header([width, height, slices]: [usize; 3]) -> [u8; 352] {
    let mut bytes = [0; 352];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &348i32.to_le_bytes());
    for (i, dim) in [3, width as i16, height as i16, slices as i16, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * i, &dim.to_le_bytes());
    }
    put(70, &4i16.to_le_bytes()); // int16
    put(72, &16i16.to_le_bytes());
    for i in 0..4 {
        put(76 + 4 * i, &1f32.to_le_bytes());
    }
    put(108, &352f32.to_le_bytes());
    put(112, &1f32.to_le_bytes()); // slope
    put(344, b"n+1\0");
    bytes
}
