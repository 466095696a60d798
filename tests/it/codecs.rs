//! Codecs of DICOM frames: streams of other encoders, with what went into them; cut, flipped and lying ones.
//!
//! `tests/data/codecs` and many more such streams are made by `tools/check_codecs.py`.

use std::path::{Path, PathBuf};

use crate::common::fuzz::survive;
use crate::common::lacking;
use medsegx::Error;
use medsegx::dicom::FrameShape;
use medsegx::dicom::codec::fragments::{Fragment, begins, by_frame};
use medsegx::dicom::codec::{Codec, decode_frame, says_ybr};

/// A compressed frame, and what it has to become.
struct Vector {
    name: String,
    syntax: String,
    stream: Vec<u8>,
    wanted: Vec<u8>,
    /// By how much a sample may differ.
    tolerance: u64,
    shape: FrameShape,
}

impl Vector {
    /// Whether `found` is what is wanted.
    fn right(&self, found: &[u8]) -> bool {
        let width = usize::from(self.shape.bits_allocated / 8);
        let word = |b: &[u8]| b.iter().rev().fold(0_u64, |word, &b| word << 8 | u64::from(b));
        let pairs = found.chunks_exact(width).zip(self.wanted.chunks_exact(width));
        found.len() == self.wanted.len() && pairs.into_iter().all(|(a, b)| word(a).abs_diff(word(b)) <= self.tolerance)
    }

    fn decode(&self, stream: &[u8]) -> Result<Vec<u8>, Error> {
        decode_frame(&self.syntax, stream, &self.shape)
    }

    /// The message of an error about the frame; anything else fails the test.
    fn refused(&self, stream: &[u8], shape: &FrameShape) -> String {
        match decode_frame(&self.syntax, stream, shape) {
            Err(error @ Error::File { .. }) => error.to_string(),
            other => panic!("{}, {shape:?}: {:?}", self.name, other.map(|d| d.len())),
        }
    }
}

fn vectors(folder: &Path) -> Vec<Vector> {
    let list = std::fs::read_to_string(folder.join("list.json")).unwrap();
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    let read = |v: &serde_json::Value| std::fs::read(folder.join(v.as_str().unwrap())).unwrap();
    let vector = |v: &serde_json::Value| {
        let number = |key: &str| v[key].as_u64().unwrap() as usize;
        let shape = FrameShape {
            rows: number("rows"),
            columns: number("columns"),
            samples: number("samples"),
            bits_allocated: number("bits_allocated") as u16,
            bits_stored: number("bits_stored") as u16,
            signed: v["signed"].as_bool().unwrap(),
            planar: false,
        };
        let [name, syntax] = ["name", "syntax"].map(|key| v[key].as_str().unwrap().to_owned());
        let tolerance = v["tolerance"].as_u64().unwrap();
        Vector { name, syntax, stream: read(&v["stream"]), wanted: read(&v["wanted"]), tolerance, shape }
    };
    list.iter().map(vector).collect()
}

fn small() -> Vec<Vector> {
    vectors(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/codecs"))
}

fn one(name: &str) -> Vector {
    small().into_iter().find(|v| v.name == name).unwrap()
}

#[test]
fn small_streams_become_what_went_into_them() {
    for vector in small() {
        let found = vector.decode(&vector.stream).unwrap_or_else(|e| panic!("{}: {e}", vector.name));
        assert!(found == vector.wanted, "{}", vector.name);
    }
}

#[test]
fn made_by_others() {
    let Some(folder) = std::env::var_os("MEDSEGX_CODEC_VECTORS").map(PathBuf::from) else {
        return lacking("codecs", "codecs::made_by_others", "MEDSEGX_CODEC_VECTORS, a folder, is not set");
    };
    let vectors = vectors(&folder);
    // The encoders from PyPI make 467; those of Debian's packages are extra, and named as skipped where they are not.
    assert!(vectors.len() >= 467, "{} streams", vectors.len());
    let wrong: Vec<_> = vectors
        .iter()
        .filter_map(|vector| match vector.decode(&vector.stream) {
            Ok(found) if vector.right(&found) => None,
            Ok(_) => Some(format!("{}: other samples", vector.name)),
            Err(error) => Some(format!("{}: {error}", vector.name)),
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
}

/// rust-j2k, which has no unsafe code, decodes the same.
#[test]
fn another_decoder_of_jpeg_2000_agrees() {
    let mut compared = 0;
    for vector in small().iter().filter(|v| v.syntax == "1.2.840.10008.1.2.4.90") {
        let image = rust_j2k::decode(&vector.stream).unwrap();
        let planes: Vec<_> = (0..vector.shape.samples).map(|c| &image.component(c).unwrap().samples).collect();
        let width = usize::from(vector.shape.bits_allocated / 8);
        let words = (0..planes[0].len()).flat_map(|n| planes.iter().map(move |p| p[n]));
        let bytes: Vec<u8> = words.flat_map(|w| w.to_le_bytes().into_iter().take(width)).collect();
        assert!(bytes == vector.decode(&vector.stream).unwrap(), "{}", vector.name);
        compared += 1;
    }
    assert_eq!(compared, 3);
}

#[test]
fn a_stream_cut_short_is_refused() {
    for vector in small() {
        for length in 0..vector.stream.len() {
            // Without its end marker a stream can still have every sample.
            match vector.decode(&vector.stream[..length]) {
                Ok(found) => assert!(found == vector.wanted, "{}, the first {length} bytes", vector.name),
                Err(error) => assert!(matches!(error, Error::File { .. }), "{}: {error:?}", vector.name),
            }
        }
        let half = &vector.stream[..vector.stream.len() / 2];
        vector.refused(half, &vector.shape);
    }
}

#[test]
fn damage_is_an_error_or_a_frame_of_the_same_size() {
    for vector in small() {
        survive(&vector.name, &vector.stream, usize::MAX, 400, |damaged| {
            if let Ok(found) = vector.decode(&damaged) {
                assert_eq!(found.len(), vector.wanted.len());
            }
        });
    }
}

#[test]
fn tags_that_lie_about_the_frame_are_refused() {
    for vector in small() {
        let shape = vector.shape;
        let other = [
            FrameShape { rows: shape.rows + 1, ..shape },
            FrameShape { columns: shape.columns - 1, ..shape },
            FrameShape { rows: shape.columns, columns: shape.rows, ..shape },
            FrameShape { samples: 4 - shape.samples, ..shape },
            FrameShape { rows: 1 << 20, columns: 1 << 20, ..shape },
            FrameShape { rows: 0, ..shape },
            FrameShape { rows: usize::MAX, columns: usize::MAX, ..shape },
        ];
        for shape in other {
            // Runs of bytes have no size of their own: a transposed frame has as many.
            if vector.name.starts_with("RLE") && shape.rows * usize::from(shape.rows < 99) == vector.shape.columns {
                continue;
            }
            vector.refused(&vector.stream, &shape);
        }
    }
}

#[test]
fn precision_and_sign_are_held_against_the_tags() {
    let wide = one("JPEG 2000, signed");
    let narrow = FrameShape { bits_allocated: 8, bits_stored: 8, ..wide.shape };
    assert!(wide.refused(&wide.stream, &narrow).contains("bits"));
    let few = FrameShape { bits_stored: 12, ..wide.shape };
    assert!(wide.refused(&wide.stream, &few).contains("-2048 to 2047"));
    let unsigned = FrameShape { signed: false, ..wide.shape };
    assert!(wide.refused(&wide.stream, &unsigned).contains("0 to 65535"));

    // Beyond the tags' range by more than compression explains.
    let lossy = one("extended, 10 bits in 12");
    let fewer = FrameShape { bits_stored: 9, ..lossy.shape };
    assert!(lossy.refused(&lossy.stream, &fewer).contains("0 to 511"));

    // 12 bits without a sign in the stream: the tags' sign bit has to be the stream's highest.
    for name in ["JPEG 2000, 12 bits", "lossless, predictor 6, restarts"] {
        let twelve = one(name);
        let signed = FrameShape { signed: true, ..twelve.shape };
        assert!(decode_frame(&twelve.syntax, &twelve.stream, &signed).unwrap() == twelve.wanted);
        let higher = FrameShape { bits_stored: 16, ..signed };
        assert!(twelve.refused(&twelve.stream, &higher).contains("sign"));
    }
}

#[test]
fn jpeg_ls_bears_fill_bytes_and_refuses_colour_by_name() {
    let mut vector = one("JPEG-LS");
    let end = vector.stream.len() - 2;
    vector.stream.splice(end..end, [0xFF, 0xFF]);
    assert!(vector.decode(&vector.stream).unwrap() == vector.wanted);
    let colour = FrameShape { samples: 3, ..vector.shape };
    let header = vector.stream.windows(2).position(|w| w == [0xFF, 0xF7]).unwrap();
    vector.stream[header + 9] = 3;
    assert!(vector.refused(&vector.stream, &colour).contains("colour"));
}

#[test]
fn what_has_no_decoder_is_refused_by_name() {
    let shape = one("baseline").shape;
    for (syntax, name) in [
        ("1.2.840.10008.1.2.4.92", "Part 2"),
        ("1.2.840.10008.1.2.4.100", "video"),
        ("1.2.840.10008.1.2.4.110", "JPEG XL"),
        ("1.2.3\n", "unknown"),
    ] {
        let error = decode_frame(syntax, &[], &shape).unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains('\n'), "{error}");
    }
    let mut progressive = one("baseline");
    let header = progressive.stream.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    for (marker, name) in [(0xC2, "progressive"), (0xC5, "hierarchical"), (0xC9, "arithmetic")] {
        progressive.stream[header + 1] = marker;
        assert!(progressive.refused(&progressive.stream, &progressive.shape).contains(name));
    }
}

#[test]
fn a_restart_marker_that_is_not_there_is_an_error() {
    let mut vector = one("lossless, predictor 6, restarts");
    let markers: Vec<_> = (0..vector.stream.len() - 1)
        .filter(|&n| vector.stream[n] == 0xFF && (0xD0..=0xD7).contains(&vector.stream[n + 1]))
        .collect();
    assert_eq!(markers.len(), 5);
    vector.stream[markers[2] + 1] ^= 1;
    assert!(vector.refused(&vector.stream, &vector.shape).contains("restart"));
}

#[test]
fn native_frames_in_fragments() {
    let shape = FrameShape {
        rows: 2,
        columns: 3,
        samples: 3,
        bits_allocated: 16,
        bits_stored: 16,
        signed: false,
        planar: true,
    };
    let planes: Vec<u8> = (0..18_u16).flat_map(|n| (1000 + n).to_le_bytes()).collect();
    let pixels: Vec<u8> =
        (0..6).flat_map(|n| [0, 6, 12].map(|p| 1000 + n + p)).flat_map(|v: u16| v.to_le_bytes()).collect();
    let mut deflated = Vec::new();
    let level = flate2::Compression::default();
    std::io::Read::read_to_end(&mut flate2::read::DeflateEncoder::new(&planes[..], level), &mut deflated).unwrap();
    for (syntax, stream) in [("1.2.840.10008.1.2.1.98", &planes), ("1.2.840.10008.1.2.8.1", &deflated)] {
        assert_eq!(decode_frame(syntax, stream, &shape).unwrap(), pixels);
        let longer = FrameShape { rows: 3, ..shape };
        let shorter = FrameShape { rows: 1, ..shape };
        assert!(decode_frame(syntax, stream, &longer).is_err() && decode_frame(syntax, stream, &shorter).is_err());
    }
}

#[test]
fn fragments_find_their_frames() {
    let list = |begins: &[bool]| -> Vec<Fragment> {
        begins.iter().enumerate().map(|(n, &begins)| Fragment { place: 108 * n as u64, begins }).collect()
    };
    let (yes, no) = (true, false);
    let six = list(&[yes, no, yes, no, no, yes]);
    let wanted = vec![0..2, 2..5, 5..6];
    assert_eq!(by_frame(&six, 3, &[], &[]).unwrap(), wanted);
    assert_eq!(by_frame(&six, 3, &[0, 216, 540], &[]).unwrap(), wanted);
    assert_eq!(by_frame(&six, 3, &[], &[0, 216, 540]).unwrap(), wanted);
    assert_eq!(by_frame(&six, 1, &[], &[]).unwrap(), vec![0..6; 1]);
    // A table decides where streams do not: the second frame begins with a fragment that does not look like one.
    assert_eq!(by_frame(&list(&[no, no, no]), 2, &[0, 216], &[]).unwrap(), [0..2, 2..3]);
    // One stream a fragment leaves no doubt, whatever the table says.
    assert_eq!(by_frame(&list(&[yes, yes]), 2, &[0, 7], &[]).unwrap(), [0..1, 1..2]);
    for (frames, basic) in [(3, &[0, 216][..]), (3, &[0, 540, 216]), (3, &[0, 217, 540]), (3, &[108, 216, 540])] {
        assert!(by_frame(&six, frames, basic, &[]).is_err(), "{basic:?}");
    }
    assert!(by_frame(&six, 2, &[], &[]).is_err() && by_frame(&six, 7, &[], &[]).is_err());
    assert!(by_frame(&six, 0, &[], &[]).is_err() && by_frame(&six, usize::MAX, &[], &[]).is_err());

    for vector in small() {
        assert!(begins(Codec::of(&vector.syntax).unwrap(), &vector.stream), "{}", vector.name);
    }
}

#[test]
fn a_jpeg_says_what_its_colours_are() {
    let mut stream = one("lossless, colour").stream;
    assert_eq!(says_ybr(&stream), None);
    let adobe = [&[0xFF, 0xEE, 0, 14][..], b"Adobe", &[0, 100, 0, 0, 0, 0, 1]].concat();
    stream.splice(2..2, adobe);
    assert_eq!(says_ybr(&stream), Some(true));
    stream[17] = 0;
    assert_eq!(says_ybr(&stream), Some(false));
    assert_eq!(says_ybr(&stream[..20]), None);
}
