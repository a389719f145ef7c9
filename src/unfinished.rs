//! Files that appear whole or not at all, and stay through a power cut.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::Result;
use tempfile::{Builder, NamedTempFile};

/// How the names of unfinished files begin, and of what else is gone when a run has ended.
const UNFINISHED: &str = ".txt2img-";

/// A new file that vanishes unless it is persisted.
///
/// # Errors
/// When none can be made in the folder.
pub fn new(folder: &Path) -> io::Result<NamedTempFile> {
    // Opened here for the ordinary permissions: tempfile's own are for one user alone.
    Builder::new().prefix(UNFINISHED).make_in(folder, |path| File::create_new(path))
}

/// One that others leave alone who tidy the folder, where there are locks.
///
/// # Errors
/// As those of `new`.
pub fn locked(folder: &Path) -> io::Result<NamedTempFile> {
    let file = new(folder)?;
    let _ = file.as_file().try_lock();
    Ok(file)
}

/// Removes one that its process has left; nothing that is no file.
pub fn remove(path: &Path) {
    // To share it takes no more than reading.
    let is_locked =
        || File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)));
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) && !is_locked() {
        let _ = fs::remove_file(path);
    }
}

/// One with something in it that stays through a power cut.
///
/// # Errors
/// When it cannot be made or written.
pub fn written(folder: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<NamedTempFile> {
    let mut file = new(folder)?;
    write(file.as_file_mut())?;
    file.as_file().sync_data()?;
    Ok(file)
}

/// Whether a file is one, by its name.
pub fn is_one(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
}

/// Gives a file its name, unless that is taken: then it comes back.
///
/// # Errors
/// When it cannot be renamed.
pub fn put(file: NamedTempFile, path: &Path) -> io::Result<Option<NamedTempFile>> {
    match file.persist_noclobber(path) {
        Ok(_) => sync_folder(path).map(|()| None),
        Err(taken) if taken.error.kind() == ErrorKind::AlreadyExists => Ok(Some(taken.file)),
        Err(failed) => Err(failed.error),
    }
}

/// Gives a file its name, in place of the one that had it.
///
/// # Errors
/// When it cannot be renamed.
pub fn replace(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist(path).map_err(|failed| failed.error)?;
    sync_folder(path)
}

/// What was renamed in the folder of this file stays renamed.
///
/// # Errors
/// When the disk fails.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    match File::open(folder_of(path)).and_then(|folder| folder.sync_all()) {
        // Some file systems have no such thing, and it is no reason to fail.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        Err(error) if cfg!(not(unix)) && error.kind() == ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
