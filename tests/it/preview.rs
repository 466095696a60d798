//! The preview lies as radiologists look at it, whatever the order and signs of the stored axes.

use std::collections::BTreeMap;

use crate::common::nifti_file::NiftiFile;
use medsegx::preview::{Canvas, OnSlice, Sheet, Shown, View, write_png};
use medsegx::prompt::PixelBox;
use medsegx::volume::{Form, Intensity, LabelVolume, OpenOptions, Volume};

/// Patient axes in all orders, with all signs: which one each voxel axis runs along, and which way.
fn frames() -> Vec<([usize; 3], [f64; 3])> {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let signs = |bits: usize| [0, 1, 2].map(|axis| if bits >> axis & 1 == 0 { 1.0 } else { -1.0 });
    orders.into_iter().flat_map(|order| (0..8).map(move |bits| (order, signs(bits)))).collect()
}

/// 24 x 20 x 16 mm of the patient, R, A, S, with one bright voxel: voxel axis `i` runs along `order[i]`.
fn patient(order: [usize; 3], signs: [f64; 3], spacing: [f64; 3], bright: [f64; 3]) -> Volume {
    let size = [24.0_f64, 20.0, 16.0];
    let dims = order.map(|axis| (size[axis] / spacing[axis]) as usize);
    let mut file = NiftiFile::new(1, dims.map(|n| n as i64), 4, 0);
    (file.qform_code, file.rows) = (0, [[0.0; 4]; 3]);
    let mut at = [0; 3];
    for (axis, &along) in order.iter().enumerate() {
        let step = signs[axis] * spacing[along];
        file.rows[along][axis] = step;
        file.rows[along][3] = if step > 0.0 { 0.0 } else { (dims[axis] - 1) as f64 * -step };
        file.pixdim[axis + 1] = spacing[along];
        at[axis] = ((bright[along] - file.rows[along][3]) / step).round() as usize;
    }
    let bright = (at[2] * dims[1] + at[1]) * dims[0] + at[0];
    let values = (0..dims.iter().product::<usize>()).map(|index| if index == bright { 1000_i16 } else { 0 });
    file.data = values.flat_map(i16::to_le_bytes).collect();
    let options = OpenOptions { form: Some(Form::Sform), ..OpenOptions::default() };
    Volume::from_bytes("patient", &file.bytes(), &options).unwrap()
}

/// Middle of what is brighter than half, from 0 at the left and top to 1.
fn brightest(canvas: &Canvas) -> [f64; 2] {
    let (mut sum, mut count) = ([0.0; 2], 0.0);
    for (at, pixel) in canvas.pixels.chunks_exact(3).enumerate().filter(|(_, pixel)| pixel[0] > 127) {
        assert!(pixel[1] > 127 && pixel[2] > 127, "grey");
        sum[0] += (at % canvas.width) as f64 + 0.5;
        sum[1] += (at / canvas.width) as f64 + 0.5;
        count += 1.0;
    }
    [sum[0] / count / canvas.width as f64, sum[1] / count / canvas.height as f64]
}

#[test]
fn right_is_left_and_front_and_head_are_up_in_all_48_frames() {
    // To the right, in front and up, in millimetres from the left, back, lower corner.
    let bright = [18.0, 16.0, 10.0];
    for (order, signs) in frames() {
        let volume = patient(order, signs, [1.0, 1.0, 2.0], bright);
        let map = Intensity::MinMax.resolve(&volume).unwrap();
        for axis in 0..3 {
            let [across, down] = [[1, 2], [0, 2], [0, 1]][order[axis]];
            let view = View::new(&volume, axis, 240).unwrap();
            let sides = [["R", "A", "S"][across], ["L", "P", "I"][across], ["R", "A", "S"][down]];
            let found = view.sides.unwrap().map(String::from);
            assert_eq!(found[..3], sides, "{order:?} {signs:?} across {axis}");
            // As wide and high as the patient.
            let size = [24.0_f64, 20.0, 16.0];
            let expected = [size[across], size[down]].map(|side| side * 240.0 / size[across].max(size[down]));
            assert_eq!(view.size.map(|side| side as f64), expected.map(f64::round));

            let labels = LabelVolume::new(volume.dims(), 1).unwrap();
            let slice = {
                let affine = volume.affine().unwrap();
                ((bright[order[axis]] - affine[order[axis]][3]) / affine[order[axis]][axis]).round() as usize
            };
            let mut canvas = Canvas::new(view.size[0], view.size[1]).unwrap();
            view.draw(&mut canvas, [0, 0], (&volume, &map, &labels), slice, |_| None).unwrap();
            let spacing = [1.0, 1.0, 2.0];
            // From the left and from the top: the far end of the patient's axis is 0.
            let place = |along: usize| 1.0 - (bright[along] + spacing[along] / 2.0) / size[along];
            for (found, expected) in brightest(&canvas).into_iter().zip([place(across), place(down)]) {
                assert!((found - expected).abs() < 0.01, "{order:?} {signs:?} {axis}: {found} for {expected}");
            }
        }
    }
}

#[test]
fn boxes_and_outlines_lie_on_what_they_mean() {
    for (order, signs) in frames() {
        let volume = patient(order, signs, [1.0, 1.0, 2.0], [18.0, 16.0, 10.0]);
        let map = Intensity::MinMax.resolve(&volume).unwrap();
        let dims = volume.dims();
        let bright = (0..dims.iter().product()).find(|&index| volume.voxels().get(index) == Some(1000.0)).unwrap();
        let at = [bright % dims[0], bright / dims[0] % dims[1], bright / (dims[0] * dims[1])];
        let view = View::new(&volume, 2, 240).unwrap();
        let [x, y] = [at[0], at[1]].map(|index| index as i64);
        let [first, last] = view.screen_box(&PixelBox { x0: x, y0: y, x1: x, y1: y });
        let frame = volume.frame(2, medsegx::volume::Orientation::Stored).unwrap();
        let mut mask = vec![false; dims[0] * dims[1]];
        mask[at[1] * dims[0] + at[0]] = true;
        let mut labels = LabelVolume::new(dims, 1).unwrap();
        labels.paint(&frame, at[2], &mask, 1).unwrap();
        let mut canvas = Canvas::new(view.size[0], view.size[1]).unwrap();
        let red = [255, 0, 0];
        view.draw(&mut canvas, [0, 0], (&volume, &map, &labels), at[2], |label| (label == 1).then_some(red)).unwrap();
        let outline = |at: usize| canvas.pixels[at * 3..at * 3 + 3] == red;
        let drawn: Vec<usize> = (0..canvas.width * canvas.height).filter(|&at| outline(at)).collect();
        let columns = drawn.iter().map(|at| (at % canvas.width) as i64);
        let rows = drawn.iter().map(|at| (at / canvas.width) as i64);
        assert_eq!((columns.clone().min(), columns.max()), (Some(first[0]), Some(last[0])), "{order:?} {signs:?}");
        assert_eq!((rows.clone().min(), rows.max()), (Some(first[1]), Some(last[1])), "{order:?} {signs:?}");
    }
}

#[test]
fn a_sheet_has_its_slices_and_marks_the_doubtful() {
    let volume = patient([0, 1, 2], [1.0; 3], [1.0, 1.0, 2.0], [18.0, 16.0, 10.0]);
    let map = Intensity::MinMax.resolve(&volume).unwrap();
    let labels = LabelVolume::new(volume.dims(), 2).unwrap();
    let targets = [Shown { label: 2, name: "Größe \u{4e2d} liver".into() }];
    let region = PixelBox { x0: 2, y0: 3, x1: 9, y1: 12 };
    let plain = OnSlice { boxes: vec![(2, region)], ..OnSlice::default() };
    let doubtful = OnSlice { doubts: ["mask-empty"].into(), ..plain.clone() };
    let draw = |slices: &BTreeMap<usize, OnSlice>, chosen: &[usize]| {
        let sheet = Sheet { image: &volume, map: &map, labels: &labels, targets: &targets, axis: 2, slices, chosen };
        sheet.draw()
    };
    let yellow = |canvas: &Canvas| canvas.pixels.chunks_exact(3).filter(|pixel| *pixel == [255, 235, 0]).count();
    let sure = draw(&BTreeMap::from([(3, plain.clone()), (4, plain.clone())]), &[]).unwrap();
    let unsure = draw(&BTreeMap::from([(3, plain.clone()), (4, doubtful)]), &[]).unwrap();
    assert_eq!((sure.width, sure.height), (unsure.width, unsure.height));
    assert_eq!(yellow(&sure), 0);
    assert!(yellow(&unsure) > 1000, "a border and words");
    assert!(draw(&BTreeMap::from([(3, plain)]), &[99]).is_err(), "no such slice");

    let (mut one, mut other) = (Vec::new(), Vec::new());
    write_png(&sure, &mut one).unwrap();
    write_png(&sure, &mut other).unwrap();
    assert_eq!(one, other);
    let read = Volume::from_bytes("sheet.png", &one, &OpenOptions::default()).unwrap();
    assert_eq!((read.dims(), read.channels()), ([sure.width, sure.height, 1], 3));
    let medsegx::volume::Voxels::U8(pixels) = read.voxels() else { panic!("8 bits") };
    assert_eq!(*pixels, sure.pixels);
}
