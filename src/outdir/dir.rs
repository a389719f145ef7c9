//! Operations on folders, with the errors users read.

use crate::files::{FileSystem, atomic};
use anyhow::{Context, Result, bail};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Creates a folder and the folders above it, unless they exist.
///
/// # Errors
/// If a file is in the way, or the folder cannot be created.
pub fn create(folder: &Path) -> Result<()> {
    check_no_file(folder)?;
    if folder.is_dir() {
        return Ok(());
    }
    let create = || fs::create_dir_all(folder).and_then(|()| atomic::sync_folder(folder));
    create().with_context(|| cannot("create", folder))
}

/// Creates a folder in OUTDIR, unless it exists. An OUTDIR that was deleted during the run is not created again.
///
/// # Errors
/// If a file is in the way, or the folder cannot be created.
pub fn create_inside(folder: &Path) -> Result<()> {
    check_no_file(folder)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created.with_context(|| cannot("create", folder)),
    }
}

/// Checks that neither `folder` nor a folder above it is a file or a dangling link.
///
/// # Errors
/// If one is.
pub fn check_no_file(folder: &Path) -> Result<()> {
    if let Some(path) = folder.ancestors().find(|path| path.symlink_metadata().is_ok() && !path.is_dir()) {
        let what = if path.exists() { "a file, not a folder" } else { "a link to a missing folder or to itself" };
        bail!("'{}' is {what}: choose another --outdir", path.display());
    }
    Ok(())
}

/// Returns the names of all entries of a folder, or none if it is missing.
///
/// # Errors
/// If the folder cannot be listed.
pub fn list(folder: &Path) -> Result<Vec<OsString>> {
    let names = || -> io::Result<_> { fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect() };
    match names() {
        Err(missing) if missing.kind() == ErrorKind::NotFound => Ok(vec![]),
        names => names.with_context(|| cannot("list", folder)),
    }
}

/// Returns the paths within `outdir` of all entries of its folders `folders`, where "" stands for `outdir` itself. A
/// few listings replace a lookup of each file: there may be a million of them.
///
/// # Errors
/// If one of the folders cannot be listed.
pub fn list_within(outdir: &Path, folders: &[&str]) -> Result<HashSet<String>> {
    let mut paths = HashSet::new();
    for folder in folders {
        let within = |name: OsString| Some(Path::new(folder).join(name).to_str()?.to_owned());
        paths.extend(list(&outdir.join(folder))?.into_iter().filter_map(within));
    }
    Ok(paths)
}

/// Detects what the file system of a folder supports.
///
/// # Errors
/// If the folder cannot be written to.
pub fn probe(folder: &Path) -> Result<FileSystem> {
    FileSystem::probe(folder).with_context(|| cannot("write to", folder))
}

fn cannot(verb: &str, folder: &Path) -> String {
    format!("cannot {verb} the folder '{}'; choose another --outdir", folder.display())
}
