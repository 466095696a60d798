//! Parameters that cannot be made piece by piece: numbers change places, or are computed.

use super::norms;
use super::recipe::{Param, Recipe};
use super::tensors::{Tensors, mismatch};
use crate::error::{Error, Result};
use crate::memory::{reserve, zeros};

/// The numbers of a parameter whose recipe is not streamed.
///
/// # Errors
/// What `tensors` return, or [`Error::Tensor`](crate::Error::Tensor) where sizes contradict the parameter's shape.
pub(super) fn make(param: &Param, tensors: &dyn Tensors) -> Result<Vec<f32>> {
    let room = || reserve(param.len(), format_args!("parameter {}", param.name));
    let shape4 = || {
        let wrong = |_| mismatch(&param.name, "four axes", format!("{:?}", param.shape));
        <[usize; 4]>::try_from(param.shape.as_slice()).map_err(wrong)
    };
    let data = match &param.recipe {
        Recipe::ChannelsLast(name) => {
            let [_, height, width, inputs] = shape4()?;
            let data = sized(name, tensors.load(name)?, param.len())?;
            swap_middle(&data, inputs, height * width, room()?)
        }
        Recipe::FourTokens(name) => {
            let [height, width, outputs, inputs] = shape4()?;
            four_tokens(&sized(name, tensors.load(name)?, param.len())?, inputs, outputs, height * width, room()?)
        }
        Recipe::Normed(path) => {
            let [outputs, height, width, inputs] = shape4()?;
            let data = norms::weight(path, [outputs, inputs * height * width], tensors)?;
            swap_middle(&data, inputs, height * width, room()?)
        }
        Recipe::NormedTaps(path) => {
            let outputs = param.shape.last().copied().unwrap_or(1);
            let taps = param.len() / outputs.max(1);
            swap_middle(&norms::weight(path, [outputs, taps], tensors)?, outputs, taps, room()?)
        }
        Recipe::NormedBias(path) => norms::bias(path, param.len(), tensors)?,
        Recipe::OfZeros { norm, linear } => norms::of_zeros(norm, linear, tensors)?,
        Recipe::PatchPosition { position, bias } => patch_position(tensors.load(position)?, &tensors.load(bias)?),
        Recipe::DensePosition { gaussian, grid, linears } => {
            dense_position(gaussian, *grid, linears, param.shape[1], tensors)?
        }
        streamed => {
            let what = format!("{streamed:?} is read by pieces");
            return Err(Error::Internal { place: param.name.clone(), what });
        }
    };
    sized(&param.name, data, param.len())
}

fn sized(name: &str, data: Vec<f32>, expected: usize) -> Result<Vec<f32>> {
    if data.len() == expected {
        return Ok(data);
    }
    Err(mismatch(name, format!("{expected} elements"), format!("{}", data.len())))
}

/// `[outer, a, b]` to `[outer, b, a]`.
fn swap_middle(data: &[f32], a: usize, b: usize, mut out: Vec<f32>) -> Vec<f32> {
    for block in data.chunks_exact((a * b).max(1)) {
        for column in 0..b {
            out.extend(block[column..].iter().step_by(b));
        }
    }
    out
}

/// `[in, out, area]` to `[area, out, in]`.
fn four_tokens(data: &[f32], inputs: usize, outputs: usize, area: usize, mut out: Vec<f32>) -> Vec<f32> {
    for pixel in 0..area {
        for output in 0..outputs {
            out.extend((0..inputs).map(|input| data[(input * outputs + output) * area + pixel]));
        }
    }
    out
}

fn patch_position(mut position: Vec<f32>, bias: &[f32]) -> Vec<f32> {
    for token in position.chunks_exact_mut(bias.len().max(1)) {
        token.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
    }
    position
}

/// In f64: the sum over P terms is made once and serves every run.
fn dense_position(
    gaussian: &str,
    grid: usize,
    linears: &[(String, bool)],
    columns: usize,
    tensors: &dyn Tensors,
) -> Result<Vec<f32>> {
    let matrix = tensors.load(gaussian)?;
    let encodings = positions(&matrix, grid)?;
    let mut out = zeros(grid * grid * columns, "the dense positions")?;
    let mut first = 0;
    for (path, reads_position) in linears {
        let bias = tensors.load(&format!("{path}.bias"))?;
        let weight = if *reads_position { tensors.load(&format!("{path}.weight"))? } else { Vec::new() };
        if *reads_position && weight.len() != bias.len() * matrix.len() {
            let expected = format!("{} elements", bias.len() * matrix.len());
            return Err(mismatch(&format!("{path}.weight"), expected, weight.len()));
        }
        if first + bias.len() > columns {
            return Err(mismatch(&format!("{path}.bias"), format!("at most {} elements", columns - first), bias.len()));
        }
        let inputs = weight.len() / bias.len().max(1);
        for (block, bias) in bias.chunks(BLOCK).enumerate() {
            let rows = block_of(&weight, inputs, block * BLOCK, bias.len())?;
            // The token opposite has the same cosines, and sines of the other sign: both come of the same two sums.
            for (token, encoding) in encodings.iter().enumerate().take(encodings.len().div_ceil(2)) {
                let (sine_rows, cosine_rows) = rows.split_at(rows.len() / 2);
                let (sines, cosines) = encoding.split_at(encoding.len() / 2);
                let (odd, even) = (sums_of(sine_rows, sines), sums_of(cosine_rows, cosines));
                for (token, sign) in [(token, 1.0), (encodings.len() - 1 - token, -1.0)] {
                    let out = &mut out[token * columns + first + block * BLOCK..][..bias.len()];
                    for (column, (out, &b)) in out.iter_mut().zip(bias).enumerate() {
                        *out = (f64::from(b) + sign * odd[column] + even[column]) as f32;
                    }
                }
            }
        }
        first += bias.len();
    }
    Ok(out)
}

/// pe of the centre of each token: sines, then cosines (MODEL.md section 4). `gaussian` is `[2, P/2]`. An angle is the
/// sum of one of the column's and one of the row's, so that few sines are needed.
fn positions(gaussian: &[f32], grid: usize) -> Result<Vec<Vec<f64>>> {
    let half = gaussian.len() / 2;
    let along = |frequencies: &[f32]| -> Vec<Vec<[f64; 2]>> {
        let centre = |index: usize| std::f64::consts::TAU * (2.0 * ((index as f64 + 0.5) / grid as f64) - 1.0);
        let waves = |index: usize| frequencies.iter().map(move |&f| (centre(index) * f64::from(f)).sin_cos().into());
        (0..grid).map(|index| waves(index).collect()).collect()
    };
    let (columns, rows) = (along(&gaussian[..half]), along(&gaussian[half..2 * half]));
    let mut encodings = reserve(grid * grid, "positions")?;
    encodings.extend((0..grid * grid).map(|token| {
        let pairs = || columns[token % grid].iter().zip(&rows[token / grid]);
        let sines = pairs().map(|([sin_x, cos_x], [sin_y, cos_y])| sin_x * cos_y + cos_x * sin_y);
        sines.chain(pairs().map(|([sin_x, cos_x], [sin_y, cos_y])| cos_x * cos_y - sin_x * sin_y)).collect()
    }));
    Ok(encodings)
}

/// Outputs of a linear that are summed at once: few enough for registers, and their weights for the nearest cache.
const BLOCK: usize = 16;

/// What inputs times their weights add up to, for each output of a block.
fn sums_of(rows: &[[f64; BLOCK]], inputs: &[f64]) -> [f64; BLOCK] {
    let mut sums = [0.0; BLOCK];
    for (row, x) in rows.iter().zip(inputs) {
        sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += w * x);
    }
    sums
}

/// Weights of `count` outputs from `first` on, a row an input, zeros behind the last; `weight` is `[outputs, inputs]`.
fn block_of(weight: &[f32], inputs: usize, first: usize, count: usize) -> Result<Vec<[f64; BLOCK]>> {
    let mut rows = reserve(inputs, "a parameter")?;
    rows.resize(inputs, [0.0; BLOCK]);
    for (column, output) in weight.chunks_exact(inputs.max(1)).skip(first).take(count).enumerate() {
        rows.iter_mut().zip(output).for_each(|(row, &w)| row[column] = f64::from(w));
    }
    Ok(rows)
}
