//! The numbers of a parameter, read from the weights a piece at a time where its recipe allows it.

use crate::backend::Numbers;
use crate::error::{Error, Result};
use crate::graph::{Param, Recipe};
use crate::memory::grow_to;
use crate::weights::Weights;

/// The numbers of `param` in `weights`.
pub(super) struct Stored<'a> {
    param: &'a Param,
    weights: &'a Weights,
    /// The whole of a parameter that cannot be made piece by piece.
    whole: Option<Vec<f32>>,
    /// Rows of one of the matrices that stand side by side.
    rows: Vec<f32>,
}

impl<'a> Stored<'a> {
    pub fn new(param: &'a Param, weights: &'a Weights) -> Stored<'a> {
        Stored { param, weights, whole: None, rows: Vec::new() }
    }

    /// Part of tensors one below the other, `gap` rows of zeros below the first.
    fn below(&self, names: &[String], gap: usize, first: usize, out: &mut [f32]) -> Result<()> {
        let gap = gap * self.param.shape[1..].iter().product::<usize>();
        let mut pieces: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
        pieces.insert(pieces.len().min(1), None);
        let (mut start, mut at, mut rest) = (0, first, out);
        for piece in pieces {
            let end = start + piece.map_or(Ok(gap), |name| self.weights.count(name))?;
            let here = end.saturating_sub(at).min(rest.len());
            let (now, later) = rest.split_at_mut(here);
            match piece {
                Some(name) => self.weights.load_part(name, at.saturating_sub(start).min(end - start), now)?,
                None => now.fill(0.0),
            }
            (start, at, rest) = (end, at + here, later);
        }
        if rest.is_empty() { Ok(()) } else { Err(self.mismatch(start)) }
    }

    /// Whole rows of matrices side by side, `gap` columns of zeros beside the first.
    fn beside(&mut self, names: &[String], gap: usize, first: usize, out: &mut [f32]) -> Result<()> {
        let rows = self.param.shape[0].max(1);
        let width = self.param.len() / rows;
        let (first_row, wanted) = (first / width.max(1), out.len() / width.max(1));
        let mut column = 0;
        for (index, name) in names.iter().enumerate() {
            let own = self.weights.count(name)? / rows;
            if column + own > width {
                return Err(self.mismatch(rows * (column + own)));
            }
            grow_to(&mut self.rows, wanted * own, "a piece of a parameter")?;
            self.rows.resize(wanted * own, 0.0);
            self.weights.load_part(name, first_row * own, &mut self.rows)?;
            for (to, from) in out.chunks_exact_mut(width).zip(self.rows.chunks_exact(own.max(1))) {
                to[column..column + own].copy_from_slice(from);
            }
            column += own;
            if index == 0 {
                let end = (column + gap).min(width);
                out.chunks_exact_mut(width).for_each(|row| row[column..end].fill(0.0));
                column = end;
            }
        }
        if column == width { Ok(()) } else { Err(self.mismatch(rows * column)) }
    }

    fn mismatch(&self, found: usize) -> Error {
        let (expected, found) = (format!("{} elements", self.param.len()), found.to_string());
        Error::Tensor { name: self.param.name.clone(), expected, found }
    }
}

impl Numbers for Stored<'_> {
    fn all(&mut self) -> Result<Vec<f32>> {
        self.param.make(&mut |name| self.weights.load(name))
    }

    fn part(&mut self, first: usize, out: &mut [f32]) -> Result<()> {
        match &self.param.recipe {
            Recipe::Tensor(name) => self.weights.load_part(name, first, out),
            Recipe::Rows(names) => self.below(names, 0, first, out),
            Recipe::RowsWithGap { names, gap } => self.below(names, *gap, first, out),
            Recipe::ColumnsWithGap { names, gap } => self.beside(names, *gap, first, out),
            _ => {
                let whole = match self.whole.take() {
                    Some(whole) => whole,
                    None => self.all()?,
                };
                let part = whole.get(first..first + out.len()).ok_or_else(|| self.mismatch(whole.len()))?;
                out.copy_from_slice(part);
                self.whole = Some(whole);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::every_graph;
    use super::*;
    use crate::model::Preset;

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
                let mut numbers = Stored::new(param, &weights);
                let whole = numbers.all().unwrap();
                let row = whole.len() / param.shape[0];
                // 5 rows at a time, so that parts run over the ends of tensors.
                for (index, part) in whole.chunks(5 * row).enumerate() {
                    let mut found = vec![0.0; part.len()];
                    numbers.part(index * 5 * row, &mut found).unwrap();
                    assert!(found == part, "{} from element {}", param.name, index * 5 * row);
                }
            }
        }
    }

    #[test]
    fn tensors_of_other_sizes_are_refused() {
        let config = Preset::Tiny.medsegx();
        let weights = Weights::synthetic(&config, 0);
        let name = || "image_encoder.blocks.0.mlp.mlp.lin1.bias".to_string();
        let param = |recipe| Param { name: "p".into(), shape: vec![2, 400], recipe };
        let recipes = [
            Recipe::Tensor(name()),
            Recipe::Rows(vec![name()]),
            Recipe::RowsWithGap { names: vec![name()], gap: 0 },
            Recipe::ColumnsWithGap { names: vec![name()], gap: 1 },
        ];
        for recipe in recipes {
            let param = param(recipe);
            assert!(Stored::new(&param, &weights).part(0, &mut [0.0; 800]).is_err(), "{:?}", param.recipe);
        }
    }
}
