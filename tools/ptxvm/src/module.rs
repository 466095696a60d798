//! A loaded PTX file.

use std::sync::Arc;

use crate::decode::Entry;
use crate::error::{Error, Result};
use crate::parse::{Fail, Space, module};

/// A module variable with its initial bytes.
#[derive(Debug)]
pub struct Variable {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// `.const`
    pub read_only: bool,
}

/// What a module holds.
#[derive(Debug)]
pub struct Inner {
    pub version: String,
    pub target: String,
    pub entries: Vec<Entry>,
    pub variables: Vec<Variable>,
    lines: Vec<String>,
}

impl Inner {
    /// A line of the text, trimmed; empty beyond the end.
    pub fn line(&self, line: u32) -> &str {
        self.lines.get((line as usize).saturating_sub(1)).map_or("", |l| l.trim())
    }
}

/// A parsed and decoded PTX file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Module {
    pub(crate) inner: Arc<Inner>,
}

/// A kernel argument.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "named after the types")]
pub enum Arg {
    U32(u32),
    I32(i32),
    U64(u64),
    F32(f32),
}

impl Module {
    /// Parses and decodes every entry; whatever is unknown is an error with its line.
    pub fn parse(text: &str) -> Result<Module> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let error = |fail: Fail| {
            let line = lines.get((fail.line as usize).saturating_sub(1)).map_or("", |l| l.trim());
            Error::Parse { line: fail.line, text: line.to_owned(), what: fail.what }
        };
        let raw = module(text).map_err(error)?;
        let mut entries: Vec<Entry> = Vec::new();
        for entry in &raw.entries {
            if entries.iter().any(|e| e.name == entry.name) {
                return Err(error(Fail::new(entry.line, format!("entry {} is defined twice", entry.name))));
            }
            entries.push(Entry::decode(entry, &raw.vars).map_err(error)?);
        }
        let variables = raw.vars.iter().filter(|v| v.space != Space::Shared).map(|v| {
            let mut bytes = v.init.clone().unwrap_or_default();
            bytes.resize(v.bytes as usize, 0);
            Variable { bytes, read_only: v.space == Space::Const }
        });
        let variables = variables.collect();
        Ok(Module {
            inner: Arc::new(Inner {
                version: raw.version.to_owned(),
                target: raw.target.to_owned(),
                entries,
                variables,
                lines,
            }),
        })
    }

    /// `.version`, as written.
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// `.target`, as written.
    pub fn target(&self) -> &str {
        &self.inner.target
    }

    /// The entries, in the order of the text.
    pub fn entries(&self) -> &[Entry] {
        &self.inner.entries
    }

    /// The entry of that name.
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        self.index(name).map(|i| &self.inner.entries[i])
    }

    pub(crate) fn index(&self, name: &str) -> Result<usize> {
        self.inner.entries.iter().position(|e| e.name == name).ok_or_else(|| Error::Launch {
            entry: name.to_owned(),
            what: "entry",
            expected: self.inner.entries.iter().map(|e| e.name.as_str()).collect::<Vec<_>>().join(", "),
            found: name.to_owned(),
        })
    }

    /// The parameter block of `entry` with these arguments.
    pub fn pack(&self, entry: &str, args: &[Arg]) -> Result<Vec<u8>> {
        let entry = self.entry(entry)?;
        let fail = |what, expected: String, found: String| {
            Err(Error::Launch { entry: entry.name.clone(), what, expected, found })
        };
        if args.len() != entry.params.len() {
            return fail("arguments", entry.params.len().to_string(), args.len().to_string());
        }
        let mut block = vec![0; entry.param_bytes as usize];
        for (param, arg) in entry.params.iter().zip(args) {
            let bytes = match arg {
                Arg::U32(v) => v.to_le_bytes().to_vec(),
                Arg::I32(v) => v.to_le_bytes().to_vec(),
                Arg::F32(v) => v.to_le_bytes().to_vec(),
                Arg::U64(v) => v.to_le_bytes().to_vec(),
            };
            if bytes.len() != param.bytes as usize {
                return fail("bytes of a parameter", format!("{}: {}", param.name, param.bytes), format!("{arg:?}"));
            }
            let at = param.offset as usize;
            block[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(block)
    }
}
