//! NRRD and MetaImage: every spelling that readers agree on, refusals where they do not, masks out, hostile files.

use std::io::Write;
use std::path::Path;

use medsegx::volume::{LabelVolume, Legend, OpenOptions, Orientation, Segment, Volume, Voxels, mask_writer};

use crate::common::fuzz::survive;
use crate::common::nifti_file::gzip;

const OPTIONS: OpenOptions = OpenOptions { max_voxels: 1 << 20, ..OpenOptions::DEFAULT };

fn open(bytes: &[u8]) -> medsegx::Result<Volume> {
    Volume::from_bytes("scan", bytes, &OPTIONS)
}

#[track_caller]
fn refused(bytes: &[u8], expected: &str) {
    let error = open(bytes).map(|volume| volume.dims()).unwrap_err();
    assert!(matches!(error, medsegx::Error::File { .. }), "{error}");
    assert!(error.to_string().contains(expected), "{expected}: {error}");
}

const SPACE: &str =
    "space: left-posterior-superior\nspace directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (10,20,30)\n";

/// 3 x 2 x 2 voxels, 16-bit, little endian: 100, 101, ...
fn values() -> Vec<u8> {
    (0..12_i16).flat_map(|v| (v + 100).to_le_bytes()).collect()
}

fn nrrd(fields: &str, data: &[u8]) -> Vec<u8> {
    [format!("NRRD0005\n# made here\ntype: short\ndimension: 3\nsizes: 3 2 2\n{fields}\n").as_bytes(), data].concat()
}

fn good(fields: &str, data: &[u8]) -> Volume {
    let volume = open(&nrrd(fields, data)).unwrap();
    assert_eq!((volume.dims(), volume.voxels().get(0), volume.voxels().get(11)), ([3, 2, 2], Some(100.0), Some(111.0)));
    volume
}

fn offset(volume: &Volume) -> [f64; 3] {
    volume.affine().map(|a| [a[0][3], a[1][3], a[2][3]]).unwrap()
}

#[test]
fn encodings_and_skips() {
    let raw = format!("encoding: raw\nendian: little\n{SPACE}");
    let volume = good(&raw, &values());
    assert_eq!(volume.spacing(), Some([2.0, 3.0, 4.0]));
    assert_eq!(offset(&volume), [-10.0, -20.0, 30.0]);
    assert_eq!(volume.geometry().unwrap().orientation_codes(), "LPS");
    let gz = format!("encoding: gzip\nendian: little\n{SPACE}");
    good(&gz, &gzip(&values()));
    good(&gz, &[gzip(&values()[..7]), gzip(&values()[7..])].concat());
    good(&format!("{raw}byte skip: 3\n"), &[b"abc", &values()[..]].concat());
    good(&format!("{raw}byte skip: -1\n"), &[b"abcdef", &values()[..]].concat());
    good(&format!("{raw}line skip: 2\nbyte skip: 1\n"), &[b"one\ntwo\n-", &values()[..]].concat());
    good(&format!("{gz}byte skip: 3\n"), &gzip(&[b"abc", &values()[..]].concat()));
    let big: Vec<u8> = values().chunks(2).flat_map(|b| [b[1], b[0]]).collect();
    good(&raw.replace("little", "big"), &big);
    let hex: String = values().iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join("\n");
    good(&raw.replace("raw", "hex"), hex.as_bytes());
    let text = (100..112).map(|v| v.to_string()).collect::<Vec<_>>();
    good(&raw.replace("raw", "ascii"), text.join(", ").as_bytes());
    let volume = open(&nrrd(&raw, &[&values()[..], b"more"].concat())).unwrap();
    assert!(volume.warnings().iter().any(|w| w.message.contains("follow the voxels")));
}

#[test]
fn spellings() {
    let fields = "Encoding: RAW\nENDIAN: Little\nspace: LPS\nspacedirections: ( 2 , 0 , 0 ) ( 0,3,0 )\t(0,0,4)\nspaceorigin: (10,20,30)\n";
    let volume = good(fields, &values());
    assert_eq!(offset(&volume), [-10.0, -20.0, 30.0]);
    let file = String::from_utf8_lossy(&nrrd(fields, b"")).replace('\n', "\r\n").replace("3 2 2", "3\t2\t2");
    assert_eq!(open(&[file.as_bytes(), &values()].concat()).unwrap().affine(), volume.affine());
    let keys = format!("encoding: raw\nendian: little\n{SPACE}type:=CT\nspace:=x\nsizes:=9 9\nkinds:=Größe\n");
    assert_eq!(good(&keys, &values()).affine(), volume.affine());
}

#[test]
fn spaces() {
    let space =
        |name: &str| format!("encoding: raw\nendian: little\n{}", SPACE.replace("left-posterior-superior", name));
    let signs = [("left-posterior-superior", -1.0, -1.0), ("RAS", 1.0, 1.0), ("left-anterior-superior", -1.0, 1.0)];
    for (name, x, y) in signs {
        assert_eq!(offset(&good(&space(name), &values())), [x * 10.0, y * 20.0, 30.0], "{name}");
    }
    for name in ["scanner-xyz", "3D-right-handed", "3D-left-handed", "nonsense", "left-posterior-superior-time"] {
        refused(&nrrd(&space(name), &values()), "space");
    }
    refused(&nrrd(&space("x").replace("space: x\n", ""), &values()), "space");
}

#[test]
fn spacings_without_directions() {
    let with = |fields: &str| good(&format!("encoding: raw\nendian: little\n{fields}"), &values());
    assert!(with("").geometry().is_none());
    let volume = with("spacings: 2 3 4\naxis mins: 1 1 NaN\ncenters: cell node cell\n");
    assert_eq!((volume.spacing(), offset(&volume)), (Some([2.0, 3.0, 4.0]), [-2.0, -1.0, 0.0]));
    let volume = with("axis mins: 0 0 0\naxis maxs: 3 2 4\ncenters: cell node ???\n");
    assert_eq!(volume.spacing(), Some([1.0, 2.0, 2.0]));
    assert!(with("space: RAS\nspacings: 1 1 1\n").warnings().iter().any(|w| w.message.contains("ITK refuses")));
}

#[test]
fn an_axis_of_values() {
    let file = |sizes: &str, directions: &str, kinds: &str| {
        let header = format!(
            "NRRD0004\ntype: uchar\ndimension: 4\nsizes: {sizes}\nspace: LPS\nspace directions: {directions}\n{kinds}encoding: raw\nspace origin: (0,0,0)\n\n"
        );
        [header.as_bytes(), &(0..24).collect::<Vec<u8>>()].concat()
    };
    let axes = "(1,0,0) (0,1,0) (0,0,1)";
    let chosen = |bytes: &[u8], time_point| {
        let volume =
            Volume::from_bytes("scan", bytes, &OpenOptions { time_point: Some(time_point), ..OPTIONS }).unwrap();
        assert_eq!(volume.dims(), [3, 2, 2]);
        [1, 11].map(|at| volume.voxels().get(at).unwrap())
    };
    let first = file("2 3 2 2", &format!("none {axes}"), "");
    assert_eq!((chosen(&first, 0), chosen(&first, 1)), ([2.0, 22.0], [3.0, 23.0]));
    refused(&first, "--volume N");
    let last = file("3 2 2 2", &format!("{axes} none"), "kinds: domain domain domain time\n");
    assert_eq!((chosen(&last, 0), chosen(&last, 1)), ([1.0, 11.0], [13.0, 23.0]));
    refused(&file("3 2 2 2", "(1,0,0) (0,1,0) (0,0,1) (0,0,1)", ""), "axes");
}

fn mha(keys: &str, data: &[u8]) -> Vec<u8> {
    let header = format!(
        "ObjectType = Image\nNDims = 3\nDimSize = 3 2 2\n{keys}ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    );
    [header.as_bytes(), data].concat()
}

#[test]
fn metaimage() {
    let place = "ElementSpacing = 2 3 4\nOffset = 10 20 30\n";
    let volume = open(&mha(place, &values())).unwrap();
    assert_eq!((volume.spacing(), offset(&volume)), (Some([2.0, 3.0, 4.0]), [-10.0, -20.0, 30.0]));
    let turned = open(&mha(&format!("{place}TransformMatrix = 0 1 0 0 0 1 1 0 0\n"), &values())).unwrap();
    assert_eq!(turned.geometry().unwrap().orientation_codes(), "PSL");
    for synonym in [
        "ElementSize = 2 3 4\nPosition = 10 20 30\nOrientation = 0 1 0 0 0 1 1 0 0\n",
        "ElementSize = 2 3 4\nOrigin = 10 20 30\nRotation = 0 1 0 0 0 1 1 0 0\nCenterOfRotation = 5 5 5\n",
    ] {
        assert_eq!(open(&mha(synonym, &values())).unwrap().affine(), turned.affine());
    }
    let big: Vec<u8> = values().chunks(2).flat_map(|b| [b[1], b[0]]).collect();
    for key in ["BinaryDataByteOrderMSB", "ElementByteOrderMSB"] {
        assert_eq!(open(&mha(&format!("{key} = True\n{place}"), &big)).unwrap().voxels(), volume.voxels());
    }
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(&values()).unwrap();
    for packed in [zlib.finish().unwrap(), gzip(&values())] {
        let found = open(&mha(&format!("CompressedData = True\n{place}"), &packed)).unwrap();
        assert_eq!(found.voxels(), volume.voxels());
    }
    for (skip, before) in [(4, &b"abcd"[..]), (-1, b"abcdef")] {
        let found = open(&mha(&format!("HeaderSize = {skip}\n{place}"), &[before, &values()].concat())).unwrap();
        assert_eq!(found.voxels(), volume.voxels());
    }
    let long = String::from_utf8(mha(place, b"")).unwrap().replace("MET_SHORT", "MET_LONG");
    let four = open(&[long.as_bytes(), &[7; 48]].concat()).unwrap();
    assert!(matches!(four.voxels(), Voxels::I32(_)));
    let eight = open(&[long.as_bytes(), &[7; 96]].concat()).unwrap();
    assert!(
        matches!(eight.voxels(), Voxels::I64(_)) && eight.warnings().iter().any(|w| w.message.contains("metaimageio"))
    );
}

#[test]
fn lies() {
    let raw = format!("encoding: raw\nendian: little\n{SPACE}");
    refused(&nrrd(&raw, &values()[1..]), "voxel data");
    refused(&nrrd(&raw.replace("raw", "gzip"), &gzip(&values()[1..])), "voxel data");
    let mut flipped = gzip(&values());
    let end = flipped.len();
    flipped[end - 6] ^= 1;
    refused(&nrrd(&raw.replace("raw", "gzip"), &flipped), "checksum");
    refused(&nrrd(&raw.replace("raw", "gzip"), &gzip(&vec![0; 20 << 20])), "data after the voxels");
    refused(&nrrd(&raw.replace("raw", "bzip2"), &values()), "encoding");
    refused(&nrrd(&format!("{raw}data file: a.raw\n"), b""), "data file");
    // ITK ends a header whose voxels lie elsewhere with its last line.
    let detached = String::from_utf8_lossy(&nrrd(&raw, b"")).trim_end().to_string() + "\ndata file: a.raw\n";
    refused(detached.as_bytes(), "in the same file");
    refused(&nrrd(&format!("{raw}dimension: 3\n"), &values()), "twice");
    refused(&nrrd("encoding: raw\n", &values()), "endian");
    refused(&nrrd(&raw.replace("(2,0,0)", "(2,0)"), &values()), "space directions");
    refused(&nrrd(&raw.replace("(2,0,0)", "(2,nan,0)"), &values()), "finite");
    refused(&nrrd(&format!("{raw}byte skip: 99999999999\n"), &values()), "voxel data");
    let sizes = |sizes: &str| String::from_utf8_lossy(&nrrd(&raw, b"")).replace("3 2 2", sizes).into_bytes();
    for wrong in ["3 2", "3 2 0", "4294967296 4294967296 4294967296", "1000 1000 1000", "-3 2 2", "3 2 2 2", "x"] {
        refused(&sizes(wrong), "size");
    }
    refused(b"NRRD0009\n\n", "version");
    refused(b"NRRD0004\ntype short\n\n", "NRRD header");
    refused(b"NRRD0004\ntype: short", "header");
    refused(&[b"NRRD0004\n".to_vec(), vec![b'#'; 2 << 20]].concat(), "header");
    refused(&mha("HeaderSize = 9\n", &values()), "voxel data");
    refused(&mha("CompressedData = True\n", &values()), "zlib");
    refused(&mha("CompressedData = perhaps\n", &values()), "CompressedData");
    refused(&mha("ElementSpacing = 0 1 1\n", &values()), "ElementSpacing");
    refused(&mha("Offset = 1 2\n", &values()), "Offset");
    refused(&mha("DimSize = 3 2 2\n", &values()), "twice");
    let elsewhere = String::from_utf8_lossy(&mha("", b"")).replace("LOCAL", "/etc/passwd").into_bytes();
    refused(&elsewhere, "ElementDataFile");
}

#[test]
fn damaged_files_never_panic() {
    let files = [
        nrrd(&format!("encoding: gzip\nendian: little\nbyte skip: 0\n{SPACE}"), &gzip(&values())),
        nrrd(&format!("encoding: raw\nendian: big\nkinds: domain domain domain\n{SPACE}"), &values()),
        nrrd(
            "encoding: ascii\nspacings: 1 2 3\naxis mins: 0 0 0\ncenters: cell node cell\n",
            b"1 2 3 4 5 6 7 8 9 10 11 12",
        ),
        mha("ElementSpacing = 2 3 4\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nHeaderSize = -1\n", &values()),
        mha("CompressedData = True\nElementNumberOfChannels = 1\n", &gzip(&values())),
    ];
    let use_up = |bytes: &[u8]| {
        if let Ok(volume) = Volume::from_bytes("scan", bytes, &OpenOptions { time_point: Some(0), ..OPTIONS }) {
            let _ = volume.geometry().map(|g| (g.orientation_codes(), g.inverse(), g.tilt()));
            assert_eq!(volume.voxels().len(), volume.dims().iter().product::<usize>() * volume.channels());
        }
    };
    for file in &files {
        (0..file.len()).for_each(|end| use_up(&file[..end]));
        survive("a raster", file, file.len(), 3000, |bytes| use_up(&bytes));
    }
}

/// All 48 orders and signs of axes, one of them also turned and one tilted.
fn affines() -> Vec<[[f64; 4]; 4]> {
    let mut found = Vec::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for signs in 0..8 {
            let mut affine = [[0.0; 4], [0.0; 4], [0.0; 4], [0.0, 0.0, 0.0, 1.0]];
            for (axis, row) in order.into_iter().enumerate() {
                affine[row][axis] = [0.75, 1.25, 3.0][axis] * if signs >> axis & 1 == 1 { -1.0 } else { 1.0 };
                affine[row][3] = [-31.5, 17.25, 404.0][row];
            }
            found.push(affine);
        }
    }
    let (c, s) = (0.8, 0.6);
    found.push([[c, -1.5 * s, 0.0, 1.0], [s, 1.5 * c, 0.0, 2.0], [0.0, 0.0, 2.0, 3.0], [0.0, 0.0, 0.0, 1.0]]);
    found.push([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.5, 2.0], [0.0, 0.0, 2.0, 3.0], [0.0, 0.0, 0.0, 1.0]]);
    found
}

/// A NIfTI image of 5 x 4 x 3 voxels with this affine.
fn image(affine: &[[f64; 4]; 4]) -> Volume {
    let mut file = crate::common::nifti_file::NiftiFile::new(1, [5, 4, 3], 4, 0);
    (file.sform_code, file.qform_code) = (1, 0);
    file.rows = [affine[0], affine[1], affine[2]];
    Volume::from_bytes("image", &file.bytes(), &OPTIONS).unwrap()
}

fn load(path: &Path) -> Volume {
    Volume::open(path, &OPTIONS).unwrap()
}

#[test]
fn masks_lie_where_their_images_lie() {
    let folder = tempfile::tempdir().unwrap();
    for affine in affines() {
        let volume = image(&affine);
        for highest in [7, 300] {
            let mut labels = LabelVolume::new(volume.dims(), highest).unwrap();
            let frame = volume.frame(2, Orientation::Stored).unwrap();
            let slice: Vec<bool> = (0..20).map(|i| matches!(i, 6 | 7 | 11 | 12 | 18)).collect();
            labels.paint(&frame, 1, &slice, highest).unwrap();
            for name in ["mask.nrrd", "mask.seg.nrrd", "mask.mha"] {
                let path = folder.path().join(name);
                mask_writer::write(&volume, &labels, &path, true).unwrap();
                let mask = load(&path);
                assert!(
                    mask.warnings().iter().all(|warning| warning.message.contains("tilted gantry")),
                    "{:?}",
                    mask.warnings()
                );
                let (own, found) = (volume.geometry().unwrap(), mask.geometry().unwrap());
                assert!(own.distance(found, volume.dims()) < 1e-4, "{name}, {affine:?}");
                assert_eq!(found.orientation_codes(), own.orientation_codes());
                let (read, _) = LabelVolume::from_volume(&mask).unwrap();
                assert_eq!(read, labels, "{name}");
                // And on as NIfTI, from the header that the text was turned into.
                let nifti = folder.path().join("mask.nii");
                mask_writer::write(&mask, &labels, &nifti, true).unwrap();
                assert!(own.distance(load(&nifti).geometry().unwrap(), volume.dims()) < 1e-4);
            }
        }
    }
}

#[test]
fn segments_have_names_and_exact_extents() {
    let folder = tempfile::tempdir().unwrap();
    let volume = image(&affines()[0]);
    let mut labels = LabelVolume::new(volume.dims(), 9).unwrap();
    let frame = volume.frame(2, Orientation::Stored).unwrap();
    let at = |wanted: &[usize]| (0..20).map(|i| wanted.contains(&i)).collect::<Vec<bool>>();
    labels.paint(&frame, 0, &at(&[6]), 2).unwrap();
    labels.paint(&frame, 2, &at(&[13]), 2).unwrap();
    labels.paint(&frame, 1, &at(&[0]), 9).unwrap();
    let segments =
        vec![Segment { label: 2, name: "left kidney\nof C:\\x".into() }, Segment { label: 4, name: "empty".into() }];
    let legend = Legend { segments, ..Legend::default() };
    let path = folder.path().join("mask.seg.nrrd");
    mask_writer::write_named(&volume, &labels, &legend, &path, false).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
    let header = std::str::from_utf8(&bytes[..end]).unwrap();
    for line in [
        "space: left-posterior-superior",
        "kinds: domain domain domain",
        "Segment0_Name:=left kidney\\nof C:\\\\x",
        "Segment0_LabelValue:=2",
        "Segment0_Extent:=1 3 1 2 0 2",
        "Segment1_Extent:=0 -1 0 -1 0 -1",
        "Segment2_Name:=Segment 9",
        "Segment2_Extent:=0 0 0 0 1 1",
        "Segment2_Layer:=0",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ] {
        assert!(header.lines().any(|found| found == line), "{line}:\n{header}");
    }
    let read = Volume::open(&path, &OpenOptions::LABELS).unwrap();
    let names = [2, 4, 9].map(|label| read.label_name(label).unwrap_or_default());
    assert_eq!(names, ["left kidney\nof C:\\x", "empty", "Segment 9"]);
    let plain = folder.path().join("mask.nrrd");
    mask_writer::write_named(&volume, &labels, &legend, &plain, false).unwrap();
    assert!(!String::from_utf8_lossy(&std::fs::read(plain).unwrap()).contains("Segment"));
}
