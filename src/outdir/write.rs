//! The writing of files: log the intent, write a temporary file, rename it, log the commit.

use super::OutDir;
use super::dir::create_inside;
use super::journal::{Artifact, Completeness, Intent};
use super::names::{INTERMEDIATES, Name};
use crate::files::{atomic, sha256};
use crate::output::{Format, NameFields, Picture};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The number of taken alternatives from which on they are remembered, so that each is tried only once.
const MANY_COLLISIONS: usize = 8;

/// A file to write.
struct Write {
    artifact: Artifact,
    name: Name,
    completeness: Completeness,
}

impl Write {
    /// Returns the intent to call the file `file`, whose contents have this SHA-256.
    fn intent(&self, file: &str, sha256: &str) -> Intent {
        let Self { artifact, completeness, .. } = *self;
        Intent { artifact, file: file.into(), sha256: sha256.into(), completeness }
    }
}

impl OutDir {
    /// Saves picture `n` of the run, encoded as `bytes`, as OUTDIR/samples/NNNNN.EXTENSION or under the name that the
    /// pattern makes of `fields`; with -2, -3, … added if the name is taken. Returns the path.
    ///
    /// # Errors
    /// If the file cannot be written; none appears then.
    pub fn save_sample(&mut self, n: usize, bytes: &[u8], fields: &NameFields) -> Result<PathBuf> {
        let name = self.names.sample(n, fields);
        let name = if self.is_possible(&name) { name } else { self.names.numbered_sample(n) };
        let write = Write { artifact: Artifact::Picture(n), name, completeness: Completeness::Complete };
        let path = self.write(write, |file| Ok(file.write_all(bytes)?))?;
        if let Some(saved) = &mut self.saved {
            let file = path.strip_prefix(&self.outdir).ok().and_then(Path::to_str);
            saved.extend(file.map(|file| (n, file.into())));
        }
        Ok(path)
    }

    /// Returns the files of all samples of the run that are saved, in order, within OUTDIR: by earlier processes, and by this one
    /// since [`Self::remember_samples`].
    pub fn sample_files(&self) -> Vec<Box<str>> {
        let earlier = self.journal.all_committed().filter_map(|(artifact, intent)| match (artifact, intent) {
            (Artifact::Picture(n), Some(intent)) => Some((n, intent.file.clone())),
            _ => None,
        });
        let mut files: BTreeMap<usize, Box<str>> = earlier.collect();
        files.extend(self.saved.iter().flatten().map(|(n, file)| (*n, file.clone())));
        files.into_values().collect()
    }

    /// Whether the file system of OUTDIR allows a name: some allow fewer bytes or characters than others.
    fn is_possible(&self, name: &Name) -> bool {
        let looked_up = self.outdir.join(name.after(0)).symlink_metadata();
        let is_refusal = |kind| matches!(kind, ErrorKind::InvalidFilename | ErrorKind::InvalidInput);
        !looked_up.is_err_and(|error| is_refusal(error.kind()))
    }

    /// Logs that picture `n` is drawn and is not to be saved.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn skip_sample(&mut self, n: usize) -> Result<()> {
        self.journal.commit(Artifact::Picture(n))
    }

    /// Saves the preview of picture `n` after `step` as OUTDIR/intermediates/NNNNN-SSS.png. Creates the folder if it is
    /// missing. Returns the path.
    ///
    /// # Errors
    /// If the file or the folder cannot be written.
    pub fn save_preview(&mut self, n: usize, step: usize, picture: &Picture) -> Result<PathBuf> {
        create_inside(&self.outdir.join(INTERMEDIATES))?;
        let (artifact, name) = (Artifact::Preview(n, step), self.names.preview(n, step));
        self.write_png(Write { artifact, name, completeness: Completeness::Complete }, picture)
    }

    /// Saves grid `n` of the run as OUTDIR/grid-NNNN.png. Returns the path.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_grid(&mut self, n: usize, picture: &Picture, completeness: Completeness) -> Result<PathBuf> {
        let name = self.names.grid(n);
        self.write_png(Write { artifact: Artifact::Grid(n), name, completeness }, picture)
    }

    /// Saves a sweep's sheet as OUTDIR/sweep-NNNN.png. Returns the path.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_sheet(&mut self, picture: &Picture, completeness: Completeness) -> Result<PathBuf> {
        let name = self.names.sheet();
        self.write_png(Write { artifact: Artifact::Sheet, name, completeness }, picture)
    }

    /// Saves a sweep's page, written by `contents`, as OUTDIR/sweep-NNNN.html. Returns the path.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_page(
        &mut self,
        completeness: Completeness,
        contents: impl FnOnce(&mut File) -> Result<()>,
    ) -> Result<PathBuf> {
        let name = self.names.page();
        self.write(Write { artifact: Artifact::Page, name, completeness }, contents)
    }

    /// Saves the page that lists all pictures, written by `contents` from the paths of the pictures within OUTDIR, as
    /// OUTDIR/index-NNNN.html. Returns the path, or `None` if no picture is saved.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_index(&mut self, contents: impl FnOnce(&mut File, &[&str]) -> Result<()>) -> Result<Option<PathBuf>> {
        let files = self.sample_files();
        if files.is_empty() {
            return Ok(None);
        }
        let completeness = Completeness::of(files.len() == self.run().pictures);
        let files: Vec<&str> = files.iter().map(|file| &**file).collect();
        let write = Write { artifact: Artifact::Index, name: self.names.index_page(), completeness };
        self.write(write, |file| contents(file, &files)).map(Some)
    }

    fn write_png(&mut self, write: Write, picture: &Picture) -> Result<PathBuf> {
        let png = Format::Png.encode(picture, None)?;
        self.write(write, |file| Ok(file.write_all(&png)?))
    }

    /// Writes a file atomically, unless an earlier process completed it. Returns its path.
    fn write(&mut self, write: Write, contents: impl FnOnce(&mut File) -> Result<()>) -> Result<PathBuf> {
        if let Some(Some(intent)) = self.journal.committed(write.artifact) {
            return Ok(self.outdir.join(&*intent.file));
        }
        let path = self.outdir.join(write.name.after(0));
        let folder = path.parent().unwrap_or(&self.outdir);
        let cannot = || format!("cannot write '{}'", path.display());
        let file = atomic::write_temporary(folder, contents).with_context(cannot)?;
        let sha256 = sha256::of_file(file.path(), &|| true)?.unwrap_or_default();
        let partial = self.journal.partial(write.artifact).filter(|partial| partial.is_fulfilled(&self.outdir));
        let saved = match partial.map(|partial| partial.file.clone()) {
            Some(partial) => self.replace(file, &partial, &write, &sha256),
            None => self.persist(file, &write, &sha256),
        };
        let saved = saved.with_context(cannot)?;
        self.journal.commit(write.artifact)?;
        if write.artifact.is_overview() {
            self.overviews.push(saved.clone());
        }
        Ok(saved)
    }

    /// Renames a file over the partial one called `partial`, which this run wrote and nobody has changed.
    fn replace(&mut self, file: NamedTempFile, partial: &str, write: &Write, sha256: &str) -> Result<PathBuf> {
        self.journal.intend(write.intent(partial, sha256))?;
        let path = self.outdir.join(partial);
        atomic::persist_replacing(file, &path)?;
        Ok(path)
    }

    /// Renames a file to the first of its alternative names that is free.
    fn persist(&mut self, mut file: NamedTempFile, write: &Write, sha256: &str) -> Result<PathBuf> {
        let first = write.name.after(0);
        for n_taken in self.collisions.get(&first).copied().unwrap_or(0).. {
            let name = write.name.after(n_taken);
            let (path, intent) = (self.outdir.join(&name), write.intent(&name, sha256));
            if path.symlink_metadata().is_ok() {
                // A device that failed may have saved the same preview before.
                if matches!(write.artifact, Artifact::Preview(..)) && intent.is_fulfilled(&self.outdir) {
                    return Ok(path);
                }
                continue;
            }
            self.journal.intend(intent)?;
            match atomic::persist_new(file, &path)? {
                None => {
                    if n_taken >= MANY_COLLISIONS {
                        self.collisions.insert(first, n_taken + 1);
                    }
                    return Ok(path);
                }
                Some(unnamed) => file = unnamed,
            }
        }
        bail!("every name is taken")
    }
}
