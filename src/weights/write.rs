//! Writing safetensors, one tensor in memory at a time. The same contents give the same bytes.
//!
//! Crate `safetensors` writes to a path of its own, takes metadata from a map of random order and cannot report that a
//! value does not fit; it reads these files in the tests.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use super::dtype::Dtype;
use super::quote::{shown, wrong};
use crate::atomic::write_atomically;
use crate::memory::reserve;
use crate::{Error, Result};

/// Values that are encoded at once.
const PIECE: usize = 1 << 18;

/// Writes `tensors` (name and row-major shape, none twice) in this order as `dtype`, with the values that `values`
/// gives for each name. The file appears only when it is complete; an existing one is replaced only with `force`.
///
/// # Errors
/// Those of [`write_atomically`] and of `values`; [`Error::Tensor`] with the name when a value is not finite or too
/// large for `dtype`.
pub fn write(
    path: &Path,
    force: bool,
    tensors: &[(String, Vec<usize>)],
    metadata: &BTreeMap<String, String>,
    dtype: Dtype,
    mut values: impl FnMut(&str) -> Result<Vec<f32>>,
) -> Result<()> {
    let header = header(tensors, metadata, dtype)?;
    write_atomically(path, force, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        let mut bytes = reserve(PIECE * Dtype::F32.size(), "a piece of the file").map_err(io::Error::other)?;
        for (name, shape) in tensors {
            let values = values(name).map_err(io::Error::other)?;
            let dtype = stored(name, dtype);
            check(name, shape, &values, dtype).map_err(io::Error::other)?;
            for values in values.chunks(PIECE) {
                bytes.clear();
                dtype.encode(values, &mut bytes);
                file.write_all(&bytes)?;
            }
        }
        Ok(())
    })
}

/// How a tensor is stored in a file of `dtype`. Statistics of batch norms stay f32: a variance below 1e-4 is subnormal
/// in f16, and its root divides every channel.
fn stored(name: &str, dtype: Dtype) -> Dtype {
    if name.contains(".running_") { Dtype::F32 } else { dtype }
}

fn header(tensors: &[(String, Vec<usize>)], metadata: &BTreeMap<String, String>, dtype: Dtype) -> Result<String> {
    let mut entries = vec![format!("\"__metadata__\":{}", json!(metadata))];
    let mut start = 0u64;
    for (name, shape) in tensors {
        let dtype = stored(name, dtype);
        let length = shape.iter().try_fold(dtype.size() as u64, |n, &axis| n.checked_mul(axis as u64));
        let end = length.and_then(|length| start.checked_add(length));
        let end = end.ok_or_else(|| wrong(name, "a size that can be counted", format!("{shape:?}")))?;
        let entry = json!({ "dtype": dtype.name(), "shape": shape, "data_offsets": [start, end] });
        entries.push(format!("{}:{entry}", json!(name)));
        start = end;
    }
    let mut header = format!("{{{}}}", entries.join(","));
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    Ok(header)
}

fn check(name: &str, shape: &[usize], values: &[f32], dtype: Dtype) -> Result<()> {
    if values.len() != shape.iter().product::<usize>() {
        let (place, what) =
            ("weights::write".into(), format!("{} values for {shape:?} of {}", values.len(), shown(name)));
        return Err(Error::Internal { place, what });
    }
    match values.iter().find(|value| value.is_nan() || value.abs() > dtype.largest()) {
        None => Ok(()),
        Some(value) => {
            let expected = format!("values of {} (at most {})", dtype.name(), dtype.largest());
            Err(wrong(name, expected, value.to_string()))
        }
    }
}
