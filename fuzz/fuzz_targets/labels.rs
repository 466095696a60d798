//! Label maps of files that are opened by their path: DICOM SEG and RTSTRUCT, and .npz archives. The input is the file.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use medsegx::volume::{LabelVolume, OpenOptions, Volume, VolumeInfo};

/// A small image with a place, on whose voxels structures are drawn.
fn image() -> &'static VolumeInfo {
    static IMAGE: OnceLock<Volume> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let header = b"NRRD0004\ntype: uchar\ndimension: 3\nspace: left-posterior-superior\nsizes: 9 8 7\n\
            space directions: (1,0,0) (0,1,0) (0,0,3)\nspace origin: (0,0,0)\nencoding: raw\n\n";
        let file = [&header[..], &[1; 9 * 8 * 7]].concat();
        Volume::from_bytes("image", &file, &OpenOptions::default()).expect("an image")
    })
}

fuzz_target!(|input: &[u8]| {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(std::env::temp_dir);
    let path = folder.join(format!("medsegx-fuzz-{}", std::process::id()));
    std::fs::write(&path, input).expect("a file for the input");
    let options = OpenOptions { max_voxels: 1 << 20, ..OpenOptions::default() };
    for on in [None, Some(image())] {
        if let Ok(volume) = Volume::open_labels(&path, &options, on, &[]) {
            let _ = LabelVolume::from_volume(&volume);
        }
    }
});
