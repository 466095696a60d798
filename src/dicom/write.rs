//! Data sets out: little endian, sequences and items of defined length, in the order of their tags.

use std::io::{self, Write};

use super::tags::Tag;

/// Names this program as the writer of a file.
const IMPLEMENTATION_CLASS: &str = "2.25.150403761277723042453312941707771630546";
const IMPLEMENTATION_VERSION: &str = concat!("MEDSEGX_", env!("CARGO_PKG_VERSION"));

const META_LENGTH: Tag = 0x0002_0000;
const META_VERSION: Tag = 0x0002_0001;
const META_SOP_CLASS: Tag = 0x0002_0002;
const META_SOP_INSTANCE: Tag = 0x0002_0003;
const META_TRANSFER_SYNTAX: Tag = 0x0002_0010;
const META_IMPLEMENTATION_CLASS: Tag = 0x0002_0012;
const META_IMPLEMENTATION_VERSION: Tag = 0x0002_0013;
const ITEM: Tag = 0xFFFE_E000;

/// The two letters of a value representation. None of 64 bits: ITK cannot open a file that has one.
pub type Letters = &'static [u8; 2];

#[derive(Clone, Debug)]
enum Content {
    Bytes(Vec<u8>),
    Items(Vec<Set>),
}

/// Elements to be written; of a tag that is given twice the last counts.
#[derive(Clone, Debug, Default)]
pub struct Set(std::collections::BTreeMap<Tag, (Letters, Content)>);

impl Set {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn has(&self, tag: Tag) -> bool {
        self.0.contains_key(&tag)
    }

    /// A value as it is, filled up to an even number of bytes.
    pub fn bytes(&mut self, tag: Tag, letters: Letters, mut value: Vec<u8>) -> &mut Self {
        if value.len() % 2 == 1 {
            value.push(if matches!(letters, b"UI" | b"OB") { 0 } else { b' ' });
        }
        self.0.insert(tag, (letters, Content::Bytes(value)));
        self
    }

    pub fn text(&mut self, tag: Tag, letters: Letters, value: impl AsRef<str>) -> &mut Self {
        self.bytes(tag, letters, value.as_ref().as_bytes().to_vec())
    }

    pub fn us(&mut self, tag: Tag, values: &[u16]) -> &mut Self {
        self.bytes(tag, b"US", values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn ul(&mut self, tag: Tag, values: &[u32]) -> &mut Self {
        self.bytes(tag, b"UL", values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// The tag of another attribute as a value.
    pub fn at(&mut self, tag: Tag, value: Tag) -> &mut Self {
        let words = [(value >> 16) as u16, value as u16];
        self.bytes(tag, b"AT", words.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn items(&mut self, tag: Tag, items: Vec<Set>) -> &mut Self {
        self.0.insert(tag, (b"SQ", Content::Items(items)));
        self
    }

    /// A sequence of one item.
    pub fn item(&mut self, tag: Tag, item: Set) -> &mut Self {
        self.items(tag, vec![item])
    }

    fn encode(&self, explicit: bool, out: &mut Vec<u8>) -> io::Result<()> {
        for (&tag, (letters, content)) in &self.0 {
            match content {
                Content::Bytes(value) => {
                    head(tag, letters, value.len(), explicit, out)?;
                    out.extend_from_slice(value);
                }
                Content::Items(items) => {
                    let mut body = Vec::new();
                    for item in items {
                        let mut inner = Vec::new();
                        item.encode(explicit, &mut inner)?;
                        put_tag(ITEM, &mut body);
                        body.extend_from_slice(&length_of(inner.len())?.to_le_bytes());
                        body.append(&mut inner);
                    }
                    head(tag, letters, body.len(), explicit, out)?;
                    out.append(&mut body);
                }
            }
        }
        Ok(())
    }
}

fn put_tag(tag: Tag, out: &mut Vec<u8>) {
    out.extend_from_slice(&((tag >> 16) as u16).to_le_bytes());
    out.extend_from_slice(&(tag as u16).to_le_bytes());
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a DICOM value is longer than its length can say")
}

fn length_of(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).ok().filter(|&length| length != u32::MAX).ok_or_else(too_long)
}

/// Tag, representation and length of a value of so many bytes.
fn head(tag: Tag, letters: Letters, bytes: usize, explicit: bool, out: &mut Vec<u8>) -> io::Result<()> {
    put_tag(tag, out);
    let length = length_of(bytes)?;
    if !explicit {
        out.extend_from_slice(&length.to_le_bytes());
        return Ok(());
    }
    out.extend_from_slice(letters);
    if matches!(letters, b"OB" | b"OW" | b"SQ" | b"UT" | b"UN") {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&length.to_le_bytes());
    } else {
        out.extend_from_slice(&u16::try_from(length).map_err(|_| too_long())?.to_le_bytes());
    }
    Ok(())
}

/// Writes what stands before the data set of an object.
pub fn write_meta(out: &mut impl Write, class: &str, instance: &str, transfer_syntax: &str) -> io::Result<()> {
    let mut meta = Set::new();
    meta.bytes(META_VERSION, b"OB", vec![0, 1])
        .text(META_SOP_CLASS, b"UI", class)
        .text(META_SOP_INSTANCE, b"UI", instance)
        .text(META_TRANSFER_SYNTAX, b"UI", transfer_syntax)
        .text(META_IMPLEMENTATION_CLASS, b"UI", IMPLEMENTATION_CLASS)
        .text(META_IMPLEMENTATION_VERSION, b"SH", IMPLEMENTATION_VERSION);
    let (mut body, mut start) = (Vec::new(), Vec::new());
    meta.encode(true, &mut body)?;
    let mut length = Set::new();
    length.ul(META_LENGTH, &[length_of(body.len())?]);
    length.encode(true, &mut start)?;
    out.write_all(&[0; 128])?;
    out.write_all(b"DICM")?;
    out.write_all(&start)?;
    out.write_all(&body)
}

/// Writes the elements of a data set. With implicit representations values may be longer than 65534 bytes.
pub fn write_set(out: &mut impl Write, set: &Set, explicit: bool) -> io::Result<()> {
    let mut bytes = Vec::new();
    set.encode(explicit, &mut bytes)?;
    out.write_all(&bytes)
}

/// Writes the head of the pixel data, which so many bytes have to follow.
pub fn write_pixel_head(out: &mut impl Write, bytes: usize) -> io::Result<()> {
    let mut start = Vec::new();
    head(super::tags::PIXEL_DATA, b"OB", bytes, true, &mut start)?;
    out.write_all(&start)
}

/// A number as a decimal string: 16 characters at most, as near as they allow.
pub fn decimal(value: f64) -> String {
    const LONGEST: usize = 16;
    let plain = format!("{value}");
    if plain.len() <= LONGEST {
        return plain;
    }
    let fixed = |digits: usize| {
        let text = format!("{value:.digits$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        text.to_string()
    };
    // Of small numbers a fixed number of decimals keeps too little.
    if value.abs() >= 1e-3
        && let Some(text) = (0..=14).rev().map(fixed).find(|text| text.len() <= LONGEST)
    {
        return text;
    }
    (0..=14).rev().map(|digits| format!("{value:.digits$e}")).find(|text| text.len() <= LONGEST).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_strings_are_short_and_near() {
        let samples =
            [0.1 + 0.2, -123456.789_012_345_6, 1e-7 / 3.0, -2.0 / 3.0, 1e20, -1e-300, 0.0, 404.123_456_789_012];
        for value in samples {
            let text = decimal(value);
            assert!(text.len() <= 16, "{text}");
            let back: f64 = text.parse().unwrap();
            assert!((back - value).abs() <= 2e-9 * value.abs(), "{value} as {text}");
        }
        assert_eq!([decimal(-3.0), decimal(0.75), decimal(-0.1)], ["-3", "0.75", "-0.1"]);
    }

    #[test]
    fn elements_stand_in_order_and_are_even() {
        let mut set = Set::new();
        set.text(0x0010_0010, b"PN", "A^B").text(0x0008_0018, b"UI", "1.2.3").us(0x0028_0010, &[7]);
        let mut bytes = Vec::new();
        write_set(&mut bytes, &set, true).unwrap();
        let meant: &[u8] = b"\x08\0\x18\0UI\x06\x001.2.3\0\x10\0\x10\0PN\x04\0A^B \x28\0\x10\0US\x02\0\x07\0";
        assert_eq!(bytes, meant);
        let mut long = Set::new();
        long.bytes(0x3006_0050, b"DS", vec![b'1'; 70_000]);
        assert!(write_set(&mut Vec::new(), &long, true).is_err());
        assert!(write_set(&mut Vec::new(), &long, false).is_ok());
    }
}
