//! Statements to instructions with resolved registers. Whatever is not known by name is refused.

mod arith;
mod data;
mod entry;
mod names;
mod warpwide;

pub use entry::{Entry, Param, Special};
pub use names::Names;

use crate::isa::{Op, PredSrc, R32, R64, Reg};
use crate::parse::{Operand, RawInst, Type};

/// Why an instruction was refused.
pub type Refusal = String;

/// The modifiers after the opcode's first word, consumed one by one; what is left over is unknown.
pub struct Mods<'a>(Vec<&'a str>);

impl<'a> Mods<'a> {
    /// Whether `name` stands among the modifiers; takes it out.
    pub fn take(&mut self, name: &str) -> bool {
        match self.0.iter().position(|m| *m == name) {
            Some(at) => {
                self.0.remove(at);
                true
            }
            None => false,
        }
    }

    /// Whether a modifier is there.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    /// Takes two modifiers that must follow each other.
    pub fn take_pair(&mut self, first: &str, second: &str) -> bool {
        let at = self.0.windows(2).position(|pair| pair == [first, second]);
        at.is_some_and(|at| self.0.drain(at..at + 2).count() == 2)
    }

    /// Takes the first of `table`'s names that is present.
    pub fn choose<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        table.iter().find(|(name, _)| self.take(name)).map(|&(_, value)| value)
    }

    /// As `choose`, but one of them must be there.
    pub fn must<T: Copy>(&mut self, what: &str, table: &[(&str, T)]) -> Result<T, Refusal> {
        self.choose(table).ok_or_else(|| format!("no {what} that is known"))
    }

    /// Takes the type at the end.
    pub fn ty(&mut self) -> Result<Type, Refusal> {
        let last = self.0.pop().ok_or("the type is missing")?;
        Type::from_name(last).ok_or_else(|| format!("unknown type .{last}"))
    }

    fn finish(&self) -> Result<(), Refusal> {
        match self.0.first() {
            None => Ok(()),
            Some(m) => Err(format!("unknown or misplaced modifier .{m}")),
        }
    }
}

/// The operands of one instruction and the names they resolve in; records what is read and written.
pub struct Ctx<'n, 'a> {
    names: &'n mut Names<'a>,
    operands: &'n [Operand<'a>],
}

/// Decodes one instruction. Registers it reads and writes are left in `names`.
pub fn decode<'a>(names: &mut Names<'a>, inst: &RawInst<'a>) -> Result<(Op, Option<PredSrc>), Refusal> {
    let mut words = inst.opcode.split('.');
    let head = words.next().unwrap_or("");
    let mut mods = Mods(words.collect());
    let guard = match inst.guard {
        Some((name, negated)) => Some(PredSrc { pred: names.pred_use(name)?, negated }),
        None => None,
    };
    names.specials_allowed = matches!(head, "mov" | "cvt");
    let mut ctx = Ctx { names, operands: &inst.operands };
    let op = match head {
        "add" | "sub" | "mul" | "mad" | "fma" | "div" | "rem" | "min" | "max" | "and" | "or" | "xor" | "shl"
        | "shr" | "not" | "neg" | "abs" | "popc" | "clz" | "brev" | "cnot" | "bfe" | "bfi" | "lop3" | "prmt"
        | "shf" | "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "tanh" | "sin" | "cos" => {
            arith::decode(head, &mut mods, &mut ctx)?
        }
        "mov" | "cvt" | "cvta" | "ld" | "st" | "setp" | "set" | "selp" | "slct" | "atom" | "red" | "prefetch"
        | "prefetchu" => data::decode(head, &mut mods, &mut ctx)?,
        _ => warpwide::decode(head, &mut mods, &mut ctx)?,
    };
    mods.finish()?;
    Ok((op, guard))
}

impl<'a> Ctx<'_, 'a> {
    /// Checks the number of operands.
    pub fn arity(&self, range: std::ops::RangeInclusive<usize>) -> Result<(), Refusal> {
        let n = self.operands.len();
        if range.contains(&n) {
            return Ok(());
        }
        Err(format!("{n} operands where {} to {} are expected", range.start(), range.end()))
    }

    /// The `i`-th operand.
    pub fn operand(&self, i: usize) -> Result<&Operand<'a>, Refusal> {
        self.operands.get(i).ok_or_else(|| format!("operand {} is missing", i + 1))
    }

    /// A source of exactly the type's width.
    pub fn src(&mut self, i: usize, ty: Type) -> Result<Reg, Refusal> {
        let operand = self.operands.get(i).ok_or_else(|| format!("operand {} is missing", i + 1))?;
        self.names.source(operand, ty, false)
    }

    /// A source whose register may be wider than the type (`st`, `cvt`).
    pub fn src_wide(&mut self, i: usize, ty: Type) -> Result<Reg, Refusal> {
        let operand = self.operands.get(i).ok_or_else(|| format!("operand {} is missing", i + 1))?;
        self.names.source(operand, ty, true)
    }

    /// A source in a 32-bit row.
    pub fn src32(&mut self, i: usize, ty: Type) -> Result<R32, Refusal> {
        row32(self.src(i, ty)?)
    }

    /// A source in a 64-bit row.
    pub fn src64(&mut self, i: usize, ty: Type) -> Result<R64, Refusal> {
        row64(self.src(i, ty)?)
    }

    /// A destination of exactly the type's width.
    pub fn dst(&mut self, i: usize, ty: Type) -> Result<Reg, Refusal> {
        let operand = self.operands.get(i).ok_or_else(|| format!("operand {} is missing", i + 1))?;
        self.names.destination(operand, ty, false)?.ok_or_else(|| "`_` is not allowed here".into())
    }

    /// A destination in a 32-bit row.
    pub fn dst32(&mut self, i: usize, ty: Type) -> Result<R32, Refusal> {
        row32(self.dst(i, ty)?)
    }

    /// A destination in a 64-bit row.
    pub fn dst64(&mut self, i: usize, ty: Type) -> Result<R64, Refusal> {
        row64(self.dst(i, ty)?)
    }

    /// A predicate that is read, `p` or `!p`.
    pub fn pred(&mut self, i: usize) -> Result<PredSrc, Refusal> {
        match self.operand(i)? {
            Operand::Name(name) => {
                let name = *name;
                Ok(PredSrc { pred: self.names.pred_use(name)?, negated: false })
            }
            Operand::Not(name) => {
                let name = *name;
                Ok(PredSrc { pred: self.names.pred_use(name)?, negated: true })
            }
            _ => Err(format!("operand {} must be a predicate", i + 1)),
        }
    }

    /// A brace list of exactly `n` 32-bit sources.
    pub fn src_list(&mut self, i: usize, n: usize, ty: Type) -> Result<Vec<R32>, Refusal> {
        let elements = self.list(i, n)?;
        elements.iter().map(|e| row32(self.names.source(e, ty, false)?)).collect()
    }

    /// A brace list of exactly `n` 32-bit destinations.
    pub fn dst_list(&mut self, i: usize, n: usize, ty: Type) -> Result<Vec<R32>, Refusal> {
        let elements = self.list(i, n)?;
        let mut rows = Vec::with_capacity(n);
        for element in &elements {
            match self.names.destination(element, ty, false)? {
                Some(reg) => rows.push(row32(reg)?),
                None => return Err("`_` is not allowed here".into()),
            }
        }
        Ok(rows)
    }

    fn list(&self, i: usize, n: usize) -> Result<Vec<Operand<'a>>, Refusal> {
        match self.operand(i)? {
            Operand::Vector(elements) if elements.len() == n => Ok(elements.clone()),
            _ => Err(format!("operand {} must be a list of {n} registers", i + 1)),
        }
    }
}

/// The 32-bit row, or a refusal.
pub fn row32(reg: Reg) -> Result<R32, Refusal> {
    match reg {
        Reg::R32(r) => Ok(r),
        _ => Err("a register of at most 32 bits is needed".into()),
    }
}

/// The 64-bit row, or a refusal.
pub fn row64(reg: Reg) -> Result<R64, Refusal> {
    match reg {
        Reg::R64(r) => Ok(r),
        _ => Err("a 64-bit register is needed".into()),
    }
}
