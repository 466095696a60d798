//! The numbers of a parameter, read from its tensors a piece at a time where its recipe allows it.

use std::ops::Range;

use super::recipe::{Param, Recipe};
use super::tensors::{Half, Numbers, Tensors, mismatch};
use super::whole;
use crate::error::{Error, Result};
use crate::memory::{grow_to, reserve, zeros};

/// The numbers of a parameter.
pub struct Reader<'a> {
    param: &'a Param,
    tensors: &'a dyn Tensors,
    /// The whole of a parameter that cannot be made piece by piece.
    whole: Option<Vec<f32>>,
    /// Numbers that were just read, from the first cache line on; the memory of whoever makes one parameter after
    /// another.
    rows: &'a mut Vec<f32>,
}

/// f32 of a cache line.
const LINE: usize = 16;

/// Room for `len` numbers from the first cache line of `rows` on.
fn room(rows: &mut Vec<f32>, len: usize) -> Result<&mut [f32]> {
    grow_to(rows, len + LINE, "rows of a matrix")?;
    if rows.len() < len + LINE {
        rows.resize(len + LINE, 0.0);
    }
    let first = rows.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
    Ok(&mut rows[first..first + len])
}

impl<'a> Reader<'a> {
    /// Of `param`, made of `tensors`; `rows` is memory for what was just read.
    pub fn new(param: &'a Param, tensors: &'a dyn Tensors, rows: &'a mut Vec<f32>) -> Reader<'a> {
        Reader { param, tensors, whole: None, rows }
    }

    /// Part of tensors one below the other, `gap` rows of zeros below the first.
    fn below(&mut self, names: &[String], gap: usize, first: usize, len: usize) -> Result<&[f32]> {
        let gap = gap * self.param.shape[1..].iter().product::<usize>();
        let out = room(self.rows, len)?;
        let mut pieces: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
        pieces.insert(pieces.len().min(1), None);
        let (mut start, mut at, mut rest) = (0, first, out);
        for piece in pieces {
            let end = start + piece.map_or(Ok(gap), |name| self.tensors.count(name))?;
            let here = end.saturating_sub(at).min(rest.len());
            let (now, later) = rest.split_at_mut(here);
            match piece {
                Some(name) if here > 0 => self.tensors.read_part(name, at.saturating_sub(start), now)?,
                _ => now.fill(0.0),
            }
            (start, at, rest) = (end, at + here, later);
        }
        if !rest.is_empty() {
            return Err(self.mismatch(start));
        }
        room(self.rows, len).map(|rows| &*rows)
    }

    /// Part of one tensor.
    fn tensor(&mut self, name: &str, first: usize, len: usize) -> Result<&[f32]> {
        let out = room(self.rows, len)?;
        self.tensors.read_part(name, first, out)?;
        Ok(out)
    }

    /// All rows. A tensor that is the parameter has to be of its size.
    fn rows(&mut self) -> Result<Vec<f32>> {
        if let Recipe::Tensor(name) = &self.param.recipe {
            let count = self.tensors.count(name)?;
            if count != self.param.len() {
                return Err(self.mismatch(count));
            }
        }
        let mut all = reserve(self.param.len(), format_args!("parameter {}", self.param.name))?;
        all.extend_from_slice(self.part(0, 0, self.param.len())?);
        Ok(all)
    }

    /// All columns, zeros between the matrices.
    fn columns(&mut self) -> Result<Vec<f32>> {
        let (rows, len) = (self.param.shape[0], self.param.len());
        let columns = len / rows.max(1);
        let mut all = zeros(len, format_args!("parameter {}", self.param.name))?;
        for (index, band) in self.bands(columns)?.into_iter().enumerate() {
            let part = self.part(index, 0, rows * band.len())?;
            for (row, numbers) in part.chunks_exact(band.len().max(1)).enumerate() {
                all[row * columns..][band.clone()].copy_from_slice(numbers);
            }
        }
        Ok(all)
    }

    /// Columns of matrices side by side, `gap` columns of zeros beside the first.
    fn beside(&self, names: &[String], gap: usize) -> Result<Vec<Range<usize>>> {
        let rows = self.param.shape[0].max(1);
        let (mut column, mut bands) = (0, Vec::with_capacity(names.len()));
        for (index, name) in names.iter().enumerate() {
            let count = self.tensors.count(name)?;
            if !count.is_multiple_of(rows) {
                return Err(self.mismatch(count));
            }
            bands.push(column..column + count / rows);
            column += count / rows + if index == 0 { gap } else { 0 };
        }
        if rows * column == self.param.len() { Ok(bands) } else { Err(self.mismatch(rows * column)) }
    }

    fn mismatch(&self, found: usize) -> Error {
        mismatch(&self.param.name, format!("{} elements", self.param.len()), found)
    }
}

impl Numbers for Reader<'_> {
    fn all(&mut self) -> Result<Vec<f32>> {
        let data = match &self.param.recipe {
            Recipe::ColumnsWithGap { .. } => self.columns()?,
            recipe if recipe.is_streamed() => self.rows()?,
            _ => whole::make(self.param, self.tensors)?,
        };
        if !data.iter().all(|x| x.is_finite()) {
            self.check()?;
        }
        Ok(data)
    }

    fn bands(&self, columns: usize) -> Result<Vec<Range<usize>>> {
        match &self.param.recipe {
            Recipe::ColumnsWithGap { names, gap } => self.beside(names, *gap),
            _ => Ok(std::iter::once(0..columns).collect()),
        }
    }

    fn half(&self) -> Option<Half> {
        let names = match &self.param.recipe {
            Recipe::Tensor(name) => std::slice::from_ref(name),
            Recipe::Rows(names) | Recipe::RowsWithGap { names, .. } | Recipe::ColumnsWithGap { names, .. } => names,
            _ => return None,
        };
        // Zeros of a gap are the same in every format.
        let half = self.tensors.half(names.first()?)?;
        names.iter().all(|name| self.tensors.half(name) == Some(half)).then_some(half)
    }

    fn part(&mut self, band: usize, first: usize, len: usize) -> Result<&[f32]> {
        let param = self.param;
        match &param.recipe {
            Recipe::Tensor(name) => self.tensor(name, first, len),
            Recipe::Rows(names) => self.below(names, 0, first, len),
            Recipe::RowsWithGap { names, gap } => self.below(names, *gap, first, len),
            Recipe::ColumnsWithGap { names, .. } => self.tensor(&names[band], first, len),
            _ => {
                let whole = match self.whole.take() {
                    Some(whole) => whole,
                    None => self.all()?,
                };
                let whole = self.whole.insert(whole);
                let found = whole.len();
                let expected = || format!("{} elements", param.len());
                whole.get(first..first + len).ok_or_else(|| mismatch(&param.name, expected(), found))
            }
        }
    }

    fn check(&mut self) -> Result<()> {
        self.param.recipe.sources().iter().try_for_each(|name| self.tensors.load(name).map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::every_graph;
    use crate::model::Preset;
    use crate::weights::Weights;

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
        assert_eq!(error.to_string(), "tensor p: got 4; needs 3 elements");
    }

    #[test]
    fn parts_are_those_of_the_whole() {
        let mut config = Preset::Tiny.medsegx();
        // An odd number of expert channels, so that zeros fill their rows.
        if let Some(adapters) = &mut config.adapters {
            (adapters.experts, adapters.bottleneck) = (3, 5);
        }
        let weights = Weights::synthetic(&config, 3);
        for graph in every_graph(&config) {
            for param in &graph.params {
                let mut buffer = Vec::new();
                let mut numbers = Reader::new(param, &weights, &mut buffer);
                let whole = numbers.all().unwrap();
                let (rows, row) = (param.shape[0], whole.len() / param.shape[0]);
                let mut found = vec![0.0; whole.len()];
                for (index, band) in numbers.bands(row).unwrap().into_iter().enumerate() {
                    // 5 rows at a time, so that parts run over the ends of tensors.
                    for first in (0..rows).step_by(5) {
                        let len = (rows - first).min(5) * band.len();
                        let part = numbers.part(index, first * band.len(), len).unwrap();
                        assert_eq!(part.len(), len);
                        for (row_of_part, numbers) in part.chunks(band.len()).enumerate() {
                            found[(first + row_of_part) * row..][band.clone()].copy_from_slice(numbers);
                        }
                    }
                }
                assert!(whole == found, "{}", param.name);
            }
        }
    }

    #[test]
    fn tensors_of_other_sizes_are_refused() {
        let config = Preset::Tiny.medsegx();
        let weights = Weights::synthetic(&config, 0);
        let name = || "image_encoder.blocks.0.mlp.mlp.lin1.bias".to_string();
        let param = |shape: [usize; 2], recipe| Param { name: "p".into(), shape: shape.to_vec(), recipe };
        let recipes = [
            ([2, 400], Recipe::Tensor(name())),
            ([2, 400], Recipe::Rows(vec![name()])),
            ([2, 400], Recipe::RowsWithGap { names: vec![name()], gap: 0 }),
            ([2, 400], Recipe::ColumnsWithGap { names: vec![name()], gap: 1 }),
            // A count of rows that the tensor's numbers do not fill.
            ([3, 170], Recipe::ColumnsWithGap { names: vec![name()], gap: 0 }),
        ];
        for (shape, recipe) in recipes {
            let param = param(shape, recipe);
            let mut buffer = Vec::new();
            let mut numbers = Reader::new(&param, &weights, &mut buffer);
            let refused = numbers.bands(shape[1]).is_err() || numbers.part(0, 0, 800).is_err();
            assert!(refused, "{:?}", param.recipe);
        }
    }
}
