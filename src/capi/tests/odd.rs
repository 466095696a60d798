//! Input that is probably not what its caller meant is taken by the same rules as on the command line, and said in bits.

use std::ptr::{null, null_mut};

use super::{model, session};
use crate::capi::codes::{medsegx_intensity, medsegx_pixel};
use crate::capi::session::{medsegx_session, medsegx_session_free};
use crate::capi::slice::medsegx_segment_slice;
use crate::capi::status::medsegx_status;
use crate::capi::structs::{
    NO_TARGET, medsegx_prompt, medsegx_result, medsegx_slice, medsegx_target, medsegx_volume, medsegx_volume_result,
};
use crate::capi::versioned::Versioned;
use crate::capi::volume::medsegx_segment_volume;
use crate::codes::Code;

const SIDE: usize = 64;
const BOX: [f64; 4] = [9.0, 8.0, 44.0, 50.0];

fn picture() -> Vec<f32> {
    (0..SIDE * SIDE).map(|i| ((i * 7919) % 251) as f32 + 3.0 * (i / SIDE) as f32 + 1.0).collect()
}

fn view(pixels: &[f32], intensity: medsegx_intensity, nan_value: f64) -> medsegx_slice {
    medsegx_slice {
        pixel_type: medsegx_pixel::F32 as i32,
        pixels: pixels.as_ptr().cast(),
        height: SIDE as u32,
        width: SIDE as u32,
        intensity: intensity as i32,
        nan_value,
        ..medsegx_slice::initial()
    }
}

/// Mask and warnings of a slice and a box.
fn ask(session: *mut medsegx_session, view: &medsegx_slice, r#box: [f64; 4]) -> Result<(Vec<u8>, u64), medsegx_status> {
    let (mut mask, context) = (vec![7; SIDE * SIDE], super::first_rows());
    let prompt = medsegx_prompt { has_box: 1, r#box, ..medsegx_prompt::initial() };
    let mut result = medsegx_result { mask: mask.as_mut_ptr(), mask_size: mask.len(), ..medsegx_result::initial() };
    // SAFETY: all pointers are valid or NULL where that is allowed.
    let status = unsafe { medsegx_segment_slice(session, view, &context, &prompt, &mut result, null(), null_mut()) };
    if status == medsegx_status::Ok { Ok((mask, result.warnings)) } else { Err(status) }
}

#[test]
fn pixels_that_are_no_numbers_become_the_callers_value() {
    let (model, plain) = (model(), picture());
    let session = session(&model, SIDE);
    let (mut broken, mut meant) = (plain.clone(), plain);
    for (at, value) in [(70, f32::NAN), (1500, f32::INFINITY), (3000, f32::NAN)] {
        (broken[at], meant[at]) = (value, -20.0);
    }
    for rule in [medsegx_intensity::Minmax, medsegx_intensity::Percentile, medsegx_intensity::Robust] {
        assert_eq!(ask(session, &view(&broken, rule, f64::NAN), BOX), Err(medsegx_status::InvalidArgument));
        let (mask, warnings) = ask(session, &view(&broken, rule, -20.0), BOX).unwrap();
        let (expected, none) = ask(session, &view(&meant, rule, -20.0), BOX).unwrap();
        assert!(mask == expected && mask.contains(&1), "{rule:?}");
        assert_eq!(warnings, none | Code::NanReplaced.bit(), "{rule:?}");
    }
    assert_eq!(
        ask(session, &view(&broken, medsegx_intensity::Minmax, 1e300), BOX),
        Err(medsegx_status::InvalidArgument)
    );
    // SAFETY: it came from medsegx_session_new and is freed once.
    unsafe { medsegx_session_free(session) };
}

#[test]
fn corners_in_any_order_and_fractions_are_the_box_that_the_command_line_takes() {
    let (model, pixels) = (model(), picture());
    let (session, view) = (session(&model, SIDE), view(&pixels, medsegx_intensity::Minmax, f64::NAN));
    let (expected, none) = ask(session, &view, BOX).unwrap();
    let (swapped, rounded) = (Code::CornersSwapped.bit(), Code::BoxRounded.bit());
    for (r#box, bits) in [
        ([44.0, 8.0, 9.0, 50.0], swapped),
        ([8.5, 7.5, 44.5, 50.5], rounded),
        ([9.4, 50.3, 43.8, 7.9], swapped | rounded),
    ] {
        let (mask, warnings) = ask(session, &view, r#box).unwrap();
        assert!(mask == expected, "{box:?}");
        assert_eq!(warnings, none | bits, "{box:?}");
    }
    for outside in [[9.0, 8.0, 64.0, 50.0], [f64::NAN, 8.0, 44.0, 50.0], [-1.0, 8.0, 44.0, 50.0]] {
        assert_eq!(ask(session, &view, outside), Err(medsegx_status::BadPrompt), "{outside:?}");
    }
    // SAFETY: it came from medsegx_session_new and is freed once.
    unsafe { medsegx_session_free(session) };
}

#[test]
fn few_and_crowded_levels_are_told() {
    let model = model();
    let session = session(&model, SIDE);
    let bits = |pixels: &[f32], rule| {
        let warnings = ask(session, &view(pixels, rule, f64::NAN), BOX).unwrap().1;
        warnings & (Code::FewLevels.bit() | Code::LevelsCrowded.bit())
    };
    assert_eq!(bits(&picture(), medsegx_intensity::Minmax), 0);
    let three: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 3) as f32 * 100.0).collect();
    assert_eq!(bits(&three, medsegx_intensity::Raw), Code::FewLevels.bit());
    let mut metal = picture();
    metal[5] = 30_000.0;
    assert_eq!(bits(&metal, medsegx_intensity::Minmax), Code::FewLevels.bit() | Code::LevelsCrowded.bit());
    assert_eq!(bits(&metal, medsegx_intensity::Robust), 0);
    // SAFETY: it came from medsegx_session_new and is freed once.
    unsafe { medsegx_session_free(session) };
}

#[test]
fn volumes_are_told_of_alike() {
    let model = model();
    let session = session(&model, SIDE);
    let plain: Vec<f32> = picture().repeat(2);
    let mut metal = plain.clone();
    (metal[5], metal[6]) = (30_000.0, f32::NAN);
    let ask = |voxels: &[f32], nan_value: f64, low: [i64; 3], high: [i64; 3]| {
        let view = medsegx_volume {
            pixel_type: medsegx_pixel::F32 as i32,
            voxels: voxels.as_ptr().cast(),
            size: size_of_val(voxels),
            dims: [SIDE as u32, SIDE as u32, 2],
            nan_value,
            ..medsegx_volume::initial()
        };
        let target = medsegx_target {
            label: 1,
            modality: 0,
            body_part: 0,
            subregion: 0,
            organ: 0,
            task: 0,
            low,
            high,
            ..NO_TARGET
        };
        let mut labels = vec![9_u16; voxels.len()];
        let (labels_count, initial) = (labels.len(), medsegx_volume_result::initial());
        let mut result = medsegx_volume_result { labels: labels.as_mut_ptr(), labels_count, ..initial };
        let size = size_of::<medsegx_target>();
        // SAFETY: all pointers are valid or NULL where that is allowed.
        let status = unsafe {
            let user = null_mut();
            medsegx_segment_volume(session, &view, &target, size, 1, &mut result, None, user, null(), null_mut())
        };
        if status == medsegx_status::Ok { Ok((labels, result.warnings)) } else { Err(status) }
    };
    let (labels, none) = ask(&plain, f64::NAN, [9, 8, 0], [44, 50, 1]).unwrap();
    let (swapped, warnings) = ask(&plain, f64::NAN, [44, 8, 1], [9, 50, 0]).unwrap();
    assert!(labels == swapped && labels.contains(&1));
    assert_eq!(warnings, none | Code::CornersSwapped.bit());
    assert!(ask(&metal, f64::NAN, [9, 8, 0], [44, 50, 1]).is_err());
    let (_, warnings) = ask(&metal, 0.0, [9, 8, 0], [44, 50, 1]).unwrap();
    let expected: u64 = [Code::NanReplaced, Code::LevelsCrowded].map(Code::bit).iter().sum();
    assert_eq!(warnings & expected, expected);
    // SAFETY: it came from medsegx_session_new and is freed once.
    unsafe { medsegx_session_free(session) };
}
