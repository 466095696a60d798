//! From bytes to a [`DataSet`]: file meta information, the transfer syntaxes, and elements up to the pixels.
//!
//! Nothing is believed: a length is checked against what holds it before anything is read, depth and the size of a kept
//! value are bounded, and no memory is taken for what the stream does not deliver.

use std::io::Read;

use flate2::bufread::DeflateDecoder;

use super::data_set::{DataSet, Element, Flaw, Flawed, Value};
use super::input::Stream;
use super::tags::{self, Tag, Vr};

/// Nested sequences of real files are five deep.
const DEEPEST: u32 = 32;
/// Lookup tables of 16 bits and the indices of long multi-frame files are below this.
const LONGEST_VALUE: u32 = 1 << 22;
const UNDEFINED: u32 = u32::MAX;

const ITEM: Tag = 0xFFFE_E000;
const ITEM_END: Tag = 0xFFFE_E00D;
const SEQUENCE_END: Tag = 0xFFFE_E0DD;

pub const IMPLICIT_LITTLE: &str = "1.2.840.10008.1.2";
pub const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub const EXPLICIT_BIG: &str = "1.2.840.10008.1.2.2";

/// How elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    pub explicit: bool,
    pub big_endian: bool,
}

/// Where the pixels are: in bytes from the start of the data set's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelPlace {
    pub tag: Tag,
    pub start: u64,
    /// `None` for fragments.
    pub length: Option<u64>,
    /// Whether they are words of 16 bits by their representation.
    pub words: bool,
}

/// A file up to its pixels.
pub struct Parsed {
    pub transfer_syntax: String,
    pub encoding: Encoding,
    /// Bytes of the file before the deflated part, where the data set is deflated.
    pub deflated_from: Option<u64>,
    pub data_set: DataSet,
    pub pixels: Option<PixelPlace>,
}

/// Whether these first bytes can be those of a DICOM file, with or without its preamble.
pub fn is_dicom(head: &[u8]) -> bool {
    head.get(128..132) == Some(b"DICM") || bare_encoding(head).is_some()
}

/// How a file without preamble goes on after so many bytes: "DICM" at its very start, the meta group, or the data set.
fn bare_encoding(head: &[u8]) -> Option<(u64, Encoding)> {
    let explicit = Encoding { explicit: true, big_endian: false };
    let head8 = head.get(..8)?;
    if head.starts_with(b"DICM") {
        return Some((4, explicit));
    }
    let group = u16::from_le_bytes([head8[0], head8[1]]);
    let element = u16::from_le_bytes([head8[2], head8[3]]);
    let has_vr = head8[4].is_ascii_uppercase() && head8[5].is_ascii_uppercase();
    match (group, has_vr) {
        (2, true) => Some((0, explicit)),
        (8, true) if element <= 0x18 => Some((0, explicit)),
        (8, false) if element <= 0x18 => {
            let length = u32::from_le_bytes([head8[4], head8[5], head8[6], head8[7]]);
            (length <= 256).then_some((0, Encoding { explicit: false, big_endian: false }))
        }
        _ => None,
    }
}

/// Which tags are kept, each with its representation.
pub type Wanted = fn(Tag) -> Option<Vr>;

/// Reads a file up to its pixels.
pub fn parse(stream: Stream) -> Flawed<Parsed> {
    parse_wanted(stream, tags::vr)
}

/// As [`parse`], with other tags than those of images.
pub fn parse_wanted(mut stream: Stream, wanted: Wanted) -> Flawed<Parsed> {
    let head = stream.peek(132)?;
    let (start, bare) = match head.get(128..132) == Some(b"DICM") {
        true => (132, Encoding { explicit: true, big_endian: false }),
        false => bare_encoding(&head).ok_or_else(|| Flaw::new("format", "DICOM", "something else"))?,
    };
    stream.skip(start)?;
    let mut reader = Reader { stream, encoding: bare, wanted };
    let group = reader.stream.peek(2)?;
    let syntax = if group.starts_with(&[2, 0]) { reader.meta()? } else { None };
    let transfer_syntax = match (syntax, bare.explicit) {
        (Some(syntax), _) => syntax,
        (None, true) => EXPLICIT_LITTLE.to_string(),
        (None, false) => IMPLICIT_LITTLE.to_string(),
    };
    reader.encoding =
        Encoding { explicit: transfer_syntax != IMPLICIT_LITTLE, big_endian: transfer_syntax == EXPLICIT_BIG };
    let deflated_from = (transfer_syntax == DEFLATED).then(|| reader.stream.position());
    if deflated_from.is_some() {
        reader.stream = reader.stream.inflated();
    }
    let (mut data_set, mut pixels) = (DataSet::default(), None);
    while reader.element(&mut data_set, None, 0, &mut pixels)? && pixels.is_none() {}
    Ok(Parsed { transfer_syntax, encoding: reader.encoding, deflated_from, data_set, pixels })
}

impl Stream {
    /// What is left of it, inflated; positions count from 0 again.
    pub fn inflated(self) -> Stream {
        Stream::of(Box::new(DeflateDecoder::new(std::io::BufReader::with_capacity(1 << 15, self))))
    }
}

struct Reader {
    stream: Stream,
    encoding: Encoding,
    wanted: Wanted,
}

/// The head of an element.
struct Head {
    tag: Tag,
    /// As it stands in the file; none where representations are implicit.
    vr: Option<[u8; 2]>,
    length: u32,
}

impl Reader {
    fn u16(&mut self) -> Flawed<u16> {
        let mut bytes = [0; 2];
        self.stream.fill(&mut bytes)?;
        Ok(if self.encoding.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&mut self) -> Flawed<u32> {
        let mut bytes = [0; 4];
        self.stream.fill(&mut bytes)?;
        Ok(if self.encoding.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn tag(&mut self) -> Flawed<Tag> {
        let group = u32::from(self.u16()?);
        Ok(group << 16 | u32::from(self.u16()?))
    }

    /// The next head, or `None` at the end of the stream.
    fn head(&mut self) -> Flawed<Option<Head>> {
        if self.stream.peek(1)?.is_empty() {
            return Ok(None);
        }
        let tag = self.tag()?;
        if !self.encoding.explicit || tag >> 16 == 0xFFFE {
            return Ok(Some(Head { tag, vr: None, length: self.u32()? }));
        }
        let mut vr = [0; 2];
        self.stream.fill(&mut vr)?;
        let short = matches!(
            &vr,
            b"AE"
                | b"AS"
                | b"AT"
                | b"CS"
                | b"DA"
                | b"DS"
                | b"DT"
                | b"FL"
                | b"FD"
                | b"IS"
                | b"LO"
                | b"LT"
                | b"PN"
                | b"SH"
                | b"SL"
                | b"SS"
                | b"ST"
                | b"TM"
                | b"UI"
                | b"UL"
                | b"US"
        );
        if !vr.iter().all(u8::is_ascii_uppercase) {
            let found = format!("'{}'", vr.escape_ascii());
            return Err(Flaw::new(tags::shown(tag), "a value representation", found));
        }
        // Whatever representation may be new has a length of four bytes behind two that are reserved.
        let length = if short { u32::from(self.u16()?) } else { self.u16().and_then(|_| self.u32())? };
        Ok(Some(Head { tag, vr: Some(vr), length }))
    }

    /// The meta group's transfer syntax. The group's length is not needed, and not believed: it ends where another
    /// begins.
    fn meta(&mut self) -> Flawed<Option<String>> {
        let mut syntax = None;
        while self.stream.peek(2)?.starts_with(&[2, 0]) {
            let Some(Head { tag, length, .. }) = self.head()? else { break };
            self.within(tag, length, None)?;
            if tag == 0x0002_0010 {
                let bytes = self.stream.read(length.min(64))?;
                self.stream.skip(u64::from(length.saturating_sub(64)))?;
                let text = String::from_utf8_lossy(&bytes);
                syntax = Some(text.trim_matches([' ', '\0']).to_string());
            } else {
                self.stream.skip(length.into())?;
            }
        }
        Ok(syntax)
    }

    /// Reads an element into `into`; false at the end of what holds it: `end`, an item's delimiter, the stream's end.
    fn element(
        &mut self,
        into: &mut DataSet,
        end: Option<u64>,
        depth: u32,
        pixels: &mut Option<PixelPlace>,
    ) -> Flawed<bool> {
        if end.is_some_and(|end| self.stream.position() >= end) {
            return Ok(false);
        }
        let Some(Head { tag, vr, length }) = self.head()? else { return self.at_end(end, depth) };
        if tag == ITEM_END {
            return if end.is_none() && depth > 0 { Ok(false) } else { Err(out_of_place(tag)) };
        }
        if tag >> 16 == 0xFFFE {
            return Err(out_of_place(tag));
        }
        if depth == 0 && matches!(tag, tags::PIXEL_DATA | tags::FLOAT_PIXEL_DATA | tags::DOUBLE_FLOAT_PIXEL_DATA) {
            if length != UNDEFINED {
                self.within(tag, length, end)?;
            }
            let length = (length != UNDEFINED).then_some(length.into());
            *pixels = Some(PixelPlace { tag, start: self.stream.position(), length, words: vr == Some(*b"OW") });
            return Ok(true);
        }
        let wanted = (self.wanted)(tag);
        let own = vr.and_then(own_vr);
        let unknown = vr == Some(*b"UN");
        let sequence = own == Some(Vr::Sq) || (own.is_none() && wanted == Some(Vr::Sq)) || length == UNDEFINED;
        if length != UNDEFINED {
            self.within(tag, length, end)?;
        }
        if sequence && (wanted == Some(Vr::Sq) || length == UNDEFINED) {
            // PS3.5 6.2.2: the contents of a sequence of unknown representation are implicit and little-endian.
            let outside = self.encoding;
            if unknown {
                self.encoding = Encoding { explicit: false, big_endian: false };
            }
            let items = self.items(length, depth + 1, wanted == Some(Vr::Sq))?;
            self.encoding = outside;
            if wanted == Some(Vr::Sq) {
                let big_endian = self.encoding.big_endian;
                into.0.push(Element { tag, vr: Vr::Sq, big_endian, value: Value::Items(items) });
            }
            return Ok(true);
        }
        match wanted {
            Some(known) if known != Vr::Sq => {
                if length > LONGEST_VALUE {
                    return Err(Flaw::new(tags::shown(tag), format!("at most {LONGEST_VALUE} bytes"), length));
                }
                let value = Value::Bytes(self.stream.read(length)?);
                let vr = chosen(known, own);
                into.0.push(Element { tag, vr, big_endian: self.encoding.big_endian, value });
            }
            _ => self.stream.skip(length.into())?,
        }
        Ok(true)
    }

    /// The stream ends here: so does the data set, but nothing in it.
    fn at_end(&self, end: Option<u64>, depth: u32) -> Flawed<bool> {
        match (end, depth) {
            (None, 0) => Ok(false),
            _ => Err(Flaw::new("sequence", "its end", "the end of the file")),
        }
    }

    /// Items up to `length` or to the sequence's delimiter; kept if `keep`.
    fn items(&mut self, length: u32, depth: u32, keep: bool) -> Flawed<Vec<DataSet>> {
        if depth > DEEPEST {
            return Err(Flaw::new("sequences", format!("at most {DEEPEST} within each other"), "more"));
        }
        let end = (length != UNDEFINED).then(|| self.stream.position() + u64::from(length));
        let mut items = Vec::new();
        while end.is_none_or(|end| self.stream.position() < end) {
            let tag = self.tag()?;
            let length = self.u32()?;
            match tag {
                SEQUENCE_END if end.is_none() => break,
                ITEM => {}
                _ => return Err(out_of_place(tag)),
            }
            let mut item = DataSet::default();
            let item_end = if length == UNDEFINED {
                None
            } else {
                self.within(tag, length, end)?;
                Some(self.stream.position() + u64::from(length))
            };
            if !keep && item_end.is_some() {
                self.stream.skip(length.into())?;
                continue;
            }
            while self.element(&mut item, item_end, depth, &mut None)? {
                if !keep {
                    item.0.clear();
                }
            }
            if keep {
                items.push(item);
            }
        }
        if end.is_some_and(|end| self.stream.position() != end) {
            return Err(Flaw::new("sequence", "items that end with it", "one that ends behind it"));
        }
        Ok(items)
    }

    /// Checks a length against what holds the value.
    fn within(&self, tag: Tag, length: u32, end: Option<u64>) -> Flawed<()> {
        let left = end.map_or(u64::MAX, |end| end.saturating_sub(self.stream.position())).min(self.stream.left());
        if u64::from(length) <= left {
            return Ok(());
        }
        Err(Flaw::new(tags::shown(tag), format!("at most the {left} bytes that are left"), format!("{length} bytes")))
    }
}

fn out_of_place(tag: Tag) -> Flaw {
    Flaw::new("data set", "an element or item in its place", tags::shown(tag))
}

/// The representation that a file names; `None` for UN and for those that the table does not have.
fn own_vr(vr: [u8; 2]) -> Option<Vr> {
    Some(match &vr {
        b"AT" => Vr::At,
        b"CS" | b"DT" | b"LO" | b"SH" | b"TM" | b"UI" | b"DA" | b"ST" | b"LT" | b"UT" | b"UC" => Vr::Text,
        b"DS" | b"IS" => Vr::Decimal,
        b"US" => Vr::Us,
        b"SS" => Vr::Ss,
        b"UL" => Vr::Ul,
        b"SL" => Vr::Sl,
        b"UV" => Vr::Uv,
        b"FL" => Vr::Fl,
        b"FD" => Vr::Fd,
        b"OB" | b"OW" => Vr::Bytes,
        b"SQ" => Vr::Sq,
        _ => return None,
    })
}

/// The representation by which a value is read: the file's where it is another kind of number, else the dictionary's.
fn chosen(known: Vr, own: Option<Vr>) -> Vr {
    match (known, own) {
        (Vr::Bytes | Vr::Text, _) | (_, None | Some(Vr::Text | Vr::Bytes | Vr::Sq)) => known,
        (_, Some(own)) => own,
    }
}

impl Stream {
    /// So many bytes; memory is taken as they come.
    fn read(&mut self, count: u32) -> Flawed<Vec<u8>> {
        let mut bytes = Vec::new();
        let taken = Read::by_ref(self).take(count.into()).read_to_end(&mut bytes).map_err(Stream::failed)?;
        if taken < count as usize {
            return Err(Flaw::new("contents", format!("{count} bytes more"), "the end of the file"));
        }
        Ok(bytes)
    }
}
