//! Hostile image files: cut, flipped and lying. Every one is an error that says what is wrong, or a volume that works.

use crate::common::fuzz;

use std::cell::Cell;

use crate::common::nifti_file::{NiftiFile, gzip};
use fuzz::survive;
use medsegx::Error;
use medsegx::volume::{Intensity, LabelVolume, OpenOptions, Orientation, Volume, mask_writer};

/// Small enough that a lying header cannot make the tests slow.
const OPTIONS: OpenOptions = OpenOptions { max_voxels: 1 << 20, ..OpenOptions::DEFAULT };

fn open(bytes: &[u8]) -> Result<Volume, Error> {
    Volume::from_bytes("hostile", bytes, &OPTIONS)
}

/// The message of an error about the file's contents; anything else fails the test.
fn refused(name: &str, bytes: &[u8]) -> String {
    match open(bytes) {
        Err(error @ Error::File { .. }) => {
            let text = error.to_string();
            assert!(text.starts_with("hostile: ") && text.contains(": got ") && text.contains("; needs "), "{text}");
            text
        }
        Err(error) => panic!("{name}: the wrong kind of error: {error}"),
        Ok(volume) => panic!("{name}: read as {:?}", volume.dims()),
    }
}

/// Does everything with a volume that a run would do; errors are fine, panics are not.
fn use_up(volume: &Volume) {
    let _ = volume.geometry().map(|g| (g.orientation_codes(), g.spacing(), g.tilt(), g.inverse(), g.voxel_volume()));
    let rules = [Intensity::default_for(volume), Intensity::Percentile, Intensity::Soft];
    let mut slice = Vec::new();
    for orientation in [Orientation::Stored, Orientation::Ras] {
        for axis in 0..3 {
            let Ok(frame) = volume.frame(axis, orientation) else { continue };
            for map in rules.iter().filter_map(|rule| rule.resolve(volume).ok()) {
                let last = frame.slices() - 1;
                volume.slice_u8_in(&frame, last, &map, &mut slice).unwrap();
                assert_eq!(slice.len(), frame.shape().0 * frame.shape().1 * volume.channels());
            }
        }
    }
}

fn write_mask(volume: &Volume, folder: &std::path::Path) {
    if volume.dims().iter().product::<usize>() < 10_000 {
        let labels = LabelVolume::new(volume.dims(), 1).unwrap();
        mask_writer::write(volume, &labels, &folder.join("mask.nii"), true).unwrap();
    }
}

fn png(colour: png::ColorType) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, 5, 4);
    encoder.set_color(colour);
    encoder.add_text_chunk("key".into(), "value".into()).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&(0..20 * colour.samples() as u8).collect::<Vec<_>>()).unwrap();
    writer.finish().unwrap();
    out
}

fn npy() -> Vec<u8> {
    let mut out = Vec::new();
    medsegx::volume::npy::write(&mut out, &[2, 3, 4], &[7_u16; 24]).unwrap();
    out
}

/// A good small file of every format.
fn good() -> Vec<(&'static str, Vec<u8>)> {
    let mut extended = NiftiFile::new(1, [3, 4, 2], 4, 0);
    extended.between = [&[1, 0, 0, 0][..], &16_i32.to_le_bytes(), &[6; 12]].concat();
    extended.vox_offset += 16.0;
    let mut floats = NiftiFile::new(1, [3, 4, 2], 16, 3);
    (floats.slope, floats.sform_code) = (0.5, 0);
    vec![
        ("NIfTI-1", extended.bytes()),
        ("NIfTI-1, floats", floats.bytes()),
        ("NIfTI-1, big endian", NiftiFile::new(1, [3, 4, 2], 8, 0).swapped().bytes()),
        ("NIfTI-2", NiftiFile::new(2, [3, 4, 2], 64, 0).bytes()),
        ("NIfTI-1, gzip", extended.gzip()),
        ("NIfTI-2, two gzip members", {
            let bytes = NiftiFile::new(2, [3, 4, 2], 2, 0).bytes();
            [gzip(&bytes[..550]), gzip(&bytes[550..])].concat()
        }),
        ("npy", npy()),
        ("PNG, grey", png(png::ColorType::Grayscale)),
        ("PNG, colour", png(png::ColorType::Rgba)),
    ]
}

#[test]
fn every_prefix_is_refused() {
    for (name, bytes) in good() {
        open(&bytes).unwrap_or_else(|e| panic!("{name}: the whole file is refused: {e}"));
        for length in 0..bytes.len() {
            refused(&format!("{name}, {length} of {} bytes", bytes.len()), &bytes[..length]);
        }
    }
}

/// Reads the file; the right kind of error and a volume that works are both fine.
fn read_and_use(bytes: &[u8], folder: &std::path::Path) -> bool {
    match open(bytes) {
        Ok(volume) => {
            use_up(&volume);
            if bytes.iter().fold(0_u8, |sum, &b| sum.wrapping_add(b)).is_multiple_of(32) {
                write_mask(&volume, folder); // a synced file is slow to write
            }
            true
        }
        Err(Error::File { .. } | Error::Memory { .. }) => false,
        Err(error) => panic!("the wrong kind of error: {error}"),
    }
}

#[test]
fn random_damage_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in good() {
        let refused = Cell::new(0);
        survive(name, &bytes, bytes.len(), 4000, |damaged| {
            refused.set(refused.get() + u32::from(!read_and_use(&damaged, folder.path())));
        });
        assert!(refused.get() > 500, "{name}: only {} refused: the damage does not bite", refused.get());
    }
}

#[test]
fn random_damage_inside_gzip_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    for version in [1, 2] {
        let plain = NiftiFile::new(version, [3, 4, 2], 4, 0).bytes();
        survive("gzip", &plain, plain.len(), 4000, |damaged| {
            read_and_use(&gzip(&damaged), folder.path());
        });
    }
}

#[test]
fn lying_nifti_headers() {
    type Lie = (&'static str, &'static str, fn(&mut NiftiFile));
    let lies: [Lie; 25] = [
        ("no axes", "dim[0]: got 0; needs 1 to 7", |f| f.dim[0] = 0),
        ("eight axes", "dim[0]", |f| f.dim[0] = 8),
        ("negative axes", "dim[0]", |f| f.dim[0] = -3),
        ("no columns", "dim[1]: got 0; needs at least 1", |f| f.dim[1] = 0),
        ("negative rows", "dim[2]", |f| f.dim[2] = -4),
        ("32767 a side", "; needs 1 to 1048576 voxels", |f| f.dim[1..4].fill(32767)),
        ("more voxels than bytes", "voxel data", |f| f.dim[3] = 40_000 / 12),
        ("time beyond counting", "", |f| f.dim = [7, 3, 4, 2, 32767, 32767, 32767, 32767]),
        ("vectors at times", "three space axes", |f| f.dim = [5, 3, 4, 1, 2, 2, 1, 1]),
        ("a vector of voxels", "values of a voxel", |f| f.dim = [5, 3, 4, 1, 1, 2, 1, 1]),
        ("8 bits for int16", "bitpix: got 8; needs 16 for datatype 4", |f| f.bitpix = 8),
        ("no bits", "bitpix", |f| f.bitpix = 0),
        ("negative bits", "bitpix", |f| f.bitpix = -16),
        ("one bit a voxel", "code 1 (one bit a voxel)", |f| f.datatype = 1),
        ("complex", "code 32 (complex)", |f| f.datatype = 32),
        ("128-bit floats", "128-bit float", |f| f.datatype = 1536),
        ("no datatype", "code 0", |f| f.datatype = 0),
        ("voxels at 0", "vox_offset: got 0; needs a whole number from", |f| f.vox_offset = 0.0),
        ("voxels in the header", "vox_offset", |f| f.vox_offset = 340.0),
        ("voxels before the file", "vox_offset", |f| f.vox_offset = -1.0),
        ("voxels far behind the file", "voxel data", |f| f.vox_offset = 4_294_967_296.0),
        ("an infinite intercept", "scl_inter", |f| (f.slope, f.inter) = (1.0, f64::INFINITY)),
        ("an infinite sform", "Sform affine", |f| f.rows[2][3] = f64::INFINITY),
        ("a NaN offset", "Qform affine", |f| (f.sform_code, f.offset[1]) = (0, f64::NAN)),
        ("another magic", "NIfTI magic", |f| f.magic[1] = b'?'),
    ];
    for version in [1, 2] {
        for (name, expected, lie) in lies {
            let file = NiftiFile::new(version, [3, 4, 2], 4, 0);
            for mut file in [file.clone(), file.swapped()] {
                lie(&mut file);
                for bytes in [file.bytes(), file.gzip()] {
                    let text = refused(name, &bytes);
                    assert!(text.contains(expected), "{name}, NIfTI-{version}: {text}");
                }
            }
        }
    }
    for offset in [f64::NAN, f64::INFINITY, 352.5, 3e38] {
        let mut file = NiftiFile::new(1, [3, 4, 2], 4, 0);
        file.vox_offset = offset;
        refused("an odd vox_offset", &file.bytes());
    }
    let mut file = NiftiFile::new(2, [3, 4, 2], 4, 0);
    file.dim[1..4].fill(i64::MAX);
    assert!(refused("sides of 2^63", &file.bytes()).contains("size"));
    let mut pair = NiftiFile::new(1, [3, 4, 2], 4, 0);
    pair.magic = b"ni1\0".to_vec();
    assert!(refused("a pair", &pair.bytes()).contains(".hdr/.img pair"));
    pair.magic = b"\0\0\0\0".to_vec();
    assert!(refused("ANALYZE", &pair.bytes()).contains("ANALYZE 7.5"));
    let mut text = NiftiFile::new(2, [3, 4, 2], 4, 0);
    text.magic = b"n+2\0\n\x1a\n\0".to_vec();
    assert!(refused("sent as text", &text.bytes()).contains("sent as text"));
}

#[test]
fn nothing_large_is_allocated_for_a_small_file() {
    let wide = OpenOptions::default();
    let mut file = NiftiFile::new(1, [3, 4, 2], 64, 0);
    file.dim[1..4].copy_from_slice(&[1290, 1290, 1290]); // within 2^31 voxels, 17 GB
    for bytes in [file.bytes(), file.gzip()] {
        let error = Volume::from_bytes("hostile", &bytes, &wide).map(|v| v.dims()).unwrap_err().to_string();
        assert!(error.contains("needs 17173512352 bytes"), "{error}");
    }
    let header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1290, 1290, 1290), }\n";
    let npy = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header].concat();
    let error = Volume::from_bytes("hostile", &npy, &wide).map(|v| v.dims()).unwrap_err().to_string();
    assert!(error.contains("needs 17173512082 bytes"), "{error}");
}

#[test]
fn bombs_and_broken_gzip() {
    let small = NiftiFile::new(1, [3, 4, 2], 4, 0);
    let bomb = gzip(&[small.bytes(), vec![0; 64 << 20]].concat());
    assert!(bomb.len() < 100_000);
    assert!(refused("64 MiB behind the voxels", &bomb).contains("data after the voxels"));
    let mut flipped = small.gzip();
    let end = flipped.len();
    flipped[end - 6] ^= 1;
    assert!(refused("a wrong checksum", &flipped).contains("gzip data with a right checksum"));
    let mut longer = small.gzip();
    longer[end - 1] ^= 1;
    refused("a wrong length", &longer);
    refused("gzip of gzip", &gzip(&small.gzip()));
    refused("gzip of a PNG", &gzip(&png(png::ColorType::Rgb)));
    refused("gzip of nothing", &gzip(&[]));
    let many: Vec<u8> = (0..20_000).flat_map(|_| gzip(&[])).collect();
    refused("20000 empty members", &many);
}

fn npy_with(header: &str) -> Vec<u8> {
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &[0; 48]].concat()
}

#[test]
fn lying_npy_headers() {
    let shapes = [
        ("()", "npy data"),
        ("(24,)", "npy shape"),
        ("(0, 4)", "at least one value"),
        ("(2, 3, 4, 1)", "npy shape"),
        ("(1, 2, 2, 6)", "npy shape"),
        ("(24, 18446744073709551615)", "at most"),
        ("(24, 18446744073709551616)", "64 bits"),
        ("(4294967296, 4294967296, 4294967296)", "at most"),
        ("(-1, 24)", "an extent"),
        ("(2.0, 12)", "the end of the tuple"),
        ("(2, 13)", "npy data"),
        ("(2, 11)", "more"),
        ("[2, 12]", "a tuple"),
        ("((2, 12))", "an extent"),
    ];
    for (shape, expected) in shapes {
        let text =
            refused(shape, &npy_with(&format!("{{'descr': '<i2', 'fortran_order': False, 'shape': {shape}, }}")));
        assert!(text.contains(expected), "{shape}: {text}");
    }
    for descr in ["O", "|O", "<c8", "f2", "<f16", "<U4", "|S2", "<M8[ns]", "", "<", "<i3", "i2"] {
        let text =
            refused(descr, &npy_with(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2, 12), }}")));
        assert!(text.contains("npy descr"), "{descr}: {text}");
    }
    let headers = [
        "",
        "{}",
        "{'descr': '<i2'}",
        "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 12), 'more': 1}",
        "{'descr': '<i2', 'descr': '<i2', 'fortran_order': False, 'shape': (2, 12)}",
        "{'descr': [('a', '<i2')], 'fortran_order': False, 'shape': (2, 12)}",
        "{'descr': '<i2', 'fortran_order': 0, 'shape': (2, 12)}",
        "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 12)} x",
        "{'descr': '<i2, 'fortran_order': False, 'shape': (2, 12)}",
        "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 12",
    ];
    for header in headers {
        assert!(refused(header, &npy_with(header)).contains("npy header"), "{header}");
    }
    refused("a million brackets", &npy_with(&"(".repeat(60_000)));
    let deep = [b"\x93NUMPY\x02\x00", &u32::MAX.to_le_bytes()[..], &[b'('; 100]].concat();
    assert!(refused("a header of 4 GiB", &deep).contains("npy header length"));
    assert!(refused("version 9", b"\x93NUMPY\x09\x00\x10\x00{}").contains("npy version"));
    assert!(open(&npy_with("{'descr': '<i2', 'fortran_order': False, 'shape': (2, 12), }")).is_ok());
}

/// A PNG chunk with a right checksum.
fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(name);
    crc.update(data);
    [&(data.len() as u32).to_be_bytes()[..], name, data, &crc.sum().to_be_bytes()].concat()
}

#[test]
fn lying_pngs() {
    let file = |width: u32, height: u32, depth: u8, colour: u8, rest: &[Vec<u8>]| {
        let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, colour, 0, 0, 0]].concat();
        [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), rest.concat()].concat()
    };
    let zlib = |bytes: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let body = [chunk(b"IDAT", &zlib(&[0; 20])), chunk(b"IEND", &[])];
    assert!(open(&file(4, 4, 8, 0, &body)).is_ok());
    assert!(refused("2^31 a side", &file(1 << 30, 1 << 30, 8, 0, &body)).contains("size"));
    refused("no columns", &file(0, 4, 8, 0, &body));
    refused("too few rows", &file(4, 5, 8, 0, &body));
    refused("7 bits", &file(4, 4, 7, 0, &body));
    refused("colour type 5", &file(4, 4, 8, 5, &body));
    refused("a palette that is not there", &file(4, 4, 8, 3, &body));
    let indexed = [chunk(b"IDAT", &zlib(&[0, 0, 1, 2, 3].repeat(4))), chunk(b"IEND", &[])].concat();
    for bytes in [0, 1, 2, 4, 53, 769, 771, 9000] {
        let palette = chunk(b"PLTE", &vec![5; bytes]);
        refused("an odd palette", &file(4, 4, 8, 3, &[palette, indexed.clone()]));
    }
    assert!(open(&file(4, 4, 8, 3, &[chunk(b"PLTE", &[5; 12]), indexed])).is_ok());
    refused("no data", &file(4, 4, 8, 0, &[chunk(b"IEND", &[])]));
    refused("data that are no zlib", &file(4, 4, 8, 0, &[chunk(b"IDAT", &[1; 20]), chunk(b"IEND", &[])]));
    let bomb = chunk(b"zTXt", &[b"k\0\0".to_vec(), zlib(&vec![0; 64 << 20])].concat());
    assert!(open(&file(4, 4, 8, 0, &[bomb, body.concat()])).is_ok(), "text is not looked at");
    let profile = chunk(b"iCCP", &[b"k\0\0".to_vec(), zlib(&vec![0; 64 << 20])].concat());
    assert!(open(&file(4, 4, 8, 0, &[profile, body.concat()])).is_ok(), "profiles are not looked at");
}

#[test]
fn other_formats_are_named() {
    let dicom = [vec![0; 128], b"DICM".to_vec(), vec![0; 600]].concat();
    let cases: [(&[u8], &str); 7] = [
        (&dicom, "a DICOM file"),
        (b"PK\x03\x04abcdefgh", "a zip archive: an .npz, or a PyTorch checkpoint"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "a PyTorch checkpoint, which `medsegx convert` reads"),
        (b"\x40\0\0\0\0\0\0\0{\"a\":1}", "a safetensors file, which holds weights"),
        (b"\xff\xd8\xff\xe0abcdefg", "a JPEG picture"),
        (b"hello, world", "something else"),
        (b"abc", "less than 4 bytes"),
    ];
    for (bytes, expected) in cases {
        let text = refused(expected, bytes);
        assert!(
            text.contains("needs NIfTI (.nii, .nii.gz), NRRD (.nrrd), MetaImage (.mha), NumPy (.npy) or PNG")
                && text.contains(expected),
            "{text}"
        );
    }
    assert!(refused("gzip of text", &gzip(b"hello, world")).contains("gzip around something else"));
}
