//! Manifests of `medsegx batch`, as CSV and as lines of JSON: an error that names a place, or cases with an image each.
#![no_main]

mod on_disk;

/// Folders of images are no text.
mod folder {
    pub fn list(root: &std::path::Path, _: Option<&str>) -> medsegx::Result<Vec<super::line::Line>> {
        unreachable!("{} is a file", root.display())
    }
}
#[allow(dead_code, reason = "the command line uses the rest")]
#[path = "../../src/cli/batch/line.rs"]
mod line;
#[path = "../../src/cli/batch/manifest.rs"]
mod manifest;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for name in ["manifest.csv", "manifest.jsonl"] {
        let path = on_disk::write(name, bytes);
        match manifest::read(&path, None) {
            Ok(lines) => {
                assert!(!lines.is_empty() && lines.len() <= bytes.len());
                assert!(lines.iter().all(|line| line.place.contains(name) && Some(&*line.base) == path.parent()));
            }
            Err(error) => assert!(error.to_string().contains(name)),
        }
    }
});
