//! The contextual mixture of adapter experts beside an MLP, forth and back. All experts are one product down and one
//! up; the biases of the Ups are rows more of the latter, which meet the experts' weights.

use std::ops::Range;

use super::gate::{Embeddings, Gate, GatePass, range};
use crate::Result;
use crate::backend::cpu::training::{Crew, Finish, Side, gelu};
use crate::memory::{fit, grow_to};
use crate::model::Adapters;
use crate::tune::layers::{add, add_rows};
use crate::tune::memory::WHAT;
use crate::tune::parameters::Table;

/// Scale of the experts' sum.
const SCALE: f32 = 0.1;

pub(super) struct Experts {
    gate: Gate,
    /// Weight and bias of each.
    down: Vec<[Range<usize>; 2]>,
    up: Vec<[Range<usize>; 2]>,
    bottleneck: usize,
    width: usize,
}

/// What the way back needs.
#[derive(Default)]
pub(super) struct ExpertPass {
    /// Before the GELU, `[rows, E R]`.
    before: Vec<f32>,
    gates: Vec<GatePass>,
}

/// Memory for the way forth and back.
#[derive(Default)]
pub(super) struct ExpertWork {
    /// `[E R, D]` and `[E R]`.
    down: Vec<f32>,
    down_bias: Vec<f32>,
    /// `[E R + E, D]`.
    up: Vec<f32>,
    /// `[rows, E R + E]`: scaled hidden numbers, and scaled weights of the experts.
    hidden: Vec<f32>,
    by_hidden: Vec<f32>,
    slope: Vec<f32>,
    turned: Vec<f32>,
    gained: Vec<f32>,
}

/// What a step brings: parameters, the embeddings' places, and where each slice stands in the tree.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub p: &'a [f32],
    pub embeddings: &'a Embeddings,
    pub contexts: &'a [[i32; 5]],
    /// N.
    pub tokens: usize,
}

impl Experts {
    pub fn new(table: &Table, path: &str, adapters: &Adapters, width: usize) -> Result<Experts> {
        let of = |kind: &str, k: usize| {
            let part = |part: &str| range(table, &format!("{path}.adapter_{kind}.{k}.{part}"));
            Ok([part("weight")?, part("bias")?])
        };
        let all = |kind: &str| (0..adapters.experts).map(|k| of(kind, k)).collect::<Result<Vec<_>>>();
        let gate = Gate::new(table, path)?;
        Ok(Experts { gate, down: all("down")?, up: all("up")?, bottleneck: adapters.bottleneck, width })
    }

    /// E R.
    pub fn hidden(&self) -> usize {
        self.down.len() * self.bottleneck
    }

    /// The weights of this step side by side.
    fn gather(&self, p: &[f32], work: &mut ExpertWork) -> Result<()> {
        let (width, bottleneck) = (self.width, self.bottleneck);
        work.down.clear();
        work.down_bias.clear();
        grow_to(&mut work.down, self.hidden() * width, WHAT)?;
        grow_to(&mut work.down_bias, self.hidden(), WHAT)?;
        for [weight, bias] in &self.down {
            work.down.extend_from_slice(&p[weight.clone()]);
            work.down_bias.extend_from_slice(&p[bias.clone()]);
        }
        fit(&mut work.up, (self.hidden() + self.up.len()) * width, WHAT)?;
        let (weights, biases) = work.up.split_at_mut(self.hidden() * width);
        for ([weight, _], to) in self.up.iter().zip(weights.chunks_exact_mut(bottleneck * width)) {
            for (channel, row) in p[weight.clone()].chunks_exact(bottleneck).enumerate() {
                row.iter().enumerate().for_each(|(j, &x)| to[j * width + channel] = x);
            }
        }
        for ([_, bias], to) in self.up.iter().zip(biases.chunks_exact_mut(width)) {
            to.copy_from_slice(&p[bias.clone()]);
        }
        Ok(())
    }

    /// Hidden numbers and weights of the experts as the Ups meet them, and the GELU's derivative.
    fn activate(&self, crew: Crew<'_>, tokens: usize, pass: &ExpertPass, work: &mut ExpertWork) -> Result<()> {
        let (hidden, columns) = (self.hidden(), self.hidden() + self.up.len());
        let rows = pass.before.len() / hidden;
        fit(&mut work.hidden, rows * columns, WHAT)?;
        fit(&mut work.slope, pass.before.len(), WHAT)?;
        let mut after = std::mem::take(&mut work.turned);
        fit(&mut after, pass.before.len(), WHAT)?;
        after.copy_from_slice(&pass.before);
        gelu(crew.level(), &mut after, &mut work.slope);
        for (row, (to, after)) in work.hidden.chunks_exact_mut(columns).zip(after.chunks_exact(hidden)).enumerate() {
            let (to, last) = to.split_at_mut(hidden);
            for (k, &weight) in pass.gates[row / tokens].experts.iter().enumerate() {
                let (weight, part) = (SCALE * weight as f32, k * self.bottleneck..(k + 1) * self.bottleneck);
                to[part.clone()].iter_mut().zip(&after[part]).for_each(|(to, x)| *to = weight * x);
                last[k] = weight;
            }
        }
        work.turned = after;
        Ok(())
    }

    /// Adds what the experts make of `u` `[rows, D]` to `out`, where that is wanted.
    pub fn forward(
        &self,
        crew: Crew<'_>,
        given: Given<'_>,
        u: &[f32],
        pass: &mut ExpertPass,
        work: &mut ExpertWork,
        out: Option<&mut [f32]>,
    ) -> Result<()> {
        let Given { p, embeddings, contexts, tokens } = given;
        self.gather(p, work)?;
        pass.gates.clear();
        for (u, &context) in u.chunks_exact(tokens * self.width).zip(contexts) {
            let mut sum = vec![0.0; self.width];
            add_rows(&mut sum, u);
            let mean = sum.iter().map(|&x| f64::from(x) / tokens as f64).collect();
            pass.gates.push(self.gate.forward(p, embeddings, context, mean));
        }
        fit(&mut pass.before, u.len() / self.width * self.hidden(), WHAT)?;
        crew.product(u, self.width, Side::Columns(&work.down), Finish::Bias(&work.down_bias), &mut pass.before);
        if let Some(out) = out {
            self.activate(crew, tokens, pass, work)?;
            crew.product(&work.hidden, self.hidden() + self.up.len(), Side::Rows(&work.up), Finish::Add, out);
        }
        Ok(())
    }

    /// For `d` by the result: what the parameters gain, and, added to `du`, the derivative by `u`.
    #[allow(clippy::too_many_arguments, reason = "the way back of one operation")]
    pub fn back(
        &self,
        crew: Crew<'_>,
        given: Given<'_>,
        u: &[f32],
        d: &[f32],
        pass: &ExpertPass,
        work: &mut ExpertWork,
        g: &mut [f32],
        du: Option<&mut [f32]>,
    ) -> Result<()> {
        let tokens = given.tokens;
        let (width, hidden, columns) = (self.width, self.hidden(), self.hidden() + self.up.len());
        self.gather(given.p, work)?;
        self.activate(crew, tokens, pass, work)?;
        fit(&mut work.by_hidden, work.hidden.len(), WHAT)?;
        crew.product(d, width, Side::Columns(&work.up), Finish::Set, &mut work.by_hidden);
        self.gain_up(crew, tokens, d, work, g)?;
        let by_means = self.gain_gates(given, pass, work, g);

        // From here on by_hidden is by what came before the GELU, and without the weights of the experts.
        let mut by_before = std::mem::take(&mut work.hidden);
        by_before.resize(pass.before.len(), 0.0);
        let rows = by_before.chunks_exact_mut(hidden).zip(work.by_hidden.chunks_exact(columns));
        for (row, ((to, by), slope)) in rows.zip(work.slope.chunks_exact(hidden)).enumerate() {
            let weights = &pass.gates[row / tokens].experts;
            for (j, ((to, by), slope)) in to.iter_mut().zip(by).zip(slope).enumerate() {
                *to = SCALE * weights[j / self.bottleneck] as f32 * by * slope;
            }
        }
        fit(&mut work.gained, hidden * width, WHAT)?;
        work.gained.fill(0.0);
        let mut bias = vec![0.0; hidden];
        for (by, u) in by_before.chunks_exact(tokens * hidden).zip(u.chunks_exact(tokens * width)) {
            crew.add_outer(by, u, tokens, &mut work.turned, &mut work.gained)?;
            add_rows(&mut bias, by);
        }
        let parts = work.gained.chunks_exact(self.bottleneck * width).zip(bias.chunks_exact(self.bottleneck));
        for ([weight, to_bias], (gained, bias)) in self.down.iter().zip(parts) {
            add(&mut g[weight.clone()], gained);
            add(&mut g[to_bias.clone()], bias);
        }
        if let Some(du) = du {
            crew.product(&by_before, hidden, Side::Rows(&work.down), Finish::Add, du);
            for (du, by_mean) in du.chunks_exact_mut(tokens * width).zip(by_means) {
                let by_mean: Vec<f32> = by_mean.iter().map(|d| (d / tokens as f64) as f32).collect();
                du.chunks_exact_mut(width).for_each(|row| add(row, &by_mean));
            }
        }
        work.hidden = by_before;
        Ok(())
    }

    /// What weights and biases of the Ups gain.
    fn gain_up(&self, crew: Crew<'_>, tokens: usize, d: &[f32], work: &mut ExpertWork, g: &mut [f32]) -> Result<()> {
        let (width, columns, bottleneck) = (self.width, self.hidden() + self.up.len(), self.bottleneck);
        fit(&mut work.gained, columns * width, WHAT)?;
        work.gained.fill(0.0);
        for (hidden, d) in work.hidden.chunks_exact(tokens * columns).zip(d.chunks_exact(tokens * width)) {
            crew.add_outer(hidden, d, tokens, &mut work.turned, &mut work.gained)?;
        }
        let (weights, biases) = work.gained.split_at(self.hidden() * width);
        for ([weight, _], gained) in self.up.iter().zip(weights.chunks_exact(bottleneck * width)) {
            for (channel, row) in g[weight.clone()].chunks_exact_mut(bottleneck).enumerate() {
                row.iter_mut().enumerate().for_each(|(j, g)| *g += gained[j * width + channel]);
            }
        }
        for ([_, bias], gained) in self.up.iter().zip(biases.chunks_exact(width)) {
            add(&mut g[bias.clone()], gained);
        }
        Ok(())
    }

    /// What the gate gains; the derivative by each slice's mean over the tokens.
    fn gain_gates(&self, given: Given<'_>, pass: &ExpertPass, work: &ExpertWork, g: &mut [f32]) -> Vec<Vec<f64>> {
        let (hidden, columns, experts) = (self.hidden(), self.hidden() + self.up.len(), self.up.len());
        let slices = work.hidden.chunks_exact(given.tokens * columns);
        let slices = slices.zip(work.by_hidden.chunks_exact(given.tokens * columns));
        let mut by_means = Vec::with_capacity(given.contexts.len());
        for (((after, by), gate), &context) in slices.zip(&pass.gates).zip(given.contexts) {
            // Of the weights times the scale: hidden numbers are kept with their weight, which is above 0.
            let mut d = vec![0.0; experts];
            for (after, by) in after.chunks_exact(columns).zip(by.chunks_exact(columns)) {
                for (k, d) in d.iter_mut().enumerate() {
                    let part = k * self.bottleneck..(k + 1) * self.bottleneck;
                    let pairs = after[part.clone()].iter().zip(&by[part]);
                    let sum: f64 = pairs.map(|(&h, &e)| f64::from(h) * f64::from(e)).sum();
                    let weight = f64::from(after[hidden + k]);
                    *d += if weight > 0.0 { sum / weight } else { 0.0 } + f64::from(by[hidden + k]);
                }
            }
            d.iter_mut().for_each(|d| *d *= f64::from(SCALE));
            by_means.push(self.gate.back(given.p, given.embeddings, context, gate, &d, g));
        }
        by_means
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::training::scratch;
    use crate::backend::cpu::{Cpu, CpuOptions, Level};
    use crate::model::Preset;
    use crate::tolerance::{BACKWARD, find};

    const PATH: &str = "image_encoder.blocks.1.mlp";
    const TOKENS: usize = 6;
    const CONTEXTS: [[i32; 5]; 2] = [[2, 1, 4, 17, 59], [0, 1, 7, 3, 12]];

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    /// What the experts of two slices make, times `d`, as MODEL.md defines it, in f64. The gate meets the mean of
    /// `means_of`: where that is not what the experts meet, a fault.
    struct Reference {
        table: Table,
        adapters: Adapters,
        width: usize,
        u: Vec<f64>,
        d: Vec<f64>,
    }

    fn softmax(x: &[f64]) -> Vec<f64> {
        let sum: f64 = x.iter().map(|x| x.exp()).sum();
        x.iter().map(|x| x.exp() / sum).collect()
    }

    /// Phi by Simpson's rule from 0.
    fn gelu(x: f64) -> f64 {
        let n = 100;
        let h = x / f64::from(n);
        let density = |y: f64| (-0.5 * y * y).exp() / std::f64::consts::TAU.sqrt();
        let inner: f64 = (1..n).map(|i| f64::from(2 + 2 * (i % 2)) * density(h * f64::from(i))).sum();
        x * (0.5 + h / 3.0 * (density(0.0) + inner + density(x)))
    }

    impl Reference {
        fn tensor<'a>(&self, p: &'a [f64], name: &str) -> &'a [f64] {
            &p[self.table.find(name).unwrap().range.clone()]
        }

        fn dense(&self, p: &[f64], name: &str, x: &[f64]) -> Vec<f64> {
            let (weight, bias) =
                (self.tensor(p, &format!("{PATH}.{name}.weight")), self.tensor(p, &format!("{PATH}.{name}.bias")));
            let rows = weight.chunks(x.len()).zip(bias);
            rows.map(|(row, bias)| bias + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()).collect()
        }

        fn value(&self, p: &[f64], u: &[f64], means_of: &[f64]) -> f64 {
            let (width, e) = (self.width, self.adapters.embedding);
            let row = |name: &str, index: i32| {
                self.tensor(p, &format!("image_encoder.{name}.weight"))[index as usize * e..][..e].to_vec()
            };
            let mut sum = 0.0;
            for (slice, [modality, part, subregion, organ, task]) in CONTEXTS.into_iter().enumerate() {
                let range = slice * TOKENS * width..(slice + 1) * TOKENS * width;
                let mean: Vec<f64> = (0..width)
                    .map(|c| means_of[range.clone()].iter().skip(c).step_by(width).sum::<f64>() / TOKENS as f64)
                    .collect();
                let levels = [0, part, subregion, organ].into_iter().enumerate();
                let levels: Vec<f64> = levels.flat_map(|(i, index)| row(&format!("organ_embed.{i}"), index)).collect();
                let weights = softmax(&self.dense(p, "adapter_organ_gate", &levels));
                let mut joined: Vec<f64> =
                    (0..e).map(|c| (0..4).map(|k| weights[k] * levels[k * e + c]).sum()).collect();
                joined.extend(row("organ_embed.4", task));
                joined.extend(row("modal_embed", modality));
                joined.extend(self.dense(p, "adapter_input_embed", &mean));
                let gate = softmax(&self.dense(p, "adapter_gate", &joined));
                for (u, d) in u[range.clone()].chunks(width).zip(self.d[range].chunks(width)) {
                    for (k, gate) in gate.iter().enumerate() {
                        let hidden: Vec<f64> =
                            self.dense(p, &format!("adapter_down.{k}"), u).into_iter().map(gelu).collect();
                        let up = self.dense(p, &format!("adapter_up.{k}"), &hidden);
                        sum += 0.1 * gate * up.iter().zip(d).map(|(y, d)| y * d).sum::<f64>();
                    }
                }
            }
            sum
        }
    }

    #[test]
    fn every_tensor_gains_its_difference_quotients() {
        let config = Preset::Tiny.medsegx();
        let (adapters, width) = (config.adapters.clone().unwrap(), config.width);
        let table = Table::encoder_of(&config);
        let (u, d) = (numbers(2 * TOKENS * width, 1), numbers(2 * TOKENS * width, 2));
        let p: Vec<f32> = numbers(table.len(), 3).iter().map(|x| 0.3 * x).collect();
        let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let (p64, u64) = (wide(&p), wide(&u));
        let embeddings = Embeddings::new(&table, adapters.embedding).unwrap();
        let experts = Experts::new(&table, PATH, &adapters, width).unwrap();
        let reference = Reference { table, adapters, width, u: u64.clone(), d: wide(&d) };
        let quotient = |value: &dyn Fn(f64) -> f64| (value(1e-4) - value(-1e-4)) / 2e-4;
        for level in Level::available() {
            let cpu = Cpu::new(CpuOptions { level: Some(level), threads: Some(2), ..CpuOptions::default() }).unwrap();
            let workshop = cpu.workshop(scratch(level, 4 * width)).unwrap();
            let given = Given { p: &p, embeddings: &embeddings, contexts: &CONTEXTS, tokens: TOKENS };
            let (mut pass, mut work) = (ExpertPass::default(), ExpertWork::default());
            let (mut out, mut du, mut g) = (vec![0.0; u.len()], vec![0.0; u.len()], vec![0.0; p.len()]);
            let both = |crew: Crew<'_>| {
                experts.forward(crew, given, &u, &mut pass, &mut work, Some(&mut out))?;
                experts.back(crew, given, &u, &d, &pass, &mut work, &mut g, Some(&mut du))?;
                Ok(())
            };
            cpu.with_crew(&workshop, None, both).unwrap();
            let found: f64 = out.iter().zip(&d).map(|(&y, &d)| f64::from(y) * f64::from(d)).sum();
            let expected = reference.value(&p64, &reference.u, &reference.u);
            let limit = find(BACKWARD, "experts");
            limit.check((found - expected).abs() / expected.abs().max(1.0), &format!("{level}: their value"));
            for trained in reference.table.0.iter().filter(|t| !t.name.contains(".blocks.") || t.name.contains(PATH)) {
                let norm = g[trained.range.clone()].iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
                let (mut apart, mut squares) = (0.0, 0.0);
                for at in trained.range.clone().step_by((trained.range.len() / 12).max(1)) {
                    let moved = |by: f64| {
                        let mut p = p64.clone();
                        p[at] += by;
                        reference.value(&p, &reference.u, &reference.u)
                    };
                    let expected = quotient(&moved);
                    apart += (f64::from(g[at]) - expected).powi(2);
                    squares += expected * expected;
                }
                // Of the few elements that are looked at, all may be next to nothing beside the others.
                let size = squares.sqrt() + 1e-2 * norm + 1e-5;
                limit.check(apart.sqrt() / size, &format!("{level}: {}", trained.name));
            }
            // The part of `du` that goes through the gate's mean of tokens, and all of it.
            let (mut apart, mut faulty, mut squares) = (0.0, 0.0, 0.0);
            for at in (0..u.len()).step_by(u.len() / 40) {
                let moved = |by: f64| {
                    let mut u = u64.clone();
                    u[at] += by;
                    u
                };
                let expected = quotient(&|by| reference.value(&p64, &moved(by), &moved(by)));
                let without = quotient(&|by| reference.value(&p64, &moved(by), &reference.u));
                apart += (f64::from(du[at]) - expected).powi(2);
                faulty += (f64::from(du[at]) - without).powi(2);
                squares += expected * expected;
            }
            let [apart, faulty] = [apart, faulty].map(|x: f64| (x / squares).sqrt());
            let what = format!("{level}: the mean not followed {faulty:.1e}");
            find(BACKWARD, "experts' input").check(apart, &what);
            assert!(faulty > 20.0 * apart, "{what}");
        }
    }
}
