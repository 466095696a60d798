//! Prompts on a slice that is set once give what each gives in a call of its own.

use std::ffi::CStr;
use std::ptr::{null, null_mut};

use super::{model, pixels, slice};
use crate::capi::prompted::{medsegx_session_prompt, medsegx_session_set_slice};
use crate::capi::session::{medsegx_session, medsegx_session_free, medsegx_session_new};
use crate::capi::slice::medsegx_segment_slice;
use crate::capi::status::{medsegx_error_free, medsegx_error_message, medsegx_status};
use crate::capi::structs::{medsegx_prompt, medsegx_result, medsegx_session_options, medsegx_slice};
use crate::capi::versioned::Versioned;

const SIDE: usize = 64;

fn prompts() -> Vec<medsegx_prompt> {
    let of_box = |r#box| medsegx_prompt { has_box: 1, r#box, ..medsegx_prompt::initial() };
    let boxes = [[5.0, 6.0, 40.0, 44.0], [1.0, 2.0, 60.0, 50.0], [9.0, 9.0, 20.0, 30.0], [20.0, 4.0, 51.0, 33.0]];
    boxes.map(of_box).to_vec()
}

/// Results with a mask each.
fn results(masks: &mut [Vec<u8>]) -> Vec<medsegx_result> {
    let result = |mask: &mut Vec<u8>| medsegx_result {
        mask: mask.as_mut_ptr(),
        mask_size: mask.len(),
        ..medsegx_result::initial()
    };
    masks.iter_mut().map(result).collect()
}

fn masks(count: usize) -> Vec<Vec<u8>> {
    vec![vec![7; SIDE * SIDE]; count]
}

fn new_session(model: &crate::capi::model::medsegx_model, kept_slices: u32) -> *mut medsegx_session {
    let (side, mut session) = (SIDE as u32, null_mut());
    let initial = medsegx_session_options::initial();
    let options =
        medsegx_session_options { max_height: side, max_width: side, max_points: 3, batch: 2, kept_slices, ..initial };
    // SAFETY: all pointers are valid.
    assert_eq!(unsafe { medsegx_session_new(model, &options, &mut session, null_mut()) }, medsegx_status::Ok);
    session
}

fn set(session: *mut medsegx_session, view: &medsegx_slice) {
    let context = super::first_rows();
    // SAFETY: all pointers are valid or NULL where that is allowed.
    let status = unsafe { medsegx_session_set_slice(session, view, &context, null(), null_mut()) };
    assert_eq!(status, medsegx_status::Ok);
}

fn ask(session: *mut medsegx_session, prompts: &[medsegx_prompt], results: &mut [medsegx_result]) -> medsegx_status {
    asked(session, prompts, results).0
}

/// The status, and the error's words.
fn asked(
    session: *mut medsegx_session,
    prompts: &[medsegx_prompt],
    results: &mut [medsegx_result],
) -> (medsegx_status, String) {
    let sizes = (size_of::<medsegx_prompt>(), size_of::<medsegx_result>());
    let (from, to, mut error) = (prompts.as_ptr(), results.as_mut_ptr(), null_mut());
    // SAFETY: all pointers are valid or NULL where that is allowed; the error is freed once.
    unsafe {
        let status = medsegx_session_prompt(session, from, sizes.0, to, sizes.1, prompts.len(), null(), &mut error);
        let words = CStr::from_ptr(medsegx_error_message(error)).to_str().unwrap().to_string();
        medsegx_error_free(error);
        (status, words)
    }
}

#[test]
fn prompts_on_a_set_slice_are_those_of_calls_of_their_own() {
    let (model, prompts) = (model(), prompts());
    let first = pixels(SIDE);
    let second: Vec<i16> = first.iter().map(|pixel| pixel.wrapping_mul(3) ^ 91).collect();
    let session = new_session(&model, 0);
    let mut expected = Vec::new();
    for pixels in [&first, &second] {
        let mut own = masks(prompts.len());
        let mut answers = results(&mut own);
        for (prompt, answer) in prompts.iter().zip(&mut answers) {
            let (view, context) = (slice(pixels, SIDE), super::first_rows());
            // SAFETY: all pointers are valid or NULL where that is allowed.
            let status = unsafe { medsegx_segment_slice(session, &view, &context, prompt, answer, null(), null_mut()) };
            assert_eq!(status, medsegx_status::Ok);
        }
        expected.push((own, answers.iter().map(|answer| answer.scores).collect::<Vec<_>>()));
    }
    assert!(expected[0] != expected[1]);
    for kept in [0, 1, 2] {
        let keeping = new_session(&model, kept);
        for which in [0, 1, 0, 0, 1] {
            set(keeping, &slice([&first, &second][which], SIDE));
            let mut own = masks(prompts.len());
            let mut answers = results(&mut own);
            assert_eq!(ask(keeping, &prompts, &mut answers), medsegx_status::Ok);
            let scores: Vec<_> = answers.iter().map(|answer| answer.scores).collect();
            assert!((own, scores) == expected[which], "kept {kept}, slice {which}");
        }
        // SAFETY: freed once.
        unsafe { medsegx_session_free(keeping) };
    }
    // SAFETY: freed once.
    unsafe { medsegx_session_free(session) };
}

#[test]
fn prompts_without_a_slice_or_with_a_wrong_one_among_them_are_refused() {
    let (model, mut prompts, pixels) = (model(), prompts(), pixels(SIDE));
    let session = new_session(&model, 1);
    let mut own = masks(prompts.len());
    let mut answers = results(&mut own);
    assert_eq!(ask(session, &prompts, &mut answers), medsegx_status::InvalidArgument);
    let view = slice(&pixels, SIDE);
    set(session, &view);
    prompts[3].r#box = [0.0, 0.0, SIDE as f64, 5.0];
    let (status, words) = asked(session, &prompts, &mut answers);
    assert_eq!(status, medsegx_status::BadPrompt);
    assert!(words.starts_with("prompts[3]: "), "{words}");
    assert_eq!(ask(session, &[], &mut []), medsegx_status::Ok);
    let context = super::first_rows();
    // SAFETY: all pointers are valid or NULL where that is allowed.
    let status =
        unsafe { medsegx_segment_slice(session, &view, &context, &prompts[0], &mut answers[0], null(), null_mut()) };
    assert_eq!(status, medsegx_status::Ok);
    assert_eq!(ask(session, &prompts[..1], &mut answers[..1]), medsegx_status::InvalidArgument, "another slice came");
    assert!(own[1..].iter().flatten().all(|&pixel| pixel == 7), "nothing was written");
    // SAFETY: freed once.
    unsafe { medsegx_session_free(session) };
}
