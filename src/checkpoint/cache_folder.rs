//! Detects folders of a Hugging Face hub's cache, `models--OWNER--NAME`, which hold models but are not models.

use anyhow::{Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Returns an error that names the folder to use instead, if `folder` is a repository's in the cache.
pub(super) fn refuse(folder: &Path) -> Result<()> {
    match hint(folder) {
        Some(hint) => bail!("is a repository in the cache of a Hugging Face hub; {hint}"),
        None => Ok(()),
    }
}

/// Returns what to give instead of a repository's folder in the cache; `None` for other folders.
fn hint(folder: &Path) -> Option<String> {
    let snapshots = folder.join("snapshots");
    if !snapshots.is_dir() {
        return None;
    }
    let entries = fs::read_dir(&snapshots).into_iter().flatten().flatten();
    let mut commits: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    commits.sort();
    let inner = match &commits[..] {
        [commit] => format!("give '{}'", commit.display()),
        _ => format!("give a folder in '{}'", snapshots.display()),
    };
    Some(match repository(folder) {
        Some(repository) => format!("{inner}, or {repository}"),
        None => inner,
    })
}

/// Returns the repository's name on the hub.
fn repository(folder: &Path) -> Option<String> {
    // Made absolute, since `.` has no name.
    let folder = fs::canonicalize(folder).ok()?;
    let (owner, name) = folder.file_name()?.to_str()?.strip_prefix("models--")?.split_once("--")?;
    Some(format!("{owner}/{name}"))
}
