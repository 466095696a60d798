//! `out = residual + gated(activation(input W^T + bias))`: a task is one panel of columns for a chunk of one slice's
//! rows; everything behind the product happens while its sums are in the cache.

use super::Level;
use super::math::gelu;
use super::memory::{Out, Views, floats};
use super::packed::Packed;
use super::product::{Dense, MAX_PANEL, Multiply, Pairs, Single, panel_product};
use super::simd::{Kernel, Simd, run_pairs};
use super::step::{Execute, Form, Step};
use crate::error::Result;
use crate::graph::op::{Activation, Bias, Gated, Linear};
use crate::graph::{Graph, ParamId};

/// Most rows of a task.
const ROWS: usize = 256;
/// Numbers of a cache line.
const LINE: usize = 16;

/// Rows that are finished before one whose cache lines are asked for: each lies in a page of its own, which no
/// prefetcher of the processor follows.
const AHEAD: usize = 8;

/// What is added where the sums go.
#[derive(Clone, Copy)]
enum Residual<'a> {
    None,
    /// The numbers that the result replaces.
    InPlace,
    Apart(&'a [f32]),
}

/// Everything behind a product, for all its tasks.
struct Epilogue<'a> {
    row_bias: Option<&'a [f32]>,
    token_bias: Option<&'a [f32]>,
    activation: Activation,
    gated: Gate<'a>,
    residual: Residual<'a>,
}

/// The mixture's part; `gate` is `[B, E]`.
enum Gate<'a> {
    None,
    Columns { gate: &'a [f32], experts: usize, bottleneck: usize, scale: f32 },
    Biases { gate: &'a [f32], experts: usize, biases: &'a [f32], scale: f32 },
}

impl Execute for Linear {
    fn run(&self, step: &Step<'_>, views: Views<'_>) -> Result<()> {
        run(step, self, views)
    }

    /// Sums of a task and, for a result in bf16, one row of it.
    fn scratch(&self, level: Level, _: &Graph) -> usize {
        (ROWS + 1) * level.panel()
    }

    fn form(&self, graph: &Graph, id: ParamId) -> Form {
        if id == self.weight { Form::Stored { outputs: graph[id].shape[0] } } else { Form::Plain }
    }
}

fn run(step: &Step<'_>, op: &Linear, views: Views<'_>) -> Result<()> {
    let Linear { input, weight, bias, activation, gated, residual, out } = op;
    let gate_id = gated.map(Gated::gate);
    let (half_in, half_out) = (views.is_half(*input), views.is_half(*out));
    let in_place = residual.is_some_and(|id| views.same(id, *out));
    let apart = residual.filter(|_| !in_place);
    let ([input_bytes, gate_bytes, residual_bytes], [out_bytes]) =
        views.take([*input, gate_id.unwrap_or(*input), apart.unwrap_or(*input)], [*out])?;
    let (gate, packed) = (floats(gate_bytes), step.packed(*weight)?);
    let epilogue = Epilogue {
        row_bias: if let Bias::Row(id) = bias { Some(step.plain(*id)?) } else { None },
        token_bias: if let Bias::Token(id) = bias { Some(step.plain(*id)?) } else { None },
        activation: *activation,
        gated: match gated {
            None => Gate::None,
            Some(Gated::Columns { gate: id, bottleneck, scale }) => {
                Gate::Columns { gate, experts: step.graph[*id].shape[1], bottleneck: *bottleneck, scale: *scale }
            }
            Some(Gated::Biases { gate: id, biases, scale }) => {
                let biases = step.plain(*biases)?;
                Gate::Biases { gate, experts: step.graph[*id].shape[1], biases, scale: *scale }
            }
        },
        residual: match (in_place, apart) {
            (true, _) => Residual::InPlace,
            (false, Some(_)) => Residual::Apart(floats(residual_bytes)),
            (false, None) => Residual::None,
        },
    };
    let rows = step.graph[*input].shape[1];
    let chunk = chunk(rows, packed.panels() * step.active, step.threads.count());
    let (chunks, panels) = (rows.div_ceil(chunk), packed.panels());
    let (input, out) = (floats(input_bytes), Out::new(out_bytes, half_out));
    step.each(panels * chunks * step.active, |task, sums| {
        let (panel, part) = (task / (chunks * step.active), task % (chunks * step.active));
        let (slice, first) = (part / chunks, part % chunks * chunk);
        let last = rows.min(first + chunk);
        let (sums, row) = sums.split_at_mut(ROWS * packed.width);
        let task = Task { input, packed, epilogue: &epilogue, rows, slice, first, last, panel, sums, row, out };
        if half_in { run_pairs(Halves(task)) } else { step.level.run(task) }
    });
    Ok(())
}

/// Rows of a task: as many as there are, fewer where threads would stand idle.
fn chunk(rows: usize, others: usize, threads: usize) -> usize {
    let wanted = (4 * threads).div_ceil(others.max(1));
    rows.div_ceil(wanted).next_multiple_of(12).min(ROWS)
}

struct Task<'a> {
    input: &'a [f32],
    packed: &'a Packed,
    epilogue: &'a Epilogue<'a>,
    rows: usize,
    slice: usize,
    first: usize,
    last: usize,
    panel: usize,
    sums: &'a mut [f32],
    row: &'a mut [f32],
    out: Out<'a>,
}

/// A task whose input and weights are bf16.
struct Halves<'a>(Task<'a>);

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.run_with::<S, Single>(s);
    }
}

impl Kernel for Halves<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.0.run_with::<S, Pairs>(s);
    }
}

impl Task<'_> {
    #[inline(always)]
    fn run_with<S: Simd, M: Multiply>(self, s: S) {
        let Task { input, packed, epilogue, rows, slice, first, last, panel, sums, row: finished, out } = self;
        let base = slice * rows;
        let left = Dense { data: input, stride: packed.inputs };
        let column = panel * packed.width;
        let width = packed.width.min(packed.outputs - column);
        let ask = |row: usize| {
            let at = row * packed.outputs + column;
            for line in (at..at + width).step_by(LINE) {
                if let Out::Single(out) = out {
                    s.prefetch(out.address(line));
                }
                if let Residual::Apart(data) = epilogue.residual {
                    s.prefetch(data.as_ptr().wrapping_add(line));
                }
            }
        };
        (base + first..(base + last).min(base + first + AHEAD)).for_each(ask);
        panel_product::<S, M>(s, &left, base + first..base + last, packed.panel(panel), sums);
        let ends = Ends::new(epilogue, slice, column, width, packed.outputs);
        for (row, sums) in (base + first..base + last).zip(sums.chunks_exact(packed.width)) {
            ask(row + AHEAD);
            let at = row * packed.outputs + column;
            let to = match out {
                // SAFETY: rows and columns of this task belong to no other, and the slice ends with this row.
                #[allow(unsafe_code)]
                Out::Single(out) => unsafe { out.part(at, width) },
                Out::Half(_) => &mut finished[..width],
            };
            let token = epilogue.token_bias.map(|bias| &bias[(row - base) * packed.outputs + column..][..width]);
            let apart = if let Residual::Apart(data) = epilogue.residual { Some(&data[at..at + width]) } else { None };
            let in_place = matches!(epilogue.residual, Residual::InPlace);
            for v in (0..width).step_by(S::LANES) {
                let lanes = v..width.min(v + S::LANES);
                let read = |from: &[f32]| s.read_any(&from[lanes.clone()]);
                let mut x = s.add(read(sums), read(&ends.bias));
                if let Some(token) = token {
                    x = s.add(x, read(token));
                }
                if epilogue.activation == Activation::Gelu {
                    x = gelu(s, x);
                }
                if ends.scaled {
                    x = s.mul(x, read(&ends.factor));
                }
                if let Some(apart) = apart {
                    x = s.add(x, read(apart));
                }
                if in_place {
                    x = s.add(x, read(to));
                }
                s.write_any(&mut to[lanes.clone()], x);
            }
            if let Out::Half(_) = out {
                // SAFETY: as above.
                #[allow(unsafe_code)]
                unsafe {
                    out.write(at, to);
                }
            }
        }
    }
}

/// What is the same for all rows of a task.
struct Ends {
    bias: [f32; MAX_PANEL],
    factor: [f32; MAX_PANEL],
    scaled: bool,
}

impl Ends {
    fn new(epilogue: &Epilogue<'_>, slice: usize, column: usize, width: usize, outputs: usize) -> Ends {
        let mut ends = Ends { bias: [0.0; MAX_PANEL], factor: [1.0; MAX_PANEL], scaled: false };
        if let Some(bias) = epilogue.row_bias {
            ends.bias[..width].copy_from_slice(&bias[column..column + width]);
        }
        match &epilogue.gated {
            Gate::None => {}
            Gate::Columns { gate, experts, bottleneck, scale } => {
                let plain = outputs - experts * bottleneck;
                for (c, factor) in (column..column + width).zip(&mut ends.factor) {
                    if c >= plain {
                        *factor = scale * gate[slice * experts + (c - plain) / bottleneck];
                        ends.scaled = true;
                    }
                }
            }
            Gate::Biases { gate, experts, biases, scale } => {
                for (c, bias) in (column..column + width).zip(&mut ends.bias) {
                    let mixed = (0..*experts).map(|k| gate[slice * experts + k] * biases[k * outputs + c]);
                    *bias += scale * mixed.sum::<f32>();
                }
            }
        }
        ends
    }
}
