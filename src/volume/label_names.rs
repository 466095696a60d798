//! Names of labels in NIfTI files: a Caret label table in a header extension, as TotalSegmentator and Connectome
//! Workbench write it. Read from an extension of any code; tables are kept small, and nothing in them is believed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::BufRead;

use super::source::Source;
use crate::Result;
use crate::image::legend::{LabelTable, Legend, Segment, colour};
use crate::memory::zeros;

/// Longest extension that is looked at, and the longest that is written: `vox_offset` of NIfTI-1 is a 32-bit float,
/// which counts single bytes up to here.
const MOST_BYTES: usize = (1 << 24) - 1024;
/// Bytes of an extension before its contents: its size and its code.
const HEAD: usize = 8;
/// Extensions are so many bytes, or a multiple.
const STEP: usize = 16;

/// The extension that holds the names, as it stands behind the extension flag; empty where there are none to write, or
/// more than a header has room for.
pub(super) fn extension(legend: &Legend, big_endian: bool) -> Vec<u8> {
    let code: i32 = match legend.table {
        LabelTable::TotalSegmentator => 0,
        LabelTable::Workbench => 30,
        LabelTable::Off => return Vec::new(),
    };
    let mut names = BTreeMap::new();
    for segment in legend.segments.iter().filter(|segment| segment.label > 0 && !segment.name.trim().is_empty()) {
        names.entry(segment.label).or_insert(segment.name.as_str());
    }
    let text = if names.is_empty() { String::new() } else { table(&names) };
    let length = (HEAD + text.len()).next_multiple_of(STEP);
    if text.is_empty() || length > MOST_BYTES {
        return Vec::new();
    }
    let order = |value: i32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut bytes = [order(length as i32), order(code)].concat();
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(length, 0);
    bytes
}

fn table(names: &BTreeMap<u16, &str>) -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CaretExtension>\n<VolumeInformation Index=\"0\">\n<LabelTable>\n",
    );
    for (&label, name) in names {
        let [red, green, blue] = colour(label).map(|value| f32::from(value) / 255.0);
        // XML has no way to write control characters, and CDATA none to write its own end.
        let name: String = name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let name = name.replace("]]>", "]]]]><![CDATA[>");
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "<Label Key=\"{label}\" Red=\"{red}\" Green=\"{green}\" Blue=\"{blue}\" Alpha=\"1\"><![CDATA[{name}]]></Label>"
        );
    }
    text + "</LabelTable>\n<StudyMetaDataLinkSet>\n</StudyMetaDataLinkSet>\n\
            <VolumeType><![CDATA[Label]]></VolumeType>\n</VolumeInformation>\n</CaretExtension>\n"
}

/// The names in the first label table of `available` bytes of extensions, of which the flag is the first, and how many
/// of the bytes were read. What is no chain of extensions is left where it is.
pub(super) fn read<R: BufRead>(
    source: &mut Source<R>,
    big_endian: bool,
    available: u64,
) -> Result<(Vec<Segment>, u64)> {
    const WHAT: &str = "header extensions";
    let mut flag = [0; 4];
    source.fill(WHAT, &mut flag)?;
    let mut taken = flag.len() as u64;
    while flag[0] != 0 && available - taken >= HEAD as u64 {
        let mut head = [0; HEAD];
        source.fill(WHAT, &mut head)?;
        taken += HEAD as u64;
        let size = [head[0], head[1], head[2], head[3]];
        let size = if big_endian { u32::from_be_bytes(size) } else { u32::from_le_bytes(size) };
        let Some(size) = u64::from(size).checked_sub(HEAD as u64).filter(|&size| size <= available - taken) else {
            break;
        };
        taken += size;
        if size > MOST_BYTES as u64 {
            source.skip(WHAT, size)?;
            continue;
        }
        let mut contents = zeros(size as usize, "a header extension")?;
        source.fill(WHAT, &mut contents)?;
        let names = parse(&String::from_utf8_lossy(&contents));
        if !names.is_empty() {
            return Ok((names, taken));
        }
    }
    Ok((Vec::new(), taken))
}

/// The labels of the first `LabelTable` of an XML text, as far as it reads; of two with one key the first.
fn parse(text: &str) -> Vec<Segment> {
    let mut names = BTreeMap::new();
    let mut rest = text.find("<LabelTable").map_or("", |at| &text[at + 1..]);
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if rest.starts_with("/LabelTable") {
            break;
        }
        let Some(tag) = rest.strip_prefix("Label").filter(|tag| tag.starts_with(char::is_whitespace)) else { continue };
        let Some((key, behind)) = key_of(tag) else { continue };
        let (name, behind) = contents(behind);
        rest = behind;
        if let Some(label) = key.filter(|&label| label > 0) {
            let name = name.trim();
            if !name.is_empty() {
                names.entry(label).or_insert_with(|| name.to_string());
            }
        }
    }
    names.into_iter().map(|(label, name)| Segment { label, name }).collect()
}

/// The attribute `Key` of a tag, and what follows the tag; `None` where it does not end, or ends as an empty element.
fn key_of(mut tag: &str) -> Option<(Option<u16>, &str)> {
    let mut key = None;
    loop {
        tag = tag.trim_start();
        if let Some(behind) = tag.strip_prefix('>') {
            return Some((key, behind));
        }
        let (name, value) = tag.split_at(tag.find(['=', '>'])?);
        let value = value.strip_prefix('=')?.trim_start();
        let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let (value, behind) = value[1..].split_once(quote)?;
        if name.trim_end() == "Key" {
            key = value.trim().parse().ok();
        }
        tag = behind;
    }
}

/// The text of an element, with its sections of CDATA, and what follows it.
fn contents(mut rest: &str) -> (String, &str) {
    let mut text = String::new();
    loop {
        if let Some(section) = rest.strip_prefix("<![CDATA[") {
            let (inside, behind) = section.split_once("]]>").unwrap_or((section, ""));
            text += inside;
            rest = behind;
        } else if rest.starts_with('<') || rest.is_empty() {
            return (text, rest);
        } else {
            let (plain, behind) = rest.split_at(rest.find('<').unwrap_or(rest.len()));
            unescape(plain, &mut text);
            rest = behind;
        }
    }
}

/// Appends `plain` with its entities as characters; those that XML does not have stay.
fn unescape(plain: &str, text: &mut String) {
    let mut pieces = plain.split('&');
    text.push_str(pieces.next().unwrap_or(""));
    for piece in pieces {
        let Some((entity, behind)) = piece.split_once(';') else {
            text.push('&');
            text.push_str(piece);
            continue;
        };
        let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let found = match (entity, entity.strip_prefix("#x"), entity.strip_prefix('#')) {
            ("lt", ..) => Some('<'),
            ("gt", ..) => Some('>'),
            ("amp", ..) => Some('&'),
            ("quot", ..) => Some('"'),
            ("apos", ..) => Some('\''),
            (_, Some(digits), _) => number(digits, 16),
            (_, _, Some(digits)) => number(digits, 10),
            _ => None,
        };
        match found {
            Some(character) => text.push(character),
            None => text.extend(["&", entity, ";"]),
        }
        text.push_str(behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &[(u16, &str)]) -> Vec<Segment> {
        found.iter().map(|&(label, name)| Segment { label, name: name.into() }).collect()
    }

    #[test]
    fn names_come_back_whatever_is_in_them() {
        let odd = names(&[(1, "left <kidney> & \"co\""), (2, "]]>"), (300, "Milz \u{e9}\u{4e2d}"), (65535, "a]]b")]);
        for table in [LabelTable::TotalSegmentator, LabelTable::Workbench] {
            let bytes = extension(&Legend { segments: odd.clone(), table }, true);
            assert_eq!(
                (bytes.len() % 16, u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize),
                (0, bytes.len())
            );
            assert_eq!(bytes[7], if table == LabelTable::Workbench { 30 } else { 0 });
            assert_eq!(parse(std::str::from_utf8(&bytes[8..]).unwrap()), odd);
        }
        let nameless = names(&[(0, "background"), (4, " ")]);
        assert!(extension(&Legend { segments: nameless, table: LabelTable::Workbench }, false).is_empty());
        let long = names(&[(1, &"x".repeat(MOST_BYTES))]);
        assert!(extension(&Legend { segments: long, table: LabelTable::Workbench }, false).is_empty());
    }

    #[test]
    fn tables_of_other_writers_are_read_and_what_is_none_is_not() {
        let text = "<?xml?><CaretExtension Version=\"1\"><LabelTable><Label  Key = '7' Red='1>0'>Leber &#x41;&amp;&foo; x</Label>\
             <Label Key=\"0\">???</Label><Label Key=\"-1\">no</Label><Label Red=\"1\" Key=\"8\"> b <![CDATA[<c>]]></Label>\
             <Label Key=\"7\">second</Label><Label Key=\"9\"/><Labels Key=\"3\">x</Labels></LabelTable>\
             <Label Key=\"10\">outside</Label>";
        assert_eq!(parse(text), names(&[(7, "Leber A&&foo; x"), (8, "b <c>")]));
        for cut in 0..text.len() {
            parse(&text[..cut]);
        }
        assert_eq!(parse("<Label Key=\"1\">no table</Label>"), []);
    }
}
