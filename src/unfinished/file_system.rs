//! What the file system of a folder can do.

use std::fmt;
use std::fs::{self, TryLockError};
use std::io::{self, Write};
use std::ops::BitAnd;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{if_supported, new, put_by, sync_names};

/// The abilities of a file system that a run would like to use, and can do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileSystem {
    /// Whether files can be locked.
    pub locks: bool,
    /// Whether a file can be given a name without replacing the file that has it.
    pub exclusive_renames: bool,
    /// Whether files and folders can be synced to the disk.
    pub syncs: bool,
}

impl FileSystem {
    /// Tries everything that a run does in a folder, with a file that is removed again.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn probe(folder: &Path) -> io::Result<Self> {
        let mut file = new(folder)?;
        // A full disk may have room for names.
        file.as_file_mut().write_all(&[0; 4096])?;
        let locks = !matches!(file.as_file().try_lock(), Err(TryLockError::Error(_)));
        let syncs = if_supported(file.as_file().sync_data())? & sync_names(folder)?;
        let mut exclusive_renames = true;
        let rename =
            |file: NamedTempFile, path: &Path| file.persist_noclobber(path).inspect_err(|_| exclusive_renames = false);
        let mut path = file.path().as_os_str().to_owned();
        path.push("-probe");
        let path = PathBuf::from(path);
        let named = put_by(rename, file, &path);
        let _ = fs::remove_file(path);
        named?;
        Ok(Self { locks, exclusive_renames, syncs })
    }
}

impl BitAnd for FileSystem {
    type Output = Self;

    /// The abilities that both have.
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
        let abilities = [("locks", locks), ("exclusive renames", exclusive_renames), ("sync", syncs)];
        let named = |wanted: bool| -> Vec<&str> {
            abilities.iter().filter(|(_, there)| *there == wanted).map(|(name, _)| *name).collect()
        };
        let (has, lacks) = (named(true).join(", "), named(false).join(", "));
        match (&*has, &*lacks) {
            (has, "") => write!(f, "has {has}"),
            ("", lacks) => write!(f, "does without {lacks}"),
            (has, lacks) => write!(f, "has {has}; does without {lacks}"),
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
    fn abilities_are_named() {
        let all = FileSystem { locks: true, exclusive_renames: true, syncs: true };
        assert_eq!(all.to_string(), "has locks, exclusive renames, sync");
        let some = FileSystem { exclusive_renames: false, ..all } & all;
        assert_eq!(some.to_string(), "has locks, sync; does without exclusive renames");
        let none = FileSystem { locks: false, exclusive_renames: false, syncs: false };
        assert_eq!(none.to_string(), "does without locks, exclusive renames, sync");
    }
}
