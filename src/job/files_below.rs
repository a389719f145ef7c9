//! The files in a folder and its subfolders.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::vec;

/// Iterates over the files in `folder` and its subfolders: those of a folder in alphabetical order, then those in each of
/// its subfolders. A folder is read when its turn comes, and once even if several links lead to it; one that cannot be read
/// is an error among the files.
pub fn files_below(folder: &Path) -> impl Iterator<Item = io::Result<PathBuf>> {
    let mut folders = vec![folder.to_owned()]; // the next one last
    let mut visited = HashSet::new();
    let mut files = vec::IntoIter::default();
    std::iter::from_fn(move || {
        loop {
            if let Some(file) = files.next() {
                return Some(Ok(file));
            }
            let folder = folders.pop()?;
            if fs::canonicalize(&folder).is_ok_and(|folder| !visited.insert(folder)) {
                continue;
            }
            let entries = match entries(&folder) {
                Ok(entries) => entries,
                Err(error) => return Some(Err(error)),
            };
            let (below, here): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
            folders.extend(below.into_iter().rev());
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

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    #[cfg(unix)]
    fn folders_are_read_once_even_in_cycles_of_links() {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("a/b")).unwrap();
        std::os::unix::fs::symlink("../..", path("a/b/up")).unwrap();
        std::os::unix::fs::symlink("a", path("same")).unwrap();
        for name in ["1", "a/2", "a/b/3"] {
            fs::write(path(name), "").unwrap();
        }
        let found: Vec<_> = files_below(folder.path()).map(Result::unwrap).collect();
        assert_eq!(found, [path("1"), path("a/2"), path("a/b/3")]);
    }
}
