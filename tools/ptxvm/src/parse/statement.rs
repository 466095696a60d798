//! One instruction: `[@[!]p] opcode.mod.mod operands;`, and the cursor that reads tokens.

use super::Fail;
use super::lexer::{Tok, Token};

/// Fundamental types, as registers and instructions name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's own")]
pub enum Type {
    B8,
    B16,
    B32,
    B64,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    BF16,
    BF16x2,
    F32,
    F64,
    Pred,
}

impl Type {
    /// The type of that name, without the dot.
    pub fn from_name(name: &str) -> Option<Type> {
        use Type::*;
        Some(match name {
            "b8" => B8,
            "b16" => B16,
            "b32" => B32,
            "b64" => B64,
            "u8" => U8,
            "u16" => U16,
            "u32" => U32,
            "u64" => U64,
            "s8" => S8,
            "s16" => S16,
            "s32" => S32,
            "s64" => S64,
            "f16" => F16,
            "f16x2" => F16x2,
            "bf16" => BF16,
            "bf16x2" => BF16x2,
            "f32" => F32,
            "f64" => F64,
            "pred" => Pred,
            _ => return None,
        })
    }

    /// Width in bits; 1 for predicates.
    pub fn bits(self) -> u32 {
        use Type::*;
        match self {
            Pred => 1,
            B8 | U8 | S8 => 8,
            B16 | U16 | S16 | F16 | BF16 => 16,
            B32 | U32 | S32 | F16x2 | BF16x2 | F32 => 32,
            B64 | U64 | S64 | F64 => 64,
        }
    }

    /// Width in bytes of the type in memory.
    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    /// Whether integers of this type carry a sign.
    pub fn signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }

    /// Whether this is a floating-point type, packed or not.
    pub fn float(self) -> bool {
        matches!(self, Type::F16 | Type::F16x2 | Type::BF16 | Type::BF16x2 | Type::F32 | Type::F64)
    }
}

/// An operand as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand<'a> {
    /// A register, special register, variable or label.
    Name(&'a str),
    /// An integer, two's complement in 64 bits.
    Int(i64),
    /// The bits of `0f...`.
    F32(u32),
    /// The bits of `0d...` or of a decimal fraction.
    F64(u64),
    /// `[base+offset]`; no base for an absolute address.
    Mem(Option<&'a str>, i64),
    /// `{a, b, ...}`; elements are never vectors themselves.
    Vector(Vec<Operand<'a>>),
    /// `p|q`.
    Pair(&'a str, &'a str),
    /// `!p`.
    Not(&'a str),
}

/// An instruction as written.
#[derive(Debug, Clone)]
pub struct RawInst<'a> {
    /// Line of its opcode.
    pub line: u32,
    /// Guard predicate and whether it is negated.
    pub guard: Option<(&'a str, bool)>,
    /// Opcode with all its modifiers.
    pub opcode: &'a str,
    /// Operands in order.
    pub operands: Vec<Operand<'a>>,
}

/// Reads tokens one by one.
pub struct Cursor<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
}

impl<'t, 'a> Cursor<'t, 'a> {
    pub fn new(tokens: &'t [Token<'a>]) -> Self {
        Cursor { tokens, at: 0 }
    }

    pub fn peek(&self) -> Option<Tok<'a>> {
        self.tokens.get(self.at).map(|t| t.tok)
    }

    pub fn peek_second(&self) -> Option<Tok<'a>> {
        self.tokens.get(self.at + 1).map(|t| t.tok)
    }

    /// Line of the next token, or of the last one at the end.
    pub fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.line)
    }

    pub fn next(&mut self) -> Option<Token<'a>> {
        let token = self.tokens.get(self.at).copied();
        self.at += 1;
        token
    }

    pub fn fail<T>(&self, what: impl Into<String>) -> Result<T, Fail> {
        Err(Fail::new(self.line(), what))
    }

    fn found(&self) -> &'a str {
        self.tokens.get(self.at).map_or("the end of the text", |t| t.text)
    }

    pub fn is(&self, punct: u8) -> bool {
        self.peek() == Some(Tok::Punct(punct))
    }

    pub fn eat(&mut self, punct: u8) -> bool {
        let hit = self.is(punct);
        self.at += usize::from(hit);
        hit
    }

    pub fn eat_word(&mut self, word: &str) -> bool {
        let hit = self.peek() == Some(Tok::Word(word));
        self.at += usize::from(hit);
        hit
    }

    pub fn expect(&mut self, punct: u8) -> Result<(), Fail> {
        if self.eat(punct) {
            return Ok(());
        }
        self.fail(format!("expected `{}`, found `{}`", char::from(punct), self.found()))
    }

    pub fn word(&mut self, what: &str) -> Result<&'a str, Fail> {
        match self.peek() {
            Some(Tok::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            _ => self.fail(format!("expected {what}, found `{}`", self.found())),
        }
    }

    pub fn uint(&mut self, what: &str) -> Result<u64, Fail> {
        match self.peek() {
            Some(Tok::Int(value)) => {
                self.at += 1;
                Ok(value)
            }
            _ => self.fail(format!("expected {what}, found `{}`", self.found())),
        }
    }

    /// `.loc` and `.file` end with their line, not with a semicolon.
    pub fn skip_line(&mut self) {
        let line = self.line();
        while self.at < self.tokens.len() && self.line() == line {
            self.at += 1;
        }
    }

    /// An instruction with its guard, up to and with the semicolon.
    pub fn instruction(&mut self) -> Result<RawInst<'a>, Fail> {
        let mut guard = None;
        if self.eat(b'@') {
            let negated = self.eat(b'!');
            guard = Some((self.word("a predicate")?, negated));
        }
        let line = self.line();
        let opcode = self.word("an instruction")?;
        let mut operands = Vec::new();
        if !self.eat(b';') {
            loop {
                operands.push(self.operand()?);
                if self.eat(b';') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        Ok(RawInst { line, guard, opcode, operands })
    }

    fn operand(&mut self) -> Result<Operand<'a>, Fail> {
        if self.eat(b'{') {
            let mut elements = Vec::new();
            loop {
                elements.push(self.scalar()?);
                if self.eat(b'}') {
                    return Ok(Operand::Vector(elements));
                }
                self.expect(b',')?;
            }
        }
        if self.eat(b'[') {
            return self.address();
        }
        self.scalar()
    }

    fn address(&mut self) -> Result<Operand<'a>, Fail> {
        let base = match self.peek() {
            Some(Tok::Word(name)) => {
                self.at += 1;
                Some(name)
            }
            _ => None,
        };
        let mut offset = 0i64;
        if base.is_none() || !self.is(b']') {
            if base.is_some() && !self.is(b'-') {
                self.expect(b'+')?;
            }
            offset = self.integer("an offset")?;
        }
        self.expect(b']')?;
        Ok(Operand::Mem(base, offset))
    }

    /// A sum of integer literals, each with its sign.
    pub fn integer(&mut self, what: &str) -> Result<i64, Fail> {
        let mut sum = 0i64;
        loop {
            let negative = self.eat(b'-');
            let value = self.uint(what)? as i64;
            sum = if negative { sum.wrapping_sub(value) } else { sum.wrapping_add(value) };
            if !self.is(b'-') && !self.eat(b'+') {
                return Ok(sum);
            }
        }
    }

    fn scalar(&mut self) -> Result<Operand<'a>, Fail> {
        if self.eat(b'!') {
            return Ok(Operand::Not(self.word("a predicate")?));
        }
        match self.peek() {
            Some(Tok::Word(name)) => {
                self.at += 1;
                if self.eat(b'|') {
                    return Ok(Operand::Pair(name, self.word("a register after `|`")?));
                }
                Ok(Operand::Name(name))
            }
            _ => self.literal(),
        }
    }

    /// A number with its sign.
    pub fn literal(&mut self) -> Result<Operand<'a>, Fail> {
        let negative = self.is(b'-');
        let ahead = if negative { self.peek_second() } else { self.peek() };
        let literal = match ahead {
            Some(Tok::F32(bits)) => Operand::F32(bits ^ (u32::from(negative) << 31)),
            Some(Tok::F64(bits)) => Operand::F64(bits ^ (u64::from(negative) << 63)),
            Some(Tok::Int(_)) => return Ok(Operand::Int(self.integer("a number")?)),
            _ => return self.fail(format!("expected an operand, found `{}`", self.found())),
        };
        self.at += 1 + usize::from(negative);
        Ok(literal)
    }
}
