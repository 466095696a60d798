//! What the markers of a JPEG stream say: frame, scans, tables, restarts (T.81 annex B).

use super::huffman::Table;
use crate::Result;
use crate::dicom::FrameShape;
use crate::dicom::codec::check::{bad, same_size};
use crate::memory::zeros;

/// Largest sampling factor of T.81.
const MAX_FACTOR: u8 = 4;

/// What coded the frame.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Process {
    Dct,
    Lossless,
}

/// One component of the frame header.
pub(super) struct Component {
    pub id: u8,
    /// Sampling factors across and down.
    pub factors: [usize; 2],
    pub quantization: usize,
    /// Samples across and down that the image needs.
    pub size: [usize; 2],
    /// Samples across that `samples` has.
    pub stride: usize,
    /// Row by row; whole blocks where the process is [`Process::Dct`].
    pub samples: Vec<u16>,
    /// Whether a scan has filled it.
    pub coded: bool,
}

pub(super) struct Frame {
    pub process: Process,
    pub precision: u32,
    /// Columns, rows.
    pub size: [usize; 2],
    /// Largest sampling factors of a component.
    pub factors: [usize; 2],
    pub components: Vec<Component>,
}

/// One component's part in a scan, by its index in the frame and its tables' slots.
pub(super) struct ScanComponent {
    pub index: usize,
    pub dc: usize,
    pub ac: usize,
}

/// The scan header.
pub(super) struct Scan {
    pub components: Vec<ScanComponent>,
    /// Ss: the predictor of a lossless scan.
    pub start: u8,
    /// Al: the point transform of a lossless scan.
    pub shift: u32,
}

/// Tables that stay in force from their marker on.
#[derive(Default)]
pub(super) struct Tables {
    pub dc: [Option<Table>; 4],
    pub ac: [Option<Table>; 4],
    pub quantization: [Option<[u16; 64]>; 4],
    /// MCUs between restart markers; 0 where there are none.
    pub restart: usize,
}

pub(super) struct Reader<'a> {
    pub data: &'a [u8],
    pub position: usize,
}

impl<'a> Reader<'a> {
    /// The next marker's second byte; FF bytes may fill in front of it.
    pub fn marker(&mut self) -> Result<u8> {
        if self.data.get(self.position) != Some(&0xFF) {
            return Err(bad("JPEG", "a marker", format!("another byte, or the end, at {}", self.position)));
        }
        while self.data.get(self.position) == Some(&0xFF) {
            self.position += 1;
        }
        let marker = *self.data.get(self.position).ok_or_else(|| bad("JPEG", "a marker", "the end of the data"))?;
        self.position += 1;
        Ok(marker)
    }

    /// What follows a marker and its length.
    pub fn segment(&mut self) -> Result<&'a [u8]> {
        let rest = self.data.get(self.position..).unwrap_or_default();
        let length = rest.first_chunk::<2>().map_or(0, |b| usize::from(u16::from_be_bytes(*b)));
        let segment = rest.get(2..length).ok_or_else(|| bad("JPEG", "a whole marker segment", "less"))?;
        self.position += length;
        Ok(segment)
    }
}

impl Tables {
    pub fn huffman(&mut self, mut rest: &[u8]) -> Result<()> {
        let short = || bad("JPEG DHT", "17 bytes and a symbol for each code", "less");
        while !rest.is_empty() {
            let (head, tail) = rest.split_first_chunk::<17>().ok_or_else(short)?;
            let [kind, counts @ ..] = head;
            let total = counts.iter().map(|&c| usize::from(c)).sum();
            let (symbols, tail) = tail.split_at_checked(total).ok_or_else(short)?;
            let tables = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let slot = tables.get_mut(usize::from(kind & 15)).filter(|_| kind >> 4 < 2);
            *slot.ok_or_else(|| bad("JPEG DHT", "class 0 or 1, table 0 to 3", format!("{kind:#04x}")))? =
                Some(Table::new(counts, symbols)?);
            rest = tail;
        }
        Ok(())
    }

    pub fn quantization(&mut self, mut rest: &[u8]) -> Result<()> {
        while let Some((&kind, tail)) = rest.split_first() {
            let width = match kind >> 4 {
                0 => 1,
                1 => 2,
                _ => return Err(bad("JPEG DQT", "values of 8 or 16 bits", format!("{kind:#04x}"))),
            };
            let (values, tail) =
                tail.split_at_checked(64 * width).ok_or_else(|| bad("JPEG DQT", "64 values", "fewer"))?;
            let mut table = [0; 64];
            for (to, from) in table.iter_mut().zip(values.chunks_exact(width)) {
                *to = from.iter().fold(0, |sum, &b| sum << 8 | u16::from(b));
            }
            *self
                .quantization
                .get_mut(usize::from(kind & 15))
                .ok_or_else(|| bad("JPEG DQT", "table 0 to 3", format!("{kind:#04x}")))? = Some(table);
            rest = tail;
        }
        Ok(())
    }
}

impl Frame {
    /// From a frame header; nothing is allocated before it agrees with `shape`.
    pub fn new(marker: u8, segment: &[u8], shape: &FrameShape) -> Result<Self> {
        let process = if marker == 0xC3 { Process::Lossless } else { Process::Dct };
        let [precision, r0, r1, c0, c1, count, ref rest @ ..] = *segment else {
            return Err(bad("JPEG frame header", "at least 6 bytes", segment.len()));
        };
        let size = [usize::from(u16::from_be_bytes([c0, c1])), usize::from(u16::from_be_bytes([r0, r1]))];
        same_size(size, count.into(), shape)?;
        let known = match process {
            Process::Dct => precision == 8 || precision == 12 && marker == 0xC1,
            Process::Lossless => (2..=16).contains(&precision),
        };
        if !known {
            return Err(bad("JPEG precision", "8 or 12 bits, or 2 to 16 of a lossless process", precision));
        }
        if rest.len() != 3 * usize::from(count) {
            return Err(bad("JPEG frame header", "3 bytes a component", rest.len()));
        }
        let mut components = Vec::new();
        for header in rest.chunks_exact(3) {
            let factors = [header[1] >> 4, header[1] & 15];
            if factors.iter().any(|f| !(1..=MAX_FACTOR).contains(f)) || header[2] > 3 {
                return Err(bad("JPEG component", "sampling factors 1 to 4, table 0 to 3", format!("{header:?}")));
            }
            components.push(Component {
                id: header[0],
                factors: factors.map(usize::from),
                quantization: header[2].into(),
                size: [0; 2],
                stride: 0,
                samples: Vec::new(),
                coded: false,
            });
        }
        let largest = [0, 1].map(|axis| components.iter().map(|c| c.factors[axis]).max().unwrap_or(1));
        let mut frame = Frame { process, precision: precision.into(), size, factors: largest, components };
        frame.allocate()?;
        Ok(frame)
    }

    fn allocate(&mut self) -> Result<()> {
        let (size, factors) = (self.size, self.factors);
        let mcus = self.mcus();
        for component in &mut self.components {
            component.size = [0, 1].map(|axis| (size[axis] * component.factors[axis]).div_ceil(factors[axis]));
            let held = match self.process {
                Process::Dct => [0, 1].map(|axis| mcus[axis] * component.factors[axis] * 8),
                Process::Lossless if component.factors == factors => component.size,
                Process::Lossless => {
                    return Err(bad("lossless JPEG", "components of one sampling", "subsampled components"));
                }
            };
            component.stride = held[0];
            component.samples = zeros(held[0] * held[1], "a JPEG component")?;
        }
        Ok(())
    }

    /// MCUs across and down of an interleaved scan.
    pub fn mcus(&self) -> [usize; 2] {
        let unit = if self.process == Process::Dct { 8 } else { 1 };
        [0, 1].map(|axis| self.size[axis].div_ceil(unit * self.factors[axis]))
    }
}

impl Scan {
    pub fn new(segment: &[u8], frame: &Frame) -> Result<Self> {
        let wrong = |found: &str| bad("JPEG scan header", "components of the frame, each once", found);
        let (&count, rest) = segment.split_first().ok_or_else(|| wrong("nothing"))?;
        let (list, tail) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(|| wrong("less"))?;
        let [start, _end, approximation] = *tail else { return Err(wrong("another length")) };
        let mut components: Vec<ScanComponent> = Vec::new();
        for pair in list.chunks_exact(2) {
            let index = frame.components.iter().position(|c| c.id == pair[0]).ok_or_else(|| wrong("another"))?;
            if frame.components[index].coded || components.iter().any(|c| c.index == index) {
                return Err(wrong("one twice"));
            }
            components.push(ScanComponent { index, dc: (pair[1] >> 4).into(), ac: (pair[1] & 15).into() });
        }
        if components.is_empty() {
            return Err(wrong("none"));
        }
        Ok(Scan { components, start, shift: u32::from(approximation & 15) })
    }
}

/// The marker between two restart intervals, `count` of which came before it: where the next interval begins.
///
/// # Errors
/// [`Error::File`] where another marker stands there: an interval is missing, or there twice.
pub(super) fn restart(data: &[u8], position: usize, count: usize) -> Result<usize> {
    let mut reader = Reader { data, position };
    let (found, expected) = (reader.marker()?, 0xD0 + (count % 8) as u8);
    if found != expected {
        return Err(bad("JPEG restart marker", format!("{expected:#04x}"), format!("{found:#04x}")));
    }
    Ok(reader.position)
}
