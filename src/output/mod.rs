//! From the decoder's numbers to files in OUTDIR.

mod grid;
mod haar;
mod pixels;
mod png;
mod series;
mod watermark;
mod yuv;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};

pub use grid::grid;
pub use pixels::picture;
pub use watermark::{mark, read};

use series::Series;

/// A finished picture: 8-bit RGB, rows top to bottom.
#[derive(Clone, PartialEq, Debug)]
pub struct Picture {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Three values a pixel: 3 · width · height in all.
    pub rgb: Vec<u8>,
}

/// OUTDIR and its numbering.
pub struct Folder {
    samples: Series,
    grids: Series,
}

impl Folder {
    /// Creates OUTDIR and OUTDIR/samples where missing, and counts what is in them: numbers go on from there.
    pub fn open(outdir: &Path) -> Result<Self> {
        let samples = outdir.join("samples");
        create(&samples)?;
        // Not counting `samples` itself.
        let n_grids = n_entries(outdir)?.saturating_sub(1);
        let n_samples = n_entries(&samples)?;
        Ok(Self { samples: Series::new(&samples, "", 5, n_samples), grids: Series::new(outdir, "grid-", 4, n_grids) })
    }

    /// Writes the next OUTDIR/samples/NNNNN.png.
    pub fn save_sample(&mut self, picture: &Picture) -> Result<PathBuf> {
        self.samples.save(picture)
    }

    /// Writes the next OUTDIR/grid-NNNN.png.
    pub fn save_grid(&mut self, picture: &Picture) -> Result<PathBuf> {
        self.grids.save(picture)
    }
}

fn create(folder: &Path) -> Result<()> {
    if let Some(file) = folder.ancestors().find(|path| path.exists() && !path.is_dir()) {
        bail!("'{}' is a file, not a folder: choose another --outdir", file.display());
    }
    fs::create_dir_all(folder).with_context(|| cannot("create", folder))
}

/// How many entries are in a folder that can be written, unfinished files aside.
fn n_entries(folder: &Path) -> Result<usize> {
    series::unfinished(folder).with_context(|| cannot("write to", folder))?;
    let names = names(folder).with_context(|| cannot("list", folder))?;
    Ok(names.iter().filter(|name| !series::is_unfinished(name)).count())
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

fn cannot(verb: &str, folder: &Path) -> String {
    format!("cannot {verb} the folder '{}', choose another --outdir", folder.display())
}
