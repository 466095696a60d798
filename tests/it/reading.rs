//! Reading voxels on another thread: the same volume, the same errors, and no thread that nobody waits for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::nifti_file::NiftiFile;
use medsegx::volume::{
    Arriving, Incoming, Intensity, OpenOptions, Opening, Orientation, SliceSource, Statistics, Volume, npy,
};
use medsegx::{Error, Result};

fn file(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("image.nii.gz");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn beside(path: &Path) -> Result<Volume> {
    Opening::open(path, &OpenOptions::default())?.beside(Ok)?.join()
}

#[test]
fn a_volume_read_beside_is_the_one_that_is_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut image = NiftiFile::new(1, [7, 5, 9], 4, 20);
    (image.slope, image.inter) = (2.0, -3.0);
    let path = file(folder.path(), &[image.gzip(), b"more".to_vec()].concat());
    let (found, expected) = (beside(&path).unwrap(), Volume::open(&path, &OpenOptions::default()).unwrap());
    assert_eq!((found.dims(), found.voxels(), found.scaling()), (expected.dims(), expected.voxels(), (2.0, -3.0)));
    assert_eq!((found.geometry(), found.warnings()), (expected.geometry(), expected.warnings()));
    assert!(found.warnings()[0].message.contains("follow the voxels"), "what shows behind the voxels is told as well");
}

#[test]
fn a_file_that_is_cut_or_changed_is_refused_alike() {
    let folder = tempfile::tempdir().unwrap();
    let whole = NiftiFile::new(1, [40, 30, 20], 4, 0).gzip();
    let mut changed = whole.clone();
    let last = changed.len() - 5; // of the checksum
    changed[last] ^= 1;
    for (bytes, part) in [(&whole[..whole.len() / 2], "cut short"), (&changed[..], "right checksum")] {
        let path = file(folder.path(), bytes);
        Opening::open(&path, &OpenOptions::default()).map(|opening| opening.info().dims()).unwrap();
        let found = beside(&path).err().unwrap().to_string();
        assert_eq!(found, Volume::open(&path, &OpenOptions::default()).err().unwrap().to_string());
        assert!(found.contains(part), "{found}");
    }
}

#[test]
fn voxels_go_with_the_last_slice_unless_they_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), &NiftiFile::new(1, [7, 5, 9], 4, 20).gzip());
    for keep in [false, true] {
        let opening = Opening::open(&path, &OpenOptions::default()).unwrap();
        let frame = opening.info().frame(2, Orientation::Stored).unwrap();
        let mut image = Incoming::start(opening, Some(Intensity::MinMax), &frame, keep).unwrap().wait().unwrap();
        let (source, _) = image.parts();
        assert_eq!(source.holding(&frame, 8).unwrap().2, 8);
        source.all_held();
        assert_eq!(source.holding(&frame, 8).is_ok(), keep);
        assert_eq!((image.volume().is_some(), image.info().dims()), (keep, [7, 5, 9]));
        image.finish().unwrap();
    }
}

#[test]
fn what_follows_runs_on_the_thread_and_its_error_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), &NiftiFile::new(1, [7, 5, 9], 4, 0).gzip());
    let opening = || Opening::open(&path, &OpenOptions::default()).unwrap();
    let here = std::thread::current().id();
    let there = opening().beside(|volume| Ok((std::thread::current().id(), volume.dims()))).unwrap().join().unwrap();
    assert!(there.0 != here && there.1 == [7, 5, 9]);
    let failed = opening().beside(|_| Err::<(), _>(Error::Cancelled)).unwrap().join();
    assert!(matches!(failed, Err(Error::Cancelled)));
}

#[test]
fn a_reading_that_is_dropped_has_ended() {
    /// Tells when it is dropped, with the thread that owns it.
    struct Ended(Arc<AtomicBool>);
    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    // Large enough that its reading is far from done when it is dropped.
    let path = file(folder.path(), &NiftiFile::new(1, [512, 512, 64], 4, 0).gzip());
    let (ended, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (guard, seen) = (Ended(Arc::clone(&ended)), Arc::clone(&read));
    let reading = Opening::open(&path, &OpenOptions::default()).unwrap().beside(move |_| {
        let _guard = &guard;
        seen.store(true, Ordering::SeqCst);
        Ok(())
    });
    drop(reading.unwrap());
    assert!(ended.load(Ordering::SeqCst), "the thread is waited for");
    assert!(!read.load(Ordering::SeqCst), "and does not read to the end first");
}

fn arriving(path: &Path) -> Option<Arriving> {
    Opening::open(path, &OpenOptions::default()).unwrap().arriving().unwrap().ok()
}

/// All slices of a volume that is read meanwhile are those of the volume read at once.
fn same_slices(path: &Path, step: usize) {
    let whole = Volume::open(path, &OpenOptions::default()).unwrap();
    let frame = whole.frame(2, Orientation::Stored).unwrap();
    let mut source = arriving(path).unwrap();
    assert_eq!((source.info().dims(), source.info().geometry()), (whole.dims(), whole.geometry()));
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for slice in (0..frame.slices()).step_by(step) {
        let (slab, cut, index) = source.holding(&frame, slice).unwrap();
        slab.slice_values(&cut, index, &mut found).unwrap();
        whole.slice_values(&frame, slice, &mut expected).unwrap();
        assert!(found == expected, "{}, slice {slice}", path.display());
    }
    source.finish().unwrap();
    assert_eq!(source.info().warnings(), whole.warnings());
}

#[test]
fn slices_of_a_volume_that_is_still_read_are_those_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    // Slabs of several planes; of one plane each; colour with alpha; the second of three time points, big endian.
    let mut grey = NiftiFile::new(1, [300, 200, 90], 4, 20);
    (grey.slope, grey.inter) = (2.0, -3.0);
    let mut colour = NiftiFile::new(2, [9, 8, 7], 2, 0);
    (colour.datatype, colour.bitpix, colour.data) = (2304, 32, (0..4 * 9 * 8 * 7).map(|i| (i % 251) as u8).collect());
    let mut times = NiftiFile::new(1, [6, 5, 12], 4, 0);
    (times.dim[0], times.dim[3], times.dim[4]) = (4, 4, 1);
    for (image, step) in [(grey, 1), (NiftiFile::new(1, [1100, 1000, 3], 4, 0), 1), (colour, 2), (times.swapped(), 3)] {
        let path = file(folder.path(), &[image.gzip(), b"more".to_vec()].concat());
        same_slices(&path, step);
        std::fs::write(&path, image.bytes()).unwrap();
        same_slices(&path, step);
    }
    let path = folder.path().join("image.npy");
    let values: Vec<u16> = (0..40 * 30 * 20).map(|i| (i * 7) as u16).collect();
    npy::write(&mut std::fs::File::create(&path).unwrap(), &[20, 30, 40], &values).unwrap();
    same_slices(&path, 1);
}

#[test]
fn files_without_planes_are_not_read_by_planes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.png");
    let mut encoder = png::Encoder::new(std::fs::File::create(&path).unwrap(), 4, 3);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&[7; 12]).unwrap();
    assert!(arriving(&path).is_none());
}

#[test]
fn a_file_that_turns_out_to_be_broken_ends_the_slices_or_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let whole = NiftiFile::new(1, [400, 300, 40], 4, 0).gzip();
    let mut changed = whole.clone();
    let last = changed.len() - 5; // of the checksum
    changed[last] ^= 1;
    for (bytes, slices) in [(&whole[..whole.len() / 2], 10..30), (&changed[..], 40..41)] {
        let path = file(folder.path(), bytes);
        let (mut source, mut good) = (arriving(&path).unwrap(), 0);
        let frame = source.info().frame(2, Orientation::Stored).unwrap();
        let failed = (0..40).find_map(|slice| {
            good = slice;
            source.holding(&frame, slice).err()
        });
        good += usize::from(failed.is_none());
        let failed = failed.or_else(|| source.finish().err()).unwrap().to_string();
        assert!(slices.contains(&good), "{good} good slices");
        assert_eq!(failed, Volume::open(&path, &OpenOptions::default()).err().unwrap().to_string());
    }
}

#[test]
fn slices_are_asked_for_in_order_and_across_z() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), &NiftiFile::new(1, [1100, 1000, 3], 4, 0).gzip());
    let mut source = arriving(&path).unwrap();
    let (along, across) =
        (source.info().frame(0, Orientation::Stored).unwrap(), source.info().frame(2, Orientation::Stored).unwrap());
    assert!(source.holding(&along, 0).is_err() && source.holding(&across, 3).is_err());
    assert!(source.holding(&across, 1).is_ok() && source.holding(&across, 1).is_ok());
    assert!(source.holding(&across, 0).is_err(), "it is gone");
    drop(source); // with a slab that nobody took
}

#[test]
fn a_rule_is_known_without_the_values_only_where_they_could_change_nothing() {
    let info = |datatype: i16, slope: f64| {
        let mut file = NiftiFile::new(1, [2, 2, 1], datatype, 0);
        (file.slope, file.inter) = (slope, -1024.0);
        Volume::from_bytes("image", &file.bytes(), &OpenOptions::default()).unwrap()
    };
    let unseen = |rule: &str, volume: &Volume| rule.parse::<Intensity>().unwrap().resolve_unseen(volume);
    let (ct, floats) = (info(4, 1.0), info(16, 1.0));
    for rule in ["soft", "lung", "window:10,20"] {
        assert_eq!(unseen(rule, &ct), Some(rule.parse::<Intensity>().unwrap().resolve(&ct).unwrap()));
        assert_eq!(unseen(rule, &floats), None, "they may be no numbers");
        assert_eq!(unseen(rule, &info(4, 1e35)), unseen(rule, &ct), "large, but numbers");
    }
    for rule in ["minmax", "percentile", "raw"] {
        assert_eq!(unseen(rule, &ct), None, "{rule}");
    }
    let bytes =
        Volume::from_bytes("image", &NiftiFile::new(1, [2, 2, 1], 2, 0).bytes(), &OpenOptions::default()).unwrap();
    assert_eq!(unseen("raw", &bytes), Some(Intensity::Raw.resolve(&bytes).unwrap()));
    let signed =
        Volume::from_bytes("image", &NiftiFile::new(1, [2, 2, 1], 256, 0).bytes(), &OpenOptions::default()).unwrap();
    assert_eq!(unseen("raw", &signed), None, "some might be below 0");
}

#[test]
fn the_range_of_integers_is_that_of_a_look_at_each() {
    let values: Vec<i16> = (0..500).map(|i| ((i * 7919) % 3001 - 1500) as i16).collect();
    let wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
    for (slope, intercept) in [(1.0, 0.0), (-0.37, 12.5), (1e-3, -1024.0), (1e300, 0.0), (1e306, 0.0), (-1e305, 1e308)]
    {
        // Floats are looked at one by one.
        assert_eq!(Statistics::of(&values, slope, intercept), Statistics::of(&wide, slope, intercept), "{slope}");
    }
    assert_eq!(Statistics::of(&values, 1e306, 0.0).first_not_finite.map(|i| values[i].abs() > 179), Some(true));
    assert_eq!(Statistics::of::<i16>(&[], 1.0, 0.0), Statistics::of::<f64>(&[], 1.0, 0.0));
}
