//! Every file of a run: promised, written beside, given its name, done.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use super::journal::{Promise, What};
use super::names::{INTERMEDIATES, Name};
use super::{Folder, create_inside, is_kept};
use crate::output::{Format, Named, Picture, sha256};
use crate::unfinished;

impl Folder {
    /// Saves the n-th picture of the run as OUTDIR/samples/NNNNN.EXTENSION, or by the pattern of names; with -2, -3, …
    /// added to a name that is taken. bytes: the file's.
    ///
    /// # Errors
    /// When the file cannot be written; none appears then.
    pub fn save_sample(&mut self, n: usize, bytes: &[u8], named: &Named) -> Result<PathBuf> {
        let mut name = self.names.sample(n, named);
        if !self.is_possible(&name) {
            name = self.names.numbered_sample(n);
        }
        self.save(What::Picture(n), &name, false, |file| Ok(file.write_all(bytes)?))
    }

    /// Whether the file system of OUTDIR allows a name: some allow fewer bytes than others, or fewer characters.
    fn is_possible(&self, name: &Name) -> bool {
        let looked_up = self.outdir.join(name.after(0)).symlink_metadata();
        let is_refusal = |kind| matches!(kind, ErrorKind::InvalidFilename | ErrorKind::InvalidInput);
        !looked_up.is_err_and(|error| is_refusal(error.kind()))
    }

    /// The n-th picture is drawn, and not to be saved.
    pub fn skip_sample(&mut self, n: usize) -> Result<()> {
        self.journal.done(What::Picture(n))
    }

    /// Writes OUTDIR/intermediates/NNNNN-SSS.png of the n-th picture, creating the folder where it is missing. step:
    /// after which of its steps.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_preview(&mut self, n: usize, step: usize, picture: &Picture) -> Result<PathBuf> {
        create_inside(&self.outdir.join(INTERMEDIATES))?;
        let name = self.names.preview(n, step);
        self.save_png(What::Preview(n, step), &name, false, picture)
    }

    /// Writes the run's n-th grid, OUTDIR/grid-NNNN.png. partial: whether it is to be replaced when there are more
    /// pictures.
    pub fn save_grid(&mut self, n: usize, picture: &Picture, partial: bool) -> Result<PathBuf> {
        let name = self.names.grid(n);
        self.save_png(What::Grid(n), &name, partial, picture)
    }

    /// Writes OUTDIR/sweep-NNNN.png.
    pub fn save_sheet(&mut self, picture: &Picture, partial: bool) -> Result<PathBuf> {
        let name = self.names.sheet();
        self.save_png(What::Sheet, &name, partial, picture)
    }

    /// Has OUTDIR/sweep-NNNN.html written.
    pub fn save_page(&mut self, partial: bool, write: impl FnOnce(&mut File) -> Result<()>) -> Result<PathBuf> {
        let name = self.names.page();
        self.save(What::Page, &name, partial, write)
    }

    fn save_png(&mut self, what: What, name: &Name, partial: bool, picture: &Picture) -> Result<PathBuf> {
        let png = Format::Png.encode(picture, None)?;
        self.save(what, name, partial, |file| Ok(file.write_all(&png)?))
    }

    /// Has a file written and gives it its name, or finds it done.
    fn save(
        &mut self,
        what: What,
        name: &Name,
        partial: bool,
        write: impl FnOnce(&mut File) -> Result<()>,
    ) -> Result<PathBuf> {
        if let Some(Some(promise)) = self.journal.kept(what) {
            return Ok(self.outdir.join(&*promise.file));
        }
        let path = self.outdir.join(name.after(0));
        let folder = path.parent().unwrap_or(&self.outdir);
        let cannot = || format!("cannot write '{}'", path.display());
        let file = unfinished::written(folder, write).with_context(cannot)?;
        let sha256 = sha256(file.path(), &|| true)?.unwrap_or_default();
        let promise = |file: &str| Promise { what, file: file.into(), sha256: sha256.as_str().into(), partial };
        let saved = match self.journal.partial(what).filter(|promise| is_kept(&self.outdir, promise)).cloned() {
            Some(stopped) => {
                self.journal.promise(promise(&stopped.file))?;
                let path = self.outdir.join(&*stopped.file);
                unfinished::replace(file, &path).with_context(cannot)?;
                path
            }
            None => self.put(file, name, promise).with_context(cannot)?,
        };
        self.journal.done(what)?;
        if matches!(what, What::Grid(_) | What::Sheet | What::Page) {
            self.overviews.push(saved.clone());
        }
        Ok(saved)
    }

    /// Gives a file the first of its names that is free.
    fn put(&mut self, mut file: NamedTempFile, name: &Name, promise: impl Fn(&str) -> Promise) -> Result<PathBuf> {
        let first = name.after(0);
        for n_taken in self.crowded.get(&first).copied().unwrap_or(0).. {
            let name = name.after(n_taken);
            let path = self.outdir.join(&name);
            let promise = promise(&name);
            if path.symlink_metadata().is_ok() {
                // A device that failed may have come as far.
                if matches!(promise.what, What::Preview(..)) && is_kept(&self.outdir, &promise) {
                    return Ok(path);
                }
                continue;
            }
            self.journal.promise(promise)?;
            match unfinished::put(file, &path)? {
                None => {
                    if n_taken >= CROWDED {
                        self.crowded.insert(first, n_taken + 1);
                    }
                    return Ok(path);
                }
                Some(taken) => file = taken,
            }
        }
        bail!("every name is taken")
    }
}

/// From so many on, names that are taken are not tried again.
const CROWDED: usize = 8;
