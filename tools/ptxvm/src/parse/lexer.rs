//! PTX text to tokens.

use super::Fail;

/// One token's kind and value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tok<'a> {
    /// An identifier, register, opcode with its modifiers, or directive.
    Word(&'a str),
    /// An integer literal.
    Int(u64),
    /// `0fXXXXXXXX`, the bits.
    F32(u32),
    /// `0dXXXXXXXXXXXXXXXX` or a decimal fraction, the bits.
    F64(u64),
    /// A quoted string, without its quotes.
    Str(&'a str),
    /// Any other character.
    Punct(u8),
}

/// A token and the line it stands on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token<'a> {
    /// Kind and value.
    pub tok: Tok<'a>,
    /// Line, from 1.
    pub line: u32,
    /// The text itself.
    pub text: &'a str,
}

/// Splits `source` into tokens; comments and white space go.
pub fn lex(source: &str) -> Result<Vec<Token<'_>>, Fail> {
    let mut lexer = Lexer { source, bytes: source.as_bytes(), at: 0, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    source: &'a str,
    bytes: &'a [u8],
    at: usize,
    line: u32,
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'.')
}

impl<'a> Lexer<'a> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn fail<T>(&self, what: impl Into<String>) -> Result<T, Fail> {
        Err(Fail { line: self.line, what: what.into() })
    }

    fn skip_space(&mut self) -> Result<(), Fail> {
        while self.at < self.bytes.len() {
            match (self.peek(0), self.peek(1)) {
                (b'\n', _) => {
                    self.line += 1;
                    self.at += 1;
                }
                (b' ' | b'\t' | b'\r', _) => self.at += 1,
                (b'/', b'/') => {
                    while self.at < self.bytes.len() && self.peek(0) != b'\n' {
                        self.at += 1;
                    }
                }
                (b'/', b'*') => self.skip_block_comment()?,
                _ => break,
            }
        }
        Ok(())
    }

    fn skip_block_comment(&mut self) -> Result<(), Fail> {
        let first = self.line;
        self.at += 2;
        while (self.peek(0), self.peek(1)) != (b'*', b'/') {
            if self.at >= self.bytes.len() {
                return Err(Fail { line: first, what: "comment without an end".into() });
            }
            if self.peek(0) == b'\n' {
                self.line += 1;
            }
            self.at += 1;
        }
        self.at += 2;
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Token<'a>>, Fail> {
        self.skip_space()?;
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let (start, line) = (self.at, self.line);
        let first = self.peek(0);
        let tok = if first.is_ascii_digit() {
            self.number()?
        } else if is_word(first) || first == b'%' {
            self.word()
        } else if first == b'"' {
            self.string()?
        } else if first.is_ascii_graphic() {
            self.at += 1;
            Tok::Punct(first)
        } else {
            return self.fail(format!("unexpected byte {first:#04x}"));
        };
        Ok(Some(Token { tok, line, text: &self.source[start..self.at] }))
    }

    /// `::` belongs to a word (`.L2::128B`), a single `:` ends a label.
    fn word(&mut self) -> Tok<'a> {
        let start = self.at;
        self.at += 1;
        loop {
            if is_word(self.peek(0)) {
                self.at += 1;
            } else if self.peek(0) == b':' && self.peek(1) == b':' && is_word(self.peek(2)) {
                self.at += 2;
            } else {
                return Tok::Word(&self.source[start..self.at]);
            }
        }
    }

    fn string(&mut self) -> Result<Tok<'a>, Fail> {
        let start = self.at + 1;
        self.at = start;
        while self.peek(0) != b'"' {
            if self.at >= self.bytes.len() || self.peek(0) == b'\n' {
                return self.fail("string without an end");
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(Tok::Str(&self.source[start..self.at - 1]))
    }

    fn number(&mut self) -> Result<Tok<'a>, Fail> {
        let start = self.at;
        let radix_prefix = self.peek(0) == b'0' && self.peek(1).is_ascii_alphabetic();
        while is_word(self.peek(0)) {
            let exponent = !radix_prefix && matches!(self.peek(0), b'e' | b'E');
            self.at += 1;
            if exponent && matches!(self.peek(0), b'+' | b'-') {
                self.at += 1;
            }
        }
        let text = &self.source[start..self.at];
        match number(text) {
            Some(tok) => Ok(tok),
            None => self.fail(format!("malformed number {text}")),
        }
    }
}

fn number<'a>(text: &str) -> Option<Tok<'a>> {
    let digits = text.strip_suffix('U').unwrap_or(text);
    let hex = |s: &str| u64::from_str_radix(s, 16).ok();
    if let Some(s) = text.strip_prefix("0f").or(text.strip_prefix("0F")) {
        return if s.len() == 8 { u32::from_str_radix(s, 16).ok().map(Tok::F32) } else { None };
    }
    if let Some(s) = text.strip_prefix("0d").or(text.strip_prefix("0D")) {
        return if s.len() == 16 { hex(s).map(Tok::F64) } else { None };
    }
    if let Some(s) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        return hex(s).map(Tok::Int);
    }
    if let Some(s) = digits.strip_prefix("0b").or(digits.strip_prefix("0B")) {
        return u64::from_str_radix(s, 2).ok().map(Tok::Int);
    }
    if text.contains(['.', 'e', 'E']) {
        return text.parse::<f64>().ok().map(|v| Tok::F64(v.to_bits()));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return u64::from_str_radix(digits, 8).ok().map(Tok::Int);
    }
    digits.parse::<u64>().ok().map(Tok::Int)
}
