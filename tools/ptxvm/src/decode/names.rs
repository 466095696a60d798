//! Registers, variables and literals of one entry: names to rows of the register file.

use std::collections::HashMap;

use super::Refusal;
use super::entry::{Param, Special, SymbolRow};
use crate::isa::{Address, Pred, R32, R64, Reg};
use crate::machine::SHARED_BASE;
use crate::parse::{Operand, RawVar, Space, Type};

/// Rows an entry may use: beyond it the text is hostile (a row is 128 or 256 bytes in every warp).
const MAX_ROWS: u32 = 1 << 16;

/// Kind of a register in the packed form of the initialisation lists.
const KIND_SHIFT: u32 = 30;

/// What a name stands for besides registers.
#[derive(Debug, Clone, Copy)]
enum Symbol {
    /// Offset in parameter space.
    Param(u32),
    /// Offset in the shared window.
    Shared(u32),
    /// The `.extern .shared` array, placed when all others are known.
    Dynamic,
    /// A variable in global memory, by its index in the module.
    Global(u32),
    /// A shared variable of the module that this entry has not used so far.
    Unplaced(u32),
}

#[derive(Default)]
struct Scope<'a> {
    id: u32,
    regs: HashMap<&'a str, Type>,
    families: HashMap<&'a str, (Type, u64)>,
    symbols: HashMap<&'a str, Symbol>,
}

/// Name tables of one entry and the rows given out so far.
#[derive(Default)]
pub struct Names<'a> {
    scopes: Vec<Scope<'a>>,
    scopes_opened: u32,
    rows: HashMap<(u32, &'a str), Reg>,
    constants: HashMap<(bool, u64), Reg>,
    specials: HashMap<Special, Reg>,
    symbol_rows: HashMap<u32, R64>,
    /// Rows given out: 32-bit, 64-bit, predicates.
    pub count: [u32; 3],
    /// Name of each row; empty for constants.
    pub row_names: [Vec<String>; 3],
    /// Whether the instruction at hand may read special registers.
    pub specials_allowed: bool,
    /// Registers read by the instruction at hand, packed.
    pub uses: Vec<u32>,
    /// Registers written by the instruction at hand, packed.
    pub defs: Vec<u32>,
    labels: HashMap<(u32, &'a str), u32>,
    /// Bytes of shared memory given out so far.
    pub shared_bytes: u32,
    dynamic_align: Option<u32>,
    dynamic_rows: Vec<Reg>,
    module_shared: Vec<RawVar<'a>>,
}

impl<'a> Names<'a> {
    /// Tables with the outermost scope: the module's variables and the entry's parameters.
    pub fn new(vars: &[RawVar<'a>], params: &[Param], raw_names: &[&'a str]) -> Result<Self, Refusal> {
        let mut names = Names::default();
        names.open();
        let mut globals = 0;
        for var in vars {
            let symbol = match var.space {
                Space::Shared if var.external => Symbol::Dynamic,
                Space::Shared => {
                    names.module_shared.push(var.clone());
                    Symbol::Unplaced(names.module_shared.len() as u32 - 1)
                }
                Space::Const | Space::Global => {
                    globals += 1;
                    Symbol::Global(globals - 1)
                }
            };
            if var.space == Space::Shared && var.external {
                names.dynamic_align = Some(names.dynamic_align.unwrap_or(1).max(var.align));
            }
            names.define(var.name, symbol)?;
        }
        for (param, name) in params.iter().zip(raw_names) {
            names.define(name, Symbol::Param(param.offset))?;
        }
        Ok(names)
    }

    /// `{`
    pub fn open(&mut self) {
        self.scopes.push(Scope { id: self.scopes_opened, ..Scope::default() });
        self.scopes_opened += 1;
    }

    /// `}`
    pub fn close(&mut self) {
        self.scopes.pop();
    }

    /// Places a label of scope number `scope` (counted by opening braces) at an instruction.
    pub fn label(&mut self, scope: u32, name: &'a str, at: u32) -> Result<(), Refusal> {
        match self.labels.insert((scope, name), at) {
            None => Ok(()),
            Some(_) => Err(format!("label {name} is defined twice")),
        }
    }

    /// The instruction a label stands at.
    pub fn target(&self, name: &'a str) -> Result<u32, Refusal> {
        let found = self.scopes.iter().rev().find_map(|s| self.labels.get(&(s.id, name)));
        found.copied().ok_or_else(|| format!("unknown label {name}"))
    }

    fn define(&mut self, name: &'a str, symbol: Symbol) -> Result<(), Refusal> {
        let fresh = self.scopes.last_mut().is_some_and(|scope| scope.symbols.insert(name, symbol).is_none());
        if fresh { Ok(()) } else { Err(format!("{name} is defined twice")) }
    }

    /// `.reg`
    pub fn declare(&mut self, ty: Type, name: &'a str, count: Option<u64>) -> Result<(), Refusal> {
        let scope = self.scopes.last_mut().ok_or("register outside of a body")?;
        let in_family = |register: &str, family: &str, n: u64| {
            register.strip_prefix(family).and_then(|index| index.parse::<u64>().ok()).is_some_and(|index| index < n)
        };
        let fresh = match count {
            Some(n) => {
                !scope.regs.keys().any(|register| in_family(register, name, n))
                    && scope.families.insert(name, (ty, n)).is_none()
            }
            None => {
                !scope.families.iter().any(|(family, (_, n))| in_family(name, family, *n))
                    && scope.regs.insert(name, ty).is_none()
            }
        };
        if fresh { Ok(()) } else { Err(format!("register {name} is declared twice")) }
    }

    /// A shared variable of the entry.
    pub fn declare_shared(&mut self, var: &RawVar<'a>) -> Result<(), Refusal> {
        if var.space != Space::Shared {
            return Err("only .shared variables are known inside an entry".into());
        }
        let offset = self.place(var)?;
        self.define(var.name, Symbol::Shared(offset))
    }

    fn place(&mut self, var: &RawVar<'a>) -> Result<u32, Refusal> {
        let start = u64::from(self.shared_bytes).next_multiple_of(u64::from(var.align));
        let end = start + var.bytes;
        if end > 1 << 20 {
            return Err(format!("{} makes more than 1 MiB of shared memory", var.name));
        }
        self.shared_bytes = end as u32;
        Ok(start as u32)
    }

    /// The alignment of the dynamic array, when the entry uses it.
    pub fn dynamic_align(&self) -> Option<u32> {
        self.dynamic_align.filter(|_| !self.dynamic_rows.is_empty())
    }

    /// Rows that hold the address of the dynamic array.
    pub fn dynamic_rows(&self) -> &[Reg] {
        &self.dynamic_rows
    }

    /// Constant rows and their values.
    pub fn constants(&self) -> impl Iterator<Item = (Reg, u64)> {
        self.constants.iter().map(|(&(_, value), &reg)| (reg, value))
    }

    /// Special registers in use.
    pub fn specials(&self) -> impl Iterator<Item = (Special, Reg)> {
        self.specials.iter().map(|(&special, &reg)| (special, reg))
    }

    /// Rows that hold addresses of module variables.
    pub fn symbol_rows(&self) -> impl Iterator<Item = SymbolRow> {
        self.symbol_rows.iter().map(|(&variable, &row)| SymbolRow { row, variable })
    }

    fn fresh(&mut self, bits: u32, name: &str) -> Result<Reg, Refusal> {
        let kind = match bits {
            1 => 2,
            64 => 1,
            _ => 0,
        };
        let row = self.count[kind];
        if row >= MAX_ROWS {
            return Err("the entry uses too many registers".into());
        }
        self.count[kind] += 1;
        self.row_names[kind].push(name.to_owned());
        Ok(match kind {
            0 => Reg::R32(R32(row)),
            1 => Reg::R64(R64(row)),
            _ => Reg::Pred(Pred(row)),
        })
    }

    fn register(&mut self, name: &'a str) -> Result<Option<(Reg, Type)>, Refusal> {
        let Some((scope, ty)) = self.scopes.iter().rev().find_map(|s| s.register(name).map(|ty| (s.id, ty))) else {
            return Ok(None);
        };
        if let Some(&reg) = self.rows.get(&(scope, name)) {
            return Ok(Some((reg, ty)));
        }
        let reg = self.fresh(ty.bits(), name)?;
        self.rows.insert((scope, name), reg);
        Ok(Some((reg, ty)))
    }

    /// A predicate that is read.
    pub fn pred_use(&mut self, name: &'a str) -> Result<Pred, Refusal> {
        let pred = self.pred(name)?;
        self.uses.push(packed(Reg::Pred(pred)));
        Ok(pred)
    }

    /// A predicate that is written; `None` for `_`.
    pub fn pred_def(&mut self, name: &'a str) -> Result<Option<Pred>, Refusal> {
        if name == "_" {
            return Ok(None);
        }
        let pred = self.pred(name)?;
        self.defs.push(packed(Reg::Pred(pred)));
        Ok(Some(pred))
    }

    fn pred(&mut self, name: &'a str) -> Result<Pred, Refusal> {
        match self.register(name)? {
            Some((Reg::Pred(pred), _)) => Ok(pred),
            Some(_) => Err(format!("{name} is no predicate")),
            None => Err(format!("unknown register {name}")),
        }
    }

    /// A row with a constant in every lane.
    pub fn constant(&mut self, wide: bool, value: u64) -> Result<Reg, Refusal> {
        if let Some(&reg) = self.constants.get(&(wide, value)) {
            return Ok(reg);
        }
        let reg = self.fresh(if wide { 64 } else { 32 }, "")?;
        self.constants.insert((wide, value), reg);
        Ok(reg)
    }

    /// Resolves a source operand of type `ty`; `wider` allows registers wider than the type.
    pub fn source(&mut self, operand: &Operand<'a>, ty: Type, wider: bool) -> Result<Reg, Refusal> {
        let name = match operand {
            Operand::Name("WARP_SZ") => return self.literal(&Operand::Int(32), ty),
            Operand::Name(name) => *name,
            Operand::Int(_) | Operand::F32(_) | Operand::F64(_) => return self.literal(operand, ty),
            _ => return Err(format!("a register or number of type {ty:?} is expected")),
        };
        if let Some((reg, declared)) = self.register(name)? {
            check_type(name, declared, ty, wider)?;
            self.uses.push(packed(reg));
            return Ok(reg);
        }
        if let Some(special) = Special::from_name(name) {
            if !self.specials_allowed {
                return Err(format!("{name} can be read by mov and cvt only"));
            }
            return self.special(special, ty, wider);
        }
        self.address_of(name, ty.bits() == 64)
    }

    fn special(&mut self, special: Special, ty: Type, wider: bool) -> Result<Reg, Refusal> {
        let bits = if special.wide() { 64 } else { 32 };
        if ty.bits() != bits && !(wider && ty.bits() < bits) {
            return Err(format!("this special register has {bits} bits, the type {}", ty.bits()));
        }
        if let Some(&reg) = self.specials.get(&special) {
            return Ok(reg);
        }
        let reg = self.fresh(bits, "")?;
        self.specials.insert(special, reg);
        Ok(reg)
    }

    fn symbol(&mut self, name: &'a str) -> Result<Symbol, Refusal> {
        let found = self.scopes.iter().rev().find_map(|s| s.symbols.get(name)).copied();
        let symbol = found.ok_or_else(|| format!("unknown name {name}"))?;
        let Symbol::Unplaced(index) = symbol else { return Ok(symbol) };
        let var = self.module_shared[index as usize].clone();
        let placed = Symbol::Shared(self.place(&var)?);
        self.scopes[0].symbols.insert(name, placed);
        Ok(placed)
    }

    /// A row with the address of a variable.
    fn address_of(&mut self, name: &'a str, wide: bool) -> Result<Reg, Refusal> {
        match self.symbol(name)? {
            Symbol::Param(offset) => self.constant(wide, u64::from(offset)),
            Symbol::Shared(offset) => self.constant(wide, u64::from(SHARED_BASE + offset)),
            Symbol::Dynamic => {
                let reg = self.fresh(if wide { 64 } else { 32 }, "")?;
                self.dynamic_rows.push(reg);
                Ok(reg)
            }
            Symbol::Global(_) if !wide => Err(format!("the address of {name} has 64 bits")),
            Symbol::Global(index) => {
                if let Some(&row) = self.symbol_rows.get(&index) {
                    return Ok(Reg::R64(row));
                }
                let reg = self.fresh(64, "")?;
                if let Reg::R64(row) = reg {
                    self.symbol_rows.insert(index, row);
                }
                Ok(reg)
            }
            Symbol::Unplaced(_) => Err(format!("{name} has no place")),
        }
    }

    /// Resolves `[base+offset]`.
    pub fn address(&mut self, operand: &Operand<'a>) -> Result<Address, Refusal> {
        let Operand::Mem(base, offset) = operand else { return Err("an address in brackets is expected".into()) };
        let Some(name) = *base else { return Ok(Address { base: None, offset: *offset }) };
        if let Some((reg, declared)) = self.register(name)? {
            if declared.float() || matches!(reg, Reg::Pred(_)) || declared.bits() < 32 {
                return Err(format!("{name} cannot hold an address"));
            }
            self.uses.push(packed(reg));
            return Ok(Address { base: Some(reg), offset: *offset });
        }
        match self.symbol(name)? {
            Symbol::Param(start) => Ok(Address { base: None, offset: i64::from(start).wrapping_add(*offset) }),
            Symbol::Shared(start) => {
                Ok(Address { base: None, offset: i64::from(SHARED_BASE + start).wrapping_add(*offset) })
            }
            Symbol::Dynamic => Ok(Address { base: Some(self.address_of(name, false)?), offset: *offset }),
            _ => Ok(Address { base: Some(self.address_of(name, true)?), offset: *offset }),
        }
    }

    /// Resolves a destination; `None` for `_`. `wider` allows registers wider than the type.
    pub fn destination(&mut self, operand: &Operand<'a>, ty: Type, wider: bool) -> Result<Option<Reg>, Refusal> {
        let Operand::Name(name) = operand else { return Err("a register is expected as destination".into()) };
        if *name == "_" {
            return Ok(None);
        }
        let (reg, declared) = self.register(name)?.ok_or_else(|| format!("unknown register {name}"))?;
        check_type(name, declared, ty, wider)?;
        self.defs.push(packed(reg));
        Ok(Some(reg))
    }

    fn literal(&mut self, operand: &Operand<'a>, ty: Type) -> Result<Reg, Refusal> {
        let bits = ty.bits();
        let value = match *operand {
            Operand::Int(v) if !matches!(ty, Type::F32 | Type::F64 | Type::F16 | Type::BF16 | Type::Pred) => {
                let fits = bits == 64 || (v >= -(1i64 << (bits - 1)) && v < 1i64 << bits);
                if !fits {
                    return Err(format!("{v} does not fit {bits} bits"));
                }
                if bits == 64 { v as u64 } else { v as u64 & ((1 << bits) - 1) }
            }
            Operand::F32(v) if matches!(ty, Type::F32 | Type::B32) => u64::from(v),
            Operand::F64(v) if matches!(ty, Type::F64 | Type::B64) => v,
            Operand::F64(v) if ty == Type::F32 => u64::from((f64::from_bits(v) as f32).to_bits()),
            _ => return Err(format!("this number does not fit type {ty:?}")),
        };
        self.constant(bits == 64, value)
    }
}

impl<'a> Scope<'a> {
    fn register(&self, name: &'a str) -> Option<Type> {
        if let Some(&ty) = self.regs.get(name) {
            return Some(ty);
        }
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        (1..=digits.min(10)).find_map(|n| {
            let (prefix, number) = name.split_at(name.len() - n);
            let &(ty, count) = self.families.get(prefix)?;
            let canonical = number == "0" || !number.starts_with('0');
            (canonical && number.parse::<u64>().ok()? < count).then_some(ty)
        })
    }
}

/// As ptxas has it: widths must agree, and an integer is no float; untyped bits go with both.
fn check_type(name: &str, declared: Type, ty: Type, wider: bool) -> Result<(), Refusal> {
    let (have, need) = (declared.bits(), ty.bits());
    let width = have == need || (wider && have > need && ty != Type::Pred && declared != Type::Pred);
    let untyped = |t: Type| matches!(t, Type::B8 | Type::B16 | Type::B32 | Type::B64);
    let kind = wider || untyped(declared) || untyped(ty) || declared.float() == ty.float();
    if width && kind && (declared == Type::Pred) == (ty == Type::Pred) {
        return Ok(());
    }
    Err(format!("register {name} is {declared:?}, the instruction takes {ty:?}"))
}

fn packed(reg: Reg) -> u32 {
    match reg {
        Reg::R32(r) => r.0,
        Reg::R64(r) => r.0 | 1 << KIND_SHIFT,
        Reg::Pred(r) => r.0 | 2 << KIND_SHIFT,
    }
}

/// A packed register as a row of the initialisation table of an entry with these row counts.
pub fn unpack(packed: u32, count: [u32; 3]) -> u32 {
    let row = packed & ((1 << KIND_SHIFT) - 1);
    match packed >> KIND_SHIFT {
        0 => row,
        1 => count[0] + row,
        _ => count[0] + count[1] + row,
    }
}
