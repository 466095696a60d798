//! What the C programs of tests/capi compare with, as plain files: a picture, its box and context, and golden logits.
//! Written to the folder that MEDSEGX_CAPI_FIXTURE names, which tests/capi/run.sh sets; without it only sizes are
//! checked.

mod common;

use std::path::Path;

use common::golden::Golden;
use common::tolerance;

#[test]
fn the_c_programs_get_a_picture_a_case_and_golden_logits() {
    let golden = Golden::portable("tiny", tolerance::F32);
    let case = golden.case(0);
    let (shape, logits) = golden.tensor("case0.logits").unwrap();
    assert_eq!((case.pixels.len(), shape.as_slice()), (256 * 256 * 3, &[3, 256, 256][..]));
    let Some(folder) = std::env::var_os("MEDSEGX_CAPI_FIXTURE") else { return };
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("picture.u8"), &case.pixels).unwrap();
    let bytes: Vec<u8> = logits.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(folder.join("logits.f32"), bytes).unwrap();
    let context = case.context.iter().map(i32::to_string);
    let numbers: Vec<String> = context.chain(case.rectangle.iter().map(f32::to_string)).collect();
    std::fs::write(folder.join("case.txt"), numbers.join(" ")).unwrap();
}
