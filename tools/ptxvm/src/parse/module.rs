//! Directives: the module's header, variables, entries and their bodies.

use super::Fail;
use super::lexer::{Tok, lex};
use super::statement::{Cursor, Operand, RawInst, Type};

/// Largest variable, in bytes: beyond it the text is hostile or mistaken.
const MAX_VARIABLE: u64 = 1 << 26;

/// Largest sum of all variables of a module, in bytes.
const MAX_VARIABLES: u64 = 1 << 28;

/// Where a variable lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are PTX's own")]
pub enum Space {
    Shared,
    Const,
    Global,
}

/// A variable.
#[derive(Debug, Clone)]
pub struct RawVar<'a> {
    pub line: u32,
    pub space: Space,
    pub name: &'a str,
    pub align: u32,
    /// Bytes; 0 for `.extern .shared` without a size.
    pub bytes: u64,
    pub external: bool,
    /// Initial bytes, possibly fewer than `bytes` (the rest is zero); `None` without an initialiser.
    pub init: Option<Vec<u8>>,
}

/// A kernel parameter.
#[derive(Debug, Clone)]
pub struct RawParam<'a> {
    pub name: &'a str,
    pub align: u32,
    pub bytes: u32,
}

/// One thing in a body.
#[derive(Debug)]
pub enum Item<'a> {
    /// `.reg .type name;` or, with a count, `.reg .type name<count>;`.
    Reg {
        ty: Type,
        name: &'a str,
        count: Option<u64>,
        line: u32,
    },
    Var(RawVar<'a>),
    Label {
        name: &'a str,
        line: u32,
    },
    Inst(RawInst<'a>),
    Open,
    Close,
}

/// An entry with its launch bounds.
#[derive(Debug)]
pub struct RawEntry<'a> {
    pub name: &'a str,
    pub line: u32,
    pub params: Vec<RawParam<'a>>,
    pub maxntid: Option<[u32; 3]>,
    pub reqntid: Option<[u32; 3]>,
    pub minnctapersm: Option<u32>,
    pub maxnreg: Option<u32>,
    pub body: Vec<Item<'a>>,
}

/// A whole PTX file.
#[derive(Debug)]
pub struct RawModule<'a> {
    pub version: &'a str,
    pub target: &'a str,
    pub vars: Vec<RawVar<'a>>,
    pub entries: Vec<RawEntry<'a>>,
}

/// Parses a whole PTX file.
pub fn module(source: &str) -> Result<RawModule<'_>, Fail> {
    let tokens = lex(source)?;
    let mut c = Cursor::new(&tokens);
    if !c.eat_word(".version") {
        return c.fail("a module starts with .version");
    }
    let version = c.next().map_or("", |t| t.text);
    if !c.eat_word(".target") {
        return c.fail(".target expected after .version");
    }
    let target = c.word("a target")?;
    while c.eat(b',') {
        c.word("a target option")?;
    }
    if c.eat_word(".address_size") && c.uint("64")? != 64 {
        return c.fail(".address_size must be 64");
    }
    let mut module = RawModule { version, target, vars: Vec::new(), entries: Vec::new() };
    while c.peek().is_some() {
        top_level(&mut c, &mut module)?;
        if module.vars.iter().map(|v| v.bytes).sum::<u64>() > MAX_VARIABLES {
            return c.fail("the variables are too large");
        }
    }
    Ok(module)
}

fn top_level<'a>(c: &mut Cursor<'_, 'a>, module: &mut RawModule<'a>) -> Result<(), Fail> {
    let mut external = false;
    loop {
        let line = c.line();
        match c.word("a directive")? {
            ".visible" | ".weak" => {}
            ".extern" => external = true,
            ".entry" => {
                module.entries.push(entry(c, line)?);
                return Ok(());
            }
            ".shared" => return variables(c, Space::Shared, external, &mut |v| module.vars.push(v)),
            ".const" => return variables(c, Space::Const, external, &mut |v| module.vars.push(v)),
            ".global" => return variables(c, Space::Global, external, &mut |v| module.vars.push(v)),
            ".file" | ".loc" => {
                c.skip_line();
                return Ok(());
            }
            ".pragma" => return pragma(c),
            other => return Err(Fail::new(line, format!("unknown directive {other}"))),
        }
    }
}

fn pragma(c: &mut Cursor<'_, '_>) -> Result<(), Fail> {
    match c.next().map(|t| t.tok) {
        Some(Tok::Str(_)) => c.expect(b';'),
        _ => c.fail(".pragma takes a string"),
    }
}

fn alignment(c: &mut Cursor<'_, '_>) -> Result<u32, Fail> {
    match c.uint("an alignment")? {
        align if align.is_power_of_two() && align <= 4096 => Ok(align as u32),
        align => c.fail(format!("alignment {align} is no power of two up to 4096")),
    }
}

fn scalar_type(c: &mut Cursor<'_, '_>) -> Result<Type, Fail> {
    let word = c.word("a type")?;
    match word.strip_prefix('.').and_then(Type::from_name) {
        Some(ty) => Ok(ty),
        None => c.fail(format!("unknown type {word}")),
    }
}

/// `[n][m]...`: the number of elements; `None` for `[]`.
fn dimensions(c: &mut Cursor<'_, '_>) -> Result<Option<u64>, Fail> {
    let mut count = 1u64;
    while c.eat(b'[') {
        if c.eat(b']') {
            return Ok(None);
        }
        let n = c.uint("an array length")?;
        c.expect(b']')?;
        count = match count.checked_mul(n) {
            Some(product) if product <= MAX_VARIABLE => product,
            _ => return c.fail("array too large"),
        };
    }
    Ok(Some(count))
}

fn variables<'a>(
    c: &mut Cursor<'_, 'a>,
    space: Space,
    external: bool,
    push: &mut dyn FnMut(RawVar<'a>),
) -> Result<(), Fail> {
    let line = c.line();
    let align = if c.eat_word(".align") { Some(alignment(c)?) } else { None };
    let vector = u64::from(if c.eat_word(".v2") {
        2u8
    } else if c.eat_word(".v4") {
        4
    } else {
        1
    });
    let ty = scalar_type(c)?;
    if ty == Type::Pred {
        return c.fail("a variable cannot be .pred");
    }
    loop {
        let name = c.word("a variable name")?;
        let count = dimensions(c)?;
        let element = u64::from(ty.bytes()) * vector;
        let init = if c.eat(b'=') { Some(initialiser(c, ty)?) } else { None };
        if space == Space::Shared && init.is_some() {
            return c.fail("shared memory has no initialiser");
        }
        let bytes = match (count, &init) {
            (Some(n), _) => n * element,
            (None, Some(init)) => init.len() as u64,
            (None, None) if external => 0,
            (None, None) => return c.fail(format!("{name} has no size")),
        };
        if bytes > MAX_VARIABLE || init.as_ref().is_some_and(|i| i.len() as u64 > bytes) {
            return c.fail(format!("{name}: size and initialiser do not fit"));
        }
        push(RawVar { line, space, name, align: align.unwrap_or(element as u32), bytes, external, init });
        if !c.eat(b',') {
            return c.expect(b';');
        }
    }
}

/// A number or nested braces of numbers, flattened.
fn initialiser(c: &mut Cursor<'_, '_>, ty: Type) -> Result<Vec<u8>, Fail> {
    let mut bytes = Vec::new();
    let mut depth = 0u32;
    loop {
        if c.eat(b'{') {
            depth += 1;
            continue;
        }
        let bits = match (c.literal()?, ty) {
            (Operand::Int(v), _) if !ty.float() => v as u64,
            (Operand::F32(v), Type::F32) => u64::from(v),
            (Operand::F64(v), Type::F64) => v,
            (Operand::F64(v), Type::F32) => u64::from((f64::from_bits(v) as f32).to_bits()),
            (Operand::Int(v), Type::F32) => u64::from((v as f32).to_bits()),
            _ => return c.fail("this initialiser does not fit the type"),
        };
        bytes.extend_from_slice(&bits.to_le_bytes()[..ty.bytes() as usize]);
        while depth > 0 && c.eat(b'}') {
            depth -= 1;
        }
        if depth == 0 {
            return Ok(bytes);
        }
        c.expect(b',')?;
    }
}

fn entry<'a>(c: &mut Cursor<'_, 'a>, line: u32) -> Result<RawEntry<'a>, Fail> {
    let name = c.word("an entry name")?;
    let mut params = Vec::new();
    if c.eat(b'(') && !c.eat(b')') {
        loop {
            params.push(param(c)?);
            if c.eat(b')') {
                break;
            }
            c.expect(b',')?;
        }
    }
    let mut entry = RawEntry {
        name,
        line,
        params,
        maxntid: None,
        reqntid: None,
        minnctapersm: None,
        maxnreg: None,
        body: Vec::new(),
    };
    while !c.eat(b'{') {
        match c.word("a directive or the body")? {
            ".maxntid" => entry.maxntid = Some(triple(c)?),
            ".reqntid" => entry.reqntid = Some(triple(c)?),
            ".minnctapersm" => entry.minnctapersm = Some(small(c)?),
            ".maxnreg" => entry.maxnreg = Some(small(c)?),
            ".pragma" => pragma(c)?,
            other => return c.fail(format!("unknown directive {other}")),
        }
    }
    body(c, &mut entry.body)?;
    Ok(entry)
}

fn small(c: &mut Cursor<'_, '_>) -> Result<u32, Fail> {
    match u32::try_from(c.uint("a number")?) {
        Ok(n) => Ok(n),
        Err(_) => c.fail("number too large"),
    }
}

fn triple(c: &mut Cursor<'_, '_>) -> Result<[u32; 3], Fail> {
    let mut dims = [small(c)?, 1, 1];
    for dim in &mut dims[1..] {
        if !c.eat(b',') {
            break;
        }
        *dim = small(c)?;
    }
    Ok(dims)
}

fn param<'a>(c: &mut Cursor<'_, 'a>) -> Result<RawParam<'a>, Fail> {
    if !c.eat_word(".param") {
        return c.fail("expected .param");
    }
    let mut align = if c.eat_word(".align") { Some(alignment(c)?) } else { None };
    let ty = scalar_type(c)?;
    if c.eat_word(".ptr") {
        while let Some(Tok::Word(".global" | ".shared" | ".const" | ".align")) = c.peek() {
            if c.eat_word(".align") {
                alignment(c)?;
            } else {
                c.next();
            }
        }
    }
    if c.eat_word(".align") {
        align = Some(alignment(c)?);
    }
    let name = c.word("a parameter name")?;
    let bytes = dimensions(c)?.unwrap_or(0) * u64::from(ty.bytes());
    if bytes == 0 || bytes > 32764 || ty == Type::Pred {
        return c.fail(format!("parameter {name} has {bytes} bytes"));
    }
    Ok(RawParam { name, align: align.unwrap_or(ty.bytes()), bytes: bytes as u32 })
}

fn body<'a>(c: &mut Cursor<'_, 'a>, items: &mut Vec<Item<'a>>) -> Result<(), Fail> {
    let mut depth = 1u32;
    while depth > 0 {
        let line = c.line();
        match (c.peek(), c.peek_second()) {
            (Some(Tok::Punct(b'{')), _) => {
                c.next();
                depth += 1;
                items.push(Item::Open);
            }
            (Some(Tok::Punct(b'}')), _) => {
                c.next();
                depth -= 1;
                items.push(Item::Close);
            }
            (Some(Tok::Punct(b';')), _) => {
                c.next();
            }
            (Some(Tok::Word(".loc" | ".file")), _) => c.skip_line(),
            (Some(Tok::Word(word)), _) if word.starts_with('.') => {
                c.next();
                body_directive(c, word, items)?;
            }
            (Some(Tok::Word(name)), Some(Tok::Punct(b':'))) => {
                c.next();
                c.next();
                items.push(Item::Label { name, line });
            }
            (Some(_), _) => items.push(Item::Inst(c.instruction()?)),
            (None, _) => return c.fail("the entry has no closing brace"),
        }
    }
    Ok(())
}

fn body_directive<'a>(c: &mut Cursor<'_, 'a>, word: &str, items: &mut Vec<Item<'a>>) -> Result<(), Fail> {
    match word {
        ".reg" => registers(c, items),
        ".shared" => variables(c, Space::Shared, false, &mut |v| items.push(Item::Var(v))),
        ".const" => variables(c, Space::Const, false, &mut |v| items.push(Item::Var(v))),
        ".global" => variables(c, Space::Global, false, &mut |v| items.push(Item::Var(v))),
        ".pragma" => pragma(c),
        other => c.fail(format!("unknown directive {other}")),
    }
}

fn registers<'a>(c: &mut Cursor<'_, 'a>, items: &mut Vec<Item<'a>>) -> Result<(), Fail> {
    let line = c.line();
    let ty = scalar_type(c)?;
    loop {
        let name = c.word("a register name")?;
        let mut count = None;
        if c.eat(b'<') {
            count = Some(c.uint("a register count")?);
            c.expect(b'>')?;
        }
        items.push(Item::Reg { ty, name, count, line });
        if !c.eat(b',') {
            return c.expect(b';');
        }
    }
}
