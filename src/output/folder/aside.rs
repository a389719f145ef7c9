//! Pictures that are laid aside for an overview of many: on disk, for they may be many, and the run may end early.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{create_inside, list};
use crate::output::{Format, Picture, open};
use crate::unfinished;

/// How the names of their folders begin: as those of unfinished files.
const ASIDE: &str = ".txt2img-aside-";

/// `OUTDIR/.txt2img-aside-RUN/N.png`
pub struct Aside {
    folder: PathBuf,
    /// Those that were there before this process.
    found: HashSet<usize>,
}

impl Aside {
    /// Of the run with this id.
    pub fn new(outdir: &Path, id: &str) -> Result<Self> {
        let folder = outdir.join(format!("{ASIDE}{id}"));
        let number = |name: std::ffi::OsString| name.to_str()?.strip_suffix(".png")?.parse().ok();
        let found = list(&folder)?.into_iter().filter_map(number).collect();
        Ok(Self { folder, found })
    }

    /// Whether the n-th was there before this process.
    pub fn had(&self, n: usize) -> bool {
        self.found.contains(&n)
    }

    pub fn put(&self, n: usize, picture: &Picture) -> Result<()> {
        let path = self.path(n);
        let put = || -> Result<()> {
            create_inside(&self.folder)?;
            let png = Format::Png.encode(picture, None)?;
            let file = unfinished::written(&self.folder, |file| Ok(file.write_all(&png)?))?;
            Ok(unfinished::replace(file, &path)?)
        };
        put().with_context(|| format!("cannot write '{}'", path.display()))
    }

    /// The n-th, if it is there.
    pub fn get(&self, n: usize) -> Result<Option<Picture>> {
        let path = self.path(n);
        path.exists().then(|| open(&path)).transpose()
    }

    /// Those that are not needed any more.
    pub fn remove(&self, numbers: impl Iterator<Item = usize>) {
        // What stays is in nobody's way.
        numbers.for_each(|n| drop(fs::remove_file(self.path(n))));
        let _ = fs::remove_dir(&self.folder);
    }

    /// All of them.
    pub fn clear(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// Those of other runs, but for one: a run that is gone on with draws again what a grid of its lacks.
    pub fn clear_others(&self, outdir: &Path, spared: Option<&str>) -> Result<()> {
        let spared = spared.map(|id| outdir.join(format!("{ASIDE}{id}")));
        for name in list(outdir)? {
            let folder = outdir.join(&name);
            if name.as_encoded_bytes().starts_with(ASIDE.as_bytes())
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
