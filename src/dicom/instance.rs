//! What one file's tags say: its series, the shape of its frames, and for each frame where it lies and how it is
//! scaled.

use std::path::Path;

use super::FrameShape;
use super::data_set::{DataSet, Flaw, Flawed};
use super::frames::{Frame, frames};
use super::input::Place;
use super::parse::{Encoding, Parsed, PixelPlace, parse};
use super::segmentation::{STRUCTURE_SET, is_segmentation};
use super::tags;
use crate::{Error, Result};

/// A file with pixels.
pub struct Instance {
    pub place: Place,
    pub transfer_syntax: String,
    pub encoding: Encoding,
    /// Bytes of the file before a deflated data set.
    pub deflated_from: Option<u64>,
    pub pixels: PixelPlace,
    /// The extended offset table, where there is one.
    pub offsets: Vec<u64>,
    pub series: String,
    pub modality: String,
    pub shape: FrameShape,
    /// Where the most significant bit of a sample is.
    pub high_bit: u16,
    pub photometric: Photometric,
    /// Stored values that stand for "no picture here": least and greatest.
    pub padding: Option<[f64; 2]>,
    /// What values are counted in, where the file says so.
    pub unit: Option<String>,
    pub frames: Vec<Frame>,
    /// Whether it is a parametric map, whose only scale is that of real world values.
    pub parametric: bool,
    /// Which in-plane spacing was taken where it is not the patient's own.
    pub spacing_from: Option<&'static str>,
    /// Palette and modality lookup tables are read when pixels are.
    pub tables: DataSet,
}

/// How samples become grey or colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Photometric {
    Monochrome2,
    /// The least value is the brightest.
    Monochrome1,
    Rgb,
    YbrFull,
    /// Two pixels share their colour, where samples are not compressed.
    YbrFull422,
    /// What JPEG 2000 transforms back itself.
    YbrJpeg2000,
    Palette,
}

/// A file is no image of this program's kind, which is no fault of it.
pub enum Found {
    Image(Box<Instance>),
    /// A segmentation or a structure set.
    Labels,
    /// A directory, a report, ...: by what it has not.
    NoImage,
}

impl Instance {
    /// Reads the tags of the file at `place`.
    pub fn read(place: &Place) -> Result<Found> {
        let parsed = parse(place.open()?).map_err(|flaw| flaw.at(&place.name))?;
        Self::of(place, parsed).map_err(|flaw| flaw.at(&place.name))
    }

    fn of(place: &Place, parsed: Parsed) -> Flawed<Found> {
        let class = parsed.data_set.text(tags::SOP_CLASS_UID).unwrap_or_default();
        match parsed.pixels {
            _ if is_segmentation(&class) || class == STRUCTURE_SET => Ok(Found::Labels),
            Some(pixels) => Ok(Found::Image(Box::new(Self::with(place, parsed, pixels)?))),
            None => Ok(Found::NoImage),
        }
    }

    /// Of a segmentation: its frames as stored, whatever colours they are shown in.
    pub fn of_mask(place: &Place, parsed: Parsed) -> Flawed<Instance> {
        let pixels = parsed.pixels.ok_or_else(|| Flaw::new("pixel data", "frames", "none"))?;
        let mut instance = Self::with(place, parsed, pixels)?;
        instance.photometric = Photometric::Monochrome2;
        match (instance.shape.samples, instance.shape.bits_allocated, pixels.tag) {
            (1, 1 | 8 | 16, tags::PIXEL_DATA) if !instance.shape.signed => Ok(instance),
            (_, bits, _) => {
                Err(Flaw::new("frames", "numbers of 1, 8 or 16 bits without a sign", format!("{bits} bits")))
            }
        }
    }

    fn with(place: &Place, parsed: Parsed, pixels: PixelPlace) -> Flawed<Instance> {
        let Parsed { transfer_syntax, encoding, deflated_from, data_set, .. } = parsed;
        let (shape, high_bit) = shape(&data_set, pixels.tag)?;
        let photometric = photometric(&data_set, shape.samples)?;
        let (frames, spacing_from) = frames(&data_set)?;
        let offsets = data_set.bytes(tags::EXTENDED_OFFSET_TABLE).unwrap_or_default();
        let offset = |raw: &[u8]| raw.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte));
        Ok(Instance {
            place: place.clone(),
            transfer_syntax,
            encoding,
            deflated_from,
            pixels,
            offsets: offsets.chunks_exact(8).map(offset).collect(),
            series: data_set.text(tags::SERIES_INSTANCE_UID).unwrap_or_default(),
            modality: data_set.text(tags::MODALITY).unwrap_or_default(),
            shape,
            high_bit,
            photometric,
            padding: padding(&data_set, &shape, pixels.tag)?,
            unit: unit(&data_set),
            frames,
            parametric: data_set.text(tags::SOP_CLASS_UID).as_deref() == Some(PARAMETRIC_MAP),
            spacing_from,
            tables: tables(data_set),
        })
    }

    /// What makes its values of stored numbers, maps of real world values apart.
    pub fn scale_from(&self) -> &'static str {
        match self.tables.item(tags::MODALITY_LUT_SEQUENCE) {
            Some(_) => "modality-table",
            None => self.frames.first().map_or("stored", |frame| frame.scale_from),
        }
    }

    /// An error about this file.
    pub fn error(&self, what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Error {
        Error::file(self.path(), what, expected, found)
    }

    /// An error of a codec, which does not know the file.
    pub fn named(&self, error: Error) -> Error {
        match error {
            Error::File { what, expected, found, .. } => self.error(what, expected, found),
            other => other,
        }
    }

    pub fn path(&self) -> &Path {
        &self.place.name
    }
}

const PARAMETRIC_MAP: &str = "1.2.840.10008.5.1.4.1.1.30";

/// What values are counted in by the rescale or its like, not by a map of real world values.
fn unit(data_set: &DataSet) -> Option<String> {
    let shared = data_set.item(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE);
    let shared = shared.and_then(|groups| groups.item(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE));
    let rescale = [Some(data_set), shared].into_iter().flatten().find_map(|set| set.text(tags::RESCALE_TYPE));
    rescale.or_else(|| data_set.text(tags::UNITS)).or_else(|| data_set.text(tags::DOSE_UNITS))
}

fn shape(data_set: &DataSet, pixels: tags::Tag) -> Flawed<(FrameShape, u16)> {
    let rows = data_set.required(tags::ROWS, 1..=65535)? as usize;
    let columns = data_set.required(tags::COLUMNS, 1..=65535)? as usize;
    let samples = data_set.whole(tags::SAMPLES_PER_PIXEL, 1..=4)?.unwrap_or(1) as usize;
    if samples != 1 && samples != 3 {
        return Err(Flaw::new(tags::shown(tags::SAMPLES_PER_PIXEL), "1 or 3", samples));
    }
    let planar = data_set.whole(tags::PLANAR_CONFIGURATION, 0..=1)?.unwrap_or(0) == 1 && samples > 1;
    let float = match pixels {
        tags::FLOAT_PIXEL_DATA => Some(32),
        tags::DOUBLE_FLOAT_PIXEL_DATA => Some(64),
        _ => None,
    };
    if let Some(bits) = float {
        let shape =
            FrameShape { rows, columns, samples, bits_allocated: bits, bits_stored: bits, signed: true, planar };
        return Ok((shape, bits - 1));
    }
    let bits_allocated = data_set.required(tags::BITS_ALLOCATED, 1..=64)? as u16;
    if !matches!(bits_allocated, 1 | 8 | 16 | 32) {
        return Err(Flaw::new(tags::shown(tags::BITS_ALLOCATED), "1, 8, 16 or 32", bits_allocated));
    }
    let bits_stored = data_set.required(tags::BITS_STORED, 1..=bits_allocated.into())? as u16;
    let high_bit = data_set.whole(tags::HIGH_BIT, u32::from(bits_stored) - 1..=u32::from(bits_allocated) - 1)?;
    let signed = data_set.required(tags::PIXEL_REPRESENTATION, 0..=1)? == 1;
    let shape = FrameShape { rows, columns, samples, bits_allocated, bits_stored, signed, planar };
    Ok((shape, high_bit.map_or(bits_stored - 1, |bit| bit as u16)))
}

fn photometric(data_set: &DataSet, samples: usize) -> Flawed<Photometric> {
    let name = data_set.text(tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
    let (photometric, needs) = match name.as_str() {
        "MONOCHROME2" => (Photometric::Monochrome2, 1),
        "MONOCHROME1" => (Photometric::Monochrome1, 1),
        "PALETTE COLOR" => (Photometric::Palette, 1),
        "RGB" => (Photometric::Rgb, 3),
        "YBR_FULL" => (Photometric::YbrFull, 3),
        "YBR_FULL_422" => (Photometric::YbrFull422, 3),
        "YBR_ICT" | "YBR_RCT" => (Photometric::YbrJpeg2000, 3),
        _ => {
            let known = "MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB, YBR_FULL, YBR_FULL_422, YBR_ICT or YBR_RCT";
            let found = format!("'{}'", name.chars().take(16).collect::<String>().escape_debug());
            return Err(Flaw::new(tags::shown(tags::PHOTOMETRIC_INTERPRETATION), known, found));
        }
    };
    if samples != needs {
        let expected = format!("{needs} for {name}");
        return Err(Flaw::new(tags::shown(tags::SAMPLES_PER_PIXEL), expected, samples));
    }
    Ok(photometric)
}

/// The padding value, or the range up to its limit, as numbers of the pixel representation.
fn padding(data_set: &DataSet, shape: &FrameShape, pixels: tags::Tag) -> Flawed<Option<[f64; 2]>> {
    let whole = |value: f64| shape.number(value);
    // NaN as padding is no range, and is set aside as NaN.
    let float = |tag| data_set.number(tag).ok().flatten();
    let (value, limit) = match pixels {
        tags::FLOAT_PIXEL_DATA => {
            (float(tags::FLOAT_PIXEL_PADDING_VALUE), float(tags::FLOAT_PIXEL_PADDING_RANGE_LIMIT))
        }
        tags::DOUBLE_FLOAT_PIXEL_DATA => {
            (float(tags::DOUBLE_FLOAT_PIXEL_PADDING_VALUE), float(tags::DOUBLE_FLOAT_PIXEL_PADDING_RANGE_LIMIT))
        }
        _ => (
            data_set.number(tags::PIXEL_PADDING_VALUE)?.map(whole),
            data_set.number(tags::PIXEL_PADDING_RANGE_LIMIT)?.map(whole),
        ),
    };
    Ok(value.map(|value| (value, limit.unwrap_or(value))).map(|(a, b)| [a.min(b), a.max(b)]))
}

/// The elements that are looked at again when pixels are read.
fn tables(data_set: DataSet) -> DataSet {
    let kept = |tag| (0x0028_1101..=0x0028_1223).contains(&tag) || tag == tags::MODALITY_LUT_SEQUENCE;
    DataSet(data_set.0.into_iter().filter(|element| kept(element.tag)).collect())
}
