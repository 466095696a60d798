//! How numbers are kept in device memory: f32 or f16, and in which order.

use half::f16;

use crate::graph::op::padded_bias;
use crate::params::Param;

/// How the numbers of a parameter lie in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As in the graph.
    Rows,
    /// A weight `[out.., in]` as `[in, out]`: a thread sums one output, and neighbouring threads read neighbours.
    Columns,
    /// A weight `[out.., in]` as B fragments of mma.m16n8k16, `[out/8][in/16][lane][4]`: a warp reads one in order.
    Fragments,
    /// A weight `[out, 16, 16, 3]` with its inputs in the order in which `patch_embed` reads the bytes of a patch.
    Patches,
    /// A weight `[out, k, k, in]` as `[k, k, in, out]`.
    Taps,
    /// Biases `[heads, g^2]` as `window_attention` looks them up, for windows of `window` on a grid of `grid`.
    Places {
        /// g.
        window: usize,
        /// Side of the grid.
        grid: usize,
    },
}

impl Packing {
    /// Numbers of `param` in this order.
    pub fn len(self, param: &Param) -> usize {
        match self {
            Packing::Places { window, .. } => {
                let [differences, padding] = of_places(window);
                param.shape.first().copied().unwrap_or(1) * (differences + 3 * padding)
            }
            _ => param.len(),
        }
    }
}

/// The numbers of `param` in the order of `packing`.
pub fn pack(packing: Packing, param: &Param, data: Vec<f32>) -> Vec<f32> {
    match packing {
        Packing::Rows => data,
        Packing::Columns => transpose(param, &data),
        Packing::Fragments => fragments(param, &data),
        Packing::Patches => patches(&data),
        Packing::Taps => taps(param, &data),
        Packing::Places { window, grid } => places(window, grid, &data),
    }
}

/// Pixels of a patch side.
pub(super) const PATCH: usize = 16;
/// Weights of an output.
pub(super) const PATCH_INPUTS: usize = 3 * PATCH * PATCH;

/// Where in a patch `[16, 16, 3]` the kernel's `k` is: three stages of 64 take four lines of 48 bytes, each one line
/// and a third of the fourth, and the middle third's halves are swapped.
fn patch_input(k: usize) -> usize {
    let (stage, chunk) = (k / 64, k / 8 % 8);
    let (group, phase) = (stage / 3, stage % 3);
    let (line, third, half) = match chunk {
        2 | 3 => (phase, 1, 3 - chunk),
        0..6 => (phase, chunk / 2, chunk % 2),
        _ => (3, phase, chunk % 2),
    };
    3 * PATCH * (4 * group + line) + 16 * third + 8 * half + k % 8
}

fn patches(data: &[f32]) -> Vec<f32> {
    let rows = data.chunks_exact(PATCH_INPUTS);
    rows.flat_map(|row| (0..row.len()).map(|k| row[patch_input(k)])).collect()
}

/// B fragments: lane 4 g + t holds rows k = 2 t, 2 t + 1, 2 t + 8, 2 t + 9 of column g.
fn fragments(param: &Param, data: &[f32]) -> Vec<f32> {
    let inputs = param.shape.last().copied().unwrap_or(1).max(16);
    let place = |i: usize| {
        let (element, lane, tile) = (i % 4, i / 4 % 32, i / 128);
        let (column, step) = (tile / (inputs / 16), tile % (inputs / 16));
        let k = 2 * (lane % 4) + element % 2 + 8 * (element / 2);
        (8 * column + lane / 4) * inputs + 16 * step + k
    };
    (0..data.len()).map(|i| data[place(i)]).collect()
}

/// `[in, out]` of a weight `[out.., in]`.
fn transpose(param: &Param, data: &[f32]) -> Vec<f32> {
    let inputs = param.shape.last().copied().unwrap_or(1).max(1);
    let outputs = data.len() / inputs;
    (0..data.len()).map(|i| data[i % outputs * inputs + i / outputs]).collect()
}

/// f16 of each value, saturating; also how many did not fit. NaN stays NaN.
pub fn to_half(data: &[f32]) -> (Vec<f16>, u64) {
    let largest = f16::MAX.to_f32();
    let mut saturated = 0;
    let halves = data.iter().map(|&x| {
        saturated += u64::from(x.abs() > largest);
        f16::from_f32(if x.is_nan() { x } else { x.clamp(-largest, largest) })
    });
    let halves = halves.collect();
    (halves, saturated)
}

/// `[.., out]` of a weight `[out, ..]`.
fn taps(param: &Param, data: &[f32]) -> Vec<f32> {
    let outputs = param.shape.first().copied().unwrap_or(1).max(1);
    let inputs = data.len() / outputs;
    (0..data.len()).map(|i| data[i % outputs * inputs + i / outputs]).collect()
}

/// What the scores of a head of 32 channels are divided by.
const SCALE: f64 = 4.0 * std::f64::consts::SQRT_2;

/// Numbers of a head's places: biases by signed differences; and those of all padding by the place of the query, which
/// are there three times, in rows of `2 g - 1`.
fn of_places(window: usize) -> [usize; 2] {
    let span = (2 * window).saturating_sub(1);
    [span * span, window * span].map(|numbers| numbers.next_multiple_of(8))
}

/// Times [`SCALE`], since scores start as their biases.
fn places(window: usize, grid: usize, data: &[f32]) -> Vec<f32> {
    let (area, span) = (window * window, (2 * window).saturating_sub(1));
    let [differences, padding] = of_places(window);
    let mut all = Vec::with_capacity(data.len() / area.max(1) * (differences + 3 * padding));
    for biases in data.chunks_exact(area.max(1)) {
        let away = |at: usize| (at + 1).abs_diff(window);
        let signed = (0..span * span).map(|at| biases[away(at / span) * window + away(at % span)]);
        all.extend(signed.map(|bias| (f64::from(bias) * SCALE) as f32));
        all.resize(all.len() + differences - span * span, 0.0);
        let rest = grid % window;
        for real in [[window, rest], [rest, window], [rest, rest]] {
            all.extend((0..padding).map(|at| {
                let place = [at / span, at % span];
                let inside = place.iter().all(|&at| at < window);
                if inside { (padded_bias(biases, window, place, real) * SCALE) as f32 } else { 0.0 }
            }));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Recipe;

    #[test]
    fn transposition_keeps_the_inputs_last_axis_first() {
        let param = Param { name: "w".into(), shape: vec![2, 2, 1, 3], recipe: Recipe::Tensor("w".into()) };
        let data: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert_eq!(transpose(&param, &data), [0., 3., 6., 9., 1., 4., 7., 10., 2., 5., 8., 11.]);
    }

    #[test]
    fn fragments_follow_the_lanes_of_mma() {
        let param = Param { name: "w".into(), shape: vec![2, 2, 4, 32], recipe: Recipe::Tensor("w".into()) };
        let data: Vec<f32> = (0..512).map(|i| i as f32).collect();
        let packed = fragments(&param, &data);
        // n8 tile 1, k16 step 1, lane 4 g + t = 4 * 3 + 2.
        let at = ((2 + 1) * 32 + 14) * 4;
        let row = |k: usize| (11 * 32 + 16 + k) as f32;
        assert_eq!(packed[at..at + 4], [row(4), row(5), row(12), row(13)]);
    }

    #[test]
    fn patches_keep_every_weight() {
        let data: Vec<f32> = (0..2 * 768).map(|i| i as f32).collect();
        let packed = patches(&data);
        // Stage 1: the fourth line's middle third, of its lower half; the second line's, upper half first.
        assert_eq!((packed[64 + 48], packed[64 + 16]), ((3 * 48 + 16) as f32, (48 + 24) as f32));
        assert_eq!(packed[768 + 64], (768 + 48) as f32);
        let mut sorted = packed;
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, data);
    }

    #[test]
    fn taps_have_the_outputs_last() {
        let param = Param { name: "w".into(), shape: vec![2, 1, 1, 3], recipe: Recipe::Tensor("w".into()) };
        assert_eq!(taps(&param, &[0., 1., 2., 3., 4., 5.]), [0., 3., 1., 4., 2., 5.]);
    }

    #[test]
    fn places_hold_biases_by_signed_differences_and_those_of_all_padding() {
        let biases: Vec<f32> = (0..9).map(|i| i as f32 * 0.25).collect();
        let packed = places(3, 4, &biases);
        assert_eq!(packed.len(), 32 + 3 * 16);
        // One row and two columns away, to either side.
        let bias = (f64::from(biases[5]) * SCALE) as f32;
        assert_eq!([packed[5], packed[3 * 5 + 4]], [bias; 2]);
        // Of a window with one real column, for its first place; and with one real token.
        let sum =
            |keys: &[usize]| (keys.iter().map(|&key| f64::from(biases[key]).exp()).sum::<f64>().ln() * SCALE) as f32;
        assert_eq!([packed[32], packed[64]], [sum(&[1, 2, 4, 5, 7, 8]), sum(&[1, 2, 3, 4, 5, 6, 7, 8])]);
    }

    #[test]
    fn conversion_saturates_and_counts() {
        let (halves, saturated) = to_half(&[1.0, 65504.0, 65505.0, -1e30, f32::INFINITY, f32::NAN]);
        let back: Vec<f32> = halves.iter().map(|h| h.to_f32()).collect();
        assert_eq!(back[..5], [1.0, 65504.0, 65504.0, -65504.0, 65504.0]);
        assert!(back[5].is_nan());
        assert_eq!(saturated, 3);
    }
}
