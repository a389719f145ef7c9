//! A repository's place in the hub's cache, as every program that uses it keeps it: `blobs/ETAG` hold the bytes,
//! `snapshots/COMMIT/FILE` lead to them, `refs/REVISION` names a commit.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hf_hub::{Cache, CacheRepo};

use crate::files::atomic;

pub(super) struct Shelf {
    repo: CacheRepo,
    folder: PathBuf,
    revision: String,
}

impl Shelf {
    pub(super) fn new(cache: &Path, repo: &hf_hub::Repo) -> Self {
        let cache = Cache::new(cache.to_path_buf());
        let folder = cache.path().join(repo.folder_name());
        Self { repo: cache.repo(repo.clone()), folder, revision: repo.revision().to_string() }
    }

    /// A file at the revision, if it is there.
    pub(super) fn find(&self, file: &str) -> Option<PathBuf> {
        let path = self.snapshot()?.join(file);
        path.exists().then_some(path)
    }

    /// The folder of the revision's files, if any was fetched.
    pub(super) fn snapshot(&self) -> Option<PathBuf> {
        let of = |commit: &str| self.repo.pointer_path(commit);
        let named = fs::read_to_string(self.folder.join("refs").join(&self.revision)).ok();
        let commit = named.unwrap_or_else(|| self.revision.clone());
        let commit = commit.trim();
        let is_plain = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
        Some(of(commit)).filter(|folder| is_plain && folder.is_dir())
    }

    /// The files at the revision that are there.
    pub(super) fn files(&self) -> Vec<String> {
        let Some(root) = self.snapshot() else { return vec![] };
        let folders = entries(&root).into_iter().filter(|path| path.is_dir());
        let inner: Vec<PathBuf> = folders.flat_map(|folder| entries(&folder)).collect();
        let files = entries(&root).into_iter().chain(inner).filter(|path| path.is_file());
        files.filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_str()?.replace('\\', "/"))).collect()
    }

    /// Where the bytes go.
    pub(super) fn blob(&self, etag: &str) -> Result<PathBuf> {
        let blob = self.repo.blob_path(etag);
        let folder = self.folder.join("blobs");
        fs::create_dir_all(&folder).with_context(|| cannot_write(&folder))?;
        Ok(blob)
    }

    /// Makes a blob the file of that name; the path it has from now on. Nobody else may be at the same blob,
    /// which the lock of its transfer sees to, where there are locks.
    pub(super) fn place(&self, blob: &Path, commit: &str, file: &str) -> Result<PathBuf> {
        let path = self.repo.pointer_path(commit).join(file);
        let folder = path.parent().unwrap_or(&path);
        let placed = fs::create_dir_all(folder).and_then(|()| link(blob, &path, file.split('/').count() + 1));
        placed.with_context(|| cannot_write(&path))?;
        Ok(path)
    }

    /// From now on the revision is this commit.
    pub(super) fn name(&self, commit: &str) -> Result<()> {
        let path = self.folder.join("refs").join(&self.revision);
        if fs::read_to_string(&path).is_ok_and(|named| named == commit) {
            return Ok(());
        }
        let name = || -> Result<()> {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            // As a whole or not at all, as others may read it at any time; and not begun in `refs`, as all there are taken
            // for revisions.
            let file = atomic::write_temporary(&self.folder, |file| Ok(file.write_all(commit.as_bytes())?))?;
            Ok(atomic::persist_replacing(file, &path)?)
        };
        name().with_context(|| cannot_write(&path))
    }
}

/// depth: folders between the link and the one with `blobs/` in it.
fn link(blob: &Path, path: &Path, depth: usize) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    // A link to a blob that was deleted.
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

pub(super) fn cannot_write(path: &Path) -> String {
    format!("cannot write '{}'; make room or rights there, or set HF_HOME to another folder", path.display())
}
