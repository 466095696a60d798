//! Raw logits to a .npy file while a run goes on.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use medsegx::atomic::write_atomically;
use medsegx::{Error, Result};

/// Logits on their way to a file: they wait in a nameless file beside it, and take the name when all are there.
pub struct LogitsFile {
    path: PathBuf,
    force: bool,
    waiting: BufWriter<File>,
}

impl LogitsFile {
    /// For `[boxes, masks, side, side]` float32.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(path: &Path, [boxes, masks, side]: [usize; 3], force: bool) -> Result<LogitsFile> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::tempfile_in(folder).map_err(|e| Error::io(path, "create", e))?;
        let mut waiting = BufWriter::with_capacity(1 << 15, file);
        medsegx::volume::npy::write_header::<f32>(&mut waiting, &[boxes, masks, side, side])
            .map_err(|e| Error::io(path, "write", e))?;
        Ok(LogitsFile { path: path.to_path_buf(), force, waiting })
    }

    /// Appends the logits of one box.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn push(&mut self, logits: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = logits.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.waiting.write_all(&bytes).map_err(|e| Error::io(&self.path, "write", e))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// The disk is full or broken, or the file exists and may not be replaced.
    pub fn finish(self) -> Result<()> {
        let LogitsFile { path, force, waiting } = self;
        let failed = |e: io::Error| Error::io(&path, "write", e);
        let mut file = waiting.into_inner().map_err(|e| failed(e.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        write_atomically(&path, force, |out| io::copy(&mut file, out).map(|_| ()))
    }
}
