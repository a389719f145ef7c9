//! The SHA-256 of large files, kept between runs, so that a model is read once for it.

use super::atomic::{persist_replacing, write_temporary};
use super::{sha256, user_cache};
use anyhow::Result;
use std::fs::{self, Metadata};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The size from which hashes are kept. Smaller files are hashed in a few hundredths of a second.
const LARGE: u64 = 64 << 20;

/// The age from which a file's hash is kept. A younger file may change again at the same time, as its time of modification is
/// given.
const SETTLED: Duration = Duration::from_secs(10);

/// A folder with a file for each known hash, which is named by a hash of the path, size and times of the file that was hashed.
/// Without a folder, nothing is kept.
pub struct HashCache(Option<PathBuf>);

impl HashCache {
    /// Returns the cache in the user's cache folder.
    pub fn of_user() -> Self {
        Self(user_cache().map(|folder| folder.join("txt2img").join("sha256")))
    }

    /// Returns the SHA-256 of a file, or `None` if it must be computed and `keep_going`, called before each chunk of 1 MiB,
    /// returns `false`.
    ///
    /// # Errors
    /// If the file cannot be opened or read. A cache that cannot be read or written is ignored.
    pub fn of_file(&self, path: &Path, keep_going: &dyn Fn() -> bool) -> Result<Option<String>> {
        let entry = self.entry(path);
        if let Some(known) = entry.as_ref().and_then(|entry| read(entry)) {
            return Ok(Some(known));
        }
        let hash = sha256::of_file(path, keep_going)?;
        // Only if the file did not change while it was read.
        if let (Some(hash), Some(entry)) = (&hash, entry.filter(|entry| self.entry(path).as_ref() == Some(entry))) {
            let _ = write(&entry, hash);
        }
        Ok(hash)
    }

    /// Returns the file for the hash of the file at `path` as it is now, if the hash is to be kept.
    fn entry(&self, path: &Path) -> Option<PathBuf> {
        let folder = self.0.as_ref()?;
        let path = fs::canonicalize(path).ok()?;
        let metadata = fs::metadata(&path).ok()?;
        let is_settled = metadata.modified().ok()?.elapsed().is_ok_and(|age| age >= SETTLED);
        let key = || sha256::of_bytes(format!("{path:?}\n{}", version(&metadata)).as_bytes());
        (metadata.len() >= LARGE && is_settled).then(|| folder.join(key()))
    }
}

/// Returns a text that changes with the contents of a file.
fn version(metadata: &Metadata) -> String {
    let (size, modified) = (metadata.len(), metadata.modified().ok());
    // Also those files that are replaced by older ones, or whose time of modification is set.
    #[cfg(unix)]
    let file = {
        use std::os::unix::fs::MetadataExt;
        (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
    };
    #[cfg(not(unix))]
    let file = metadata.created().ok();
    format!("{size} {modified:?} {file:?}")
}

/// Reads a hash.
fn read(entry: &Path) -> Option<String> {
    let hash = fs::read_to_string(entry).ok()?;
    let is_digit = |digit: char| digit.is_ascii_digit() || ('a'..='f').contains(&digit);
    (hash.len() == 64 && hash.chars().all(is_digit)).then_some(hash)
}

/// Writes a hash.
fn write(entry: &Path, hash: &str) -> Result<()> {
    let folder = entry.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    let file = write_temporary(folder, |file| Ok(file.write_all(hash.as_bytes())?))?;
    Ok(persist_replacing(file, entry)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::SystemTime;
    use tempfile::{TempDir, tempdir};

    const HOUR: Duration = Duration::from_secs(3600);

    /// Writes a file of `size` zeros after `start`, last modified `age` ago.
    fn write_file(folder: &TempDir, start: &str, size: u64, age: Duration) -> PathBuf {
        let path = folder.path().join("model");
        fs::write(&path, start).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(size).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        path
    }

    fn entries(folder: &TempDir) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder.path().join("cache")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    #[test]
    fn the_hash_of_a_large_file_is_kept_until_the_file_changes() {
        let folder = tempdir().unwrap();
        let cache = HashCache(Some(folder.path().join("cache")));
        let of_file = |path: &Path| cache.of_file(path, &|| true).unwrap().unwrap();
        let path = write_file(&folder, "a", LARGE, HOUR);
        let hash = of_file(&path);
        assert_eq!(hash, sha256::of_file(&path, &|| true).unwrap().unwrap());
        // It is known now: nothing is read.
        assert_eq!(cache.of_file(&path, &|| false).unwrap(), Some(hash.clone()));
        let path = write_file(&folder, "b", LARGE, HOUR * 2);
        assert_eq!(cache.of_file(&path, &|| false).unwrap(), None);
        assert_ne!(of_file(&path), hash);
        assert_eq!(entries(&folder).len(), 2);
    }

    #[test]
    fn a_damaged_entry_is_replaced() {
        let folder = tempdir().unwrap();
        let cache = HashCache(Some(folder.path().join("cache")));
        let path = write_file(&folder, "a", LARGE, HOUR);
        let hash = cache.of_file(&path, &|| true).unwrap();
        let [entry] = &entries(&folder)[..] else { panic!("one entry") };
        for damaged in ["", "a", &"x".repeat(64)] {
            fs::write(entry, damaged).unwrap();
            assert_eq!(cache.of_file(&path, &|| true).unwrap(), hash);
            assert_eq!(fs::read_to_string(entry).ok(), hash);
        }
    }

    #[test]
    fn small_and_new_files_are_hashed_each_time() {
        for (size, age) in [(LARGE - 1, HOUR), (LARGE, Duration::ZERO)] {
            let folder = tempdir().unwrap();
            let path = write_file(&folder, "a", size, age);
            HashCache(Some(folder.path().join("cache"))).of_file(&path, &|| true).unwrap();
            assert!(entries(&folder).is_empty(), "{size} bytes, {age:?} old");
        }
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_ignored() {
        let folder = tempdir().unwrap();
        let path = write_file(&folder, "a", LARGE, HOUR);
        let hash = sha256::of_file(&path, &|| true).unwrap();
        for cache in [None, Some(path.join("not a folder"))] {
            assert_eq!(HashCache(cache).of_file(&path, &|| true).unwrap(), hash);
        }
    }
}
