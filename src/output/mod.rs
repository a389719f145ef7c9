//! From the decoder's numbers to files in OUTDIR.

mod axis;
mod blur;
mod format;
mod grid;
mod haar;
mod open;
mod page;
mod pixels;
mod record;
mod series;
mod sheet;
mod shrink;
mod text;
mod verify;
mod watermark;
mod yuv;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};

pub use axis::Axis;
pub use blur::blur;
pub use format::{Format, record};
pub use grid::grid;
pub use open::{decode, open};
pub use page::page;
pub use pixels::{picture, rounded};
pub use record::Record;
pub use sheet::sheet;
pub use shrink::shrunk;
pub use verify::{Mark, verify};
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
    sheets: Series,
    pages: Series,
}

/// How the names of a sweep's files begin.
const SWEEP: &str = "sweep-";

impl Folder {
    /// Creates OUTDIR and OUTDIR/samples where missing, and counts what is in them: numbers go on from there.
    pub fn open(outdir: &Path, format: Format) -> Result<Self> {
        let samples = outdir.join("samples");
        create(&samples)?;
        // Not counting `samples` itself.
        let n_grids = n_entries(outdir)?.saturating_sub(1);
        let n_samples = n_entries(&samples)?;
        let series = |folder: &Path, prefix, digits, extension, next| Series {
            folder: folder.to_owned(),
            prefix,
            digits,
            extension,
            next,
        };
        Ok(Self {
            samples: series(&samples, "", 5, format.name(), n_samples),
            grids: series(outdir, "grid-", 4, "png", n_grids),
            sheets: series(outdir, SWEEP, 4, "png", 0),
            pages: series(outdir, SWEEP, 4, "html", 0),
        })
    }

    /// Has the next OUTDIR/samples/NNNNN.EXTENSION written.
    pub fn save_sample(&mut self, write: impl FnOnce(&mut File) -> Result<()>) -> Result<PathBuf> {
        self.samples.save_as(write)
    }

    /// Writes the next OUTDIR/grid-NNNN.png.
    pub fn save_grid(&mut self, picture: &Picture) -> Result<PathBuf> {
        self.grids.save(picture)
    }

    /// Writes the next OUTDIR/sweep-NNNN.png.
    pub fn save_sheet(&mut self, picture: &Picture) -> Result<PathBuf> {
        self.sheets.save(picture)
    }

    /// Has the next OUTDIR/sweep-NNNN.html written.
    pub fn save_page(&mut self, write: impl FnOnce(&mut File) -> Result<()>) -> Result<PathBuf> {
        self.pages.save_as(write)
    }
}

fn create(folder: &Path) -> Result<()> {
    if let Some(file) = folder.ancestors().find(|path| path.exists() && !path.is_dir()) {
        bail!("'{}' is a file, not a folder: choose another --outdir", file.display());
    }
    fs::create_dir_all(folder).with_context(|| cannot("create", folder))
}

/// How many entries are in a folder that can be written, aside from those that only we make.
fn n_entries(folder: &Path) -> Result<usize> {
    series::unfinished(folder).with_context(|| cannot("write to", folder))?;
    let names = names(folder).with_context(|| cannot("list", folder))?;
    Ok(names.iter().filter(|name| !series::is_unfinished(name) && !is_of_sweep(name)).count())
}

fn is_of_sweep(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(SWEEP.as_bytes())
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

fn cannot(verb: &str, folder: &Path) -> String {
    format!("cannot {verb} the folder '{}', choose another --outdir", folder.display())
}
