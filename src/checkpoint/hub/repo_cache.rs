//! A repository's folder in the hub's cache, laid out as by `huggingface_hub`: `blobs/ETAG` holds the contents of a
//! file, `snapshots/COMMIT/FILE` links to it, and `refs/REVISION` names a commit.

use crate::files::atomic;
use anyhow::{Context, Result};
use hf_hub::{Cache, CacheRepo};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The cache folder of a repository at one revision.
pub(super) struct RepoCache {
    repo: CacheRepo,
    folder: PathBuf,
    revision: String,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, repo: &hf_hub::Repo) -> Self {
        let cache = Cache::new(cache.to_path_buf());
        let folder = cache.path().join(repo.folder_name());
        Self { repo: cache.repo(repo.clone()), folder, revision: repo.revision().to_string() }
    }

    /// Returns the path of a cached file of the revision.
    pub(super) fn find(&self, file: &str) -> Option<PathBuf> {
        let path = self.snapshot()?.join(file);
        path.exists().then_some(path)
    }

    /// Returns the folder of the revision's files, if any was downloaded.
    pub(super) fn snapshot(&self) -> Option<PathBuf> {
        let named = fs::read_to_string(self.folder.join("refs").join(&self.revision)).ok();
        let commit = named.unwrap_or_else(|| self.revision.clone());
        let commit = commit.trim();
        let is_plain = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
        Some(self.repo.pointer_path(commit)).filter(|folder| is_plain && folder.is_dir())
    }

    /// Returns the names of the revision's cached files, down to one level of subfolders.
    pub(super) fn files(&self) -> Vec<String> {
        let Some(root) = self.snapshot() else { return vec![] };
        let folders = entries(&root).into_iter().filter(|path| path.is_dir());
        let inner: Vec<PathBuf> = folders.flat_map(|folder| entries(&folder)).collect();
        let files = entries(&root).into_iter().chain(inner).filter(|path| path.is_file());
        files.filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_str()?.replace('\\', "/"))).collect()
    }

    /// Returns the path of the blob with this ETag, and creates its folder.
    pub(super) fn blob(&self, etag: &str) -> Result<PathBuf> {
        let blob = self.repo.blob_path(etag);
        let folder = self.folder.join("blobs");
        fs::create_dir_all(&folder).with_context(|| cannot_write(&folder))?;
        Ok(blob)
    }

    /// Links `file` of the commit to a blob. The caller must hold the lock of the blob's transfer.
    pub(super) fn link(&self, blob: &Path, commit: &str, file: &str) -> Result<()> {
        let path = self.repo.pointer_path(commit).join(file);
        let folder = path.parent().unwrap_or(&path);
        let linked = fs::create_dir_all(folder).and_then(|()| link(blob, &path, file.split('/').count() + 1));
        linked.with_context(|| cannot_write(&path))
    }

    /// Records that the revision is at `commit`.
    pub(super) fn set_ref(&self, commit: &str) -> Result<()> {
        let path = self.folder.join("refs").join(&self.revision);
        if fs::read_to_string(&path).is_ok_and(|named| named == commit) {
            return Ok(());
        }
        let write = || -> Result<()> {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            // Atomic, since other programs may read the file at any time. The temporary file is not in `refs`, where it
            // would be taken for a revision.
            let file = atomic::write_temporary(&self.folder, |file| Ok(file.write_all(commit.as_bytes())?))?;
            Ok(atomic::persist_replacing(file, &path)?)
        };
        write().with_context(|| cannot_write(&path))
    }
}

/// Creates a relative link at `path` to a blob. `depth` is the number of folders between the link and the repository's
/// folder.
fn link(blob: &Path, path: &Path, depth: usize) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    // A link to a deleted blob may be left.
    let _ = fs::remove_file(path);
    let up: PathBuf = std::iter::repeat_n("..", depth).collect();
    let name = blob.file_name().unwrap_or_default();
    let linked = symlink(&up.join("blobs").join(name), path).or_else(|error| match error.kind() {
        ErrorKind::AlreadyExists => Err(error),
        // Not every file system has links.
        _ => fs::rename(blob, path),
    });
    if path.exists() { Ok(()) } else { linked }
}

#[cfg(unix)]
fn symlink(to: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, path)
}

#[cfg(windows)]
fn symlink(to: &Path, path: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(to, path)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Returns the context of an error while writing to the cache.
pub(super) fn cannot_write(path: &Path) -> String {
    format!("cannot write '{}'; check its permissions and free space, or set HF_HOME to another folder", path.display())
}
