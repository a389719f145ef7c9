//! The files in a folder and its subfolders.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::vec;

/// The depth of subfolders that are searched, which bounds cycles of links.
const MAX_DEPTH: usize = 8;

/// Iterates over the files in `folder` and its subfolders: those of a folder in alphabetical order, then those in each of
/// its subfolders. A folder is read when its turn comes; one that cannot be read is an error among the files.
pub fn files_below(folder: &Path) -> impl Iterator<Item = io::Result<PathBuf>> {
    let mut folders = vec![(folder.to_owned(), 0)]; // with their depths, the next one last
    let mut files = vec::IntoIter::default();
    std::iter::from_fn(move || {
        loop {
            if let Some(file) = files.next() {
                return Some(Ok(file));
            }
            let (folder, depth) = folders.pop()?;
            let entries = match entries(&folder) {
                Ok(entries) => entries,
                Err(error) => return Some(Err(error)),
            };
            let (below, here): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
            if depth < MAX_DEPTH {
                folders.extend(below.into_iter().rev().map(|folder| (folder, depth + 1)));
            }
            files = here.into_iter();
        }
    })
}

/// Returns the paths in a folder, sorted.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
