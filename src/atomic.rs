//! Output files that are either complete or not there: written beside their place, synced, renamed.

use std::any::Any;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Bytes that wait for the disk: so few that they are always to be had, and enough for one call of the system.
const BUFFER: usize = 1 << 15;

/// How the name of a temporary file starts, so that one left behind by a killed process can be recognised.
pub const TEMPORARY_PREFIX: &str = ".medsegx-";

/// How names of temporary files of this process start: with its host and its number, so that others can tell whether it
/// lives.
pub fn temporary_prefix() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '.';
    let host: String = host.unwrap_or_default().chars().filter(plain).take(64).collect();
    format!("{TEMPORARY_PREFIX}{}-{}-", if host.is_empty() { "host" } else { &host }, std::process::id())
}

/// Writes `path` through `write`, which gets a buffered file beside it. The file takes its name only after everything
/// was written and synced; on any failure, also of `write`, an older file of that name is untouched and the temporary
/// one is removed.
///
/// `write` may fail with an [`Error`] of this library by [`io::Error::other`]: it comes out as it went in.
/// A link is followed; a directory or a device is refused.
///
/// # Errors
/// [`Error::File`] when `path` exists and `force` is false or it is no ordinary file; [`Error::Io`] when the operating
/// system refuses; whatever `write` returns.
pub fn write_atomically(
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    write_atomically_and(Keep::Now, path, force, write)
}

/// When a file is safe from a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Once it is written.
    Now,
    /// When the operating system comes to it: for what can be made again from other files.
    Soon,
}

/// As [`write_atomically`], with a choice of how long it takes.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_atomically_and(
    keep: Keep,
    path: &Path,
    force: bool,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    let place = place(path, force)?;
    let folder = folder(&place);
    let mut builder = tempfile::Builder::new();
    let prefix = temporary_prefix();
    builder.prefix(&prefix).suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask, as any new file
    let temporary = builder.tempfile_in(folder).map_err(|e| Error::io(path, "create", e))?;

    let (file, temporary) = temporary.into_parts();
    let mut file = BufWriter::with_capacity(BUFFER, file);
    guarded(|| write(&mut file).and_then(|()| file.flush())).map_err(|e| unwrap(path, e))?;
    let file = file.into_inner().map_err(|e| Error::io(path, "write", e.into_error()))?;
    if keep == Keep::Now {
        file.sync_all().map_err(|e| Error::io(path, "write", e))?;
    }
    drop(file);

    let renamed = if force { temporary.persist(&place) } else { temporary.persist_noclobber(&place) };
    renamed.map_err(|e| {
        if e.error.kind() == io::ErrorKind::AlreadyExists { exists(path) } else { Error::io(path, "rename", e.error) }
    })?;
    if keep == Keep::Now {
        sync_folder(folder);
    }
    Ok(())
}

/// Whether `path` may be written, without touching it: for a long job that should fail before it starts.
///
/// # Errors
/// As [`write_atomically`]; also when the folder does not exist or takes no new file.
pub fn check_writable(path: &Path, force: bool) -> Result<()> {
    let place = place(path, force)?;
    let folder = folder(&place);
    if !folder.is_dir() {
        return Err(Error::file(path, "folder of the output", "an existing folder", "none"));
    }
    tempfile::tempfile_in(folder).map(drop).map_err(|e| Error::io(path, "create", e))
}

/// The folder that a file lies in.
fn folder(place: &Path) -> &Path {
    place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file that will be replaced or made: `path`, or what it links to.
fn place(path: &Path, force: bool) -> Result<PathBuf> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(path.to_path_buf()) };
    if !force {
        return Err(exists(path));
    }
    let place = if found.is_symlink() {
        fs::canonicalize(path).map_err(|e| Error::io(path, "follow the link", e))?
    } else {
        path.to_path_buf()
    };
    let kind = fs::metadata(&place).map_err(|e| Error::io(path, "open", e))?.file_type();
    if !kind.is_file() {
        let found = if kind.is_dir() { "a folder" } else { "a device or pipe" };
        return Err(Error::file(path, "output", "an ordinary file", found));
    }
    Ok(place)
}

fn exists(path: &Path) -> Error {
    Error::file(path, "output", "a new file", "an existing one, which is only replaced when asked to (--force)")
}

/// The error of an encoder that panicked.
pub(crate) fn gave_up(panic: &(dyn Any + Send)) -> io::Error {
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    io::Error::other(format!("an encoder gave up: {}", said.unwrap_or("it does not say why")))
}

/// Encoders of other crates panic where they get no memory: that ends the file, not the program.
fn guarded(write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(write)).unwrap_or_else(|panic| Err(gave_up(&*panic)))
}

fn unwrap(path: &Path, error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::io(path, "write", error),
    }
}

/// Makes the rename itself durable. Not every file system can; the file is complete either way.
fn sync_folder(folder: &Path) {
    if cfg!(unix) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn writes_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_atomically(&path, false, |f| f.write_all(b"one")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn refuses_to_overwrite_unless_forced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"old").unwrap();
        let error = write_atomically(&path, false, |_| unreachable!()).unwrap_err().to_string();
        assert!(error.contains("existing") && error.contains("--force"), "{error}");
        assert!(check_writable(&path, false).is_err());
        write_atomically(&path, true, |f| f.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let made_by_another = || fs::write(&path, b"theirs");
        assert!(write_atomically(&path, false, |f| made_by_another().and_then(|()| f.write_all(b"ours"))).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_failure_keeps_the_old_file_and_removes_the_temporary_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, b"old").unwrap();
        let failing = |f: &mut BufWriter<File>| {
            f.write_all(&[0; 1 << 21])?;
            Err(io::Error::other(Error::Cancelled))
        };
        assert!(matches!(write_atomically(&path, true, failing), Err(Error::Cancelled)));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_folder_or_a_missing_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write_atomically(folder.path(), true, |_| unreachable!()).is_err());
        let path = folder.path().join("none/a");
        assert!(write_atomically(&path, false, |_| unreachable!()).is_err());
        assert!(check_writable(&path, false).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_and_a_device_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, b"old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_atomically(&link, true, |f| f.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert!(write_atomically(Path::new("/dev/null"), true, |_| unreachable!()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_has_the_usual_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, usual) = (folder.path().join("a"), folder.path().join("b"));
        write_atomically(&ours, false, |_| Ok(())).unwrap();
        fs::write(&usual, b"").unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&usual));
    }
}
