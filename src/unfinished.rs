//! Files that appear whole or not at all, and survive a power cut.
//!
//! Not every file system can lock, sync, or rename without replacing: each function here does without what is
//! unsupported, and [`FileSystem::probe`] finds out beforehand.

mod file_system;

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::Result;
use tempfile::{Builder, NamedTempFile, PersistError};

pub use file_system::FileSystem;

/// The prefix of the names of unfinished files, and of everything else that is gone when a run has ended.
const UNFINISHED: &str = ".txt2img-";

/// Creates a file that vanishes unless it is persisted.
///
/// # Errors
/// When the folder does not take a new file.
pub fn new(folder: &Path) -> io::Result<NamedTempFile> {
    // Opened here for the ordinary permissions: tempfile's own are for one user alone.
    Builder::new().prefix(UNFINISHED).make_in(folder, |path| File::create_new(path))
}

/// Creates a file like [`new`] that other processes do not tidy away, on file systems that have locks.
///
/// # Errors
/// When the folder does not take a new file.
pub fn locked(folder: &Path) -> io::Result<NamedTempFile> {
    let file = new(folder)?;
    let _ = file.as_file().try_lock();
    Ok(file)
}

/// Removes an unfinished file unless a process has it locked; leaves alone what is not a file.
pub fn remove(path: &Path) {
    // To share it takes no more than reading.
    let is_locked =
        || File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)));
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) && !is_locked() {
        let _ = fs::remove_file(path);
    }
}

/// Creates an unfinished file, has it written, and syncs it.
///
/// # Errors
/// When it cannot be created or written.
pub fn written(folder: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<NamedTempFile> {
    let mut file = new(folder)?;
    write(file.as_file_mut())?;
    sync(file.as_file())?;
    Ok(file)
}

/// Whether this is the name of an unfinished file.
pub fn is_one(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
}

/// Gives a file its name; if that is taken, returns the file.
///
/// # Errors
/// When it cannot be renamed.
pub fn put(file: NamedTempFile, path: &Path) -> io::Result<Option<NamedTempFile>> {
    put_by(|file, path| file.persist_noclobber(path), file, path)
}

/// Gives a file its name by `rename`, which must not replace; where that fails, by way of a placeholder.
fn put_by(
    rename: impl FnOnce(NamedTempFile, &Path) -> Result<File, PersistError>,
    file: NamedTempFile,
    path: &Path,
) -> io::Result<Option<NamedTempFile>> {
    match rename(file, path) {
        Ok(_) => sync_folder(path).map(|()| None),
        Err(taken) if taken.error.kind() == ErrorKind::AlreadyExists => Ok(Some(taken.file)),
        // FUSE and FAT may have neither such renames nor hard links. Any other reason will hold for a placeholder too.
        Err(failed) => put_over_placeholder(failed.file, path),
    }
}

/// Gives a file its name by renaming it over an empty file that reserves the name.
fn put_over_placeholder(file: NamedTempFile, path: &Path) -> io::Result<Option<NamedTempFile>> {
    match File::create_new(path) {
        Ok(_) => {}
        Err(taken) if taken.kind() == ErrorKind::AlreadyExists => return Ok(Some(file)),
        Err(failed) => return Err(failed),
    }
    if let Err(failed) = file.persist(path) {
        let _ = fs::remove_file(path);
        return Err(failed.error);
    }
    sync_folder(path).map(|()| None)
}

/// Removes what reserved the name of a file that never got it.
pub fn remove_placeholder(path: &Path) {
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
        let _ = fs::remove_file(path);
    }
}

/// Gives a file its name, replacing the file that has it.
///
/// # Errors
/// When it cannot be renamed.
pub fn replace(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist(path).map_err(|failed| failed.error)?;
    sync_folder(path)
}

/// Writes a file's bytes through to the disk, if the file system can.
///
/// # Errors
/// When the disk fails or is full.
pub fn sync(file: &File) -> io::Result<()> {
    if_supported(file.sync_data()).map(drop)
}

/// Writes the names in the folder of this file through to the disk, if the file system can.
///
/// # Errors
/// When the disk fails or is full.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    sync_names(folder_of(path)).map(drop)
}

/// Syncs a folder; returns whether that is supported.
fn sync_names(folder: &Path) -> io::Result<bool> {
    match File::open(folder) {
        // A folder may be writable and not readable; on Windows none can be opened.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(false),
        folder => if_supported(folder?.sync_all()),
    }
}

/// Turns the error of a sync that the file system does not support into `false`.
fn if_supported(synced: io::Result<()>) -> io::Result<bool> {
    match synced {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(false),
        // Of a folder, where only files can be synced.
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tempfile::TempDir;

    /// Renames by way of a file system that fails each time with this error.
    fn put_failing(error: i32, folder: &TempDir, name: &str) -> io::Result<Option<NamedTempFile>> {
        let mut file = new(folder.path()).unwrap();
        file.write_all(b"picture").unwrap();
        let rename = |file, _: &Path| Err(PersistError { error: io::Error::from_raw_os_error(error), file });
        put_by(rename, file, &folder.path().join(name))
    }

    #[test]
    fn a_file_gets_its_name_where_renames_replace_and_links_are_missing() {
        for error in [libc::EINVAL, libc::EPERM, libc::ENOSYS, libc::EOPNOTSUPP, libc::EACCES, libc::EMLINK] {
            let folder = TempDir::new().unwrap();
            assert!(put_failing(error, &folder, "00000.png").unwrap().is_none());
            assert_eq!(fs::read(folder.path().join("00000.png")).unwrap(), b"picture");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_taken_name_is_not_replaced_there_either() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("00000.png"), "precious").unwrap();
        let file = put_failing(libc::EPERM, &folder, "00000.png").unwrap().expect("the name is taken");
        assert_eq!(fs::read(file.path()).unwrap(), b"picture");
        assert_eq!(fs::read(folder.path().join("00000.png")).unwrap(), b"precious");
    }

    #[test]
    fn a_rename_that_fails_for_another_reason_is_an_error_and_leaves_nothing() {
        let folder = TempDir::new().unwrap();
        let error = put_failing(libc::ENOENT, &folder, "missing/00000.png").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_unsupported_syncs_are_no_errors() {
        let failing = |error| if_supported(Err(io::Error::from_raw_os_error(error)));
        for error in [libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::EBADF] {
            assert!(!failing(error).unwrap());
        }
        for error in [libc::EIO, libc::ENOSPC, libc::EDQUOT, libc::EROFS] {
            assert_eq!(failing(error).unwrap_err().raw_os_error(), Some(error));
        }
    }

    #[test]
    fn only_an_empty_file_is_a_placeholder() {
        let folder = TempDir::new().unwrap();
        let [empty, full] = ["empty", "full"].map(|name| folder.path().join(name));
        fs::write(&empty, "").unwrap();
        fs::write(&full, "precious").unwrap();
        [&empty, &full].into_iter().for_each(|path| remove_placeholder(path));
        assert!(!empty.exists() && full.exists());
    }
}
