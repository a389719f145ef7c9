//! Files that appear whole or not at all, and survive a power cut.
//!
//! A file is written under a temporary name, synced, and renamed; then the folder is synced. Not every file system can
//! lock, sync, or rename without replacing: each function falls back to what is supported, and
//! [`FileSystem::probe`](super::FileSystem::probe) detects that beforehand.

use anyhow::Result;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use tempfile::{Builder, NamedTempFile, PersistError};

/// The prefix of the names of temporary files and folders.
const PREFIX: &str = ".txt2img-";

/// Creates a temporary file, which is deleted when dropped unless it is persisted.
///
/// # Errors
/// If no file can be created in the folder.
pub fn create_temporary(folder: &Path) -> io::Result<NamedTempFile> {
    // Opened here for the ordinary permissions: tempfile's own deny access to other users.
    Builder::new().prefix(PREFIX).make_in(folder, |path| File::create_new(path))
}

/// Creates a temporary file like [`create_temporary`] and locks it, so that [`remove_temporary`] in another process
/// skips it. Without locks on the file system, it is not protected.
///
/// # Errors
/// If no file can be created in the folder.
pub fn create_locked_temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let file = create_temporary(folder)?;
    let _ = file.as_file().try_lock();
    Ok(file)
}

/// Creates a temporary file, fills it by `write`, and syncs it.
///
/// # Errors
/// If the file cannot be created or synced, or `write` fails.
pub fn write_temporary(folder: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<NamedTempFile> {
    let mut file = create_temporary(folder)?;
    write(file.as_file_mut())?;
    sync(file.as_file())?;
    Ok(file)
}

/// Whether `name` is that of a temporary file or folder.
pub fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
}

/// Deletes a temporary file that a killed process left, unless a running process has it locked. Ignores anything that is
/// not a file.
pub fn remove_temporary(path: &Path) {
    // A shared lock, since the file is opened for reading only.
    let is_locked =
        || File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)));
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) && !is_locked() {
        let _ = fs::remove_file(path);
    }
}

/// Renames a temporary file to `path` without replacing anything. Returns the file if the name is taken.
///
/// # Errors
/// If the file cannot be renamed.
pub fn persist_new(file: NamedTempFile, path: &Path) -> io::Result<Option<NamedTempFile>> {
    persist_new_by(|file, path| file.persist_noclobber(path), file, path)
}

/// Renames a temporary file to `path` by `rename`, which must not replace, or over a placeholder if `rename` fails for
/// another reason than a taken name.
pub(super) fn persist_new_by(
    rename: impl FnOnce(NamedTempFile, &Path) -> Result<File, PersistError>,
    file: NamedTempFile,
    path: &Path,
) -> io::Result<Option<NamedTempFile>> {
    match rename(file, path) {
        Ok(_) => sync_folder(path).map(|()| None),
        Err(taken) if taken.error.kind() == ErrorKind::AlreadyExists => Ok(Some(taken.file)),
        // FUSE and FAT may have neither such renames nor hard links. Any other fault will also stop the placeholder.
        Err(failed) => persist_over_placeholder(failed.file, path),
    }
}

/// Renames a temporary file over an empty file, created first to reserve the name.
fn persist_over_placeholder(file: NamedTempFile, path: &Path) -> io::Result<Option<NamedTempFile>> {
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

/// Deletes `path` if it is an empty file: the placeholder of a process that was killed before the rename.
pub fn remove_placeholder(path: &Path) {
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
        let _ = fs::remove_file(path);
    }
}

/// Renames a temporary file to `path`, replacing the file there.
///
/// # Errors
/// If the file cannot be renamed.
pub fn persist_replacing(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist(path).map_err(|failed| failed.error)?;
    sync_folder(path)
}

/// Flushes the bytes of a file to disk, if the file system supports that.
///
/// # Errors
/// If the disk fails or is full.
pub fn sync(file: &File) -> io::Result<()> {
    if_supported(file.sync_data()).map(drop)
}

/// Flushes the names in the folder of the file `path` to disk, if the file system supports that.
///
/// # Errors
/// If the disk fails or is full.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    sync_names(folder_of(path)).map(drop)
}

/// Flushes the names in `folder` to disk. Returns whether that is supported.
pub(super) fn sync_names(folder: &Path) -> io::Result<bool> {
    match File::open(folder) {
        // A folder may be writable without being readable, and Windows cannot open folders.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(false),
        folder => if_supported(folder?.sync_all()),
    }
}

/// Turns the error of a sync that the file system does not support into `false`.
pub(super) fn if_supported(synced: io::Result<()>) -> io::Result<bool> {
    match synced {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(false),
        // From folders, on file systems that can sync files only.
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the folder of the file `path`.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tempfile::TempDir;

    /// Persists a file where exclusive renames fail with `error`.
    fn persist_failing(error: i32, folder: &TempDir, name: &str) -> io::Result<Option<NamedTempFile>> {
        let mut file = create_temporary(folder.path()).unwrap();
        file.write_all(b"picture").unwrap();
        let rename = |file, _: &Path| Err(PersistError { error: io::Error::from_raw_os_error(error), file });
        persist_new_by(rename, file, &folder.path().join(name))
    }

    #[test]
    fn a_file_gets_its_name_where_renames_replace_and_links_are_missing() {
        for error in [libc::EINVAL, libc::EPERM, libc::ENOSYS, libc::EOPNOTSUPP, libc::EACCES, libc::EMLINK] {
            let folder = TempDir::new().unwrap();
            assert!(persist_failing(error, &folder, "00000.png").unwrap().is_none());
            assert_eq!(fs::read(folder.path().join("00000.png")).unwrap(), b"picture");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_taken_name_is_not_replaced_there_either() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("00000.png"), "precious").unwrap();
        let file = persist_failing(libc::EPERM, &folder, "00000.png").unwrap().expect("the name is taken");
        assert_eq!(fs::read(file.path()).unwrap(), b"picture");
        assert_eq!(fs::read(folder.path().join("00000.png")).unwrap(), b"precious");
    }

    #[test]
    fn a_rename_that_fails_for_another_reason_is_an_error_and_leaves_nothing() {
        let folder = TempDir::new().unwrap();
        let error = persist_failing(libc::ENOENT, &folder, "missing/00000.png").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_unsupported_syncs_are_ignored() {
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
