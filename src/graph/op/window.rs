//! Attention in windows with a learned bias for each difference of places.

use super::Operation;
use crate::graph::{Graph, ParamId, ValueId};

/// Multi-head attention in the windows that cover the grid. A window that runs over the grid's right or lower edge has
/// padded keys, which are all alike: they are one key more, whose bias is the logarithm of what theirs add up to.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowAttention {
    /// `[N, 3D]`: heads x (q|k|v) x head dim.
    pub qkv: ValueId,
    /// `[3D]`: q, k and v of a padded token.
    pub padding: ParamId,
    /// `[heads, g^2]`: bias of a score by the differences of rows and of columns, both without sign.
    pub biases: ParamId,
    /// h.
    pub heads: usize,
    /// Side of the token grid.
    pub grid: usize,
    /// g, the side of a window.
    pub window: usize,
    /// `[N, D]`.
    pub out: ValueId,
}

impl Operation for WindowAttention {
    fn name(&self) -> &'static str {
        "window_attention"
    }

    fn reads(&self) -> Vec<ValueId> {
        vec![self.qkv]
    }

    fn writes(&self) -> Vec<ValueId> {
        vec![self.out]
    }

    fn params(&self) -> Vec<ParamId> {
        vec![self.padding, self.biases]
    }

    fn shapes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        let shape = &graph[self.qkv].shape;
        vec![vec![shape[1], shape[2] / 3]]
    }

    fn flop(&self, graph: &Graph) -> u64 {
        let width = graph[self.qkv].shape[2] as u64 / 3;
        4 * width * self.pairs()
    }
}

impl WindowAttention {
    /// Pairs of a query and a key, the one for all padding among them.
    fn pairs(&self) -> u64 {
        let (side, whole, rest) =
            (self.window as u64, (self.grid / self.window) as u64, (self.grid % self.window) as u64);
        let padded = |tokens: u64| tokens * (tokens + 1);
        whole.pow(2) * side.pow(4) + 2 * whole * padded(side * rest) + padded(rest * rest)
    }
}

/// Logarithm of what `e^bias` adds up to over the padded keys of a window, for a query at a place of it: those at and
/// behind `real` rows or columns. `biases` `[g^2]` are those of a head. Minus infinity where nothing is padded.
pub(crate) fn padded_bias(biases: &[f32], window: usize, place: [usize; 2], real: [usize; 2]) -> f64 {
    let keys = (0..window * window).map(|key| [key / window, key % window]);
    let padded = keys.filter(|key| key[0] >= real[0] || key[1] >= real[1]);
    let bias = |key: [usize; 2]| biases[place[0].abs_diff(key[0]) * window + place[1].abs_diff(key[1])];
    padded.map(|key| f64::from(bias(key)).exp()).sum::<f64>().ln()
}
