//! From the decoder's numbers to files in OUTDIR.

mod axis;
mod grid;
mod haar;
mod page;
mod pixels;
mod png;
mod series;
mod sheet;
mod shrink;
mod text;
mod watermark;
mod yuv;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub use axis::Axis;
pub use grid::grid;
pub use page::page;
pub use pixels::picture;
pub use sheet::sheet;
pub use shrink::shrunk;
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
    pub fn open(outdir: &Path) -> Result<Self> {
        let samples = outdir.join("samples");
        create(&samples)?;
        check_writable(outdir)?;
        check_writable(&samples)?;
        Self::look(outdir)
    }

    /// The same with nothing created and nothing tried.
    pub fn look(outdir: &Path) -> Result<Self> {
        let samples = outdir.join("samples");
        check_no_file(&samples)?;
        // Not counting `samples` itself.
        let n_grids = n_entries(outdir)?.saturating_sub(usize::from(samples.exists()));
        let n_samples = n_entries(&samples)?;
        let series = |folder: &Path, prefix, digits, extension, next| Series {
            folder: folder.to_owned(),
            prefix,
            digits,
            extension,
            next,
        };
        Ok(Self {
            samples: series(&samples, "", 5, "png", n_samples),
            grids: series(outdir, "grid-", 4, "png", n_grids),
            sheets: series(outdir, SWEEP, 4, "png", 0),
            pages: series(outdir, SWEEP, 4, "html", 0),
        })
    }

    /// The first and the last file that so many pictures would become.
    pub fn samples(&self, n: NonZero<usize>) -> Result<(PathBuf, PathBuf)> {
        Ok((self.samples.nth(0)?, self.samples.nth(n.get() - 1)?))
    }

    /// The file that the next grid would become.
    pub fn grid(&self) -> Result<PathBuf> {
        self.grids.nth(0)
    }

    /// The files that the next sheet and its page would become.
    pub fn sheet_and_page(&self) -> Result<(PathBuf, PathBuf)> {
        Ok((self.sheets.nth(0)?, self.pages.nth(0)?))
    }

    /// Writes the next OUTDIR/samples/NNNNN.png.
    pub fn save_sample(&mut self, picture: &Picture) -> Result<PathBuf> {
        self.samples.save(picture)
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
    check_no_file(folder)?;
    fs::create_dir_all(folder).with_context(|| cannot("create", folder))
}

/// An error if the folder, or one that it is in, is a file.
fn check_no_file(folder: &Path) -> Result<()> {
    if let Some(file) = folder.ancestors().find(|path| path.exists() && !path.is_dir()) {
        bail!("'{}' is a file, not a folder: choose another --outdir", file.display());
    }
    Ok(())
}

fn check_writable(folder: &Path) -> Result<()> {
    series::unfinished(folder).map(drop).with_context(|| cannot("write to", folder))
}

/// How many entries are in a folder, aside from those that only we make.
fn n_entries(folder: &Path) -> Result<usize> {
    let names = names(folder)?;
    Ok(names.iter().filter(|name| !series::is_unfinished(name) && !is_of_sweep(name)).count())
}

fn is_of_sweep(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(SWEEP.as_bytes())
}

/// What is in a folder; nothing if there is none.
fn names(folder: &Path) -> Result<Vec<OsString>> {
    let names = || -> io::Result<_> { fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect() };
    match names() {
        Err(missing) if missing.kind() == ErrorKind::NotFound => Ok(vec![]),
        names => names.with_context(|| cannot("list", folder)),
    }
}

fn cannot(verb: &str, folder: &Path) -> String {
    format!("cannot {verb} the folder '{}', choose another --outdir", folder.display())
}
