//! NRRD headers, <https://teem.sourceforge.net/nrrd/format.html>: attached data, where the voxels lie by directions and
//! origin or by spacings, and an axis of values of one voxel wherever it stands.

use std::collections::BTreeMap;

use super::Affine;
use super::raster::{Encoding, Parsed, Problem, Raster, from_lps, numbers, reals, third};
use crate::codes::{Code, Warning};
use crate::image::{DataType, Segment};

/// Fields that say nothing of where and what the voxels are.
const WITHOUT_EFFECT: [&str; 18] = [
    "content",
    "number",
    "min",
    "max",
    "oldmin",
    "oldmax",
    "labels",
    "units",
    "sampleunits",
    "thicknesses",
    "measurementframe",
    "spaceunits",
    "blocksize",
    "axismins",
    "axismaxs",
    "centers",
    "centerings",
    "spacedimension",
];
const FIELDS: [&str; 14] = [
    "dimension",
    "type",
    "encoding",
    "sizes",
    "endian",
    "space",
    "spacedirections",
    "spaceorigin",
    "kinds",
    "spacings",
    "byteskip",
    "lineskip",
    "datafile",
    "datatype",
];

/// The fields of a header, names without blanks and in small letters; `key:=value` pairs are none, whatever their keys.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(lines: &[Vec<u8>], warnings: &mut Vec<Warning>) -> Parsed<Self> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines.iter().skip(1).filter(|line| !line.is_empty() && line[0] != b'#') {
            let line = String::from_utf8_lossy(line);
            let Some((name, value)) = line.split_once(':') else {
                return Err(Problem::new("NRRD header", "lines 'field: value' or 'key:=value'", line));
            };
            if value.starts_with('=') {
                continue;
            }
            let name: String = name.to_lowercase().split_whitespace().collect();
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(Problem::new("NRRD header", "each field once", format!("'{name}' twice")));
            }
            if !FIELDS.contains(&name.as_str()) && !WITHOUT_EFFECT.contains(&name.as_str()) && warnings.len() < 16 {
                warnings.push(Warning::new(
                    Code::HeaderOdd,
                    format!("the NRRD field '{}' is not known", name.escape_debug()),
                ));
            }
            fields.push((name, value.trim().to_string()));
        }
        Ok(Fields(fields))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn need(&self, name: &str) -> Parsed<&str> {
        self.get(name).ok_or_else(|| Problem::new("NRRD header", format!("the field '{name}'"), "none"))
    }

    /// A number an axis, NaN where there is none.
    fn per_axis(&self, name: &str, axes: usize) -> Parsed<Option<Vec<f64>>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let found = numbers::<f64>(name, text)?;
        if found.len() != axes {
            return Err(Problem::new(name, format!("{axes} numbers"), text));
        }
        Ok(Some(found))
    }
}

/// Whether a line is the header's last: an empty one, or one that names another file, since nothing need follow it.
pub(super) fn is_last(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let names_file = |(name, value): (&str, &str)| {
        !value.starts_with('=') && name.to_lowercase().split_whitespace().collect::<String>() == "datafile"
    };
    line.is_empty() || text.split_once(':').is_some_and(names_file)
}

/// What the header of these `lines` says, the empty line at its end included.
pub(super) fn parse(lines: &[Vec<u8>]) -> Parsed<Raster> {
    let magic = lines.first().map_or(&[][..], Vec::as_slice);
    if !matches!(magic, [b'N', b'R', b'R', b'D', b'0', b'0', b'0', b'1'..=b'5']) {
        return Err(Problem::new("NRRD version", "NRRD0001 to NRRD0005", String::from_utf8_lossy(magic)));
    }
    let mut warnings = Vec::new();
    let fields = Fields::read(lines, &mut warnings)?;
    if let Some(file) = fields.get("datafile").or(fields.get("datatype")) {
        return Err(Problem::new("NRRD data file", "voxels in the same file (unu save -f nrrd)", file));
    }
    let sizes = sizes(&fields)?;
    let data_type = data_type(fields.need("type")?)?;
    let encoding = encoding(fields.need("encoding")?)?;
    let big_endian = match fields.get("endian").map(str::to_lowercase).as_deref() {
        Some("little") => false,
        Some("big") => true,
        None if data_type.bytes() == 1 || encoding == Encoding::Text => false,
        other => return Err(Problem::new("endian", "little or big", other.unwrap_or("none"))),
    };
    let directions = directions(&fields, sizes.len())?;
    let kinds = fields.get("kinds").map(|text| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>());
    let components = components(&sizes, directions.as_deref(), kinds.as_deref())?;
    let colour = components.is_some_and(|axis| {
        let kind = kinds.as_ref().and_then(|kinds| kinds.get(axis)).map(String::as_str);
        sizes[axis] == 3 && matches!(kind, Some("rgb-color" | "3-color"))
    });
    let affine = affine(&fields, &sizes, components, directions.as_deref(), &mut warnings)?;
    let skip = |name: &str| match fields.get(name).map(|text| text.parse::<i64>()) {
        None => Ok(0),
        Some(Ok(count @ -1..)) => Ok(count),
        Some(_) => Err(Problem::new(name, "-1, 0 or more", fields.get(name).unwrap_or_default())),
    };
    let (skip_lines, skip_bytes) = (skip("lineskip")?, u64::try_from(skip("byteskip")?).ok());
    let skip_lines = u64::try_from(skip_lines).map_err(|_| Problem::new("line skip", "0 or more", skip_lines))?;
    Ok(Raster { sizes, components, colour, data_type, big_endian, encoding, skip_lines, skip_bytes, affine, warnings })
}

/// What the keys of a .seg.nrrd call its labels, ascending.
pub(super) fn label_names(lines: &[Vec<u8>]) -> Vec<Segment> {
    let mut found: BTreeMap<&str, (Option<u16>, Option<String>)> = BTreeMap::new();
    let texts: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
    for (key, value) in texts.iter().filter_map(|line| line.split_once(":=")) {
        match key.strip_prefix("Segment").and_then(|rest| rest.split_once('_')) {
            Some((number, "LabelValue")) => found.entry(number).or_default().0 = value.trim().parse().ok(),
            Some((number, "Name")) => found.entry(number).or_default().1 = Some(unescape(value.trim())),
            _ => {}
        }
    }
    let mut names = BTreeMap::new();
    for (label, name) in found.into_values().filter_map(|(label, name)| Some((label?, name?))) {
        if label > 0 && !name.is_empty() {
            names.entry(label).or_insert(name);
        }
    }
    names.into_iter().map(|(label, name)| Segment { label, name }).collect()
}

/// The value of a key: `\n` and `\\` stand for a line's end and a backslash.
fn unescape(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match (character, characters.as_str().chars().next()) {
            ('\\', Some(escaped @ ('n' | '\\'))) => {
                characters.next();
                plain.push(if escaped == 'n' { '\n' } else { '\\' });
            }
            _ => plain.push(character),
        }
    }
    plain
}

fn sizes(fields: &Fields) -> Parsed<Vec<u64>> {
    let dimension = fields.need("dimension")?;
    let sizes = numbers::<u64>("sizes", fields.need("sizes")?)?;
    if dimension.parse() != Ok(sizes.len()) {
        return Err(Problem::new("sizes", format!("as many as dimension says, {dimension}"), sizes.len()));
    }
    if !(1..=4).contains(&sizes.len()) || sizes.contains(&0) {
        return Err(Problem::new("sizes", "one to four, each at least 1", format!("{sizes:?}")));
    }
    Ok(sizes)
}

fn data_type(name: &str) -> Parsed<DataType> {
    Ok(match name.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ").as_str() {
        "signed char" | "int8" | "int8_t" => DataType::I8,
        "uchar" | "unsigned char" | "uint8" | "uint8_t" => DataType::U8,
        "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => DataType::I16,
        "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => DataType::U16,
        "int" | "signed int" | "int32" | "int32_t" => DataType::I32,
        "uint" | "unsigned int" | "uint32" | "uint32_t" => DataType::U32,
        "longlong"
        | "long long"
        | "long long int"
        | "signed long long"
        | "signed long long int"
        | "int64"
        | "int64_t" => DataType::I64,
        "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => DataType::U64,
        "float" => DataType::F32,
        "double" => DataType::F64,
        _ => return Err(Problem::new("type", "integers or floats of 8 to 64 bits", name)),
    })
}

fn encoding(name: &str) -> Parsed<Encoding> {
    Ok(match name.to_lowercase().as_str() {
        "raw" => Encoding::Raw,
        "gz" | "gzip" => Encoding::Gzip,
        "hex" => Encoding::Hex,
        "txt" | "text" | "ascii" => Encoding::Text,
        _ => return Err(Problem::new("encoding", "raw, gzip, hex or text", name)),
    })
}

/// The direction of each axis; `None` for one that is not of space.
fn directions(fields: &Fields, axes: usize) -> Parsed<Option<Vec<Option<Vec<f64>>>>> {
    let Some(text) = fields.get("spacedirections") else { return Ok(None) };
    let (mut found, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let (direction, after) = match rest.get(..4).filter(|word| word.eq_ignore_ascii_case("none")) {
            Some(_) => (None, &rest[4..]),
            None => {
                let (vector, after) = vector("space directions", rest)?;
                (Some(vector), after)
            }
        };
        found.push(direction);
        rest = after.trim_start();
    }
    if found.len() != axes {
        return Err(Problem::new("space directions", format!("{axes}, one an axis"), text));
    }
    Ok(Some(found))
}

/// The vector `(a, b, c)` at the start of `text`, and what follows it.
fn vector<'a>(what: &str, text: &'a str) -> Parsed<(Vec<f64>, &'a str)> {
    let inside = text.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let (inside, rest) = inside.ok_or_else(|| Problem::new(what, "(x,y,z)", text))?;
    Ok((reals(what, &inside.replace(',', " "))?, rest))
}

/// The axis that counts values of one voxel: the one without a direction, else by its kind.
fn components(
    sizes: &[u64],
    directions: Option<&[Option<Vec<f64>>]>,
    kinds: Option<&[String]>,
) -> Parsed<Option<usize>> {
    let space = |kind: &String| matches!(kind.as_str(), "domain" | "space" | "none" | "???");
    let by_kind = |axis: usize| kinds.and_then(|kinds| kinds.get(axis)).is_some_and(|kind| !space(kind));
    let other: Vec<usize> = match directions {
        Some(directions) => (0..sizes.len()).filter(|&axis| directions[axis].is_none()).collect(),
        None => (0..sizes.len()).filter(|&axis| by_kind(axis)).collect(),
    };
    match *other.as_slice() {
        [] if sizes.len() < 4 => Ok(None),
        [axis] if sizes.len() > 1 => Ok(Some(axis)),
        _ => {
            let expected =
                "at most three axes of space and one other, which has 'none' for a direction or says its kind";
            Err(Problem::new("axes", expected, format!("sizes {sizes:?}, of which {} are not of space", other.len())))
        }
    }
}

fn affine(
    fields: &Fields,
    sizes: &[u64],
    components: Option<usize>,
    directions: Option<&[Option<Vec<f64>>]>,
    warnings: &mut Vec<Warning>,
) -> Parsed<Option<Affine>> {
    if let Some(units) = fields.get("spaceunits")
        && units.replace('"', " ").split_whitespace().any(|unit| unit != "mm")
    {
        warnings
            .push(Warning::new(Code::UnitsOdd, format!("space units {} count as millimetres", units.escape_debug())));
    }
    let signs = match fields.get("space") {
        Some(space) => Some(signs(space)?),
        None => None,
    };
    let Some(directions) = directions else {
        if signs.is_some() {
            warnings.push(Warning::new(
                Code::HeaderOdd,
                "there is a space and no space directions: ITK refuses such a file",
            ));
        }
        return by_spacings(fields, sizes, components, signs.flatten(), warnings);
    };
    let Some(Some(signs)) = signs else {
        let expected =
            "left-posterior-superior, right-anterior-superior or left-anterior-superior: readers disagree on others";
        return Err(Problem::new("space", expected, fields.get("space").unwrap_or("none")));
    };
    let mut axes = Vec::new();
    for vector in directions.iter().flatten() {
        let vector = <[f64; 3]>::try_from(vector.as_slice());
        axes.push(
            vector.map_err(|found| Problem::new("space directions", "three numbers each", format!("{found:?}")))?,
        );
    }
    let (first, second) = (axes.first().copied().unwrap_or([1.0, 0.0, 0.0]), axes.get(1).copied());
    let second = second.unwrap_or(if first[1].abs() < first[0].abs() { [0.0, 1.0, 0.0] } else { [1.0, 0.0, 0.0] });
    let last = axes.get(2).copied().unwrap_or_else(|| {
        warnings.push(Warning::new(Code::SpacingOdd, "a slice in space: its thickness counts as 1 mm"));
        third(first, second)
    });
    let origin = match fields.get("spaceorigin") {
        Some(text) => vector("space origin", text)?.0,
        None => {
            warnings.push(Warning::new(Code::HeaderOdd, "there is no space origin: it counts as 0"));
            vec![0.0; 3]
        }
    };
    let origin = <[f64; 3]>::try_from(origin)
        .map_err(|found| Problem::new("space origin", "three numbers", format!("{found:?}")))?;
    let lps = |v: [f64; 3]| [v[0] * signs[0], v[1] * signs[1], v[2]];
    Ok(Some(from_lps([first, second, last].map(lps), lps(origin))))
}

/// The signs of x and y against LPS; `None` for a space that readers understand differently.
fn signs(space: &str) -> Parsed<Option<[f64; 2]>> {
    Ok(match space.to_lowercase().as_str() {
        "left-posterior-superior" | "lps" => Some([1.0, 1.0]),
        "right-anterior-superior" | "ras" => Some([-1.0, -1.0]),
        "left-anterior-superior" | "las" => Some([1.0, -1.0]),
        "scanner-xyz" | "3d-right-handed" | "3d-left-handed" => None,
        other if other.ends_with("-time") || other.ends_with('t') => {
            return Err(Problem::new("space", "three dimensions (an axis of time has 'none' for a direction)", space));
        }
        _ => None,
    })
}

/// Straight axes, x to the left and y to the back as ITK has them, from spacings and axis mins.
fn by_spacings(
    fields: &Fields,
    sizes: &[u64],
    components: Option<usize>,
    signs: Option<[f64; 2]>,
    warnings: &mut Vec<Warning>,
) -> Parsed<Option<Affine>> {
    let axes: Vec<usize> = (0..sizes.len()).filter(|&axis| Some(axis) != components).collect();
    let node = |axis: usize| {
        let centers = fields.get("centers").or(fields.get("centerings")).unwrap_or_default();
        centers.split_whitespace().nth(axis).is_some_and(|word| word.eq_ignore_ascii_case("node"))
    };
    let [spacings, mins, maxs] = ["spacings", "axismins", "axismaxs"].map(|name| fields.per_axis(name, sizes.len()));
    let (spacings, mins, maxs) = (spacings?, mins?, maxs?);
    let number =
        |list: &Option<Vec<f64>>, axis: usize| list.as_ref().map(|l| l[axis]).filter(|value| value.is_finite());
    let spacing = |axis: usize| {
        let steps = if node(axis) { sizes[axis].max(2) - 1 } else { sizes[axis] } as f64;
        number(&spacings, axis).or_else(|| Some((number(&maxs, axis)? - number(&mins, axis)?) / steps))
    };
    let found: Option<Vec<f64>> = axes.iter().map(|&axis| spacing(axis)).collect();
    let Some(found) = found.filter(|found| found.iter().all(|&step| step != 0.0)) else { return Ok(None) };
    warnings.push(Warning::new(
        Code::NoOrientation,
        "there are no space directions: axes count as those of the patient, x to the left and y to the back",
    ));
    let (mut directions, mut origin) = ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0.0; 3]);
    for (at, (&axis, step)) in axes.iter().zip(found).enumerate().take(3) {
        directions[at][at] = step;
        origin[at] = number(&mins, axis).map_or(0.0, |min| if node(axis) { min } else { min + step / 2.0 });
    }
    let signs = signs.unwrap_or([1.0, 1.0]);
    let lps = |v: [f64; 3]| [v[0] * signs[0], v[1] * signs[1], v[2]];
    Ok(Some(from_lps(directions.map(lps), lps(origin))))
}
