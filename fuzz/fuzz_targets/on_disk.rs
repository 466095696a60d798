//! Inputs of readers that take a path.

use std::path::{Path, PathBuf};

/// Writes `bytes` to a file of this name in a folder of this process, in memory where there is such a place.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let folder = base.join(format!("medsegx-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for inputs");
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("room for an input");
    path
}
