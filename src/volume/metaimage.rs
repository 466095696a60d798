//! MetaImage headers: one file (.mha), every synonym that ITK reads.

use super::raster::{Encoding, Parsed, Problem, Raster, from_lps, numbers, reals, third};
use crate::codes::{Code, Warning};
use crate::image::DataType;

/// The pairs of a header.
struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn read(lines: &[Vec<u8>]) -> Parsed<Self> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for line in lines.iter().filter(|line| !line.iter().all(u8::is_ascii_whitespace)) {
            let line = String::from_utf8_lossy(line);
            let Some((name, value)) = line.split_once(['=', ':']) else {
                return Err(Problem::new("MetaImage header", "lines 'Name = value'", line));
            };
            if pairs.iter().any(|(known, _)| known == name.trim()) {
                return Err(Problem::new("MetaImage header", "each name once", format!("'{}' twice", name.trim())));
            }
            pairs.push((name.trim().to_string(), value.trim().to_string()));
        }
        Ok(Pairs(pairs))
    }

    /// The value of the first of these names that is there.
    fn any(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.0.iter().find(|(known, _)| known == name)).map(|(_, value)| value.as_str())
    }

    fn flag(&self, names: &[&str]) -> Parsed<bool> {
        match self.any(names).and_then(|value| value.chars().next()) {
            None | Some('F' | 'f' | '0' | 'N' | 'n') => Ok(false),
            Some('T' | 't' | '1' | 'Y' | 'y') => Ok(true),
            Some(_) => Err(Problem::new(names[0], "True or False", self.any(names).unwrap_or_default())),
        }
    }
}

/// Whether a line is the last one of a header.
pub(super) fn is_last(line: &[u8]) -> bool {
    line.starts_with(b"ElementDataFile")
}

/// What the header of these `lines` says, ElementDataFile the last of them. `behind` is how many bytes follow it.
pub(super) fn parse(lines: &[Vec<u8>], behind: u64) -> Parsed<Raster> {
    let pairs = Pairs::read(lines)?;
    let mut warnings = Vec::new();
    match pairs.any(&["ElementDataFile"]) {
        Some(name) if name.eq_ignore_ascii_case("local") => {}
        other => {
            let found = other.unwrap_or("none");
            return Err(Problem::new("ElementDataFile", "LOCAL: voxels in the same file, as .mha", found));
        }
    }
    if pairs.any(&["BinaryData"]).is_some() && !pairs.flag(&["BinaryData"])? {
        return Err(Problem::new("BinaryData", "True", "False"));
    }
    let mut sizes = numbers::<u64>("DimSize", pairs.any(&["DimSize"]).unwrap_or_default())?;
    let axes = sizes.len();
    let said = pairs.any(&["NDims"]).unwrap_or_default();
    if said.parse() != Ok(axes) || !(1..=4).contains(&axes) || sizes.contains(&0) {
        return Err(Problem::new(
            "DimSize",
            "as many as NDims, one to four, each at least 1",
            format!("{sizes:?}, NDims {said}"),
        ));
    }
    let affine = affine(&pairs, axes, &mut warnings)?;
    let mut components = (axes == 4).then_some(3);
    let channels = pairs.any(&["ElementNumberOfChannels"]).unwrap_or("1");
    match channels.parse::<u64>() {
        Ok(1) => {}
        Ok(count) if count > 0 && axes < 4 => {
            sizes.insert(0, count);
            components = Some(0);
        }
        _ => return Err(Problem::new("ElementNumberOfChannels", "1 or more, of at most three axes", channels)),
    }
    let compressed = pairs.flag(&["CompressedData"])?;
    let values = sizes.iter().try_fold(1_u64, |all, &n| all.checked_mul(n));
    let data_type =
        data_type(pairs.any(&["ElementType"]).unwrap_or_default(), values, behind, compressed, &mut warnings)?;
    let skip_bytes = match pairs.any(&["HeaderSize"]).map(str::parse::<i64>) {
        None => Some(0),
        Some(Ok(-1)) => None,
        Some(Ok(count @ 0..)) => Some(count as u64),
        Some(_) => return Err(Problem::new("HeaderSize", "-1, 0 or more", "another number")),
    };
    Ok(Raster {
        colour: components == Some(0) && sizes[0] == 3 && data_type == DataType::U8,
        sizes,
        components,
        data_type,
        big_endian: pairs.flag(&["BinaryDataByteOrderMSB", "ElementByteOrderMSB"])?,
        encoding: if compressed { Encoding::Zlib } else { Encoding::Raw },
        skip_lines: 0,
        skip_bytes,
        affine,
        warnings,
    })
}

/// MET_LONG has four bytes, whatever a C compiler says; metaimageio writes eight.
fn data_type(
    name: &str,
    values: Option<u64>,
    behind: u64,
    compressed: bool,
    warnings: &mut Vec<Warning>,
) -> Parsed<DataType> {
    let mut long = |four: DataType, eight: DataType| {
        if !compressed && values.and_then(|n| n.checked_mul(8)) == Some(behind) {
            warnings.push(Warning::new(
                Code::HeaderOdd,
                format!("{name} has 8 bytes a value in this file, as metaimageio writes it; ITK takes 4"),
            ));
            return eight;
        }
        four
    };
    Ok(match name {
        "MET_CHAR" | "MET_ASCII_CHAR" => DataType::I8,
        "MET_UCHAR" => DataType::U8,
        "MET_SHORT" => DataType::I16,
        "MET_USHORT" => DataType::U16,
        "MET_INT" => DataType::I32,
        "MET_UINT" => DataType::U32,
        "MET_LONG" => long(DataType::I32, DataType::I64),
        "MET_ULONG" => long(DataType::U32, DataType::U64),
        "MET_LONG_LONG" => DataType::I64,
        "MET_ULONG_LONG" => DataType::U64,
        "MET_FLOAT" => DataType::F32,
        "MET_DOUBLE" => DataType::F64,
        _ => return Err(Problem::new("ElementType", "MET_UCHAR to MET_DOUBLE", name)),
    })
}

fn affine(pairs: &Pairs, axes: usize, warnings: &mut Vec<Warning>) -> Parsed<Option<super::Affine>> {
    let list = |names: &[&str], count: usize| {
        let Some(text) = pairs.any(names) else { return Ok(None) };
        let found = reals(names[0], text)?;
        match found.len() == count {
            true => Ok(Some(found)),
            false => Err(Problem::new(names[0], format!("{count} numbers"), text)),
        }
    };
    let spacing = list(&["ElementSpacing", "ElementSize"], axes)?.unwrap_or_else(|| {
        warnings.push(Warning::new(Code::SpacingOdd, "there is no ElementSpacing: it counts as 1 mm"));
        vec![1.0; axes]
    });
    if spacing.contains(&0.0) {
        return Err(Problem::new("ElementSpacing", "numbers that are not 0", format!("{spacing:?}")));
    }
    let offset = list(&["Offset", "Position", "Origin"], axes)?.unwrap_or(vec![0.0; axes]);
    let matrix = list(&["TransformMatrix", "Rotation", "Orientation"], axes * axes)?;
    // The numbers of axis k stand together; of a slice, and of a volume with time, the space of three axes is made or
    // taken.
    let number = |axis: usize, row: usize| match &matrix {
        Some(matrix) if axis < axes && row < axes => matrix[axis * axes + row],
        _ => f64::from(u8::from(axis == row)),
    };
    let step = |axis: usize| spacing.get(axis).copied().unwrap_or(1.0);
    let mut directions = [0, 1, 2].map(|axis| [0, 1, 2].map(|row| number(axis, row) * step(axis)));
    if axes < 3 {
        directions[2] = third(directions[0], directions[1]);
    }
    let origin = [0, 1, 2].map(|axis| offset.get(axis).copied().unwrap_or(0.0));
    Ok(Some(from_lps(directions, origin)))
}
