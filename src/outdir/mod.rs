//! The output folder: names, numbering, atomic writes, the spool, and the journal.
//!
//! [`OutDir`] is the folder while a run is drawn into it. A file is written under a temporary name and renamed; the
//! journal logs both, so that a run can be killed at any moment and resumed. Existing files are never replaced, except a
//! partial grid, sheet or page of the same run, if it is unchanged.
//!
//! - `names`, `series`: the names of files, which continue those of earlier runs
//! - `write`: the writing of files
//! - `journal`: the write-ahead log, recovery, and the locks that keep processes apart
//! - `spool`: pictures kept for grids and sheets

mod dir;
mod journal;
mod names;
mod series;
mod spec;
mod spool;
mod write;

use crate::files::{FileSystem, atomic};
use crate::output::{Format, Pattern, Picture};
use anyhow::{Error, Result};
use journal::{Artifact, Intent, Journal};
use names::{INTERMEDIATES, SAMPLES};
use spool::Spool;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

pub use journal::{Completeness, Grids, Mode, Overview, RunHeader, RunParams};
pub use names::{Name, Names, Numbering, shard_path, suffixed};
pub use spec::RunSpec;

/// The output folder of a run, with the run's journal and spool.
pub struct OutDir {
    outdir: PathBuf,
    names: Names,
    journal: Journal,
    spool: Spool,
    /// The number of alternatives known to be taken, by name, for names that many pictures share.
    collisions: HashMap<String, usize>,
    /// The grids, sheets and pages that this process wrote.
    overviews: Vec<PathBuf>,
    /// The samples that this process saved, by number, with their paths within OUTDIR; `None` if nothing asks for them.
    saved: Option<Vec<(usize, Box<str>)>>,
}

impl OutDir {
    /// Creates OUTDIR and OUTDIR/samples if they are missing. Returns the capabilities that their file systems share.
    ///
    /// # Errors
    /// If they cannot be created or written to.
    pub fn create(outdir: &Path) -> Result<FileSystem> {
        let samples = outdir.join(SAMPLES);
        dir::create(&samples)?;
        Ok(dir::probe(outdir)? & dir::probe(&samples)?)
    }

    /// Detects the capabilities of OUTDIR's file system, or, if OUTDIR is missing, of the existing folder that it will be
    /// created in. Returns that folder too. Nothing is left there.
    ///
    /// # Errors
    /// If the folder cannot be written to, or a file is in the way.
    pub fn probe(outdir: &Path) -> Result<(PathBuf, FileSystem)> {
        dir::check_no_file(outdir)?;
        let existing = outdir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        Ok((existing.to_owned(), dir::probe(existing)?))
    }

    /// Returns the seed of the run that was begun or resumed last in OUTDIR, if there is one.
    pub fn last_seed(outdir: &Path) -> Option<u32> {
        Journal::last_params(outdir)?.get("--seed")?.as_u64()?.try_into().ok()
    }

    /// Begins or resumes a run in OUTDIR, which must exist. The process holds a lock on the run until the value is
    /// dropped. Unless it draws a shard, it deletes what killed processes left.
    ///
    /// # Errors
    /// If another process draws there, the run to resume is a different one, or OUTDIR cannot be read or written.
    pub fn open(spec: RunSpec) -> Result<Self> {
        let extension = |old: &RunHeader, asked: &RunHeader| spec.extension(old, asked);
        let journal = Journal::open(spec.outdir, spec.shard, spec.mode, || spec.header(), &extension)?;
        let outdir = Self::new(spec.outdir, journal, spec.format, spec.pattern)?;
        outdir.remove_placeholders();
        if !outdir.journal.is_of_shard() {
            outdir.remove_leftovers()?;
        }
        Ok(outdir)
    }

    /// Returns OUTDIR as [`open`](Self::open) would, for a dry run: it may be missing, and nothing is locked or written.
    ///
    /// # Errors
    /// If the run to resume is a different one, or OUTDIR cannot be read.
    pub fn inspect(spec: RunSpec) -> Result<Self> {
        let extension = |old: &RunHeader, asked: &RunHeader| spec.extension(old, asked);
        let journal = Journal::inspect(spec.outdir, spec.shard, spec.mode, spec.header()?, &extension)?;
        Self::new(spec.outdir, journal, spec.format, spec.pattern)
    }

    /// Reopens the run that was begun or resumed last in OUTDIR, to verify and complete it.
    ///
    /// # Errors
    /// If there is none, another process draws it, or OUTDIR cannot be read or written.
    pub fn reopen(outdir: &Path) -> Result<Self> {
        let outdir = Self::new(outdir, Journal::reopen(outdir)?, Format::Png, None)?;
        outdir.remove_placeholders();
        outdir.remove_leftovers()?;
        Ok(outdir)
    }

    fn new(outdir: &Path, mut journal: Journal, format: Format, pattern: Option<Pattern>) -> Result<Self> {
        journal.recover(outdir)?;
        if journal.all_committed().next().is_some() {
            let listed = dir::list_within(outdir, &["", SAMPLES, INTERMEDIATES])?;
            // Looked up too, as some file systems list a name in another case or normal form than it was created with.
            journal.drop_missing(|intent| !listed.contains(&*intent.file) && !outdir.join(&*intent.file).exists());
        }
        let RunHeader { id, numbering, .. } = journal.header();
        let (names, spool) = (Names::new(numbering.clone(), format, pattern), Spool::new(outdir, id)?);
        let (collisions, overviews, saved) = (HashMap::new(), vec![], None);
        Ok(Self { outdir: outdir.to_owned(), names, journal, spool, collisions, overviews, saved })
    }

    /// Deletes the placeholders of files that a killed process was about to rename.
    fn remove_placeholders(&self) {
        self.journal.pending().for_each(|intent| atomic::remove_placeholder(&self.outdir.join(&*intent.file)));
    }

    /// Deletes temporary files of killed processes, and the spools of other runs. No other run draws into OUTDIR, but one
    /// that draws elsewhere may have a report here that is not finished; its temporary file is locked, and stays.
    fn remove_leftovers(&self) -> Result<()> {
        for folder in [self.outdir.clone(), self.outdir.join(SAMPLES), self.outdir.join(INTERMEDIATES)] {
            for name in dir::list(&folder)?.into_iter().filter(|name| atomic::is_temporary(name)) {
                atomic::remove_temporary(&folder.join(name));
            }
        }
        self.spool.clear_others(&self.outdir, self.journal.latest_unfinished())
    }

    /// The run, as recorded when it began.
    pub fn run(&self) -> &RunHeader {
        self.journal.header()
    }

    /// The output folder.
    pub fn path(&self) -> &Path {
        &self.outdir
    }

    /// Remembers the samples that are saved from now on, for [`Self::sample_files`].
    pub fn remember_samples(&mut self) {
        self.saved = Some(vec![]);
    }

    /// The names of the run's files.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Whether a new run begins although the run before it is unfinished, and could be resumed.
    pub fn abandons_unfinished(&self) -> bool {
        self.journal.abandons_unfinished()
    }

    /// Returns the pictures that earlier processes saved and, if an overview still needs them, spooled.
    pub fn finished(&self) -> HashSet<usize> {
        let pictures = self.journal.all_committed().filter_map(|(artifact, _)| match artifact {
            Artifact::Picture(n) => Some(n),
            _ => None,
        });
        pictures.filter(|n| !self.is_awaited(*n) || self.spool.found(*n)).collect()
    }

    /// Returns the pictures whose files are unchanged, and, ascending, those whose files are not. Reads every file.
    pub fn verify(&self) -> (HashSet<usize>, Vec<usize>) {
        let is_unchanged = |intent: Option<&Intent>| intent.is_none_or(|intent| intent.is_fulfilled(&self.outdir));
        let (mut unchanged, mut changed) = (HashSet::new(), vec![]);
        for (artifact, intent) in self.journal.all_committed() {
            match artifact {
                Artifact::Picture(n) if n >= self.run().pictures => {}
                Artifact::Picture(n) if is_unchanged(intent) => _ = unchanged.insert(n),
                Artifact::Picture(n) => changed.push(n),
                _ => {}
            }
        }
        changed.sort_unstable();
        (unchanged, changed)
    }

    /// Returns the names of the grids, sheets and pages that are complete but whose files have changed. Reads every file.
    pub fn modified_overviews(&self) -> Vec<String> {
        let overviews = self.journal.all_committed().filter(|(artifact, _)| artifact.is_overview());
        let changed = |intent: &&Intent| intent.completeness.is_complete() && !intent.is_fulfilled(&self.outdir);
        overviews.filter_map(|(_, intent)| intent).filter(changed).map(|intent| intent.file.to_string()).collect()
    }

    /// Returns the indices of the shards that are unfinished, none for a run that is not divided.
    pub fn unfinished_shards(&self) -> Vec<usize> {
        self.journal.unfinished_shards()
    }

    /// Whether earlier processes completed grid `n` of the run, and its file exists.
    pub fn has_grid(&self, n: usize) -> bool {
        self.journal.committed(Artifact::Grid(n)).is_some()
    }

    /// Returns the numbers of the grids that are missing. A shard has none to write: only --collect sees all pictures.
    pub fn missing_grids(&self) -> impl DoubleEndedIterator<Item = usize> {
        let n = match self.run().overview {
            Some(Overview::Grids(grids)) if !self.journal.is_of_shard() => self.run().pictures.div_ceil(grids.every),
            _ => 0,
        };
        (0..n).filter(|grid| !self.has_grid(*grid))
    }

    /// Whether earlier processes completed a sweep's page, which is written last, and its sheet, unless it had none.
    pub fn has_sweep(&self) -> bool {
        self.journal.committed(Artifact::Page).is_some() && !self.journal.has_lost(Artifact::Sheet)
    }

    /// Whether a grid, sheet or page that is not complete needs picture `n`.
    pub fn is_awaited(&self, n: usize) -> bool {
        match self.run().overview {
            Some(Overview::Grids(grids)) => !self.has_grid(n / grids.every),
            Some(Overview::Sweep) => !self.has_sweep(),
            None => false,
        }
    }

    /// Stores picture `n` in the spool, for this process or one that resumes the run.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn spool(&self, n: usize, picture: &Picture) -> Result<()> {
        self.spool.put(n, picture)
    }

    /// Returns picture `n` from the spool, or `None` if it is not there.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn spooled(&self, n: usize) -> Result<Option<Picture>> {
        self.spool.get(n)
    }

    /// Whether an earlier process spooled picture `n`.
    pub fn was_spooled(&self, n: usize) -> bool {
        self.spool.found(n)
    }

    /// Deletes these pictures from the spool, once their overview is complete.
    pub fn unspool(&self, numbers: impl Iterator<Item = usize>) {
        self.spool.remove(numbers);
    }

    /// The grids, sheets and pages that this process wrote.
    pub fn overviews(&self) -> &[PathBuf] {
        &self.overviews
    }

    /// Returns the error that stopped a run, with the cause added if OUTDIR is missing.
    pub fn explain(&self, error: Error) -> Error {
        match self.outdir.exists() {
            true => error,
            false => error.context(format!("the output folder '{}' was moved or deleted", self.outdir.display())),
        }
    }

    /// Logs that everything is drawn, and deletes the spool, unless other shards need it.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn end(&mut self) -> Result<()> {
        if !self.journal.is_of_shard() {
            self.spool.clear();
        }
        self.journal.end()
    }
}
