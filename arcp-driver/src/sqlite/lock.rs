//! One process works on a store: the lock beside its file, and who may read the file.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// Held as long as the store is open. The operating system gives it up with the process.
///
/// A file of its own: whoever opens and closes the database's file gives up, without knowing it, the locks by which SQLite
/// keeps its connections apart.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn acquire(path: &Path) -> Result<Self, OpenError> {
        let beside = beside(path);
        let file = private().write(true).create(true).truncate(false).open(&beside);
        let file = file.map_err(|source| OpenError::io(&beside, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(OpenError::io(&beside, source)),
        }
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    name.into()
}

/// Makes the file, readable by its owner only, unless it is there already and no more readable.
pub(super) fn create_private(path: &Path) -> Result<(), OpenError> {
    match private().write(true).create_new(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => check_private(path),
        Err(source) => Err(OpenError::io(path, source)),
    }
}

/// Makes durable which files there are. Until then the rollback journal by which a file was made can come back after a loss of
/// power and take the file back to what it was before it had a write-ahead log.
#[cfg(unix)]
pub(super) fn sync_folder(path: &Path) -> Result<(), OpenError> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| OpenError::io(folder, source))
}

#[cfg(not(unix))]
pub(super) fn sync_folder(_: &Path) -> Result<(), OpenError> {
    Ok(())
}

#[cfg(unix)]
fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(not(unix))]
fn private() -> OpenOptions {
    OpenOptions::new()
}

/// Refuses a file that others can get at. It is not opened for that.
#[cfg(unix)]
pub(super) fn check_private(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(|source| OpenError::io(path, source))?;
    if !metadata.is_file() {
        return Err(OpenError::not_a_store(path, "it is no file"));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(OpenError::TooOpen { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
pub(super) fn check_private(path: &Path) -> Result<(), OpenError> {
    std::fs::metadata(path).map(drop).map_err(|source| OpenError::io(path, source))
}
