//! PNG pictures: grey or colour, 8 or 16 bits; fewer bits are expanded, and palettes unless their indices are labels.

use std::io::{BufRead, Cursor, Write};
use std::path::Path;

use ::png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use super::OpenOptions;
use super::source::Source;
use crate::codes::{Code, Warning};
use crate::image::voxels::{Voxels, drop_alpha};
use crate::memory::{reserve, zeros};
use crate::{Error, Result};

/// What [`read`] found.
pub(super) struct Picture {
    /// Width, height.
    pub size: [usize; 2],
    pub channels: usize,
    pub values: Voxels,
    pub warnings: Vec<Warning>,
}

/// Memory that text chunks and the like may ask for, beside the picture itself.
const LIMIT: usize = 1 << 24;

/// Reads a whole picture; for a label map the indices of a palette, else their colours.
pub(super) fn read<R: BufRead>(source: &mut Source<R>, options: &OpenOptions) -> Result<Picture> {
    let bytes = source.read_all()?;
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: LIMIT });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(|e| bad(&source.path, e))?;
    let (width, height) = (header.width, header.height);
    let indices = (options.labels && header.color_type == ColorType::Indexed).then_some(header.bit_depth);
    let expand = if indices.is_some() { Transformations::IDENTITY } else { Transformations::EXPAND };
    decoder.set_transformations(expand);
    super::options::count_voxels(&source.path, [u64::from(width), u64::from(height), 1], options)?;
    let row_limit = (width as usize).saturating_mul(8).saturating_mul(4).saturating_add(LIMIT);
    decoder.set_limits(Limits { bytes: row_limit });

    let mut reader = decoder.read_info().map_err(|e| bad(&source.path, e))?;
    if let Some(palette) = &reader.info().palette
        && (palette.len() % 3 != 0 || !(3..=768).contains(&palette.len()))
    {
        // Crate png 0.18 panics on such a palette.
        let found = format!("{} bytes", palette.len());
        return Err(Error::file(&source.path, "PNG palette", "1 to 256 colours of 3 bytes", found));
    }
    let size = reader.output_buffer_size().ok_or_else(|| bad(&source.path, "a picture too large for memory"))?;
    let mut raw = zeros(size, "the picture")?;
    let frame = reader.next_frame(&mut raw).map_err(|e| bad(&source.path, e))?;
    let mut warnings = Vec::new();
    if reader.info().animation_control().is_some() {
        warnings.push(Warning::new(Code::AnimationFirst, "an animation: only its first picture is read"));
    }
    reader.finish().map_err(|e| bad(&source.path, e))?;
    if (frame.width, frame.height) != (width, height) {
        return Err(bad(&source.path, format!("a first picture of {} x {}", frame.width, frame.height)));
    }

    if let Some(depth) = indices {
        let values = unpacked(&raw, [width as usize, height as usize], frame.line_size, depth as usize)?;
        let size = [width as usize, height as usize];
        return Ok(Picture { size, channels: 1, values: Voxels::U8(values), warnings });
    }
    let (stored, channels) = match frame.color_type {
        ColorType::Grayscale => (1, 1),
        ColorType::GrayscaleAlpha => (2, 1),
        ColorType::Rgb => (3, 3),
        ColorType::Rgba => (4, 3),
        ColorType::Indexed => return Err(bad(&source.path, "a palette that was not expanded")),
    };
    if stored != channels {
        warnings.push(Warning::new(Code::AlphaIgnored, "the alpha channel is left out"));
    }
    let values = match frame.bit_depth {
        BitDepth::Eight => Voxels::U8(if stored == channels { raw } else { drop_alpha(raw, stored) }),
        BitDepth::Sixteen => {
            let mut wide = reserve(size / 2, "the picture")?;
            wide.extend(raw.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])));
            let wide = if stored == channels { wide } else { drop_alpha(wide, stored) };
            if channels == 1 { Voxels::U16(wide) } else { Voxels::U8(narrowed(&wide, &mut warnings)?) }
        }
        depth => return Err(bad(&source.path, format!("{depth:?} bits that were not expanded"))),
    };
    Ok(Picture { size: [width as usize, height as usize], channels, values, warnings })
}

/// Numbers of `bits` bits, 1 to 8, each row from a new byte of `line` on.
fn unpacked(raw: &[u8], [width, height]: [usize; 2], line: usize, bits: usize) -> Result<Vec<u8>> {
    let mut values = reserve(width * height, "the picture")?;
    let mask = u8::MAX >> (8 - bits);
    for row in raw.chunks_exact(line).take(height) {
        values.extend((0..width).map(|x| row[x * bits / 8] >> (8 - bits - x * bits % 8) & mask));
    }
    Ok(values)
}

/// Colour is used as it is, and that means 8 bits: 65535 becomes 255.
fn narrowed(wide: &[u16], warnings: &mut Vec<Warning>) -> Result<Vec<u8>> {
    warnings.push(Warning::new(Code::ColourRounded, "16-bit colour is rounded to 8 bits"));
    let mut values = reserve(wide.len(), "the picture")?;
    values.extend(wide.iter().map(|&v| ((u32::from(v) + 128) / 257) as u8));
    Ok(values)
}

/// Writes a picture of `size` width, height with 8 or 16 bits; `values` are big endian, grey levels or indices of a
/// `palette` of red, green, blue.
pub(super) fn write(
    out: &mut impl Write,
    size: [usize; 2],
    depth: BitDepth,
    palette: Option<Vec<u8>>,
    values: &[u8],
) -> std::io::Result<()> {
    let side = |n: usize| u32::try_from(n).map_err(|_| std::io::Error::other("a side of more than 2^32 pixels"));
    let mut encoder = ::png::Encoder::new(out, side(size[0])?, side(size[1])?);
    encoder.set_color(if palette.is_some() { ColorType::Indexed } else { ColorType::Grayscale });
    if let Some(palette) = palette {
        encoder.set_palette(palette);
    }
    encoder.set_depth(depth);
    let mut writer = encoder.write_header()?;
    // Piece by piece: the whole compressed picture in memory would end the process where there is none left.
    let mut stream = writer.stream_writer_with_size(1 << 15)?;
    stream.write_all(values)?;
    stream.finish()?;
    Ok(writer.finish()?)
}

fn bad(path: &Path, found: impl ToString) -> Error {
    Error::file(path, "PNG picture", "a complete and consistent one", found)
}
