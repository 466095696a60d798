//! Real world values of DICOM images: on request, by the map that is asked for, each against numbers worked out here.
#![cfg(feature = "dicom")]

use medsegx::Error;
use medsegx::volume::{DataType, OpenOptions, Opening, SeriesChoice, ValueScale, Volume};

use crate::common::command::{medsegx, message, weights};
use crate::common::dicom_file::{DicomFile, Element, Value, f64s, items, text, u16s};

fn folder(files: &[DicomFile]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (at, file) in files.iter().enumerate() {
        file.write(folder.path(), &format!("{at}"));
    }
    folder
}

/// By the rescale, or by a map that is named, or by the only one (an empty name).
fn open(files: &[DicomFile], name: Option<&str>) -> Result<Volume, Error> {
    let choice = SeriesChoice { real_world: name.map(Into::into), ..SeriesChoice::default() };
    Opening::open_chosen(folder(files).path(), &OpenOptions::default(), &choice)?.finish()
}

fn values(volume: &Volume) -> Vec<f64> {
    let (slope, intercept) = volume.scaling();
    (0..volume.voxels().len()).map(|at| slope * volume.voxels().get(at).unwrap() + intercept).collect()
}

fn by_map(files: &[DicomFile], name: &str) -> Vec<f64> {
    values(&open(files, Some(name)).unwrap())
}

#[track_caller]
fn refused(files: &[DicomFile], name: Option<&str>) -> String {
    open(files, name).err().unwrap().to_string()
}

fn file(samples: &[u16]) -> DicomFile {
    DicomFile::slice(samples.len() as u16, 1, [0.0; 3], samples)
}

/// A map's label and unit, and what else is in it.
fn map(label: &str, unit: &str, rest: Vec<Element>) -> Vec<Element> {
    let units = items(0x0040_08EA, vec![vec![text(0x0008_0100, "SH", unit)]]);
    [vec![units, text(0x0040_9210, "SH", label)], rest].concat()
}

fn line(slope: f64, intercept: f64) -> Vec<Element> {
    vec![f64s(0x0040_9224, &[intercept]), f64s(0x0040_9225, &[slope])]
}

fn ends(first: u16, last: u16) -> Vec<Element> {
    vec![u16s(0x0040_9211, &[last]), u16s(0x0040_9216, &[first])]
}

fn maps(maps: Vec<Vec<Element>>) -> Element {
    let sorted = |mut map: Vec<Element>| {
        map.sort_by_key(|element| element.tag);
        map
    };
    items(0x0040_9096, maps.into_iter().map(sorted).collect())
}

fn suv() -> Element {
    maps(vec![map("SUVbw", "g/ml", [line(0.01, 5.0), ends(0, 4095)].concat())])
}

fn scale(scale: &'static str, label: Option<&str>, unit: Option<&str>) -> ValueScale {
    ValueScale { scale, label: label.map(Into::into), unit: unit.map(Into::into) }
}

/// A file of so many frames of one pixel, with their groups and the shared ones.
fn multi(samples: &[u16], groups: Vec<Vec<Element>>, shared: Vec<Element>) -> DicomFile {
    let mut file = DicomFile::slice(1, 1, [0.0; 3], samples);
    file.set(text(0x0028_0008, "IS", &samples.len().to_string())).without(0x0020_0032).without(0x0020_0037);
    file.set(items(0x5200_9229, vec![shared])).set(items(0x5200_9230, groups));
    file
}

#[test]
fn the_rescale_counts_unless_the_map_is_asked_for() {
    let mut ct = file(&[2024, 1000, 0]);
    ct.rescale("1", "-1024").set(text(0x0028_1054, "LO", "HU")).set(suv());
    let plain = open(&[ct.clone()], None).unwrap();
    assert_eq!(values(&plain), [1000.0, -24.0, -1024.0]);
    assert_eq!(plain.dicom_scale(), Some(&scale("rescale", None, Some("HU"))));
    let mapped = open(&[ct.clone()], Some("")).unwrap();
    assert_eq!((mapped.data_type(), mapped.scaling()), (DataType::U16, (0.01, 5.0)));
    assert_eq!(values(&mapped), [0.01 * 2024.0 + 5.0, 0.01 * 1000.0 + 5.0, 5.0]);
    assert_eq!(mapped.dicom_scale(), Some(&scale("real-world", Some("SUVbw"), Some("g/ml"))));
    // Neither a table for the rescale nor turned samples are of real world values.
    let table =
        vec![u16s(0x0028_3002, &[1, 0, 16]), Element { tag: 0x0028_3006, vr: "OW", value: Value::U16(vec![7]) }];
    ct.without(0x0028_1052).without(0x0028_1053);
    ct.set(items(0x0028_3000, vec![table])).set(text(0x0028_0004, "CS", "MONOCHROME1"));
    assert_eq!(by_map(&[ct.clone()], ""), values(&mapped));
    assert_eq!(open(&[ct], None).unwrap().dicom_scale(), Some(&scale("modality-table", None, Some("HU"))));
    assert!(refused(&[file(&[1])], Some("")).contains("got none"));
}

#[test]
fn maps_stand_in_the_frame_then_in_the_shared_groups_then_at_the_root() {
    let of = |slope: f64| maps(vec![map("a", "1", line(slope, 1.0))]);
    let own = multi(&[1000, 1000], vec![vec![of(2.0)], vec![of(3.0)]], vec![of(9.0)]);
    assert_eq!(by_map(&[own], ""), [2001.0, 3001.0]);
    let mut shared = multi(&[1000, 10], vec![vec![], vec![]], vec![of(4.0)]);
    assert_eq!(by_map(&[shared.set(of(7.0)).clone()], ""), [4001.0, 41.0]);
    let mut root = multi(&[1000, 10], vec![vec![], vec![]], vec![]);
    assert_eq!(by_map(&[root.set(of(7.0)).clone()], "1"), [7001.0, 71.0]);
}

#[test]
fn a_table_maps_the_numbers_between_its_ends_and_no_others() {
    let table = || {
        let data = f64s(0x0040_9212, &[10.0, 20.5, 1e-3]);
        maps(vec![map("T1", "ms", [vec![data], ends(4, 6)].concat())])
    };
    let mut tabled = file(&[4, 5, 6, 5]);
    let volume = open(&[tabled.set(table()).clone()], Some("T1")).unwrap();
    assert_eq!((volume.data_type(), volume.scaling()), (DataType::F32, (1.0, 0.0)));
    assert_eq!(values(&volume), [10.0, 20.5, f64::from(1e-3_f32), 20.5]);
    for outside in [3, 7] {
        let mut file = file(&[4, outside]);
        let message = refused(&[file.set(table()).clone()], Some(""));
        assert!(message.contains("4 to 6") && message.contains(&format!("got {outside}")), "{message}");
        // Padding is no picture, and has no real world value.
        file.set(u16s(0x0028_0120, &[outside]));
        assert_eq!(by_map(&[file], "")[0], 10.0);
    }
    let short = maps(vec![map("T1", "ms", [vec![f64s(0x0040_9212, &[1.0, 2.0])], ends(4, 6)].concat())]);
    let message = refused(&[file(&[4]).set(short).clone()], Some(""));
    assert!(message.contains("LUT_DATA") && message.contains("got 2; needs 3"), "{message}");
    // What is not asked for is not looked at.
    let broken = maps(vec![map("T1", "ms", ends(6, 4))]);
    assert_eq!(values(&open(&[file(&[4]).set(broken.clone()).clone()], None).unwrap()), [4.0]);
    assert!(refused(&[file(&[4]).set(broken).clone()], Some("")).contains("in this order"));
}

#[test]
fn a_line_maps_the_numbers_between_its_ends_signed_as_the_samples_are() {
    let with = |first: Element, last: Element, samples: &[u16]| {
        let mut file = file(samples);
        file.bits(16, 16, true).set(maps(vec![map("a", "1", [line(0.5, 0.25), vec![first, last]].concat())]));
        file
    };
    let ss = |tag: u32, value: i16| Element { tag, vr: "SS", value: Value::U16(vec![value as u16]) };
    let within = with(ss(0x0040_9216, -5), ss(0x0040_9211, 4), &[0xFFFB, 4]);
    assert_eq!(by_map(&[within], ""), [-2.25, 2.25]);
    // The same ends as words without a sign, as some write them, and as floats.
    let words = |samples: &[u16]| with(u16s(0x0040_9216, &[0xFFFB]), u16s(0x0040_9211, &[4]), samples);
    assert_eq!(by_map(&[words(&[0xFFFB, 4])], ""), [-2.25, 2.25]);
    let doubles = |samples: &[u16]| with(f64s(0x0040_9214, &[-5.0]), f64s(0x0040_9213, &[4.0]), samples);
    assert_eq!(by_map(&[doubles(&[0xFFFB, 4])], ""), [-2.25, 2.25]);
    for file in [words(&[0xFFFA]), doubles(&[0xFFFA])] {
        let message = refused(&[file], Some(""));
        assert!(message.contains("-5 to 4") && message.contains("got -6"), "{message}");
    }
}

#[test]
fn of_several_maps_one_is_chosen_by_its_label_or_unit() {
    let mut both = file(&[100]);
    both.set(maps(vec![map("ADC", "mm2/s", line(1e-6, 0.0)), map("T2", "ms", line(2.0, 1.0))]));
    let both = [both];
    let message = refused(&both, Some(""));
    assert!(message.contains("--real-world=NAME") && message.contains("ADC [mm2/s]; T2 [ms]"), "{message}");
    assert_eq!(by_map(&both, "ADC"), [1e-6 * 100.0]);
    assert_eq!(by_map(&both, "ms"), [201.0]);
    let wrong = open(&both, Some("T1")).err().unwrap();
    assert!(matches!(&wrong, Error::Argument { name: "real-world", .. }), "{wrong}");
    assert!(wrong.to_string().contains("ADC [mm2/s]; T2 [ms]"), "{wrong}");
    let mut alike = file(&[100]);
    alike.set(maps(vec![map("a", "ms", line(3.0, 0.0)), map("b", "ms", line(2.0, 0.0))]));
    assert!(refused(&[alike.clone()], Some("ms")).contains("a [ms]; b [ms]"));
    assert_eq!(by_map(&[alike], "b"), [200.0]);
}

#[test]
fn slices_have_maps_of_their_own_in_wide_arithmetic_but_one_unit() {
    let slopes = [0.1, 1.5, 3.3];
    let slices = |unit: &dyn Fn(usize) -> &'static str| -> Vec<DicomFile> {
        let slice = |(k, slope): (usize, &f64)| {
            let mut file = DicomFile::slice(2, 1, [0.0, 0.0, 2.0 * k as f64], &[1001, 60_000]);
            file.rescale("2", "0").set(maps(vec![map(&format!("at {k}"), unit(k), line(*slope, -7.0))])).clone()
        };
        slopes.iter().enumerate().map(slice).collect()
    };
    let volume = open(&slices(&|_| "Bq/ml"), Some("")).unwrap();
    let expected = slopes.iter().flat_map(|slope| [1001.0, 60_000.0].map(|v| f64::from((slope * v - 7.0) as f32)));
    assert_eq!(values(&volume), expected.collect::<Vec<_>>());
    assert_eq!(volume.dicom_scale(), Some(&scale("real-world", None, Some("Bq/ml"))));
    let message = refused(&slices(&|k| if k == 2 { "g/ml" } else { "Bq/ml" }), Some(""));
    assert!(message.contains("Bq/ml") && message.contains("g/ml"), "{message}");
}

#[test]
fn the_map_of_a_parametric_map_is_its_scale() {
    let parametric = |file: &mut DicomFile| file.set(text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.30")).clone();
    let of = |slope: f64, intercept: f64| maps(vec![map("ADC", "um2/s", line(slope, intercept))]);
    let whole = parametric(file(&[250, 1000]).set(of(0.001, 0.0)));
    let volume = open(&[whole], None).unwrap();
    assert_eq!(values(&volume), [0.25, 1.0]);
    assert_eq!(volume.dicom_scale(), Some(&scale("real-world", Some("ADC"), Some("um2/s"))));

    let floats = |samples: [f32; 2], file: &mut DicomFile| {
        let raw = Value::Raw(samples.iter().flat_map(|v| v.to_le_bytes()).collect());
        parametric(file.without(0x7FE0_0010).set(Element { tag: 0x7FE0_0008, vr: "OF", value: raw }))
    };
    let one = floats([1.5, -2.25], file(&[0, 0]).set(of(2.0, 1.0)));
    let volume = open(&[one], None).unwrap();
    assert_eq!((volume.data_type(), values(&volume)), (DataType::F32, vec![4.0, -3.5]));
    let groups = vec![vec![of(0.1, 1.0)], vec![of(0.3, 2.0)]];
    let two = floats([1.5, -2.25], &mut multi(&[0, 0], groups, vec![]));
    let volume = open(&[two], None).unwrap();
    let expected = vec![0.1 * 1.5 + 1.0, 0.3 * -2.25 + 2.0];
    assert_eq!((volume.data_type(), values(&volume)), (DataType::F64, expected));

    // Padding of floats is outside the ends, and does not count for the range.
    let bounded = [line(2.0, 0.0), vec![f64s(0x0040_9214, &[0.0]), f64s(0x0040_9213, &[10.0])]].concat();
    let mut padded = file(&[0, 0]);
    padded.set(maps(vec![map("ADC", "um2/s", bounded)]));
    let padded = floats([-1000.0, 3.0], &mut padded);
    assert!(refused(std::slice::from_ref(&padded), None).contains("got -1000"));
    let pad = Element { tag: 0x0028_0122, vr: "FL", value: Value::Raw((-1000.0_f32).to_le_bytes().to_vec()) };
    let volume = open(&[padded.clone().set(pad).clone()], None).unwrap();
    assert_eq!((volume.statistics().minimum, volume.statistics().maximum), (6.0, 6.0));

    let mut several = file(&[250]);
    let both = maps(vec![map("ADC", "um2/s", line(0.001, 0.0)), map("FA", "1", line(1.0, 0.0))]);
    let several = [parametric(several.set(both))];
    assert!(refused(&several, None).contains("ADC [um2/s]; FA [1]"));
    assert_eq!(by_map(&several, "FA"), [250.0]);
}

#[test]
fn the_command_lists_maps_and_its_report_says_which_counted() {
    let slices: Vec<DicomFile> = (0..2)
        .map(|k| {
            let samples: Vec<u16> = (0..40 * 40).map(|at| at * 7 % 900 + k).collect();
            let mut file = DicomFile::slice(40, 40, [0.0, 0.0, f64::from(k)], &samples);
            file.rescale("1", "-1024").set(suv()).clone()
        })
        .collect();
    let folder = folder(&slices);
    let input = folder.path().to_str().unwrap();
    let said = |arguments: &[&str]| {
        let output = medsegx(arguments);
        assert!(output.status.success(), "{}", message(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(said(&["info", input]).contains("real world values: SUVbw [g/ml]\n"));
    assert!(said(&["info", input, "--volume", "1"]).contains("scale        rescale, unit not said\n"));
    let words = said(&["info", input, "--real-world=g/ml"]);
    assert!(words.contains("scale        real-world SUVbw, unit g/ml\n") && words.contains("5 to 14"), "{words}");

    let out = tempfile::tempdir().unwrap();
    let path = |name: &str| out.path().join(name).to_str().unwrap().to_string();
    for (name, more, expected) in [
        ("plain", vec![], serde_json::json!({ "scale": "rescale", "label": null, "unit": null })),
        (
            "mapped",
            vec!["--real-world"],
            serde_json::json!({ "scale": "real-world", "label": "SUVbw", "unit": "g/ml" }),
        ),
    ] {
        let (mask, report) = (path(&format!("{name}.nii")), path(&format!("{name}.json")));
        let fixed = ["segment", input, "--box", "5,5,30,30", "--slice", "0", "--task", "CT_Liver", "-o", &mask];
        let model = ["--report", &report, "--weights", weights().to_str().unwrap(), "--device", "cpu", "--quiet"];
        said(&[&fixed[..], &model, &more].concat());
        let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        assert_eq!(report["input"]["scale"], expected);
    }
    let array = path("array.npy");
    medsegx::volume::npy::write(&mut std::fs::File::create(&array).unwrap(), &[2, 2, 2], &[7_u8; 8]).unwrap();
    let refused = medsegx(&["info", &array, "--real-world"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(message(&refused).contains("a DICOM input"), "{}", message(&refused));
}
