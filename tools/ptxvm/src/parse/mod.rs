//! PTX text to statements; what the opcodes mean is `decode`'s business.

mod lexer;
mod module;
mod statement;

pub use module::{Item, RawEntry, RawVar, Space, module};
pub use statement::{Operand, RawInst, Type};

/// A parse failure before the line's text is known.
#[derive(Debug)]
pub struct Fail {
    /// Line, from 1.
    pub line: u32,
    /// What is wrong.
    pub what: String,
}

impl Fail {
    /// A failure at `line`.
    pub fn new(line: u32, what: impl Into<String>) -> Self {
        Fail { line, what: what.into() }
    }
}
