//! RTDOSE as an image: planes where their offsets put them, doses by the grid's scaling, refused where they contradict.
#![cfg(feature = "dicom")]

use medsegx::dicom;
use medsegx::volume::{DataType, OpenOptions, ValueScale, Volume};

use crate::common::command::{medsegx, message, weights};
use crate::common::dicom_file::{DicomFile, numbers, text};

/// Plane `k` of 2 x 2 has the stored numbers 1000 k to 1000 k + 3, in 32 bits.
fn dose(offsets: &[f64]) -> DicomFile {
    let stored = (0..offsets.len() as u32).flat_map(|k| (0..4).map(move |at| 1000 * k + at));
    let bytes: Vec<u8> = stored.flat_map(u32::to_le_bytes).collect();
    let mut file = DicomFile::slice(2, 2, [-10.0, 20.0, 50.0], &[]);
    file.set(text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.481.2"))
        .set(text(0x0008_0060, "CS", "RTDOSE"))
        .set(text(0x0028_0008, "IS", &offsets.len().to_string()))
        .bits(32, 32, false)
        .pixels(&bytes)
        .set(text(0x3004_0002, "CS", "GY"))
        .set(numbers(0x3004_000C, offsets))
        .set(numbers(0x3004_000E, &[2.5e-6]));
    file
}

fn open(file: &DicomFile) -> Result<Volume, medsegx::Error> {
    let folder = tempfile::tempdir().unwrap();
    Volume::open(file.write(folder.path(), "dose.dcm"), &OpenOptions::default())
}

#[track_caller]
fn refused(file: &DicomFile) -> String {
    open(file).err().unwrap().to_string()
}

/// Where each plane lies in DICOM's coordinates, by its first stored number.
fn planes(volume: &Volume) -> Vec<(f64, [f64; 3])> {
    let affine = volume.affine().unwrap();
    let [columns, rows, slices] = volume.dims();
    let place = |k: usize| {
        let [x, y, z] = std::array::from_fn(|r| affine[r][2] * k as f64 + affine[r][3]);
        [-x, -y, z].map(|v: f64| (v * 1e3).round() / 1e3)
    };
    (0..slices).map(|k| (volume.voxels().get(k * columns * rows).unwrap(), place(k))).collect()
}

#[test]
fn relative_offsets_run_along_the_normal_with_their_sign() {
    let at = |z: f64| [-10.0, 20.0, z];
    let up = open(&dose(&[0.0, 3.0, 6.0])).unwrap();
    assert_eq!(planes(&up), [(0.0, at(50.0)), (1000.0, at(53.0)), (2000.0, at(56.0))]);
    let down = open(&dose(&[0.0, -3.0, -6.0])).unwrap();
    assert_eq!(planes(&down), [(2000.0, at(44.0)), (1000.0, at(47.0)), (0.0, at(50.0))]);
    // Rows that run to the front turn the normal to the feet.
    let mut turned = dose(&[0.0, 3.0, 6.0]);
    turned.set(numbers(0x0020_0037, &[1.0, 0.0, 0.0, 0.0, -1.0, 0.0]));
    let turned = open(&turned).unwrap();
    assert_eq!(planes(&turned), [(0.0, at(50.0)), (1000.0, at(47.0)), (2000.0, at(44.0))]);
    // Coronal planes: their normal is -y of rows along x and columns to the head.
    let mut coronal = dose(&[0.0, 2.0]);
    coronal.set(numbers(0x0020_0037, &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0]));
    let coronal = open(&coronal).unwrap();
    assert_eq!(planes(&coronal), [(0.0, [-10.0, 20.0, 50.0]), (1000.0, [-10.0, 18.0, 50.0])]);
}

#[test]
fn absolute_offsets_are_z_of_axial_planes() {
    let at = |z: f64| [-10.0, 20.0, z];
    let up = open(&dose(&[50.0, 52.5, 55.0])).unwrap();
    assert_eq!(planes(&up), [(0.0, at(50.0)), (1000.0, at(52.5)), (2000.0, at(55.0))]);
    let down = open(&dose(&[50.0, 47.5])).unwrap();
    assert_eq!(planes(&down), [(1000.0, at(47.5)), (0.0, at(50.0))]);
}

#[test]
fn offsets_that_are_uneven_or_contradict_are_refused_with_the_reason() {
    let uneven = refused(&dose(&[0.0, 3.0, 7.0, 10.0, 13.0]));
    assert!(uneven.contains("evenly") && uneven.contains("frame"), "{uneven}");
    let gap = refused(&dose(&[0.0, 3.0, 9.0, 12.0]));
    assert!(gap.contains("missing") && gap.contains("6.000 mm apart, others 3.000 mm"), "{gap}");
    let back_and_forth = refused(&dose(&[0.0, 6.0, 3.0]));
    assert!(back_and_forth.contains("all rise or all fall"), "{back_and_forth}");
    let neither = refused(&dose(&[48.0, 51.0]));
    assert!(neither.contains("the position's z, 50") && neither.contains("got 48"), "{neither}");
    let mut oblique = dose(&[50.0, 53.0]);
    oblique.set(numbers(0x0020_0037, &[1.0, 0.0, 0.0, 0.0, -1.0, 0.0]));
    assert!(refused(&oblique).contains("not axial"), "{}", refused(&oblique));
    let mut fewer = dose(&[0.0, 3.0, 6.0]);
    fewer.set(numbers(0x3004_000C, &[0.0, 3.0]));
    assert!(refused(&fewer).contains("got 2; needs 3 offsets, as frames"), "{}", refused(&fewer));
    assert!(refused(fewer.without(0x3004_000C)).contains("got 0"));
}

#[test]
fn doses_are_scaled_in_wide_arithmetic_and_have_a_unit() {
    let stored = [3_000_000_000_u32, 4_294_967_295, 16_777_217, 1];
    let mut file = dose(&[0.0]);
    file.pixels(&stored.map(u32::to_le_bytes).concat());
    let volume = open(&file).unwrap();
    let (slope, intercept) = volume.scaling();
    assert_eq!((volume.data_type(), slope, intercept), (DataType::U32, 2.5e-6, 0.0));
    let values: Vec<f64> = (0..4).map(|at| slope * volume.voxels().get(at).unwrap() + intercept).collect();
    assert_eq!(values, stored.map(|v| 2.5e-6 * f64::from(v)));
    let scale = ValueScale { scale: "dose-grid-scaling", label: None, unit: Some("GY".into()) };
    assert_eq!(volume.dicom_scale(), Some(&scale));
    let folder = tempfile::tempdir().unwrap();
    file.write(folder.path(), "dose.dcm");
    assert_eq!(dicom::list(folder.path(), None).unwrap().series[0].volumes[0].unit.as_deref(), Some("GY"));

    assert!(refused(file.clone().without(0x3004_000E)).contains("DOSE_GRID_SCALING"));
    assert!(refused(file.clone().set(numbers(0x3004_000E, &[0.0]))).contains("got 0; needs a number above 0"));
    // A rescale that changes nothing may stand beside it, another one contradicts.
    assert_eq!(open(file.clone().rescale("1", "0")).unwrap().scaling(), (2.5e-6, 0.0));
    assert!(refused(file.clone().rescale("2", "0")).contains("none beside DoseGridScaling"));
}

#[test]
fn a_dose_is_segmented_as_any_image() {
    let mut file = dose(&[0.0, 3.0]);
    let stored = (0..2 * 40 * 40_u32).flat_map(|at| (at * 37 % 90_000).to_le_bytes());
    file.pixels(&stored.collect::<Vec<u8>>());
    for tag in [0x0028_0010, 0x0028_0011] {
        file.set(crate::common::dicom_file::u16s(tag, &[40]));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    file.write(folder.path(), "dose.dcm");
    let (input, mask, report) = (path("dose.dcm"), path("mask.nii"), path("report.json"));
    let run = ["segment", &input, "--box", "5,5,30,30", "--slice", "1", "--task", "CT_Liver", "-o", &mask];
    let model = ["--report", &report, "--weights", weights().to_str().unwrap(), "--device", "cpu", "--quiet"];
    let output = medsegx(&[&run[..], &model].concat());
    assert!(output.status.success(), "{}", message(&output));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["input"]["scale"]["unit"], "GY");
    let mask = Volume::open(&mask, &OpenOptions::default()).unwrap();
    assert_eq!((mask.dims(), mask.affine()), ([40, 40, 2], open(&file).unwrap().affine()));
}
