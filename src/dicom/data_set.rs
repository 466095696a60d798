//! One data set: the elements of [`tags::READ`], by what the file says of their encoding.
//!
//! Own code, because dicom-object 0.10.1 cannot open a file with a private sequence of VR UN and takes a RescaleSlope
//! of VR UN for the code of its first character. A value of the wrong count or kind is an error, never a default.

use super::tags::{self, Tag, Vr};

/// What is wrong with an element; the file is named by whoever knows it.
#[derive(Debug)]
pub struct Flaw {
    pub what: String,
    pub expected: String,
    pub found: String,
}

pub type Flawed<T> = std::result::Result<T, Flaw>;

impl Flaw {
    pub fn new(what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Flaw { what: what.into(), expected: expected.to_string(), found: found.to_string() }
    }

    fn of(tag: Tag, expected: impl ToString, found: impl ToString) -> Self {
        Flaw::new(tags::shown(tag), expected, found)
    }

    pub fn at(self, path: &std::path::Path) -> crate::Error {
        crate::Error::file(path, self.what, self.expected, self.found)
    }
}

/// A value, its numbers still in the file's byte order.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bytes(Vec<u8>),
    Items(Vec<DataSet>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    pub tag: Tag,
    pub vr: Vr,
    pub big_endian: bool,
    pub value: Value,
}

/// Elements in the order of the file; of a tag that is there twice the first counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataSet(pub Vec<Element>);

impl DataSet {
    fn element(&self, tag: Tag) -> Option<&Element> {
        self.0.iter().find(|element| element.tag == tag)
    }

    /// The bytes of a value; `None` where it is absent or empty.
    pub fn bytes(&self, tag: Tag) -> Option<&[u8]> {
        match &self.element(tag)?.value {
            Value::Bytes(bytes) if !bytes.is_empty() => Some(bytes),
            _ => None,
        }
    }

    /// 16-bit words of a value of bytes.
    pub fn words(&self, tag: Tag) -> Option<Vec<u16>> {
        let big_endian = self.element(tag)?.big_endian;
        let word = |pair: &[u8]| match big_endian {
            true => u16::from_be_bytes([pair[0], pair[1]]),
            false => u16::from_le_bytes([pair[0], pair[1]]),
        };
        Some(self.bytes(tag)?.chunks_exact(2).map(word).collect())
    }

    /// The items of a sequence.
    pub fn items(&self, tag: Tag) -> &[DataSet] {
        match self.element(tag).map(|element| &element.value) {
            Some(Value::Items(items)) => items,
            _ => &[],
        }
    }

    /// The first item of a sequence.
    pub fn item(&self, tag: Tag) -> Option<&DataSet> {
        self.items(tag).first()
    }

    /// Text without its padding; `None` where there is none. What is not ASCII is replaced.
    pub fn text(&self, tag: Tag) -> Option<String> {
        let text: String = self.bytes(tag)?.iter().map(|&b| if b.is_ascii() { b as char } else { '?' }).collect();
        let text = text.trim_matches([' ', '\0']);
        (!text.is_empty()).then(|| text.to_string())
    }

    /// Text for people, in the characters that `root`, the whole file, declares.
    pub fn name(&self, tag: Tag, root: &DataSet) -> Option<String> {
        let declared = root.text(tags::CHARACTER_SET).unwrap_or_default();
        let Some(text) = decoded(self.bytes(tag)?, &declared) else { return self.text(tag) };
        let text = text.trim_matches([' ', '\0']);
        (!text.is_empty()).then(|| text.to_string())
    }

    /// All numbers of a value; none where it is absent or empty.
    pub fn numbers(&self, tag: Tag) -> Flawed<Vec<f64>> {
        let (Some(element), Some(bytes)) = (self.element(tag), self.bytes(tag)) else { return Ok(Vec::new()) };
        if element.vr == Vr::Decimal {
            return decimals(tag, bytes);
        }
        let size = match element.vr {
            Vr::Us | Vr::Ss => 2,
            Vr::Ul | Vr::Sl | Vr::Fl | Vr::At => 4,
            Vr::Fd | Vr::Uv => 8,
            Vr::Decimal | Vr::Text | Vr::Bytes | Vr::Sq => {
                return Err(Flaw::of(tag, "numbers", "another kind of value"));
            }
        };
        if bytes.len() % size != 0 {
            return Err(Flaw::of(tag, format!("numbers of {size} bytes"), format!("{} bytes", bytes.len())));
        }
        let number = |raw: &[u8]| {
            let mut bits = [0; 8];
            bits[..size].copy_from_slice(raw);
            if element.big_endian {
                bits[..size].reverse();
            }
            let bits = u64::from_le_bytes(bits);
            match element.vr {
                Vr::Ss => f64::from(bits as i16),
                Vr::Sl => f64::from(bits as i32),
                Vr::Fl => f64::from(f32::from_bits(bits as u32)),
                Vr::Fd => f64::from_bits(bits),
                _ => bits as f64,
            }
        };
        let numbers: Vec<f64> = bytes.chunks_exact(size).map(number).collect();
        match numbers.iter().find(|n| !n.is_finite()) {
            Some(n) => Err(Flaw::of(tag, "finite numbers", n)),
            None => Ok(numbers),
        }
    }

    /// `N` finite numbers; `None` where the value is absent or empty.
    pub fn exactly<const N: usize>(&self, tag: Tag) -> Flawed<Option<[f64; N]>> {
        let numbers = self.numbers(tag)?;
        if numbers.is_empty() {
            return Ok(None);
        }
        let plural = if N == 1 { "" } else { "s" };
        <[f64; N]>::try_from(numbers)
            .map(Some)
            .map_err(|numbers| Flaw::of(tag, format!("{N} number{plural}"), format!("{}", numbers.len())))
    }

    /// One finite number; `None` where the value is absent or empty.
    pub fn number(&self, tag: Tag) -> Flawed<Option<f64>> {
        Ok(self.exactly::<1>(tag)?.map(|[number]| number))
    }

    /// A whole number within `range`; `None` where the value is absent or empty.
    pub fn whole(&self, tag: Tag, range: std::ops::RangeInclusive<u32>) -> Flawed<Option<u32>> {
        match self.number(tag)? {
            None => Ok(None),
            Some(n) if n.fract() == 0.0 && (f64::from(*range.start())..=f64::from(*range.end())).contains(&n) => {
                Ok(Some(n as u32))
            }
            Some(n) => Err(Flaw::of(tag, format!("a whole number of {} to {}", range.start(), range.end()), n)),
        }
    }

    /// As [`DataSet::whole`] of a value that has to be there.
    pub fn required(&self, tag: Tag, range: std::ops::RangeInclusive<u32>) -> Flawed<u32> {
        self.whole(tag, range)?.ok_or_else(|| Flaw::of(tag, "a value", "none"))
    }
}

/// Text in the characters that a file declares, where these are UTF-8, Latin 1 or nothing. What is declared as nothing
/// and is no UTF-8 is taken for Latin 1.
pub fn decoded(raw: &[u8], declared: &str) -> Option<String> {
    let latin = || raw.iter().map(|&byte| char::from(byte)).collect();
    match declared {
        "ISO_IR 100" => Some(latin()),
        "" | "ISO_IR 6" | "ISO_IR 192" => Some(std::str::from_utf8(raw).map_or_else(|_| latin(), String::from)),
        _ => None,
    }
}

/// Numbers as text between backslashes. Spaces and NULs around them count for nothing.
fn decimals(tag: Tag, bytes: &[u8]) -> Flawed<Vec<f64>> {
    let text = bytes.trim_ascii_end();
    let number = |part: &[u8]| {
        let text = std::str::from_utf8(part).ok().map(|text| text.trim_matches([' ', '\0', '\t', '\r', '\n']));
        // "inf" and "nan" are Rust's, not DICOM's.
        let number = text.filter(|text| !text.contains(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E')));
        let number = number.and_then(|text| text.parse::<f64>().ok()).filter(|n| n.is_finite());
        // Anything may stand where a number belongs, also a name: it is not repeated.
        number.ok_or_else(|| Flaw::of(tag, "decimal numbers", "something else"))
    };
    if text.iter().all(|&b| matches!(b, b' ' | 0)) {
        return Ok(Vec::new());
    }
    text.split(|&b| b == b'\\').map(number).collect()
}
