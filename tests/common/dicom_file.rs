//! DICOM files for tests, laid out by hand from PS3.5 and PS3.10, independent of the reader under test.

use std::io::Write;
use std::path::{Path, PathBuf};

/// A value before it has a byte order.
#[derive(Clone, Debug)]
pub enum Value {
    Text(String),
    U16(Vec<u16>),
    U32(Vec<u32>),
    F64(Vec<f64>),
    Raw(Vec<u8>),
    Items(Vec<Vec<Element>>),
    /// Items of undefined length in a sequence of undefined length.
    Open(Vec<Vec<Element>>),
    /// Offset table, then fragments.
    Fragments(Vec<Vec<u8>>),
}

#[derive(Clone, Debug)]
pub struct Element {
    pub tag: u32,
    pub vr: &'static str,
    pub value: Value,
}

pub fn text(tag: u32, vr: &'static str, value: &str) -> Element {
    Element { tag, vr, value: Value::Text(value.into()) }
}

pub fn u16s(tag: u32, values: &[u16]) -> Element {
    Element { tag, vr: "US", value: Value::U16(values.into()) }
}

pub fn u32s(tag: u32, values: &[u32]) -> Element {
    Element { tag, vr: "UL", value: Value::U32(values.into()) }
}

pub fn f64s(tag: u32, values: &[f64]) -> Element {
    Element { tag, vr: "FD", value: Value::F64(values.into()) }
}

pub fn items(tag: u32, items: Vec<Vec<Element>>) -> Element {
    Element { tag, vr: "SQ", value: Value::Items(items) }
}

pub fn numbers(tag: u32, values: &[f64]) -> Element {
    let text_of: Vec<String> = values.iter().map(|v| format!("{v}")).collect();
    text(tag, "DS", &text_of.join("\\"))
}

/// How elements are written.
#[derive(Clone, Copy)]
struct Order {
    explicit: bool,
    big: bool,
}

pub const IMPLICIT: &str = "1.2.840.10008.1.2";
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const BIG: &str = "1.2.840.10008.1.2.2";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

/// One file to be: whatever is set last of a tag goes into it.
#[derive(Clone, Debug)]
pub struct DicomFile {
    pub syntax: &'static str,
    pub preamble: bool,
    pub elements: Vec<Element>,
}

impl DicomFile {
    /// An unsigned 16-bit image of these samples, a slice across z at `position`.
    pub fn slice(columns: u16, rows: u16, position: [f64; 3], samples: &[u16]) -> Self {
        let mut file = DicomFile { syntax: EXPLICIT, preamble: true, elements: Vec::new() };
        file.set(text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.2"))
            .set(text(0x0008_0060, "CS", "CT"))
            .set(text(0x0010_0010, "PN", "Doe^Jane"))
            .set(text(0x0010_0020, "LO", "PATIENT-4711"))
            .set(text(0x0010_0030, "DA", "19700102"))
            .set(text(0x0020_000E, "UI", "1.2.3"))
            .set(numbers(0x0020_0032, &position))
            .set(numbers(0x0020_0037, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))
            .set(u16s(0x0028_0002, &[1]))
            .set(text(0x0028_0004, "CS", "MONOCHROME2"))
            .set(u16s(0x0028_0010, &[rows]))
            .set(u16s(0x0028_0011, &[columns]))
            .set(numbers(0x0028_0030, &[0.5, 0.75]))
            .bits(16, 16, false)
            .set(Element { tag: 0x7FE0_0010, vr: "OW", value: Value::U16(samples.into()) });
        file
    }

    pub fn set(&mut self, element: Element) -> &mut Self {
        self.elements.retain(|other| other.tag != element.tag);
        self.elements.push(element);
        self
    }

    pub fn without(&mut self, tag: u32) -> &mut Self {
        self.elements.retain(|other| other.tag != tag);
        self
    }

    pub fn bits(&mut self, allocated: u16, stored: u16, signed: bool) -> &mut Self {
        self.set(u16s(0x0028_0100, &[allocated]))
            .set(u16s(0x0028_0101, &[stored]))
            .set(u16s(0x0028_0102, &[stored - 1]))
            .set(u16s(0x0028_0103, &[signed.into()]))
    }

    pub fn rescale(&mut self, slope: &str, intercept: &str) -> &mut Self {
        self.set(text(0x0028_1052, "DS", intercept)).set(text(0x0028_1053, "DS", slope))
    }

    pub fn pixels(&mut self, bytes: &[u8]) -> &mut Self {
        self.set(Element { tag: 0x7FE0_0010, vr: "OB", value: Value::Raw(bytes.into()) })
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.preamble {
            out.extend([0; 128]);
            out.extend(b"DICM");
            let meta = [text(0x0002_0010, "UI", self.syntax)];
            let body = encode(&meta, Order { explicit: true, big: false });
            let length = [u32s(0x0002_0000, &[body.len() as u32])];
            out.extend(encode(&length, Order { explicit: true, big: false }));
            out.extend(body);
        }
        let order = Order { explicit: self.syntax != IMPLICIT, big: self.syntax == BIG };
        let mut elements = self.elements.clone();
        elements.sort_by_key(|element| element.tag);
        let body = encode(&elements, order);
        if self.syntax == DEFLATED {
            let mut deflate = flate2::write::DeflateEncoder::new(out, flate2::Compression::default());
            deflate.write_all(&body).unwrap();
            return deflate.finish().unwrap();
        }
        out.extend(body);
        out
    }

    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }
}

fn encode(elements: &[Element], order: Order) -> Vec<u8> {
    let mut out = Vec::new();
    for element in elements {
        head(&mut out, element, order);
    }
    out
}

fn put16(out: &mut Vec<u8>, value: u16, order: Order) {
    out.extend(if order.big { value.to_be_bytes() } else { value.to_le_bytes() });
}

fn put32(out: &mut Vec<u8>, value: u32, order: Order) {
    out.extend(if order.big { value.to_be_bytes() } else { value.to_le_bytes() });
}

fn put_tag(out: &mut Vec<u8>, tag: u32, order: Order) {
    put16(out, (tag >> 16) as u16, order);
    put16(out, tag as u16, order);
}

fn head(out: &mut Vec<u8>, element: &Element, order: Order) {
    const UNDEFINED: u32 = u32::MAX;
    put_tag(out, element.tag, order);
    // What a sequence of unknown representation holds is implicit and little-endian.
    let inner = if element.vr == "UN" { Order { explicit: false, big: false } } else { order };
    let (body, undefined) = body(&element.value, inner);
    let length = if undefined { UNDEFINED } else { body.len() as u32 };
    if !order.explicit {
        put32(out, length, order);
    } else {
        out.extend(element.vr.as_bytes());
        if matches!(element.vr, "OB" | "OW" | "OF" | "OD" | "OV" | "SQ" | "UN" | "UT" | "UV" | "SV") {
            out.extend([0, 0]);
            put32(out, length, order);
        } else {
            put16(out, length as u16, order);
        }
    }
    out.extend(body);
}

/// The bytes of a value, and whether its length is undefined.
fn body(value: &Value, order: Order) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    match value {
        Value::Text(text) => {
            out.extend(text.as_bytes());
            if out.len() % 2 == 1 {
                out.push(b' ');
            }
        }
        Value::U16(values) => values.iter().for_each(|&v| put16(&mut out, v, order)),
        Value::U32(values) => values.iter().for_each(|&v| put32(&mut out, v, order)),
        Value::F64(values) => {
            values.iter().for_each(|v| out.extend(if order.big { v.to_be_bytes() } else { v.to_le_bytes() }));
        }
        Value::Raw(bytes) => {
            out.extend(bytes);
            if out.len() % 2 == 1 {
                out.push(0);
            }
        }
        Value::Items(items) => {
            for item in items {
                let item = encode(item, order);
                put_tag(&mut out, 0xFFFE_E000, order);
                put32(&mut out, item.len() as u32, order);
                out.extend(item);
            }
        }
        Value::Open(items) => {
            for item in items {
                put_tag(&mut out, 0xFFFE_E000, order);
                put32(&mut out, u32::MAX, order);
                out.extend(encode(item, order));
                put_tag(&mut out, 0xFFFE_E00D, order);
                put32(&mut out, 0, order);
            }
            put_tag(&mut out, 0xFFFE_E0DD, order);
            put32(&mut out, 0, order);
            return (out, true);
        }
        Value::Fragments(fragments) => {
            for fragment in fragments {
                put_tag(&mut out, 0xFFFE_E000, order);
                put32(&mut out, fragment.len() as u32, order);
                out.extend(fragment);
            }
            put_tag(&mut out, 0xFFFE_E0DD, order);
            put32(&mut out, 0, order);
            return (out, true);
        }
    }
    (out, false)
}

/// A zip archive of stored or deflated records.
pub fn zip(records: &[(&str, Vec<u8>)], deflated: bool) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, contents) in records {
        let packed = if deflated {
            let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            deflate.write_all(contents).unwrap();
            deflate.finish().unwrap()
        } else {
            contents.clone()
        };
        let mut crc = flate2::Crc::new();
        crc.update(contents);
        let mut common = Vec::new();
        common.extend([20, 0, 0, 0, if deflated { 8 } else { 0 }, 0, 0, 0, 0, 0]);
        common.extend(crc.sum().to_le_bytes());
        common.extend((packed.len() as u32).to_le_bytes());
        common.extend((contents.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend((out.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(packed);
    }
    let start = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend((records.len() as u16).to_le_bytes().repeat(2));
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}
