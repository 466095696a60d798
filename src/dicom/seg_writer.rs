//! DICOM segmentations out: a frame for each slice of each segment, on the grid of the series that they belong to.
//!
//! Frames lie where their slices lie to the letter, name them as their source, run without gaps from the first slice of
//! a segment to its last, and are sorted by segment, then by slice: what the readers at hand agree on.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::anatomy::{self, Code};
use super::bits::BitWriter;
use super::on_grid::{OnGrid, Plane};
use super::parse::{DEFLATED, EXPLICIT_LITTLE};
use super::segmentation::{LABEL_MAP, SEGMENTATION, tracking};
use super::study::{Reference, SERIES_INSTANCE, Source, Study, new_uid, now};
use super::tags;
use super::write::{Set, decimal, write_meta, write_pixel_head, write_set};
use crate::Result;
use crate::image::Segment;

const SEGMENT_NUMBER: u32 = 0x0062_000B;
const SEGMENT_IDENTIFICATION: u32 = 0x0062_000A;

/// How segments are stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct SegForm {
    /// One frame a slice with the numbers of segments (LABELMAP, Supplement 243) instead of a bit for each segment.
    pub label_map: bool,
    /// Deflated as a whole.
    pub deflated: bool,
}

/// One segment and the slices that it reaches over.
struct Reach<'a> {
    segment: &'a Segment,
    first: usize,
    last: usize,
}

/// A segmentation that can be written.
pub struct Segmentation<'a> {
    study: &'a Study,
    source: &'a Source,
    grid: &'a OnGrid<'a>,
    form: SegForm,
    reaches: Vec<Reach<'a>>,
}

impl<'a> Segmentation<'a> {
    /// Of `segments` of the mask `grid`, numbered from 1 in this order. One without voxels has one empty frame.
    pub fn of(
        study: &'a Study,
        source: &'a Source,
        grid: &'a OnGrid<'a>,
        form: SegForm,
        segments: &'a [Segment],
    ) -> Segmentation<'a> {
        let slices = source.dims[2];
        let mut found: Vec<Option<(usize, usize)>> = vec![None; 1 << 16];
        for k in 0..slices {
            grid.plane(k).each_run(|label| {
                let reach = found[usize::from(label)].get_or_insert((k, k));
                reach.1 = k;
            });
        }
        let reach = |segment: &'a Segment| {
            let (first, last) = found[usize::from(segment.label)].unwrap_or((slices / 2, slices / 2));
            Reach { segment, first, last }
        };
        Segmentation { study, source, grid, form, reaches: segments.iter().map(reach).collect() }
    }

    /// Frames as segment, from 0, and slice.
    fn frames(&self) -> Vec<(usize, usize)> {
        if self.form.label_map {
            let first = self.reaches.iter().map(|reach| reach.first).min().unwrap_or(0);
            let last = self.reaches.iter().map(|reach| reach.last).max().unwrap_or(0);
            return (first..=last).map(|k| (0, k)).collect();
        }
        let of = |(at, reach): (usize, &Reach)| (reach.first..=reach.last).map(move |k| (at, k)).collect::<Vec<_>>();
        self.reaches.iter().enumerate().flat_map(of).collect()
    }

    /// Rows x columns x frames.
    pub fn pixels(&self) -> usize {
        self.source.dims[0] * self.source.dims[1] * self.frames().len()
    }

    /// Whether frames are bits whose number fills no whole byte at the end of the last.
    pub fn is_ragged(&self) -> bool {
        !self.form.label_map && !self.pixels().is_multiple_of(8)
    }

    /// Writes the file; `series` and `number` tell it from others of one run.
    ///
    /// # Errors
    /// What `out` returns; [`io::ErrorKind::InvalidInput`] where the frames have more than 4 GiB.
    pub fn write(&self, out: &mut impl Write, series: &str, number: usize) -> io::Result<()> {
        let instance = new_uid(&format!("{series} {number}"));
        let syntax = if self.form.deflated { DEFLATED } else { EXPLICIT_LITTLE };
        write_meta(out, self.class(), &instance, syntax)?;
        if !self.form.deflated {
            return self.write_body(out, &instance, series, number);
        }
        let mut counted = Counted { out, bytes: 0 };
        let mut deflate = DeflateEncoder::new(&mut counted, Compression::default());
        self.write_body(&mut deflate, &instance, series, number)?;
        deflate.finish()?;
        if counted.bytes % 2 == 1 { counted.out.write_all(&[0]) } else { Ok(()) }
    }

    fn class(&self) -> &'static str {
        if self.form.label_map { LABEL_MAP } else { SEGMENTATION }
    }

    fn write_body(&self, out: &mut impl Write, instance: &str, series: &str, number: usize) -> io::Result<()> {
        let frames = self.frames();
        write_set(out, &self.head(instance, series, number, &frames), true)?;
        let bytes = if self.form.label_map { self.pixels() } else { self.pixels().div_ceil(8) };
        write_pixel_head(out, bytes.next_multiple_of(2))?;
        if self.form.label_map {
            for &(_, k) in &frames {
                out.write_all(&self.numbers(&self.grid.plane(k)))?;
            }
            return if bytes % 2 == 1 { out.write_all(&[0]) } else { Ok(()) };
        }
        let mut bits = BitWriter::new(out);
        for &(at, k) in &frames {
            bits.frame(&self.grid.plane(k), self.reaches[at].segment.label)?;
        }
        bits.finish(bytes).map(drop)
    }

    /// The segments' numbers of a plane; labels that are no segment are background.
    fn numbers(&self, plane: &Plane) -> Vec<u8> {
        let mut numbers = vec![0; 1 << 16];
        for (at, reach) in self.reaches.iter().enumerate() {
            numbers[usize::from(reach.segment.label)] = (at + 1) as u8;
        }
        match plane {
            Plane::U8(labels) => labels.iter().map(|&label| numbers[usize::from(label)]).collect(),
            Plane::U16(labels) => labels.iter().map(|&label| numbers[usize::from(label)]).collect(),
        }
    }

    /// Everything but the pixels.
    fn head(&self, instance: &str, series: &str, number: usize, frames: &[(usize, usize)]) -> Set {
        let (study, [columns, rows, _]) = (self.study, self.source.dims);
        let bits: u16 = if self.form.label_map { 8 } else { 1 };
        let (date, time) = now();
        let mut set = study.object(self.class(), instance, series, "SEG", number as i64);
        set.text(tags::IMAGE_TYPE, b"CS", "DERIVED\\PRIMARY")
            .text(0x0008_0023, b"DA", date)
            .text(0x0008_0033, b"TM", time)
            .text(0x0008_103E, b"LO", "medsegx segmentation")
            .item(0x0008_1115, self.referenced_series())
            .us(tags::SAMPLES_PER_PIXEL, &[1])
            .text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", "MONOCHROME2")
            .text(tags::NUMBER_OF_FRAMES, b"IS", frames.len().to_string())
            .us(tags::ROWS, &[rows as u16])
            .us(tags::COLUMNS, &[columns as u16])
            .us(tags::BITS_ALLOCATED, &[bits])
            .us(tags::BITS_STORED, &[bits])
            .us(tags::HIGH_BIT, &[bits - 1])
            .us(tags::PIXEL_REPRESENTATION, &[0])
            .text(0x0062_0001, b"CS", if self.form.label_map { "LABELMAP" } else { "BINARY" })
            .items(0x0062_0002, self.reaches.iter().enumerate().map(|(at, reach)| self.segment(at, reach)).collect())
            .text(0x0070_0080, b"CS", "SEGMENTATION")
            .text(0x0070_0081, b"LO", "Segmentation by medsegx, research software")
            .text(0x0070_0084, b"PN", "");
        if !set.has(0x0028_2110) {
            set.text(0x0028_2110, b"CS", "00");
        }
        if self.form.label_map {
            set.us(tags::PIXEL_PADDING_VALUE, &[0]);
        } else {
            set.text(0x0062_0013, b"CS", "NO");
        }
        let organization = new_uid(&format!("{instance} dimensions"));
        let mut unit = Set::new();
        unit.text(0x0020_9164, b"UI", &organization);
        set.item(0x0020_9221, unit).items(tags::DIMENSION_INDEX_SEQUENCE, self.dimensions(&organization));
        set.item(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, self.shared());
        let groups = frames.iter().map(|&(at, k)| self.of_frame(at, k, frames)).collect();
        set.items(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, groups);
        set
    }

    fn referenced_series(&self) -> Set {
        let mut instances: Vec<&Reference> = self.study.slices.iter().collect();
        instances.dedup_by(|a, b| a.instance == b.instance);
        let mut set = Set::new();
        set.items(0x0008_114A, instances.into_iter().map(Reference::instance_item).collect()).text(
            SERIES_INSTANCE,
            b"UI",
            &self.study.series,
        );
        set
    }

    fn segment(&self, at: usize, reach: &Reach) -> Set {
        let Segment { label, name } = reach.segment;
        let own = self.study.own(name, 64);
        let name = if own.is_empty() { format!("Segment {label}") } else { own };
        let property = anatomy::property(&name);
        let mut kind = property.kind.item();
        if let Some(side) = property.modifier {
            kind.item(0x0062_0011, side.item());
        }
        let mut set = Set::new();
        set.us(0x0062_0004, &[(at + 1) as u16])
            .text(0x0062_0005, b"LO", &name)
            .text(0x0062_0006, b"ST", format!("Label {label}: {name}"))
            .text(0x0062_0008, b"CS", "SEMIAUTOMATIC")
            .text(0x0062_0009, b"LO", concat!("medsegx ", env!("CARGO_PKG_VERSION")))
            .us(0x0062_000D, &lab(crate::image::legend::colour(*label)))
            .item(0x0062_0003, property.category.item())
            .item(0x0062_000F, kind)
            .text(0x0062_0020, b"UT", tracking(*label, &name))
            .text(0x0062_0021, b"UI", new_uid(&format!("{} {label} {at}", self.study.series)));
        set
    }

    fn dimensions(&self, organization: &str) -> Vec<Set> {
        let one = |pointer: u32, group: u32, name: &str| {
            let mut set = Set::new();
            set.text(0x0020_9164, b"UI", organization)
                .at(tags::DIMENSION_INDEX_POINTER, pointer)
                .at(0x0020_9167, group)
                .text(0x0020_9421, b"LO", name);
            set
        };
        let place = one(tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE, "Image Position");
        let segment = one(SEGMENT_NUMBER, SEGMENT_IDENTIFICATION, "Referenced Segment Number");
        if self.form.label_map { vec![place] } else { vec![segment, place] }
    }

    fn shared(&self) -> Set {
        let across = decimal(self.source.between());
        let (mut measures, mut orientation, mut set) = (Set::new(), Set::new(), Set::new());
        measures.text(tags::SLICE_THICKNESS, b"DS", &across).text(tags::SPACING_BETWEEN_SLICES, b"DS", &across).text(
            tags::PIXEL_SPACING,
            b"DS",
            &self.study.spacing,
        );
        orientation.text(tags::IMAGE_ORIENTATION_PATIENT, b"DS", &self.study.orientation);
        set.item(tags::PIXEL_MEASURES_SEQUENCE, measures).item(tags::PLANE_ORIENTATION_SEQUENCE, orientation);
        set
    }

    fn of_frame(&self, at: usize, k: usize, frames: &[(usize, usize)]) -> Set {
        let slice = &self.study.slices[k];
        // Places are counted over all frames of the file.
        let first = frames.iter().map(|frame| frame.1).min().unwrap_or(0);
        let place = (k - first + 1) as u32;
        let (mut content, mut position, mut set) = (Set::new(), Set::new(), Set::new());
        if self.form.label_map {
            content.ul(tags::DIMENSION_INDEX_VALUES, &[place]);
        } else {
            content.ul(tags::DIMENSION_INDEX_VALUES, &[(at + 1) as u32, place]);
            let mut identification = Set::new();
            identification.us(SEGMENT_NUMBER, &[(at + 1) as u16]);
            set.item(SEGMENT_IDENTIFICATION, identification);
        }
        position.text(tags::IMAGE_POSITION_PATIENT, b"DS", &slice.position);
        set.item(0x0008_9124, derivation(slice))
            .item(tags::FRAME_CONTENT_SEQUENCE, content)
            .item(tags::PLANE_POSITION_SEQUENCE, position);
        set
    }
}

/// That a frame is the segmentation of a slice. Without it viewers show nothing, or the wrong slices.
fn derivation(slice: &Reference) -> Set {
    let mut source = slice.item();
    source
        .text(0x0028_135A, b"CS", "YES")
        .item(0x0040_A170, Code::new("DCM", "121322", "Source image for image processing operation").item());
    let mut set = Set::new();
    set.item(0x0008_2112, source).item(0x0008_9215, Code::new("DCM", "113076", "Segmentation").item());
    set
}

/// A colour of sRGB as CIELab of D50, as DICOM scales it to 16 bits.
fn lab(rgb: [u8; 3]) -> [u16; 3] {
    let linear = rgb.map(|v| {
        let v = f64::from(v) / 255.0;
        if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    });
    // Adapted to D50, each row over the white point.
    const ROWS: [[f64; 3]; 3] = [
        [0.436_074_7, 0.385_064_9, 0.143_080_4],
        [0.222_504_5, 0.716_878_6, 0.060_616_9],
        [0.013_932_2, 0.097_104_5, 0.714_173_3],
    ];
    const WHITE: [f64; 3] = [0.964_22, 1.0, 0.825_21];
    let [x, y, z]: [f64; 3] = std::array::from_fn(|r| {
        let t = (0..3).map(|c| ROWS[r][c] * linear[c]).sum::<f64>() / WHITE[r];
        if t > 216.0 / 24389.0 { t.cbrt() } else { (24389.0 / 27.0 * t + 16.0) / 116.0 }
    });
    let scaled =
        |value: f64, low: f64, range: f64| ((value - low) / range * 65535.0).round().clamp(0.0, 65535.0) as u16;
    [
        scaled(116.0 * y - 16.0, 0.0, 100.0),
        scaled(500.0 * (x - y), -128.0, 255.0),
        scaled(200.0 * (y - z), -128.0, 255.0),
    ]
}

struct Counted<'a, W: Write> {
    out: &'a mut W,
    bytes: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The most segments of a file: numbers of LABELMAP frames are bytes, and readers keep those of others in bytes.
pub const MOST_SEGMENTS: usize = 255;

/// Refuses more segments than a file can have.
pub fn check_count(count: usize, path: &std::path::Path) -> Result<()> {
    if count <= MOST_SEGMENTS {
        return Ok(());
    }
    Err(crate::Error::file(path, "segments", format!("at most {MOST_SEGMENTS}"), count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_black_and_red_have_their_colours() {
        assert_eq!(lab([255; 3]), [65535, 32896, 32896]);
        assert_eq!(lab([0; 3]), [0, 32896, 32896]);
        // L 54.29, a 80.81, b 69.89 of D50.
        let [l, a, b] = lab([255, 0, 0]).map(f64::from);
        assert!(
            (l / 655.35 - 54.29).abs() < 0.02 && (a / 257.0 - 208.81).abs() < 0.05 && (b / 257.0 - 197.89).abs() < 0.05
        );
    }
}
