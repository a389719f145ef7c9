//! The capabilities of a file system.

use super::atomic::{create_temporary, if_supported, persist_new_by, sync_names};
use std::fmt;
use std::fs::{self, TryLockError};
use std::io::{self, Write};
use std::ops::BitAnd;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The capabilities of a file system that a run uses if they are supported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileSystem {
    /// Whether files can be locked.
    pub locks: bool,
    /// Whether a file can be renamed without replacing another.
    pub exclusive_renames: bool,
    /// Whether files and folders can be flushed to disk.
    pub syncs: bool,
}

impl FileSystem {
    /// Detects the capabilities by trying each in `folder` with a temporary file, which is deleted.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn probe(folder: &Path) -> io::Result<Self> {
        let mut file = create_temporary(folder)?;
        // A full disk may still have room for names.
        file.as_file_mut().write_all(&[0; 4096])?;
        let locks = !matches!(file.as_file().try_lock(), Err(TryLockError::Error(_)));
        let syncs = if_supported(file.as_file().sync_data())? & sync_names(folder)?;
        let mut exclusive_renames = true;
        let rename =
            |file: NamedTempFile, path: &Path| file.persist_noclobber(path).inspect_err(|_| exclusive_renames = false);
        let mut path = file.path().as_os_str().to_owned();
        path.push("-probe");
        let path = PathBuf::from(path);
        let persisted = persist_new_by(rename, file, &path);
        let _ = fs::remove_file(path);
        persisted?;
        Ok(Self { locks, exclusive_renames, syncs })
    }
}

impl BitAnd for FileSystem {
    type Output = Self;

    /// Returns the capabilities that both have.
    fn bitand(self, other: Self) -> Self {
        Self {
            locks: self.locks && other.locks,
            exclusive_renames: self.exclusive_renames && other.exclusive_renames,
            syncs: self.syncs && other.syncs,
        }
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { locks, exclusive_renames, syncs } = *self;
        let capabilities = [("locks", locks), ("exclusive renames", exclusive_renames), ("sync", syncs)];
        let named = |wanted: bool| -> Vec<&str> {
            capabilities.iter().filter(|(_, supported)| *supported == wanted).map(|(name, _)| *name).collect()
        };
        let (has, lacks) = (named(true).join(", "), named(false).join(", "));
        match (&*has, &*lacks) {
            (has, "") => write!(f, "has {has}"),
            ("", lacks) => write!(f, "lacks {lacks}"),
            (has, lacks) => write!(f, "has {has}; lacks {lacks}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn a_probe_leaves_nothing() {
        let folder = TempDir::new().unwrap();
        let found = FileSystem::probe(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(FileSystem::probe(folder.path()).unwrap(), found);
        assert!(FileSystem::probe(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn capabilities_are_named() {
        let all = FileSystem { locks: true, exclusive_renames: true, syncs: true };
        assert_eq!(all.to_string(), "has locks, exclusive renames, sync");
        let some = FileSystem { exclusive_renames: false, ..all } & all;
        assert_eq!(some.to_string(), "has locks, sync; lacks exclusive renames");
        let none = FileSystem { locks: false, exclusive_renames: false, syncs: false };
        assert_eq!(none.to_string(), "lacks locks, exclusive renames, sync");
    }
}
