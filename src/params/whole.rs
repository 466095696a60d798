//! Parameters that cannot be made piece by piece: numbers change places, or are computed.

use super::reader::Reader;
use super::{Numbers, Recipe, Tensors, mismatch};
use crate::error::Result;
use crate::memory::{reserve, zeros};

/// The numbers of the parameter that `reader` reads.
///
/// # Errors
/// What `tensors` return, or [`Error::Tensor`](crate::Error::Tensor) where sizes contradict the parameter's shape.
pub(super) fn make(reader: &mut Reader<'_>) -> Result<Vec<f32>> {
    let (param, tensors) = (reader.param, reader.tensors);
    let room = || reserve(param.len(), format_args!("parameter {}", param.name));
    let shape4 = || {
        let wrong = |_| mismatch(&param.name, "four axes", format!("{:?}", param.shape));
        <[usize; 4]>::try_from(param.shape.as_slice()).map_err(wrong)
    };
    let data = match &param.recipe {
        Recipe::Tensor(name) => tensors.load(name)?,
        Recipe::Rows(_) | Recipe::RowsWithGap { .. } => {
            let mut out = room()?;
            out.extend_from_slice(reader.part(0, 0, param.len())?);
            out
        }
        Recipe::ColumnsWithGap { .. } => columns(reader, room()?)?,
        Recipe::ChannelsLast(name) => {
            let [_, height, width, inputs] = shape4()?;
            let data = sized(name, tensors.load(name)?, param.len())?;
            swap_middle(&data, inputs, height * width, room()?)
        }
        Recipe::FourTokens(name) => {
            let [height, width, outputs, inputs] = shape4()?;
            four_tokens(&sized(name, tensors.load(name)?, param.len())?, inputs, outputs, height * width, room()?)
        }
        Recipe::PatchPosition { position, bias } => patch_position(tensors.load(position)?, &tensors.load(bias)?),
        Recipe::DensePosition { gaussian, grid, linears } => {
            dense_position(gaussian, *grid, linears, param.shape[1], tensors)?
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

/// Matrices side by side, zeros between them.
fn columns(reader: &mut Reader<'_>, mut out: Vec<f32>) -> Result<Vec<f32>> {
    let columns = reader.param.len() / reader.param.shape[0].max(1);
    out.resize(reader.param.len(), 0.0);
    for (index, band) in reader.bands(columns)?.into_iter().enumerate() {
        let part = reader.part(index, 0, reader.param.shape[0] * band.len())?;
        for (row, numbers) in part.chunks_exact(band.len().max(1)).enumerate() {
            out[row * columns..][band.clone()].copy_from_slice(numbers);
        }
    }
    Ok(out)
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

/// pe of the centre of each token: sines, then cosines (MODEL.md section 4). `gaussian` is `[2, P/2]`. An angle is the sum
/// of one of the column's and one of the row's, so that few sines are needed.
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

#[cfg(test)]
mod tests {
    use super::super::Param;
    use super::*;

    struct Given<'a>(&'a [(&'a str, Vec<f32>)]);

    impl Tensors for Given<'_> {
        fn load(&self, name: &str) -> Result<Vec<f32>> {
            Ok(self.0.iter().find(|(n, _)| *n == name).unwrap().1.clone())
        }
    }

    fn make(shape: &[usize], recipe: Recipe, tensors: &[(&str, Vec<f32>)]) -> Result<Vec<f32>> {
        let param = Param { name: "p".into(), shape: shape.to_vec(), recipe };
        Reader::new(&param, &Given(tensors), &mut Vec::new()).all()
    }

    fn counted(n: usize) -> Vec<f32> {
        (0..n).map(|i| i as f32).collect()
    }

    #[test]
    fn columns_stand_side_by_side() {
        let tensors = [("a", counted(4)), ("b", vec![10.0, 11.0])];
        let names = || vec!["a".into(), "b".into()];
        let data = make(&[2, 3], Recipe::ColumnsWithGap { names: names(), gap: 0 }, &tensors).unwrap();
        assert_eq!(data, [0.0, 1.0, 10.0, 2.0, 3.0, 11.0]);
        let data = make(&[2, 5], Recipe::ColumnsWithGap { names: names(), gap: 2 }, &tensors).unwrap();
        assert_eq!(data, [0.0, 1.0, 0.0, 0.0, 10.0, 2.0, 3.0, 0.0, 0.0, 11.0]);
    }

    #[test]
    fn a_gap_of_rows_is_as_wide_as_a_row() {
        let tensors = [("a", counted(4)), ("b", vec![10.0, 11.0])];
        let recipe = Recipe::RowsWithGap { names: vec!["a".into(), "b".into()], gap: 1 };
        assert_eq!(make(&[4, 2], recipe, &tensors).unwrap(), [0.0, 1.0, 2.0, 3.0, 0.0, 0.0, 10.0, 11.0]);
    }

    #[test]
    fn convolutions_become_channels_last() {
        // [out 2, in 3, ky 1, kx 2]
        let data = make(&[2, 1, 2, 3], Recipe::ChannelsLast("w".into()), &[("w", counted(12))]).unwrap();
        assert_eq!(data, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0, 6.0, 8.0, 10.0, 7.0, 9.0, 11.0]);
        // [in 2, out 3, 2, 2]
        let data = make(&[2, 2, 3, 2], Recipe::FourTokens("w".into()), &[("w", counted(24))]).unwrap();
        assert_eq!(data[..6], [0.0, 12.0, 4.0, 16.0, 8.0, 20.0]);
        assert_eq!(data[6..8], [1.0, 13.0]);
    }

    #[test]
    fn position_is_folded_into_the_bias_of_those_that_read_it() {
        let tensors = [
            ("g", vec![0.25, -0.5]),
            ("a.weight", vec![1.0, 2.0]),
            ("a.bias", vec![0.5]),
            ("b.weight", vec![7.0, 7.0]),
            ("b.bias", vec![-1.0]),
        ];
        let linears = vec![("a".to_string(), true), ("b".to_string(), false)];
        let recipe = Recipe::DensePosition { gaussian: "g".into(), grid: 2, linears };
        let data = make(&[4, 2], recipe, &tensors).unwrap();
        // Token 1 is the right upper one: x = 0.5, y = -0.5 in -1..1.
        let angle = std::f64::consts::TAU * (0.5 * 0.25 + -0.5 * -0.5);
        assert_eq!(data[2], (0.5 + angle.sin() + 2.0 * angle.cos()) as f32);
        assert_eq!(data[3], -1.0);
    }

    #[test]
    fn a_tensor_of_the_wrong_size_is_named() {
        let error = make(&[3], Recipe::Tensor("a".into()), &[("a", counted(4))]).unwrap_err();
        assert_eq!(error.to_string(), "tensor p: expected 3 elements, found 4");
    }
}
