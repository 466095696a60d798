//! The model of time behind `bench floors`: what ptxas made of the kernels (`kernels/machine_code.tsv`, which
//! `tools/sass/` reads from machine code), the launches of a run, and a card. No GPU is asked.
//!
//! A scheduler of a multiprocessor has R of a launch's warps at once, as many as registers, threads, shared memory and
//! the launch's blocks allow. A turn of a main loop with `mma.sync` or `wgmma` then takes the longest of
//!
//! - the tensor cores' time for one warp's `mma.sync`, one after the other: by its stall fields, and no less than the
//!   spacing that the architecture's code shows elsewhere; for its part of a `wgmma` the rate of the data sheet;
//! - an instruction a cycle;
//! - a warp's own schedule over R, behind which the R - 1 others hide;
//! - shared memory's time for what the warps of all schedulers read there and copy to it: 128 bytes a cycle;
//!
//! and so do the instructions outside of it, without the first. Kernels whose main loop has no `mma.sync` are charged
//! the warp instructions that kernels/README.md counts, at the mean stall of their code. Nothing here waits for memory
//! beyond its bandwidth. Code outside of a loop is charged once as it stands, whether a launch runs all of it or not.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;

use super::cards::Card;

/// The table of the kernels in this binary.
const SHIPPED: &str = include_str!("../../../kernels/machine_code.tsv");

/// Multiply-adds of an `mma.m16n8k16`, times 2.
const FLOP_PER_MMA: f64 = 2.0 * 16.0 * 8.0 * 16.0;

/// Cycles of a scheduler's tensor core for one of them by `wgmma`: 512 multiply-adds a cycle.
const WGMMA_SPACING: f64 = 4.0;

/// Schedulers of a multiprocessor.
const SCHEDULERS: f64 = 4.0;

/// Threads of a warp.
const WARP: f64 = 32.0;

/// Cycles from one `mma.sync` of a scheduler to the next.
fn mma_spacing(architecture: &str) -> f64 {
    match architecture {
        "90" => 6.0,
        "120" => 11.0,
        _ => 8.0,
    }
}

/// A kernel on one architecture. The tensor part of a loop, and what a count is for, are 0 where there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Code {
    threads: f64,
    blocks: f64,
    instructions: f64,
    in_loop: f64,
    tensor: f64,
    /// Products of 16 x 8 x 16 of one tensor instruction of a warp: 1 of `mma.sync`.
    products: f64,
    /// Passes over shared memory of a warp in a turn of the loop.
    wavefronts: f64,
    stall: f64,
    stall_tensor: f64,
    stall_whole: f64,
    per_mma: f64,
    per_block: f64,
    /// Blocks of today's launch that do what one block of this kernel does: other than 1 only in a table of older
    /// kernels.
    of_today: f64,
}

/// Cycles of a launch, with and without the code outside of main loops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cycles {
    pub whole: f64,
    pub loops: f64,
}

/// What machine code all kernels are.
pub struct Table(HashMap<(String, String), Code>);

impl Table {
    /// The table of the kernels in this binary, or that of others in a file.
    pub fn of(other: Option<&Path>) -> anyhow::Result<Table> {
        match other {
            None => Table::parse(SHIPPED).context("kernels/machine_code.tsv"),
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
                Table::parse(&text).with_context(|| path.display().to_string())
            }
        }
    }

    fn parse(text: &str) -> anyhow::Result<Table> {
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
        let row = |line: &str| -> anyhow::Result<((String, String), Code)> {
            let cells: Vec<&str> = line.split('\t').collect();
            let cell = |name: &str| -> anyhow::Result<&str> {
                let at = header.iter().position(|&column| column == name);
                at.and_then(|at| cells.get(at).copied()).with_context(|| format!("needs a column {name}"))
            };
            let number = |name: &str| -> anyhow::Result<f64> {
                let text = cell(name)?;
                let found = if text == "-" { Ok(0.0) } else { text.parse() };
                found.with_context(|| format!("{name}: got {text:?}; needs a number"))
            };
            let of_today = if header.contains(&"of_today") { number("of_today")? } else { 1.0 };
            let blocks = number("blocks_registers")?.min(number("blocks_threads")?).min(number("blocks_shared")?);
            let code = Code {
                threads: number("threads")?,
                blocks,
                instructions: number("instructions")?,
                in_loop: number("loop")?,
                tensor: number("tensor")?,
                products: number("products")?,
                wavefronts: number("wavefronts")?,
                stall: number("stall")?,
                stall_tensor: number("stall_tensor")?,
                stall_whole: number("stall_whole")?,
                per_mma: number("per_mma")?,
                per_block: number("per_block")?,
                of_today,
            };
            Ok(((cell("kernel")?.to_string(), cell("sm")?.to_string()), code))
        };
        Ok(Table(lines.map(row).collect::<anyhow::Result<_>>()?))
    }

    /// Cycles that a scheduler of the busiest multiprocessor needs for `blocks` blocks of `kernel`, of `flop` in all.
    pub fn cycles(&self, card: &Card, kernel: &str, blocks: u64, flop: u64) -> anyhow::Result<Cycles> {
        let key = (kernel.to_string(), card.architecture.to_string());
        let code = self.0.get(&key).with_context(|| format!("no row of {kernel} on sm_{}", card.architecture))?;
        Ok(code.cycles(mma_spacing(card.architecture), card.multiprocessors, blocks, flop))
    }
}

impl Code {
    fn cycles(&self, spacing: f64, multiprocessors: u32, blocks: u64, flop: u64) -> Cycles {
        let blocks = (blocks as f64 / self.of_today.max(1.0)).ceil().max(1.0) as u64;
        let warps = self.threads / WARP;
        let a_multiprocessor = blocks.div_ceil(u64::from(multiprocessors)) as f64;
        let resident = (self.blocks.min(a_multiprocessor) * warps / SCHEDULERS).max(1.0);
        let share = a_multiprocessor * warps / SCHEDULERS;
        let mmas_a_block = flop as f64 / FLOP_PER_MMA / blocks as f64;
        if self.tensor > 0.0 {
            let turns = mmas_a_block / warps / (self.tensor * self.products.max(1.0));
            let tensor = if self.products > 1.0 {
                WGMMA_SPACING * self.tensor * self.products
            } else {
                self.stall_tensor.max(spacing * self.tensor)
            };
            let turn = tensor.max(self.in_loop).max(SCHEDULERS * self.wavefronts).max(self.stall / resident);
            let outside = (self.instructions - self.in_loop).max((self.stall_whole - self.stall) / resident);
            return Cycles { whole: share * (turns * turn + outside), loops: share * turns * turn };
        }
        let issued = if self.per_mma > 0.0 { self.per_mma * mmas_a_block } else { self.per_block } / warps;
        let cycles = share * issued * (self.stall_whole / self.instructions / resident).max(1.0);
        Cycles { whole: cycles, loops: cycles }
    }
}

#[cfg(test)]
mod tests {
    use medsegx::backend::cuda::kernels::Kernel;

    use super::super::cards::CARDS;
    use super::*;

    #[test]
    fn every_kernel_has_machine_code_on_every_card() {
        let table = Table::of(None).expect("the shipped table is whole");
        for card in &CARDS {
            let runs = |kernel: &&Kernel| kernel.target() == "sm_80" || card.wgmma_share.is_some();
            for kernel in medsegx::backend::cuda::kernels::all().filter(runs) {
                let cycles = table.cycles(card, kernel.entry, 1, 0).expect("a row of each");
                assert!(cycles.whole >= cycles.loops, "{} on {}", kernel.entry, card.name);
            }
        }
    }

    #[test]
    fn the_longest_of_all_bounds_a_loop() {
        let code = Code { threads: 128.0, blocks: 2.0, in_loop: 70.0, tensor: 16.0, stall: 250.0, ..Code::default() };
        let code = Code { instructions: 170.0, stall_tensor: 90.0, stall_whole: 550.0, ..code };
        // One turn of each of four warps.
        let flop = |blocks: u64| blocks * 4 * 16 * FLOP_PER_MMA as u64;
        let of = |code: &Code, spacing, blocks| {
            let Cycles { whole, loops } = code.cycles(spacing, 10, blocks, flop(blocks));
            (loops, whole)
        };
        // A block an SM: one warp a scheduler, whose own schedule binds, 250 cycles and 300 outside.
        assert_eq!(of(&code, 6.0, 10), (250.0, 550.0));
        // Two hide each other; what one has left is still more than 16 times 6.
        assert_eq!(of(&code, 6.0, 20), (2.0 * 125.0, 2.0 * 275.0));
        // Their `mma.sync` 8 apart: 128 cycles.
        assert_eq!(of(&code, 8.0, 20), (2.0 * 128.0, 2.0 * 278.0));
        // 11 blocks on 10: the busiest has two.
        assert_eq!(of(&code, 6.0, 11), of(&code, 6.0, 20));
        // Four of today's blocks are one of this kernel, of as much work.
        let (merged, old) = (Code { of_today: 4.0, ..code }, flop(20));
        let Cycles { whole, loops } = merged.cycles(6.0, 10, 80, old);
        assert_eq!((loops, whole), of(&code, 6.0, 20));
        // The same work by a warpgroup: an instruction is 16 products of 4 cycles.
        let warpgroup = Code { products: 16.0, tensor: 1.0, ..code };
        assert_eq!(of(&warpgroup, 6.0, 20), (2.0 * 125.0, 2.0 * 275.0));
        let short = Code { stall: 50.0, stall_whole: 350.0, in_loop: 20.0, instructions: 120.0, ..warpgroup };
        assert_eq!(of(&short, 6.0, 20).0, 2.0 * 64.0);
        // Four schedulers whose warps pass over shared memory 52 times each.
        assert_eq!(of(&Code { wavefronts: 52.0, ..short }, 6.0, 20).0, 2.0 * 208.0);
        // A loop of more instructions than cycles of anything else.
        assert_eq!(of(&Code { in_loop: 260.0, instructions: 260.0, ..code }, 6.0, 10).0, 260.0);
    }

    #[test]
    fn tables_that_lack_something_are_refused() {
        let shipped = Table::parse(SHIPPED).expect("the shipped table is whole");
        assert_eq!(shipped.0.len(), SHIPPED.lines().count() - 1);
        for (from, to) in [("stall_whole", "other"), ("\t90\t128\t", "\t90\tmany\t")] {
            assert!(SHIPPED.contains(from), "{from}");
            assert!(Table::parse(&SHIPPED.replacen(from, to, 1)).is_err(), "{from}");
        }
    }
}
