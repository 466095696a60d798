//! A slice is encoded once and prompted several times; each prompt costs the decoder alone.
//!
//! ```sh
//! cargo run --release --example segment_slice -- tests/data/phantom.nii.gz
//! ```

use std::sync::Arc;
use std::time::Instant;

use medsegx::mask::MaskChoice;
use medsegx::segment::{Capacity, Model, ModelOptions, Picture, Prompt, Segmenter, prompt_points};
use medsegx::taxonomy::{Query, resolve};
use medsegx::volume::{Intensity, OpenOptions, Volume};
use medsegx::weights::demo;

fn main() -> medsegx::Result<()> {
    let Some(image) = std::env::args().nth(1) else {
        eprintln!("usage: segment_slice IMAGE");
        std::process::exit(2);
    };
    // Grey levels of one slice, as a viewer would have them.
    let volume = Volume::open(image, &OpenOptions::default())?;
    let axis = volume.default_axis();
    let (height, width) = volume.slice_shape(axis);
    let mut pixels = Vec::new();
    volume.slice_u8(axis, volume.dims()[axis] / 2, &Intensity::MinMax.resolve(&volume)?, &mut pixels)?;
    let picture = Picture { pixels: &pixels, height, width, channels: volume.channels() };

    let model = Arc::new(Model::load(&demo::open()?, &ModelOptions::default())?);
    let mut session = Segmenter::new(&model, Capacity::default(), MaskChoice::Auto)?;
    let context = resolve(&Query { task: Some("CT_Liver".into()), ..Query::default() })?;
    let begun = Instant::now();
    let frame = session.set_slice(&picture, Some(&context))?;
    println!("encoded in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);

    let (mut points, mut mask) = (Vec::new(), vec![0; height * width]);
    for corners in [[22.0, 43.0, 111.0, 109.0], [30.0, 50.0, 100.0, 100.0], [40.0, 60.0, 90.0, 95.0]] {
        let begun = Instant::now();
        prompt_points(&frame, &[], Some(corners), &mut points);
        let mut answers = session.answer(&[Prompt { slot: 0, points: &points, mask: None }])?;
        let verdict = answers.verdict(0);
        answers.mask(0, verdict.chosen, &mut mask)?;
        let inside = mask.iter().filter(|&&pixel| pixel == 1).count();
        println!("box {corners:?}: {inside} pixels in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
