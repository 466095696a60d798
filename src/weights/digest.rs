//! What tells one file or folder from another, whatever it holds.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::source::hex;
use crate::{Error, Result};

/// SHA-256 of a file in lower-case hexadecimal; of a folder that of the contents of its files, one after the other in
/// the order of their names.
///
/// # Errors
/// [`Error::Io`] for what cannot be read.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    hash_into(&mut hasher, path)?;
    Ok(hex(&hasher.finalize()))
}

fn hash_into(hasher: &mut Sha256, path: &Path) -> Result<()> {
    let failed = |e| Error::io(path, "read", e);
    if path.is_dir() {
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut entries: Vec<_> = entries.map_err(failed)?.iter().map(std::fs::DirEntry::path).collect();
        entries.sort();
        let linked = |path: &Path| path.is_dir() && path.is_symlink();
        return entries.iter().filter(|path| !linked(path)).try_for_each(|path| hash_into(hasher, path));
    }
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut buffer = vec![0; 1 << 15];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(()),
            length => hasher.update(&buffer[..length]),
        }
    }
}
