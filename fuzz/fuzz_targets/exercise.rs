//! What every image target does with a volume that was read.
#![allow(dead_code, reason = "targets compile it too and use a part")]

use std::path::Path;

use medsegx::volume::{Intensity, LabelVolume, OpenOptions, Orientation, Volume};

/// Reads `bytes`; a volume that comes out has to work in every way a run would use it.
pub fn exercise(bytes: &[u8]) {
    for time_point in [None, Some(1)] {
        let options = OpenOptions { time_point, max_voxels: 1 << 16, ..OpenOptions::default() };
        if let Ok(volume) = Volume::from_bytes("fuzz", bytes, &options) {
            exercise_volume(&volume);
        }
    }
}

/// Lists what lies at `path` and reads the volume, if it is one.
pub fn exercise_dicom(path: &Path) {
    if let Ok(listing) = medsegx::dicom::list(path, Some(1)) {
        assert!(listing.series.iter().all(|series| series.files > 0));
    }
    let options = OpenOptions { max_voxels: 1 << 16, ..OpenOptions::default() };
    if let Ok(volume) = Volume::open(path, &options) {
        exercise_volume(&volume);
    }
}

/// Does with it what a run would.
fn exercise_volume(volume: &Volume) {
    let [x, y, z] = volume.dims();
    assert_eq!(volume.voxels().len(), x * y * z * volume.channels());
    assert!(volume.label_names().iter().all(|segment| segment.label > 0 && !segment.name.is_empty()));
    if let Some(geometry) = volume.geometry() {
        assert!(geometry.affine.iter().flatten().all(|v| v.is_finite()));
        assert_eq!(geometry.orientation_codes().len(), 3);
        let _ = (geometry.inverse(), geometry.tilt(), geometry.voxel_volume());
    }
    let rules = [Intensity::MinMax, Intensity::Percentile, Intensity::Soft, Intensity::Raw];
    let maps: Vec<_> = rules.iter().filter_map(|rule| rule.resolve(volume).ok()).collect();
    let (mut slice, mut labels) = (Vec::new(), LabelVolume::new(volume.dims(), 1).expect("few voxels"));
    for (axis, orientation) in [(0, Orientation::Stored), (2, Orientation::Ras)] {
        let Ok(frame) = volume.frame(axis, orientation) else { continue };
        let (height, width) = frame.shape();
        for map in &maps {
            volume.slice_u8_in(&frame, frame.slices() - 1, map, &mut slice).expect("the last slice");
            assert_eq!(slice.len(), height * width * volume.channels());
        }
        labels.paint(&frame, 0, &vec![true; height * width], 1).expect("the first slice");
    }
}
