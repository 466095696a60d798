//! Images and masks that people write otherwise than the first formats ask: read, and said what was done, or named.

use std::path::Path;

use medsegx::codes::Code;
use medsegx::prompt::{Grid, PixelBox, RoughOptions, VolumeBox, rough_targets, slice_box, volume_box};
use medsegx::taxonomy::Query;
use medsegx::volume::{
    Intensity, LabelVolume, Legend, OpenOptions, Orientation, Segment, Volume, Voxels, mask_writer, npy,
};

use crate::common::command::{medsegx, message, weights};
use crate::common::nifti_file::NiftiFile;

fn open(bytes: &[u8]) -> Volume {
    Volume::from_bytes("image", bytes, &OpenOptions::default()).unwrap()
}

fn array(shape: &[usize], values: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    npy::write(&mut bytes, shape, values).unwrap();
    bytes
}

fn codes(volume: &Volume) -> Vec<Code> {
    volume.warnings().iter().map(|warning| warning.code).collect()
}

/// Bytes without an obvious pattern.
fn noise(count: usize) -> Vec<u8> {
    (0..count).map(|i| ((i * 7919 + i / 13) % 251) as u8).collect()
}

#[test]
fn a_third_axis_of_one_or_four_is_that_of_a_picture() {
    let (h, w) = (40, 36);
    let grey = noise(h * w);
    let volume = open(&array(&[h, w, 1], &grey));
    assert_eq!((volume.dims(), volume.channels()), ([w, h, 1], 1));
    assert_eq!(volume.voxels(), &Voxels::U8(grey));

    let rgba = noise(h * w * 4);
    let rgb: Vec<u8> = rgba.chunks_exact(4).flat_map(|pixel| &pixel[..3]).copied().collect();
    let volume = open(&array(&[h, w, 4], &rgba));
    assert_eq!((volume.dims(), volume.channels(), codes(&volume)), ([w, h, 1], 3, vec![Code::AlphaIgnored]));
    assert_eq!(volume.voxels(), &Voxels::U8(rgb.clone()));

    // The same array with its first axis fastest.
    let place = |i: usize| (i % h * w + i / h % w) * 4 + i / (h * w);
    let turned: Vec<u8> = (0..rgba.len()).map(|i| rgba[place(i)]).collect();
    let mut bytes = array(&[h, w, 4], &turned);
    let at = bytes.windows(5).position(|word| word == b"False").unwrap();
    bytes[at..at + 5].copy_from_slice(b"True ");
    assert_eq!(open(&bytes).voxels(), &Voxels::U8(rgb));

    // Slices of four columns are no picture.
    let narrow = open(&array(&[5, 40, 4], &noise(5 * 40 * 4)));
    assert_eq!((narrow.dims(), narrow.channels(), codes(&narrow)), ([4, 40, 5], 1, vec![Code::AxisOfFour]));
}

#[test]
fn colour_that_itk_writes_along_a_fifth_axis_is_colour() {
    let folder = tempfile::tempdir().unwrap();
    for components in [3, 4] {
        let mut file = NiftiFile::new(1, [5, 4, 2], 2, 0);
        file.dim = [5, 5, 4, 2, 1, components, 1, 1];
        let planar = noise(40 * components as usize);
        file.data = planar.clone();
        let volume = open(&file.bytes());
        assert_eq!((volume.dims(), volume.channels()), ([5, 4, 2], 3));
        let expected: Vec<u8> = (0..120).map(|i| planar[i % 3 * 40 + i / 3]).collect();
        assert_eq!(volume.voxels(), &Voxels::U8(expected));
        assert_eq!(codes(&volume), if components == 4 { vec![Code::AlphaIgnored] } else { vec![] });
        assert_eq!(Intensity::default_for(&volume), Intensity::Raw);
        let one = OpenOptions { time_point: Some(1), ..OpenOptions::default() };
        let green = Volume::from_bytes("image", &file.bytes(), &one).unwrap();
        assert_eq!((green.channels(), green.voxels()), (1, &Voxels::U8(planar[40..80].to_vec())));

        let path = folder.path().join("mask.nii");
        let mask = labels(&volume, &[1]);
        mask_writer::write(&volume, &mask, &path, true).unwrap();
        assert_eq!(Volume::open(&path, &OpenOptions::default()).unwrap().dims(), [5, 4, 2], "a mask has three axes");
    }
}

fn labels(volume: &Volume, each: &[u16]) -> LabelVolume {
    let mut labels = LabelVolume::new(volume.dims(), each.iter().copied().max().unwrap_or(0)).unwrap();
    let frame = volume.frame(2, Orientation::Stored).unwrap();
    let (height, width) = frame.shape();
    for (number, &label) in each.iter().enumerate() {
        let mask: Vec<bool> = (0..height * width).map(|i| i % (each.len() + 2) == number).collect();
        labels.paint(&frame, 0, &mask, label).unwrap();
    }
    labels
}

fn png_file(colour: png::ColorType, depth: png::BitDepth, [width, height]: [u32; 2], data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if colour == png::ColorType::Indexed {
        encoder.set_palette(
            (0..1 << depth as usize).flat_map(|i: u32| [(40 * i) as u8, 7, (255 - i) as u8]).collect::<Vec<u8>>(),
        );
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    out
}

#[test]
fn a_palette_holds_labels_or_colours() {
    use png::{BitDepth, ColorType};
    let cases: [(BitDepth, &[u8], [u8; 6]); 4] = [
        (BitDepth::One, &[0b0110_0000, 0b1010_0000], [0, 1, 1, 1, 0, 1]),
        (BitDepth::Two, &[0b0001_1000, 0b1100_0000], [0, 1, 2, 3, 0, 0]),
        (BitDepth::Four, &[0x12, 0x30, 0x45, 0x60], [1, 2, 3, 4, 5, 6]),
        (BitDepth::Eight, &[9, 0, 3, 200, 17, 255], [9, 0, 3, 200, 17, 255]),
    ];
    for (depth, data, indices) in cases {
        let bytes = png_file(ColorType::Indexed, depth, [3, 2], data);
        let map = Volume::from_bytes("mask", &bytes, &OpenOptions::LABELS).unwrap();
        assert_eq!((map.channels(), map.voxels()), (1, &Voxels::U8(indices.to_vec())), "{depth:?}");
        let colours = indices.iter().flat_map(|&i| [(40 * u32::from(i)) as u8, 7, 255 - i]).collect();
        assert_eq!(open(&bytes).voxels(), &Voxels::U8(colours), "{depth:?}");
    }
    // Grey that was saved as colour is a label map too; colour that is not is refused with what to do.
    let grey = png_file(ColorType::Rgb, BitDepth::Eight, [2, 1], &[4, 4, 4, 0, 0, 0]);
    let map = Volume::from_bytes("mask", &grey, &OpenOptions::LABELS).unwrap();
    assert_eq!((map.channels(), map.voxels()), (1, &Voxels::U8(vec![4, 0])));
    let colour = png_file(ColorType::Rgb, BitDepth::Eight, [2, 1], &[4, 4, 4, 0, 9, 0]);
    let error = LabelVolume::from_volume(&Volume::from_bytes("mask", &colour, &OpenOptions::LABELS).unwrap());
    assert!(error.unwrap_err().to_string().contains("indices of a palette"));
}

/// Colour type and stored bytes of a PNG.
fn stored(path: &Path) -> (png::ColorType, Vec<u8>, Vec<u8>) {
    let mut decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(path).unwrap()));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut bytes).unwrap();
    let palette = reader.info().palette.as_ref().map(|palette| palette.to_vec()).unwrap_or_default();
    (frame.color_type, bytes, palette)
}

#[test]
fn png_masks_are_made_to_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.png");
    let image = open(&array(&[6, 7], &noise(42)));
    let bytes_of = |mask: &LabelVolume| (0..42).map(|i| mask.get(i).unwrap() as u8).collect::<Vec<u8>>();
    for label in [1, 7, 300] {
        let mask = labels(&image, &[label]);
        mask_writer::write(&image, &mask, &path, true).unwrap();
        let white: Vec<u8> = (0..42).map(|i| if mask.get(i) == Some(0) { 0 } else { 255 }).collect();
        assert_eq!(stored(&path), (png::ColorType::Grayscale, white, vec![]), "label {label}");
        let map = Volume::open(&path, &OpenOptions::LABELS).unwrap();
        let frame = map.frame(2, Orientation::Stored).unwrap();
        let inside: Vec<u8> = (0..42).map(|i| u8::from(mask.get(i) != Some(0))).collect();
        for drawn in [1, 255] {
            assert_eq!(map.label_slice(&frame, 0, drawn).unwrap(), inside, "tuned on as label {drawn}");
        }
        let rough = |labels: &[u32], threshold| {
            let options = RoughOptions { labels: labels.to_vec(), threshold, ..RoughOptions::default() };
            let grid = Grid::of(&image, 2);
            rough_targets("a", &Query::default(), &map, &options, &grid, &image).unwrap().remove(0).boxes
        };
        assert!(rough(&[1], None) == rough(&[], Some(127.0)) && rough(&[255], None) == rough(&[1], None));
        let read = LabelVolume::from_volume(&map).unwrap().0;
        assert!((0..42).all(|i| read.get(i) == Some(u16::from(mask.get(i) != Some(0)))), "a mask of label 1 again");
    }
    let mask = labels(&image, &[1, 2, 5]);
    mask_writer::write(&image, &mask, &path, true).unwrap();
    let (colour, indices, palette) = stored(&path);
    assert_eq!((colour, indices), (png::ColorType::Indexed, bytes_of(&mask)));
    assert_eq!((palette.len(), &palette[..3]), (18, &[0, 0, 0][..]));
    let colours: std::collections::BTreeSet<&[u8]> = palette.chunks_exact(3).collect();
    assert_eq!(colours.len(), 6, "labels are told apart");
    let read = LabelVolume::from_volume(&Volume::open(&path, &OpenOptions::LABELS).unwrap()).unwrap().0;
    assert_eq!(read, mask);

    mask_writer::write_values(&image, &mask, &path, true).unwrap();
    assert_eq!(stored(&path), (png::ColorType::Grayscale, bytes_of(&mask), vec![]));
    // One label of several that were asked for: colours do not depend on what was found.
    let segments = [1, 2].map(|label| Segment { label, name: "x".into() }).to_vec();
    let legend = Legend { segments, ..Legend::default() };
    mask_writer::write_named(&image, &labels(&image, &[2]), &legend, &path, true).unwrap();
    assert_eq!(stored(&path).0, png::ColorType::Indexed);
    // Labels beyond a palette keep their numbers.
    mask_writer::write(&image, &labels(&image, &[1, 300]), &path, true).unwrap();
    assert!(stored(&path).1.windows(2).any(|two| two == 300_u16.to_be_bytes()));
}

#[test]
fn voxels_that_are_no_numbers_become_the_value_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let mut values: Vec<f32> = (0..3 * 40 * 36).map(|i| ((i * 7919) % 251) as f32).collect();
    (values[7], values[900], values[2000]) = (f32::NAN, f32::NEG_INFINITY, f32::NAN);
    npy::write(&mut std::fs::File::create(path("in.npy")).unwrap(), &[3, 40, 36], &values).unwrap();
    let weights = weights().to_str().unwrap().to_string();
    let run = |more: &[&str]| {
        let (image, mask, report) = (path("in.npy"), path("mask.npy"), path("report.json"));
        let fixed = ["segment", &image, "-o", &mask, "--force", "--weights", &weights, "--task", "CT_Liver"];
        medsegx(&[&fixed[..], &["--device", "cpu", "--box3d", "5,6,0,30,31,2", "--report", &report], more].concat())
    };
    let refused = run(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(message(&refused).contains("3 NaN or infinite") && message(&refused).contains("--nan VALUE"));
    for wrong in ["nan", "inf", "x", "1e300"] {
        assert!(!run(&["--nan", wrong]).status.success(), "{wrong}");
    }
    let done = run(&["--nan", "-1"]);
    assert!(done.status.success(), "{}", message(&done));
    assert!(
        message(&done).contains("2 values are NaN and 1 infinite: taken as -1 [nan-replaced]"),
        "{}",
        message(&done)
    );
    let report = std::fs::read_to_string(path("report.json")).unwrap();
    assert!(report.contains("nan-replaced"), "{report}");

    let options = OpenOptions { nan: Some(-1.0), ..OpenOptions::default() };
    let volume = Volume::open(path("in.npy"), &options).unwrap();
    let taken = |at: usize| volume.voxels().get(at);
    assert_eq!(
        [taken(7), taken(900), taken(2000), taken(8)],
        [Some(-1.0), Some(-1.0), Some(-1.0), Some(values[8].into())]
    );
    // The value is one after slope and intercept.
    let mut scaled = Volume::open(path("in.npy"), &OpenOptions::default()).unwrap().scaled(2.0, 10.0).unwrap();
    assert_eq!((scaled.replace_not_finite(4.0).unwrap(), scaled.voxels().get(7)), (3, Some(-3.0)));
}

#[test]
fn a_single_slice_across_another_axis_is_named() {
    let grid = Grid { dims: [1, 40, 36], axis: 2, affine: None, forms_apart: None };
    let named = |error: medsegx::Error| error.to_string().contains("the image is one slice across i: --axis i");
    let pixel_box = PixelBox { x0: 4, y0: 5, x1: 20, y1: 21 };
    assert!(named(slice_box(pixel_box, None, &grid).unwrap_err()));
    assert!(named(slice_box(pixel_box, Some(3), &grid).unwrap_err()));
    assert!(named(volume_box(VolumeBox { low: [4, 5, 0], high: [20, 21, 0] }, "box3d", &grid).unwrap_err()));
    assert!(slice_box(pixel_box, None, &Grid { axis: 0, ..grid }).is_ok());
    let wrong = PixelBox { x1: 50, ..pixel_box };
    assert!(!named(slice_box(wrong, None, &Grid { axis: 0, ..grid }).unwrap_err()));
}
