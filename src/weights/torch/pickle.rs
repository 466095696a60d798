//! The pickle that `torch.save` writes: protocol 2 and the 27 opcodes that appear in state dicts and training
//! checkpoints. Values live in one arena and refer to each other by index, so nothing is copied, a cycle is harmless
//! and dropping needs no recursion. Calls are never made: the few known ones become tensors and storages.

use std::path::Path;

use super::super::quote::shown;
use super::tensor::{Element, View};
use crate::{Error, Result};

/// Place of a value in the arena.
pub(super) type Id = u32;

/// Far above what a training checkpoint of vit_h needs (0.1 million), and little memory.
const MAX_STEPS: usize = 1 << 20;
const MAX_RANK: usize = 8;

/// One pickled value.
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Text(&'a str),
    Global(Global),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Storage(Box<Storage<'a>>),
    Tensor(Box<Tensor>),
    /// Something harmless that no tensor needs.
    Opaque,
}

/// The names that a checkpoint may mention.
#[derive(Clone, Copy)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Element),
    /// Harmless: settings and numbers beside the state dict.
    Opaque,
}

/// Where raw values lie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Storage<'a> {
    pub element: Element,
    pub key: &'a str,
    /// Number of values.
    pub length: u64,
}

/// A tensor in the storage at `storage`.
pub(super) struct Tensor {
    pub storage: Id,
    pub view: View,
}

/// A whole pickle.
pub(super) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Id,
    /// Bytes up to and with STOP.
    pub length: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the start of `bytes`.
    pub fn read(path: &Path, bytes: &'a [u8]) -> Result<Self> {
        let mut machine = Machine { bytes, ..Machine::default() };
        match machine.run() {
            Ok(root) => Ok(Self { values: machine.values, root, length: machine.at }),
            Err(fault) => {
                let what = format!("pickle at byte {}", machine.at);
                Err(Error::file(path, what, fault.expected, fault.found))
            }
        }
    }

    pub fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id as usize] // ids are only made by `Machine::push`
    }

    pub fn root(&self) -> &Value<'a> {
        self.get(self.root)
    }

    /// Every storage that is mentioned.
    pub fn storages(&self) -> impl Iterator<Item = &Storage<'a>> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }
}

impl Value<'_> {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) => "an integer",
            Value::Float => "a float",
            Value::Text(_) => "a string",
            Value::Global(_) => "a class",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dictionary",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
            Value::Opaque => "an object of another kind",
        }
    }
}

struct Fault {
    expected: String,
    found: String,
}

type Step<T> = std::result::Result<T, Fault>;

fn fault<T>(expected: impl Into<String>, found: impl Into<String>) -> Step<T> {
    Err(Fault { expected: expected.into(), found: found.into() })
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at each open MARK.
    marks: Vec<usize>,
    memo: Vec<Id>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Step<Id> {
        match self.array()? {
            [0x80, 2] => {}
            [0x80, other] => return fault("pickle protocol 2, torch.save's default", format!("protocol {other}")),
            _ => return fault("a pickle", "something else"),
        }
        for _ in 0..MAX_STEPS {
            let [opcode] = self.array()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
        fault(format!("at most {MAX_STEPS} steps"), "more")
    }

    fn step(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'K' => {
                let [byte] = self.array()?;
                self.push(Value::Int(byte.into()))?;
            }
            b'M' => {
                let bytes = self.array()?;
                self.push(Value::Int(u16::from_le_bytes(bytes).into()))?;
            }
            b'J' => {
                let bytes = self.array()?;
                self.push(Value::Int(i32::from_le_bytes(bytes).into()))?;
            }
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Float)?;
            }
            b'X' => self.text()?,
            b'c' => self.global()?,
            b'q' | b'r' => self.put(opcode)?,
            b'h' | b'j' => self.memo_get(opcode)?,
            b')' => self.push(Value::Tuple(Vec::new()))?,
            b't' => {
                let items = self.marked()?;
                self.push(Value::Tuple(items))?;
            }
            0x85..=0x87 => {
                let mut items = Vec::with_capacity(3);
                for _ in 0x85..=opcode {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Value::Tuple(items))?;
            }
            b']' => self.push(Value::List(Vec::new()))?,
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.marked()?;
                self.append(items)?;
            }
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.marked()?;
                self.set(&items)?;
            }
            b'Q' => self.persistent()?,
            b'R' | 0x81 => self.call()?,
            b'b' => self.build()?,
            other => return fault("an opcode that torch.save writes", format!("0x{other:02x}")),
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Step<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else { return fault(format!("{count} more bytes"), "the end") };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn push(&mut self, value: Value<'a>) -> Step<()> {
        self.stack.push(self.values.len() as Id); // fewer than MAX_STEPS
        self.values.push(value);
        Ok(())
    }

    /// The top of the stack, not reaching below the last MARK.
    fn top(&self) -> Step<Id> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.marks.last().copied().unwrap_or(0) => Ok(id),
            _ => fault("a value on the stack", "none"),
        }
    }

    fn pop(&mut self) -> Step<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Everything above the last MARK.
    fn marked(&mut self) -> Step<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => fault("a mark on the stack", "none"),
        }
    }

    fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id as usize]
    }

    fn long(&mut self) -> Step<()> {
        let [count] = self.array()?;
        let bytes = self.take(count.into())?;
        let mut eight = [if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 }; 8];
        let value = match eight.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(eight))
            }
            None => Value::Opaque,
        };
        self.push(value)
    }

    fn text(&mut self) -> Step<()> {
        let count = u32::from_le_bytes(self.array()?);
        let bytes = self.take(count as usize)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => self.push(Value::Text(text)),
            Err(_) => fault("text in UTF-8", "other bytes"),
        }
    }

    fn line(&mut self) -> Step<&'a str> {
        const LONGEST: usize = 200;
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take(LONGEST).position(|&byte| byte == b'\n');
        let line = length.and_then(|length| std::str::from_utf8(&rest[..length]).ok());
        let Some(line) = line else { return fault("a name", "none") };
        self.at += line.len() + 1;
        Ok(line)
    }

    fn global(&mut self) -> Step<()> {
        let (module, name) = (self.line()?, self.line()?);
        let global = match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch", "Size" | "device") | ("argparse", "Namespace") | ("collections", "defaultdict") => Global::Opaque,
            ("numpy", "dtype" | "ndarray") | ("_codecs", "encode") => Global::Opaque,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct") => Global::Opaque,
            ("torch", class) if Element::of_storage(class).is_some() => {
                Global::Storage(Element::of_storage(class).unwrap_or(Element::U8))
            }
            _ => {
                let found = format!("{} {} (nothing was executed)", shown(module), shown(name));
                return fault("names that a state dict needs", found);
            }
        };
        self.push(Value::Global(global))
    }

    fn index(&mut self, short: bool) -> Step<usize> {
        if short {
            let [index] = self.array()?;
            Ok(index.into())
        } else {
            Ok(u32::from_le_bytes(self.array()?) as usize)
        }
    }

    /// Memo indices are given out in order, so the memo is as long as the pickle says and no longer.
    fn put(&mut self, opcode: u8) -> Step<()> {
        let (index, top) = (self.index(opcode == b'q')?, self.top()?);
        let next = self.memo.len();
        match self.memo.get_mut(index) {
            Some(slot) => *slot = top,
            None if index == next => self.memo.push(top),
            None => return fault(format!("memo index {next}"), index.to_string()),
        }
        Ok(())
    }

    fn memo_get(&mut self, opcode: u8) -> Step<()> {
        let index = self.index(opcode == b'h')?;
        match self.memo.get(index) {
            Some(&id) => self.stack.push(id),
            None => return fault("a memo index in use", index.to_string()),
        }
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Step<()> {
        let target = self.top()?;
        match &mut self.values[target as usize] {
            Value::List(list) => list.extend(items),
            Value::Opaque => {}
            other => return fault("a list to append to", other.kind()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Step<()> {
        let target = self.top()?;
        let (pairs, []) = items.as_chunks::<2>() else { return fault("keys and values", "an odd number") };
        match &mut self.values[target as usize] {
            Value::Dict(dict) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Value::Opaque => {}
            other => return fault("a dictionary to fill", other.kind()),
        }
        Ok(())
    }

    /// `('storage', class, key, location, length)` and in the older format a view, which is None. Where the values were
    /// (cpu, cuda:0) means nothing here.
    fn persistent(&mut self) -> Step<()> {
        let id = self.pop()?;
        let Value::Tuple(parts) = self.get(id) else {
            return fault("a tuple that names a storage", self.get(id).kind());
        };
        let parts: Vec<&Value> = parts.iter().take(7).map(|&id| self.get(id)).collect();
        let storage = match parts[..] {
            [
                Value::Text("storage"),
                Value::Global(Global::Storage(element)),
                Value::Text(key),
                Value::Text(_),
                Value::Int(length),
            ]
            | [
                Value::Text("storage"),
                Value::Global(Global::Storage(element)),
                Value::Text(key),
                Value::Text(_),
                Value::Int(length),
                Value::None,
            ] => u64::try_from(*length).ok().map(|length| Storage { element: *element, key, length }),
            _ => None,
        };
        match storage {
            Some(storage) => self.push(Value::Storage(Box::new(storage))),
            None => fault("a storage with its class, key, location and length", "something else"),
        }
    }

    /// REDUCE and NEWOBJ: what the call would make, without making it.
    fn call(&mut self) -> Step<()> {
        let (arguments, callee) = (self.pop()?, self.pop()?);
        let Value::Tuple(arguments) = self.get(arguments) else {
            return fault("a tuple of arguments", self.get(arguments).kind());
        };
        match (self.get(callee), &arguments[..]) {
            (Value::Global(Global::OrderedDict), []) => self.push(Value::Dict(Vec::new())),
            (Value::Global(Global::RebuildTensor), &[storage, offset, shape, strides, _, _, ..]) => {
                let view =
                    View { offset: self.size(offset)?, shape: self.sizes(shape)?, strides: self.sizes(strides)? };
                match self.get(storage) {
                    Value::Storage(_) => self.push(Value::Tensor(Box::new(Tensor { storage, view }))),
                    other => fault("a tensor's storage", other.kind()),
                }
            }
            (Value::Global(Global::RebuildParameter), &[tensor, _, _]) => match self.get(tensor) {
                Value::Tensor(_) => {
                    self.stack.push(tensor);
                    Ok(())
                }
                other => fault("a parameter's tensor", other.kind()),
            },
            (Value::Global(Global::Opaque), _) => self.push(Value::Opaque),
            (other, arguments) => {
                fault("a call that rebuilds a tensor", format!("{} with {} arguments", other.kind(), arguments.len()))
            }
        }
    }

    fn size(&self, id: Id) -> Step<u64> {
        match self.get(id) {
            Value::Int(size) if *size >= 0 => Ok(*size as u64),
            Value::Int(size) => fault("a size of a tensor", size.to_string()),
            other => fault("a size of a tensor", other.kind()),
        }
    }

    fn sizes(&self, id: Id) -> Step<Vec<u64>> {
        match self.get(id) {
            Value::Tuple(sizes) if sizes.len() <= MAX_RANK => sizes.iter().map(|&size| self.size(size)).collect(),
            Value::Tuple(sizes) => fault(format!("at most {MAX_RANK} axes"), sizes.len().to_string()),
            other => fault("a tuple of sizes", other.kind()),
        }
    }

    /// Attributes beside the contents: `_metadata` of a state dict.
    fn build(&mut self) -> Step<()> {
        self.pop()?;
        match self.get(self.top()?) {
            Value::Dict(_) | Value::Opaque => Ok(()),
            other => fault("a dictionary with attributes", other.kind()),
        }
    }
}
