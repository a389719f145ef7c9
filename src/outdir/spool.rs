//! The spool: pictures that a grid or sheet still needs, kept on disk, since there may be many and the run may be killed.

use super::dir::{create_inside, list};
use crate::files::atomic;
use crate::output::{Format, Picture, open};
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The prefix of the names of spool folders. `atomic::is_temporary` recognizes it, so that they are not counted as files
/// of a run.
const PREFIX: &str = ".txt2img-aside-";

/// The spool of a run: `OUTDIR/.txt2img-aside-RUN/N.png`. The folder exists while there are pictures in it.
pub struct Spool {
    folder: PathBuf,
    /// The pictures that earlier processes spooled.
    found: HashSet<usize>,
}

impl Spool {
    /// Opens the spool of the run with this id; nothing is written.
    ///
    /// # Errors
    /// If its folder cannot be listed.
    pub fn new(outdir: &Path, id: &str) -> Result<Self> {
        let folder = folder_of_run(outdir, id);
        let number = |name: std::ffi::OsString| name.to_str()?.strip_suffix(".png")?.parse().ok();
        let found = list(&folder)?.into_iter().filter_map(number).collect();
        Ok(Self { folder, found })
    }

    /// Whether an earlier process spooled picture `n`.
    pub fn found(&self, n: usize) -> bool {
        self.found.contains(&n)
    }

    /// Stores picture `n`, replacing an earlier version.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn put(&self, n: usize, picture: &Picture) -> Result<()> {
        let path = self.path(n);
        let put = || -> Result<()> {
            create_inside(&self.folder)?;
            let png = Format::Png.encode(picture, None)?;
            let file = atomic::write_temporary(&self.folder, |file| Ok(file.write_all(&png)?))?;
            Ok(atomic::persist_replacing(file, &path)?)
        };
        put().with_context(|| format!("cannot write '{}'", path.display()))
    }

    /// Returns picture `n`, or `None` if it is not in the spool.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn get(&self, n: usize) -> Result<Option<Picture>> {
        let path = self.path(n);
        path.exists().then(|| open(&path)).transpose()
    }

    /// Deletes these pictures, as far as possible, and the folder if it is then empty.
    pub fn remove(&self, numbers: impl Iterator<Item = usize>) {
        // A file that cannot be deleted does no harm.
        numbers.for_each(|n| drop(fs::remove_file(self.path(n))));
        let _ = fs::remove_dir(&self.folder);
    }

    /// Deletes the spool.
    pub fn clear(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// Deletes the spools of all other runs in `outdir`, except that of the run `spared`. When a run is resumed without
    /// its spool, the pictures that its grids need are drawn again.
    ///
    /// # Errors
    /// If `outdir` cannot be listed.
    pub fn clear_others(&self, outdir: &Path, spared: Option<&str>) -> Result<()> {
        let spared = spared.map(|id| folder_of_run(outdir, id));
        for name in list(outdir)? {
            let folder = outdir.join(&name);
            if name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
                && folder != self.folder
                && Some(&folder) != spared.as_ref()
            {
                let _ = fs::remove_dir_all(folder);
            }
        }
        Ok(())
    }

    fn path(&self, n: usize) -> PathBuf {
        self.folder.join(format!("{n}.png"))
    }
}

fn folder_of_run(outdir: &Path, id: &str) -> PathBuf {
    outdir.join(format!("{PREFIX}{id}"))
}
