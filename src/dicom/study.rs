//! What an object that belongs to a series takes over from it: the patient and study that it is filed under, references
//! to its slices, and their places as the series spells them.
//!
//! This is the one place that reads a patient's identity. It goes into objects that are filed with their series, and
//! nowhere else: no message, report or picture is made of what is read here.

use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::data_set::{DataSet, Flaw, decoded};
use super::frames::spelled;
use super::input::Place;
use super::parse::parse_wanted;
use super::pixels::Slices;
use super::stack::Grid;
use super::tags::{self, Tag, Vr};
use super::write::{Letters, Set, decimal};
use crate::{Error, Result};

const SOP_INSTANCE: Tag = 0x0008_0018;
const REFERRING_PHYSICIAN: Tag = 0x0008_0090;
const DEIDENTIFIED: Tag = 0x0012_0062;
const DEIDENTIFICATION_METHOD: Tag = 0x0012_0063;
const STUDY_INSTANCE: Tag = 0x0020_000D;
pub const SERIES_INSTANCE: Tag = tags::SERIES_INSTANCE_UID;
const SERIES_NUMBER: Tag = 0x0020_0011;
const FRAME_OF_REFERENCE: Tag = 0x0020_0052;
const LOSSY: Tag = 0x0028_2110;
const LOSSY_RATIO: Tag = 0x0028_2112;
const LOSSY_METHOD: Tag = 0x0028_2114;

/// Attributes of the patient and study modules that are copied, and whether they are written where the source has none.
/// Of persons only the patient, of texts only identifiers.
const COPIED: [(Tag, Letters, bool); 11] = [
    (0x0008_0020, b"DA", true),
    (0x0008_0030, b"TM", true),
    (0x0008_0050, b"SH", true),
    (0x0010_0010, b"PN", true),
    (0x0010_0020, b"LO", true),
    (0x0010_0021, b"LO", false),
    (0x0010_0030, b"DA", true),
    (0x0010_0040, b"CS", true),
    (DEIDENTIFIED, b"CS", false),
    (0x0020_0010, b"SH", true),
    (STUDY_INSTANCE, b"UI", true),
];

fn wanted(tag: Tag) -> Option<Vr> {
    const OTHERS: [Tag; 8] = [
        tags::CHARACTER_SET,
        SOP_INSTANCE,
        DEIDENTIFICATION_METHOD,
        SERIES_NUMBER,
        FRAME_OF_REFERENCE,
        LOSSY,
        LOSSY_RATIO,
        LOSSY_METHOD,
    ];
    let own = COPIED.iter().any(|row| row.0 == tag) || OTHERS.contains(&tag);
    if own { Some(Vr::Text) } else { tags::vr(tag) }
}

/// The slices of a volume, to which other objects can refer. Lengths in mm, places in DICOM's patient coordinates.
#[derive(Debug)]
pub struct Source {
    slices: Vec<SourceSlice>,
    pub grid: Grid,
    /// Columns, rows and slices.
    pub dims: [usize; 3],
}

#[derive(Debug)]
struct SourceSlice {
    place: Place,
    frame: usize,
    frames: usize,
    position: [f64; 3],
    orientation: [f64; 6],
    spacing: [f64; 2],
}

impl Source {
    /// Of slices that have a place; `None` of others.
    pub fn of(slices: &Slices, grid: Grid) -> Option<Source> {
        let frames = slices.frames().map(|(instance, frame)| {
            Some(SourceSlice {
                place: instance.place.clone(),
                frame: frame.index,
                frames: instance.frames.len(),
                position: frame.position?,
                orientation: frame.orientation?,
                spacing: frame.spacing?,
            })
        });
        Some(Source { slices: frames.collect::<Option<_>>()?, grid, dims: slices.dims() })
    }

    /// The centre of the first pixel of slice `k`.
    pub fn position(&self, k: usize) -> [f64; 3] {
        self.slices.get(k).map_or(self.grid.origin, |slice| slice.position)
    }

    /// Millimetres between slices, along their normal.
    pub fn between(&self) -> f64 {
        let [a, b, across] = self.grid.steps;
        let cross = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
        let dot = |u: [f64; 3], v: [f64; 3]| u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
        (dot(cross, across) / dot(cross, cross).sqrt()).abs()
    }
}

/// A slice to which an object refers.
#[derive(Clone, Debug)]
pub struct Reference {
    pub class: String,
    pub instance: String,
    /// From 1, where the file has several frames.
    pub frame: Option<usize>,
    /// ImagePositionPatient, as the source spells it.
    pub position: String,
}

impl Reference {
    /// Class and instance, and the frame.
    pub fn item(&self) -> Set {
        let mut item = self.instance_item();
        if let Some(frame) = self.frame {
            item.text(0x0008_1160, b"IS", frame.to_string());
        }
        item
    }

    /// Class and instance.
    pub fn instance_item(&self) -> Set {
        let mut item = Set::new();
        item.text(0x0008_1150, b"UI", &self.class).text(0x0008_1155, b"UI", &self.instance);
        item
    }
}

/// What belongs to a series is made of.
pub struct Study {
    copied: Vec<(Tag, Letters, Vec<u8>)>,
    character_set: Vec<u8>,
    /// Whether text of this program's own has to be ASCII beside that of the source.
    ascii: bool,
    pub study: String,
    pub series: String,
    pub series_number: i64,
    pub frame_of_reference: String,
    /// In the order of the volume's slices.
    pub slices: Vec<Reference>,
    pub orientation: String,
    pub spacing: String,
}

impl Study {
    /// Reads the source's files once more, for what it is filed under.
    ///
    /// # Errors
    /// [`Error::File`] for a source without the identifiers that objects refer to.
    pub fn read(source: &Source) -> Result<Study> {
        let mut study: Option<Study> = None;
        let mut last: Option<(&Place, DataSet)> = None;
        for slice in &source.slices {
            let known = last.take().filter(|(place, _)| place.name == slice.place.name);
            let set = match known {
                Some((_, set)) => set,
                None => {
                    let parsed = parse_wanted(slice.place.open()?, wanted);
                    parsed.map_err(|flaw| flaw.at(&slice.place.name))?.data_set
                }
            };
            let mut of_file = match study.take() {
                Some(study) => study,
                None => Study::of(&set, slice).map_err(|flaw| flaw.at(&slice.place.name))?,
            };
            of_file.slices.push(reference(&set, slice).map_err(|flaw| flaw.at(&slice.place.name))?);
            study = Some(of_file);
            last = Some((&slice.place, set));
        }
        study.ok_or_else(|| Error::internal("dicom", "a source without slices"))
    }

    fn of(set: &DataSet, slice: &SourceSlice) -> std::result::Result<Study, Flaw> {
        let [_, orientation, spacing] = spelled(set, slice.frame);
        let declared = set.text(tags::CHARACTER_SET).unwrap_or_default();
        let ours = decoded(&[], &declared).is_some();
        let value = |tag| {
            let raw = set.bytes(tag).unwrap_or_default();
            decoded(raw, &declared).map_or_else(|| raw.to_vec(), String::into_bytes)
        };
        let mut copied = Vec::new();
        for (tag, letters, always) in COPIED {
            let value = value(tag);
            if always || !value.is_empty() {
                copied.push((tag, letters, value));
            }
        }
        if set.text(DEIDENTIFIED).as_deref() == Some("YES") {
            copied.push((DEIDENTIFICATION_METHOD, b"LO", value(DEIDENTIFICATION_METHOD)));
        }
        for (tag, letters) in [(LOSSY, b"CS"), (LOSSY_RATIO, b"DS"), (LOSSY_METHOD, b"CS")] {
            if set.text(LOSSY).as_deref() == Some("01") && set.bytes(tag).is_some() {
                copied.push((tag, letters, value(tag)));
            }
        }
        let number = set.text(SERIES_NUMBER).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Study {
            copied,
            character_set: if ours { b"ISO_IR 192".to_vec() } else { declared.into_bytes() },
            ascii: !ours,
            study: needed(set, STUDY_INSTANCE, "StudyInstanceUID")?,
            series: needed(set, SERIES_INSTANCE, "SeriesInstanceUID")?,
            series_number: number,
            frame_of_reference: needed(set, FRAME_OF_REFERENCE, "FrameOfReferenceUID")?,
            slices: Vec::new(),
            orientation: like(orientation, &slice.orientation),
            spacing: like(spacing, &slice.spacing),
        })
    }

    /// A data set of an object of this study: the patient, the study, and who made it. `modality` has a series of its
    /// own.
    pub fn object(&self, class: &str, instance: &str, series: &str, modality: &str, number: i64) -> Set {
        let mut set = Set::new();
        for (tag, letters, value) in &self.copied {
            set.bytes(*tag, letters, value.clone());
        }
        let (date, time) = now();
        set.bytes(tags::CHARACTER_SET, b"CS", self.character_set.clone())
            .text(0x0008_0012, b"DA", &date)
            .text(0x0008_0013, b"TM", &time)
            .text(tags::SOP_CLASS_UID, b"UI", class)
            .text(SOP_INSTANCE, b"UI", instance)
            .text(0x0008_0021, b"DA", &date)
            .text(0x0008_0031, b"TM", &time)
            .text(tags::MODALITY, b"CS", modality)
            .text(0x0008_0070, b"LO", "medsegx")
            .text(REFERRING_PHYSICIAN, b"PN", "")
            .text(0x0008_1090, b"LO", "medsegx")
            .text(0x0018_1000, b"LO", "none")
            .text(0x0018_1020, b"LO", env!("CARGO_PKG_VERSION"))
            .text(SERIES_INSTANCE, b"UI", series)
            .text(SERIES_NUMBER, b"IS", (1000 + self.series_number.clamp(0, 1_000_000)).to_string())
            .text(tags::INSTANCE_NUMBER, b"IS", number.to_string())
            .text(FRAME_OF_REFERENCE, b"UI", &self.frame_of_reference)
            .text(0x0020_1040, b"LO", "");
        set
    }

    /// Text of this program's own, of at most so many characters, as a value that stands beside the source's text.
    pub fn own(&self, text: &str, most: usize) -> String {
        let plain = |c: char| match c {
            '\\' => '/',
            c if c.is_control() => ' ',
            c if self.ascii && !c.is_ascii() => '?',
            c => c,
        };
        text.chars().map(plain).take(most).collect::<String>().trim().to_string()
    }
}

fn reference(set: &DataSet, slice: &SourceSlice) -> std::result::Result<Reference, Flaw> {
    let [position, ..] = spelled(set, slice.frame);
    Ok(Reference {
        class: needed(set, tags::SOP_CLASS_UID, "SOPClassUID")?,
        instance: needed(set, SOP_INSTANCE, "SOPInstanceUID")?,
        frame: (slice.frames > 1).then_some(slice.frame + 1),
        position: like(position, &slice.position),
    })
}

fn needed(set: &DataSet, tag: Tag, name: &str) -> std::result::Result<String, Flaw> {
    let wrong = |found| Flaw::new(name, "an identifier, to which DICOM masks refer", found);
    let uid = set.text(tag).ok_or_else(|| wrong("none"))?;
    let plain = uid.len() <= 64 && uid.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain { Ok(uid) } else { Err(wrong("something else")) }
}

/// The file's own spelling where it means `numbers`, else a new one.
fn like(spelling: Option<String>, numbers: &[f64]) -> String {
    let means = |text: &String| {
        let parts: Vec<f64> = text.split('\\').filter_map(|part| part.trim().parse().ok()).collect();
        parts == numbers
    };
    let spelled = || numbers.iter().map(|&v| decimal(v)).collect::<Vec<_>>().join("\\");
    spelling.filter(means).unwrap_or_else(spelled)
}

/// A new identifier below 2.25, of the time, the process and `about`.
pub fn new_uid(about: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(since.as_nanos().to_le_bytes());
    hash.update(std::process::id().to_le_bytes());
    hash.update(about.as_bytes());
    let mut number = hash.finalize().iter().take(16).fold(0_u128, |all, &byte| all << 8 | u128::from(byte));
    // Version and variant of a UUID, which 2.25 is followed by.
    number = number & !(0xF << 76) | 8 << 76;
    number = number & !(3 << 62) | 2 << 62;
    format!("2.25.{number}")
}

/// Date and time of day in UTC.
pub fn now() -> (String, String) {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86400, seconds % 86400);
    let [year, month, day] = civil(days);
    (format!("{year:04}{month:02}{day:02}"), format!("{:02}{:02}{:02}", rest / 3600, rest / 60 % 60, rest % 60))
}

/// The Gregorian date so many days after 1970-01-01, by eras of 400 years that begin in March.
fn civil(days: u64) -> [u64; 3] {
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    [year_of_era + 400 * era + u64::from(month <= 2), month, day]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(
            [civil(0), civil(59), civil(11_016), civil(20_785)],
            [[1970, 1, 1], [1970, 3, 1], [2000, 2, 29], [2026, 11, 28]]
        );
    }

    #[test]
    fn identifiers_differ_and_are_short() {
        let (one, other) = (new_uid("a"), new_uid("b"));
        assert!(one != other && one.len() <= 44 && one.starts_with("2.25."));
    }

    #[test]
    fn spellings_are_kept_where_they_mean_the_numbers() {
        assert_eq!(like(Some("1.50\\-2\\+3".into()), &[1.5, -2.0, 3.0]), "1.50\\-2\\+3");
        assert_eq!(like(Some("1.50\\-2".into()), &[1.5, -2.0, 3.0]), "1.5\\-2\\3");
        assert_eq!(decoded(&[b'M', 0xFC], "").unwrap(), "Mü");
    }
}
