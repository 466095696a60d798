//! Slices made into the model's pictures on a device.

use std::sync::Arc;

use medsegx::backend::Backend;
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::Driver;
use medsegx::graph::{Element, Graph, Plan, Role};
use medsegx::image::resample::Resizer;
use medsegx::volume::{IntensityMap, Orientation, SliceFrame, StoredSlice, Volume};

/// Slices across `axis` of `volume` by `map`, each in a slot, and the first once more in a last slot: pixels
/// `[slots, size, size, 3]` and scaling `[slots, 8]`. They fill `valid` rows and columns.
pub fn make<D: Driver>(
    backend: &Cuda<D>,
    (volume, axis, map): (&Volume, usize, &IntensityMap),
    (valid, size): ([usize; 2], usize),
    ranges: bool,
) -> (Vec<u8>, Vec<f32>) {
    let frame = volume.frame(axis, Orientation::Stored).expect("an axis");
    let slots = frame.slices() + 1;
    let mut graph = Graph::new(slots);
    let pixels = graph.value("pixels", &[size, size, 3], Element::U8, Role::Input);
    let scaling = graph.value("scaling", &[8], Element::F32, Role::Input);
    let plan = Plan::separate(backend.lower(graph));
    let mut arena = backend.arena(&[&plan]).expect("memory");
    let mut found = (vec![0; slots * size * size * 3], vec![0.0f32; slots * 8]);
    backend.write(&mut arena, &plan, pixels, 0, &found.0).expect("a clean picture");
    backend.write(&mut arena, &plan, scaling, 0, bytemuck::cast_slice(&found.1)).expect("no scaling");

    let stored = |index| volume.stored_slice(&frame, index, map).expect("a slice");
    let [height, width, channels] = stored(0).shape();
    let resizer = Resizer::new([height, width], valid, channels).expect("sizes");
    let levels = (map, stored(0).data_type(), volume.scaling());
    let recipe = Arc::new(backend.recipe(&resizer, channels, levels, ranges).expect("taps are uploaded"));
    let mut staging = backend.slice_staging(slots).expect("memory");
    for index in 0..frame.slices() {
        let gather = |rows: &mut [u8]| stored(index).gather(rows, recipe.pitch());
        backend.take_slice(&mut staging, index, &recipe, gather).expect("a slice is taken");
    }
    staging.again(slots - 1, 0).expect("a slot has two");
    backend.make_pictures(&mut staging, slots, (&mut arena, &plan, [pixels, scaling])).expect("pictures are made");
    backend.read(&mut arena, &plan, pixels, &mut found.0).expect("pictures are read");
    backend.read(&mut arena, &plan, scaling, bytemuck::cast_slice_mut(&mut found.1)).expect("scaling is read");
    found
}

/// The pictures of the same slots as the CPU makes them.
pub fn expected((volume, axis, map): (&Volume, usize, &IntensityMap), (valid, size): ([usize; 2], usize)) -> Vec<u8> {
    let frame: SliceFrame = volume.frame(axis, Orientation::Stored).expect("an axis");
    let mut pictures = vec![0; (frame.slices() + 1) * size * size * 3];
    let mut levels = Vec::new();
    for (slot, picture) in pictures.chunks_exact_mut(size * size * 3).enumerate() {
        let slice: StoredSlice<'_> = volume.stored_slice(&frame, slot % frame.slices(), map).expect("a slice");
        let [height, width, channels] = slice.shape();
        slice.levels(&mut levels).expect("memory");
        let mut resizer = Resizer::new([height, width], valid, channels).expect("sizes");
        resizer.picture(&levels, channels, picture, size).expect("the picture is made");
    }
    pictures
}
