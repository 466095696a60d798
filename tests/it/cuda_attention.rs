//! Fused attention on ptxvm against f64: windows with and without padding, grids of 16 and 64, head dims 64 and 80.
//! The reference pads the windows as the published code does; operands are random numbers that f16 holds.
#![cfg(feature = "cuda")]

use crate::common::one_op;
use crate::common::reference;
use crate::common::tolerance;

use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::ptxvm::Interpreter;
use medsegx::graph::Op;
use medsegx::graph::op;
use one_op::{Case, Random};
use ptxvm::{Checks, Class, Report};
use reference::{assert_close, softmax};
use tolerance::kernels::PROBABILITIES;

struct Attention {
    batch: usize,
    heads: usize,
    head_dim: usize,
    grid: usize,
    window: Option<usize>,
    /// Size of the entries of the position tables.
    position: f32,
}

struct Data {
    qkv: Vec<f32>,
    bias: Vec<f32>,
    rel_pos: [Vec<f32>; 2],
}

impl Attention {
    fn new([batch, heads, head_dim, grid]: [usize; 4], window: Option<usize>) -> Self {
        Attention { batch, heads, head_dim, grid, window, position: 0.5 }
    }

    fn name(&self) -> String {
        let Attention { batch, heads, head_dim, grid, window, position } = self;
        format!("{batch} x {heads} heads of {head_dim}, grid {grid}, window {window:?}, positions of {position}")
    }

    fn side(&self) -> usize {
        self.window.unwrap_or(self.grid)
    }

    fn data(&self) -> Data {
        let width = self.heads * self.head_dim;
        let random = &mut Random((self.grid * 131 + width * 7 + self.side()) as u64);
        let table = (2 * self.side() - 1) * self.head_dim;
        Data {
            qkv: random.halves(self.batch * self.grid * self.grid * 3 * width, 2.0),
            bias: random.halves(3 * width, 2.0),
            rel_pos: [random.halves(table, self.position), random.halves(table, self.position)],
        }
    }

    /// Windows padded with the bias, attention over all of each, padding cut off.
    fn expected(&self, data: &Data) -> Vec<f64> {
        let (g, grid, d, width) = (self.side(), self.grid, self.head_dim, self.heads * self.head_dim);
        let mut out = vec![0.0; self.batch * grid * grid * width];
        let row = |b: usize, y: usize, x: usize, part: usize, head: usize| {
            let at = part * width + head * d;
            if y < grid && x < grid {
                let token = (b * grid + y) * grid + x;
                &data.qkv[token * 3 * width + at..][..d]
            } else {
                &data.bias[at..at + d]
            }
        };
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        for (b, head, y, x) in all([self.batch, self.heads, grid, grid]) {
            let (top, left) = (y / g * g, x / g * g);
            let q = row(b, y, x, 0, head);
            let relative = |axis: usize, at: usize| -> Vec<f64> {
                (0..g).map(|k| dot(q, &data.rel_pos[axis][(at + g - 1 - k) * d..][..d])).collect()
            };
            let (rel_h, rel_w) = (relative(0, y - top), relative(1, x - left));
            let scale = (d as f64).sqrt();
            let key = |i: usize, part: usize| row(b, top + i / g, left + i % g, part, head);
            let mut scores: Vec<f64> =
                (0..g * g).map(|i| dot(q, key(i, 1)) / scale + rel_h[i / g] + rel_w[i % g]).collect();
            softmax(&mut scores);
            let out = &mut out[((b * grid + y) * grid + x) * width + head * d..][..d];
            for (i, score) in scores.iter().enumerate() {
                out.iter_mut().zip(key(i, 2)).for_each(|(out, &v)| *out += score * f64::from(v));
            }
        }
        out
    }

    fn check(&self, checks: Checks) -> Report {
        let data = self.data();
        let (d, width) = (self.head_dim, self.heads * self.head_dim);
        let table = [2 * self.side() - 1, d];
        let mut case = Case::new(self.batch);
        let qkv = case.floats(&[self.grid * self.grid, 3 * width], &data.qkv);
        let qkv_bias = case.param(&[3 * width], &data.bias);
        let rel_pos_h = case.param(&table, &data.rel_pos[0]);
        let rel_pos_w = case.param(&table, &data.rel_pos[1]);
        let out = case.output(&[self.grid * self.grid, width]);
        let (heads, grid, window) = (self.heads, self.grid, self.window);
        let op = Op::Attention(op::Attention { qkv, qkv_bias, rel_pos_h, rel_pos_w, heads, grid, window, out });
        case.graph.push("attention", op);
        let backend = Cuda::new(Interpreter::new(2, checks).counting()).expect("the interpreter starts");
        let found = case.run(&backend, self.batch, &[out]).unwrap_or_else(|e| panic!("{}: {e}", self.name()));
        assert_close(&self.name(), &found[0], &self.expected(&data), PROBABILITIES.limit);
        let mut reports = backend.driver().take_reports();
        assert_eq!(reports.len(), 1, "{}: launches", self.name());
        reports.remove(0).1
    }
}

fn all([a, b, c, d]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

#[test]
fn windows_of_a_256_pixel_picture() {
    Attention::new([1, 2, 64, 16], Some(14)).check(Checks::Full);
    Attention::new([2, 1, 80, 16], Some(14)).check(Checks::Full);
}

#[test]
fn the_whole_grid_of_a_256_pixel_picture() {
    Attention::new([2, 2, 64, 16], None).check(Checks::Full);
    Attention::new([1, 1, 80, 16], None).check(Checks::Full);
}

#[test]
fn the_25_windows_of_a_1024_pixel_picture() {
    Attention::new([1, 1, 64, 64], Some(14)).check(Checks::Full);
    Attention::new([1, 1, 80, 64], Some(14)).check(Checks::Fast);
}

#[test]
fn the_whole_grid_of_a_1024_pixel_picture() {
    Attention::new([1, 1, 64, 64], None).check(Checks::Fast);
    Attention::new([1, 1, 80, 64], None).check(Checks::Fast);
}

#[test]
fn other_grids_and_windows() {
    for (shape, window) in [
        ([1, 1, 64, 20], Some(14)),
        ([1, 1, 80, 24], None),
        ([1, 1, 64, 9], None),
        ([2, 1, 64, 33], None),
        ([1, 2, 64, 11], Some(4)),
        ([1, 1, 80, 3], Some(14)),
    ] {
        Attention::new(shape, window).check(Checks::Full);
    }
}

#[test]
fn large_position_terms_of_padding_do_not_overflow() {
    let mut case = Attention::new([1, 1, 64, 16], Some(14));
    case.position = 8.0;
    case.check(Checks::Full);
}

#[test]
fn main_loops_have_no_bank_conflicts_and_whole_sectors() {
    for (shape, window) in [
        ([1, 1, 64, 16], Some(14)),
        ([1, 1, 80, 16], Some(14)),
        ([1, 1, 64, 16], None),
        ([1, 1, 64, 32], None),
        ([1, 1, 80, 32], None),
    ] {
        let case = Attention::new(shape, window);
        let counters = case.check(Checks::Full).counters;
        assert_eq!(counters.sectors, counters.sectors_ideal, "{}: sectors", case.name());
        let loop_starts = counters.lines.iter().filter(|l| l.text.starts_with("cp.async.wait_group 0")).map(|l| l.line);
        let start = loop_starts.max().expect("the loop waits for its tile");
        let end = counters.lines.iter().filter(|l| l.class == Class::Mma).map(|l| l.line).max();
        for line in counters.lines.iter().filter(|l| l.line > start && Some(l.line) <= end) {
            assert_eq!(line.wavefronts, line.wavefronts_ideal, "{}: line {}: {}", case.name(), line.line, line.text);
        }
    }
}

#[test]
fn a_window_that_no_kernel_takes_is_refused() {
    let case = Attention::new([1, 1, 64, 20], Some(17));
    let result = std::panic::catch_unwind(|| case.check(Checks::Full));
    let message = *result.expect_err("refused").downcast::<String>().expect("a message");
    assert!(message.contains("windows of at most 15"), "{message}");
}
