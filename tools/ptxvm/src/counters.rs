//! What a launch cost: instructions by class, bank conflicts, sectors; in all and for every PTX line.

use std::fmt;

use crate::isa::{Class, Inst, Op};
use crate::module::Inner;

/// All classes, in the order of the tables.
pub const CLASSES: [Class; 20] = [
    Class::Mma,
    Class::Ldmatrix,
    Class::CpAsync,
    Class::LoadShared,
    Class::StoreShared,
    Class::LoadGlobal,
    Class::StoreGlobal,
    Class::Atomic,
    Class::LoadOther,
    Class::Float,
    Class::Half,
    Class::Integer,
    Class::Mufu,
    Class::Convert,
    Class::Move,
    Class::Compare,
    Class::Shuffle,
    Class::Branch,
    Class::Barrier,
    Class::Other,
];

/// Counts of one instruction while a launch runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Times a warp issued it.
    pub issued: u64,
    /// Threads that executed it.
    pub threads: u64,
    /// Passes over shared memory, and how few would do.
    pub wavefronts: u64,
    pub wavefronts_ideal: u64,
    /// 32-byte sectors of global memory, and how few would hold the bytes.
    pub sectors: u64,
    pub sectors_ideal: u64,
}

impl Tally {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Tally) {
        self.issued += other.issued;
        self.threads += other.threads;
        self.wavefronts += other.wavefronts;
        self.wavefronts_ideal += other.wavefronts_ideal;
        self.sectors += other.sectors;
        self.sectors_ideal += other.sectors_ideal;
    }
}

/// What one PTX line cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Line in the PTX text, from 1.
    pub line: u32,
    /// That line, trimmed.
    pub text: String,
    /// Its class.
    pub class: Class,
    /// Times a warp issued it.
    pub issued: u64,
    /// Threads that executed it.
    pub threads: u64,
    /// Passes over shared memory.
    pub wavefronts: u64,
    /// Passes that conflict-free addresses would have needed.
    pub wavefronts_ideal: u64,
    /// 32-byte sectors of global memory that were touched.
    pub sectors: u64,
    /// Sectors that the same bytes would fill.
    pub sectors_ideal: u64,
}

/// Totals of a launch. Everything is counted in warp instructions unless it says threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    classes: [u64; CLASSES.len()],
    /// Products that a warp's instructions on matrices are for: one of each `mma`, N / 8 of a `wgmma`.
    pub products: u64,
    /// Instructions issued.
    pub issued: u64,
    /// Instructions times active threads.
    pub threads: u64,
    /// Passes over shared memory.
    pub wavefronts: u64,
    /// Passes that conflict-free addresses would have needed.
    pub wavefronts_ideal: u64,
    /// 32-byte sectors of global memory that were touched.
    pub sectors: u64,
    /// Sectors that the same bytes would fill.
    pub sectors_ideal: u64,
    /// Every line that has an instruction, in the order of the text.
    pub lines: Vec<Line>,
}

impl Counters {
    /// Instructions of one class.
    pub fn class(&self, class: Class) -> u64 {
        self.classes[class as usize]
    }

    /// All instructions for each product of an `mma`'s size; `None` without any.
    pub fn instructions_per_mma(&self) -> Option<f64> {
        (self.products > 0).then(|| self.issued as f64 / self.products as f64)
    }

    /// Passes over shared memory that bank conflicts cost.
    pub fn bank_conflicts(&self) -> u64 {
        self.wavefronts - self.wavefronts_ideal
    }

    pub(crate) fn collect(module: &Inner, code: &[Inst], tallies: &[Tally]) -> Self {
        let mut all = Counters::default();
        for (inst, t) in code.iter().zip(tallies) {
            all.classes[inst.class as usize] += t.issued;
            all.products += match &inst.op {
                Op::Mma(_) => t.issued,
                Op::Wgmma(wgmma) => t.issued * (wgmma.n / 8) as u64,
                _ => 0,
            };
            all.issued += t.issued;
            all.threads += t.threads;
            all.wavefronts += t.wavefronts;
            all.wavefronts_ideal += t.wavefronts_ideal;
            all.sectors += t.sectors;
            all.sectors_ideal += t.sectors_ideal;
            all.lines.push(Line {
                line: inst.line,
                text: module.line(inst.line).to_owned(),
                class: inst.class,
                issued: t.issued,
                threads: t.threads,
                wavefronts: t.wavefronts,
                wavefronts_ideal: t.wavefronts_ideal,
                sectors: t.sectors,
                sectors_ideal: t.sectors_ideal,
            });
        }
        all
    }

    /// The lines that were issued most often, at most `n`.
    pub fn hot(&self, n: usize) -> Vec<&Line> {
        let mut lines: Vec<&Line> = self.lines.iter().filter(|l| l.issued > 0).collect();
        lines.sort_by_key(|l| (std::cmp::Reverse(l.issued + l.wavefronts + l.sectors), l.line));
        lines.truncate(n);
        lines
    }
}

/// What a launch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// CTAs that ran.
    pub ctas: u64,
    /// Warps of a CTA.
    pub warps: u32,
    /// What it cost.
    pub counters: Counters,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counters;
        writeln!(f, "{} CTAs of {} warps, {} instructions", self.ctas, self.warps, c.issued)?;
        for class in CLASSES {
            let n = c.class(class);
            if n > 0 {
                writeln!(f, "  {:<12} {n:>12}  {:>5.1} %", format!("{class:?}"), 100.0 * n as f64 / c.issued as f64)?;
            }
        }
        if let Some(per) = c.instructions_per_mma() {
            writeln!(f, "instructions per mma {per:.2}")?;
        }
        writeln!(f, "shared wavefronts {} of {} ideal", c.wavefronts, c.wavefronts_ideal)?;
        writeln!(f, "global sectors {} of {} ideal", c.sectors, c.sectors_ideal)?;
        writeln!(
            f,
            "{:>5} {:>10} {:>10} {:>10} {:>10} {:>10}  text",
            "line", "issued", "waves", "ideal", "sectors", "ideal"
        )?;
        for l in c.hot(16) {
            let (waves, ideal) = (l.wavefronts, l.wavefronts_ideal);
            let (sectors, least) = (l.sectors, l.sectors_ideal);
            writeln!(
                f,
                "{:>5} {:>10} {waves:>10} {ideal:>10} {sectors:>10} {least:>10}  {}",
                l.line, l.issued, l.text
            )?;
        }
        Ok(())
    }
}
