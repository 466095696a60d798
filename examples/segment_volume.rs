//! A volume and a box in, a mask on the volume's own grid out.
//!
//! ```sh
//! cargo run --release --example segment_volume -- tests/data/phantom.nii.gz mask.nii.gz
//! ```

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use medsegx::mask::MaskChoice;
use medsegx::prompt::PixelBox;
use medsegx::segment::volume::{Observer, Request, segment_volume};
use medsegx::segment::{Capacity, Model, ModelOptions, Segmenter};
use medsegx::taxonomy::{Query, resolve};
use medsegx::volume::{Intensity, OpenOptions, Orientation, Volume, mask_writer};
use medsegx::weights::demo;

/// Says how far the run is; an answer of `Break` would end it.
struct Progress;

impl Observer for Progress {
    fn progress(&mut self, done: usize, total: usize) -> ControlFlow<()> {
        eprintln!("{done} of {total} slices");
        ControlFlow::Continue(())
    }
}

fn main() -> medsegx::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, image, mask] = &arguments[..] else {
        eprintln!("usage: segment_volume IMAGE MASK");
        std::process::exit(2);
    };
    let volume = Volume::open(image, &OpenOptions::default())?;
    let slices = volume.frame(volume.default_axis(), Orientation::Stored)?;
    let grey_levels = Intensity::MinMax.resolve(&volume)?;

    let model = Arc::new(Model::load(&demo::open()?, &ModelOptions::default())?);
    let choice = MaskChoice::Auto;
    let capacity = Capacity::default().with_batch_for(&model, choice, slices.slices())?;
    let mut session = Segmenter::new(&model, capacity, choice)?;

    let around_the_liver = PixelBox { x0: 22, y0: 43, x1: 111, y1: 109 };
    let liver = Request {
        label: 1,
        context: Some(resolve(&Query { task: Some("CT_Liver".into()), ..Query::default() })?),
        boxes: (9..16).map(|slice| (slice, around_the_liver)).collect(),
        points: BTreeMap::new(),
    };
    let outcome = segment_volume(&mut session, &volume, &slices, &grey_levels, &[liver], &mut Progress)?;
    println!("{} voxels on {} slices, on {}", outcome.voxels[0], outcome.slices.len(), model.device());
    mask_writer::write(&volume, &outcome.labels, Path::new(mask), false)
}
