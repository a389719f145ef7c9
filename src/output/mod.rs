//! From the decoder's numbers to files in OUTDIR.

mod axis;
mod blur;
mod format;
mod grid;
mod haar;
mod hash;
mod name;
mod open;
mod page;
mod pixels;
mod preview;
mod record;
mod series;
mod sheet;
mod shrink;
mod text;
mod verify;
mod watermark;
mod yuv;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub use axis::Axis;
pub use blur::blur;
pub use format::{Format, record};
pub use grid::grid;
pub use hash::{sha256, sha256_of};
pub use name::{Named, Pattern};
pub use open::{decode, open};
pub use page::page;
pub use pixels::{picture, rounded};
pub use preview::preview;
pub use record::Record;
pub use sheet::sheet;
pub use shrink::shrunk;
pub use verify::{Mark, verify};
pub use watermark::{mark, read};

use series::Series;
pub use series::unfinished;

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
    /// How samples are named, if not by number.
    pattern: Option<Pattern>,
    grids: Series,
    sheets: Series,
    pages: Series,
    intermediates: PathBuf,
}

/// How the names of a sweep's files begin.
const SWEEP: &str = "sweep-";
/// The folder of previews, in OUTDIR.
const INTERMEDIATES: &str = "intermediates";

impl Folder {
    /// Creates OUTDIR and OUTDIR/samples where missing, and counts what is in them: numbers go on from there.
    ///
    /// format: of samples. pattern: their names; without one they are numbers.
    ///
    /// # Errors
    /// When a folder cannot be created, listed or written to.
    pub fn open(outdir: &Path, format: Format, pattern: Option<Pattern>) -> Result<Self> {
        let samples = outdir.join("samples");
        create(&samples)?;
        check_writable(outdir)?;
        check_writable(&samples)?;
        Self::look(outdir, format, pattern)
    }

    /// The same with nothing created and nothing tried.
    ///
    /// # Errors
    /// When a folder cannot be listed, or is a file.
    pub fn look(outdir: &Path, format: Format, pattern: Option<Pattern>) -> Result<Self> {
        let samples = outdir.join("samples");
        check_no_file(&samples)?;
        // Not counting `samples` itself.
        let count = |name: &OsStr| !is_of_sweep(name) && name != INTERMEDIATES;
        let n_grids = n_entries(outdir, count)?.saturating_sub(usize::from(samples.exists()));
        let n_samples = n_entries(&samples, |_| true)?;
        let series = |folder: &Path, prefix, digits, extension, next| Series {
            folder: folder.to_owned(),
            prefix,
            digits,
            extension,
            next,
        };
        Ok(Self {
            samples: series(&samples, "", 5, format.name(), n_samples),
            pattern,
            grids: series(outdir, "grid-", 4, "png", n_grids),
            sheets: series(outdir, SWEEP, 4, "png", 0),
            pages: series(outdir, SWEEP, 4, "html", 0),
            intermediates: outdir.join(INTERMEDIATES),
        })
    }

    /// The number of the next sample.
    pub fn next_index(&self) -> usize {
        self.samples.next
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

    /// Has the next sample written: OUTDIR/samples/NNNNN.EXTENSION, or by the pattern of names, with -2, -3, … added to
    /// a name that is taken.
    ///
    /// # Errors
    /// When `write` fails or the file cannot be written; none appears then.
    pub fn save_sample(&mut self, write: impl FnOnce(&mut File) -> Result<()>, named: &Named) -> Result<PathBuf> {
        match &self.pattern {
            Some(pattern) => self.samples.save_named(write, pattern, named),
            None => self.samples.save_as(write),
        }
    }

    /// Writes OUTDIR/intermediates/NNNNN-SSS.png, creating the folder where it is missing. index: of the sample it is
    /// of. step: after which of its steps.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_preview(&self, index: usize, step: usize, picture: &Picture) -> Result<PathBuf> {
        create(&self.intermediates)?;
        series::save_alone(&self.intermediates, &format!("{index:05}-{step:03}"), "png", series::png(picture)?)
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

/// How many entries that count are in a folder.
fn n_entries(folder: &Path, counts: impl Fn(&OsStr) -> bool) -> Result<usize> {
    let names = names(folder)?;
    Ok(names.iter().filter(|name| !series::is_unfinished(name) && counts(name)).count())
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
