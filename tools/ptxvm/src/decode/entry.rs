//! A decoded entry: code, parameters, launch bounds and the rows to fill before it runs.

use super::decode;
use super::names::{Names, unpack};
use crate::isa::{Access, Inst, MemSpace, Op, R64, Reg};
use crate::machine::SHARED_BASE;
use crate::parse::{Fail, Item, RawEntry, RawVar};

/// A kernel parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Its name in the PTX.
    pub name: String,
    /// Byte offset in the parameter block.
    pub offset: u32,
    /// Size in bytes.
    pub bytes: u32,
    /// Alignment in bytes.
    pub align: u32,
}

/// Special registers; the number is the dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named after the registers")]
pub enum Special {
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    Laneid,
    Warpid,
    Nwarpid,
    LanemaskEq,
    LanemaskLt,
    LanemaskLe,
    LanemaskGt,
    LanemaskGe,
    DynamicSmemSize,
    TotalSmemSize,
    /// Reads as zero: there is one SM and no time.
    Zero32,
    /// As `Zero32`, 64 bits.
    Zero64,
}

impl Special {
    /// The register of that name.
    pub fn from_name(name: &str) -> Option<Special> {
        if let Some((head, axis)) = name.rsplit_once('.') {
            let axis = ["x", "y", "z"].iter().position(|a| *a == axis)?;
            return Some(match head {
                "%tid" => Special::Tid(axis),
                "%ntid" => Special::Ntid(axis),
                "%ctaid" => Special::Ctaid(axis),
                "%nctaid" => Special::Nctaid(axis),
                _ => return None,
            });
        }
        Some(match name {
            "%laneid" => Special::Laneid,
            "%warpid" => Special::Warpid,
            "%nwarpid" => Special::Nwarpid,
            "%lanemask_eq" => Special::LanemaskEq,
            "%lanemask_lt" => Special::LanemaskLt,
            "%lanemask_le" => Special::LanemaskLe,
            "%lanemask_gt" => Special::LanemaskGt,
            "%lanemask_ge" => Special::LanemaskGe,
            "%dynamic_smem_size" => Special::DynamicSmemSize,
            "%total_smem_size" => Special::TotalSmemSize,
            "%smid" | "%clock" | "%clock_hi" => Special::Zero32,
            "%clock64" | "%globaltimer" => Special::Zero64,
            _ => return None,
        })
    }

    /// Whether it has 64 bits.
    pub fn wide(self) -> bool {
        self == Special::Zero64
    }
}

/// A row that gets the address of a module variable at launch.
#[derive(Debug, Clone, Copy)]
pub struct SymbolRow {
    /// The row.
    pub row: R64,
    /// Index among the module's `.global` and `.const` variables.
    pub variable: u32,
}

/// A decoded entry.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Line of its `.entry`.
    pub line: u32,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Bytes of the parameter block.
    pub param_bytes: u32,
    /// `.maxntid`
    pub maxntid: Option<[u32; 3]>,
    /// `.reqntid`
    pub reqntid: Option<[u32; 3]>,
    /// `.minnctapersm`
    pub minnctapersm: Option<u32>,
    /// `.maxnreg`
    pub maxnreg: Option<u32>,
    /// Bytes of static shared memory.
    pub static_shared: u32,
    /// Whether it uses an `.extern .shared` array; without one a launch may not ask for dynamic shared memory.
    pub dynamic_shared: bool,
    pub(crate) code: Vec<Inst>,
    pub(crate) rows: [u32; 3],
    pub(crate) row_names: Vec<String>,
    pub(crate) constants: Vec<(Reg, u64)>,
    pub(crate) specials: Vec<(Special, Reg)>,
    pub(crate) symbols: Vec<SymbolRow>,
    /// Offset of the dynamic array in shared memory.
    pub(crate) dynamic_start: u32,
    /// Smallest shared access in bytes (at most 4): the granule of the race check.
    pub(crate) shared_granule: u32,
    /// Likewise of global memory.
    pub(crate) global_granule: u32,
    /// Whether CTAs may hand data to each other, so that races among them cannot be told.
    pub(crate) orders_ctas: bool,
    /// Whether it may start before the grids ahead have ended, and waits for them.
    pub(crate) waits_for_grids: bool,
}

impl Entry {
    /// Decodes the body of an entry.
    pub fn decode(raw: &RawEntry<'_>, vars: &[RawVar<'_>]) -> Result<Entry, Fail> {
        let (params, param_bytes) = layout(raw)?;
        let raw_names: Vec<&str> = raw.params.iter().map(|p| p.name).collect();
        let mut names = Names::new(vars, &params, &raw_names).map_err(|what| Fail::new(raw.line, what))?;
        labels(&mut names, &raw.body)?;
        names.open();
        let mut code = Vec::new();
        for item in &raw.body {
            match item {
                Item::Open => names.open(),
                Item::Close => names.close(),
                Item::Label { .. } => {}
                Item::Reg { ty, name, count, line } => {
                    names.declare(*ty, name, *count).map_err(|what| Fail::new(*line, what))?;
                }
                Item::Var(var) => names.declare_shared(var).map_err(|what| Fail::new(var.line, what))?,
                Item::Inst(inst) => {
                    names.uses.clear();
                    names.defs.clear();
                    let (op, guard) = decode(&mut names, inst).map_err(|what| Fail::new(inst.line, what))?;
                    let class = op.class();
                    let (uses, defs) = (names.uses.as_slice().into(), names.defs.as_slice().into());
                    code.push(Inst { op, guard, line: inst.line, class, uses, defs });
                }
            }
        }
        Ok(assemble(raw, params, param_bytes, names, code))
    }

    /// Largest number of threads that a launch may give a CTA.
    pub fn max_threads(&self) -> u32 {
        self.maxntid.or(self.reqntid).map_or(1024, |d| d.iter().fold(1, |a: u32, &b| a.saturating_mul(b)))
    }
}

fn layout(raw: &RawEntry<'_>) -> Result<(Vec<Param>, u32), Fail> {
    let mut params = Vec::new();
    let mut end = 0u32;
    for p in &raw.params {
        let offset = end.next_multiple_of(p.align);
        end = offset + p.bytes;
        if end > 32764 {
            return Err(Fail::new(raw.line, "more than 32764 bytes of parameters"));
        }
        params.push(Param { name: p.name.to_owned(), offset, bytes: p.bytes, align: p.align });
    }
    Ok((params, end))
}

fn labels<'a>(names: &mut Names<'a>, body: &[Item<'a>]) -> Result<(), Fail> {
    // Scope 0 is the module's, 1 the body's; inner ones are numbered as they open, here and in the decoding pass.
    let mut stack = vec![1];
    let (mut opened, mut at) = (1, 0);
    for item in body {
        match item {
            Item::Open => {
                opened += 1;
                stack.push(opened);
            }
            Item::Close => {
                stack.pop();
            }
            Item::Label { name, line } => {
                let scope = stack.last().copied().unwrap_or(1);
                names.label(scope, name, at).map_err(|what| Fail::new(*line, what))?;
            }
            Item::Inst(_) => at += 1,
            _ => {}
        }
    }
    Ok(())
}

fn assemble(
    raw: &RawEntry<'_>,
    params: Vec<Param>,
    param_bytes: u32,
    mut names: Names<'_>,
    mut code: Vec<Inst>,
) -> Entry {
    let rows = names.count;
    for inst in &mut code {
        inst.uses.iter_mut().chain(inst.defs.iter_mut()).for_each(|r| *r = unpack(*r, rows));
    }
    let static_shared = names.shared_bytes;
    let dynamic_start = static_shared.next_multiple_of(names.dynamic_align().unwrap_or(1));
    let dynamic = u64::from(SHARED_BASE + dynamic_start);
    let mut constants: Vec<(Reg, u64)> = names.constants().collect();
    constants.extend(names.dynamic_rows().iter().map(|&reg| (reg, dynamic)));
    Entry {
        name: raw.name.to_owned(),
        line: raw.line,
        params,
        param_bytes,
        maxntid: raw.maxntid,
        reqntid: raw.reqntid,
        minnctapersm: raw.minnctapersm,
        maxnreg: raw.maxnreg,
        static_shared,
        dynamic_shared: names.dynamic_align().is_some(),
        shared_granule: granule(&code, |op| match op {
            Op::Load(a) | Op::Store(a) if matches!(a.space, MemSpace::Shared | MemSpace::Generic) => Some(a),
            _ => None,
        }),
        global_granule: granule(&code, |op| match op {
            Op::Load(a) | Op::Store(a) if matches!(a.space, MemSpace::Global | MemSpace::Generic) => Some(a),
            _ => None,
        }),
        orders_ctas: orders_ctas(&code),
        waits_for_grids: code.iter().any(|inst| matches!(inst.op, Op::GridWait)),
        code,
        rows,
        constants,
        specials: names.specials().collect(),
        symbols: names.symbol_rows().collect(),
        row_names: names.row_names.iter_mut().flat_map(std::mem::take).collect(),
        dynamic_start,
    }
}

/// Smallest access in bytes, at most 4, among the instructions' accesses that `which` selects.
fn granule(code: &[Inst], which: impl Fn(&Op) -> Option<&Access>) -> u32 {
    code.iter().filter_map(|inst| which(&inst.op)).map(|a| a.size).min().unwrap_or(4).min(4)
}

/// Whether CTAs may hand data to each other: through atomics that return a value, or loads with memory order.
fn orders_ctas(code: &[Inst]) -> bool {
    code.iter().any(|inst| match &inst.op {
        Op::Atom(a) => a.space != MemSpace::Shared && a.d.is_some(),
        Op::Load(a) => a.space != MemSpace::Shared && a.strong.is_some(),
        _ => false,
    })
}
