//! A lock a case, held by the kernel: it ends with the process that holds it, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A held lock. Its file goes away with it.
pub struct Lock {
    path: PathBuf,
    _file: File,
}

/// What came of trying.
pub enum Taken {
    Held(Lock),
    /// A living process has it.
    Busy,
    /// The file system has no locks: two workers then write the same bytes, each by renaming.
    Without,
}

impl Lock {
    /// Tries to take the lock of `path` without waiting.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn take(path: &Path) -> io::Result<Taken> {
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                // The one who had it may have removed the file between opening and locking it.
                Ok(()) if is_named(&file, path) => {
                    return Ok(Taken::Held(Lock { path: path.to_path_buf(), _file: file }));
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Taken::Busy),
                Err(TryLockError::Error(_)) => return Ok(Taken::Without),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is still held, so that nobody has locked a file without a name.
        if cfg!(unix) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(unix)]
fn is_named(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let place = |found: io::Result<std::fs::Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
    place(file.metadata()).is_some_and(|held| place(std::fs::metadata(path)) == Some(held))
}

#[cfg(not(unix))]
fn is_named(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_a_left_file_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        std::fs::write(&path, b"").unwrap();
        let Taken::Held(held) = Lock::take(&path).unwrap() else { panic!("a file without a holder") };
        assert!(matches!(Lock::take(&path).unwrap(), Taken::Busy));
        drop(held);
        assert!(matches!(Lock::take(&path).unwrap(), Taken::Held(_)));
    }
}
