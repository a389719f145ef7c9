//! OUTDIR: its names, its files, and the journal of what was begun and done there.

mod aside;
mod journal;
mod names;
mod saving;
mod series;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Format, Pattern, Picture, sha256};
use crate::shard::Shard;
use crate::unfinished::{self, FileSystem};
use aside::Aside;
use journal::{EDITION, Journal, Promise, What};
use names::{INTERMEDIATES, SAMPLES};

pub use journal::{Begun, Grids, Overview, Terms};
pub use names::{Name, Names, Numbering, of_shard, suffixed};

/// OUTDIR while a run is drawn into it.
pub struct Folder {
    outdir: PathBuf,
    names: Names,
    journal: Journal,
    aside: Aside,
    /// How many names are taken of those that many have.
    crowded: HashMap<String, usize>,
    /// Grids, sheets and pages that were written.
    overviews: Vec<PathBuf>,
}

/// What a run will write.
pub struct Opening<'a> {
    /// The folder.
    pub outdir: &'a Path,
    /// Of samples.
    pub format: Format,
    /// Names of samples; without one they are numbers.
    pub pattern: Option<Pattern>,
    /// The part that this process draws, if it is not all.
    pub shard: Option<Shard>,
    /// Whether to go on with what was begun.
    pub resume: bool,
    /// All that decides how pictures come out.
    pub terms: Terms,
    /// How many there are.
    pub pictures: usize,
    /// What shows many of them at once.
    pub overview: Option<Overview>,
}

impl Opening<'_> {
    /// A run that begins now.
    fn begun(&self) -> Result<Begun> {
        Ok(Begun {
            id: format!("{:016x}", RandomState::new().hash_one(0)),
            terms: self.terms.clone(),
            edition: EDITION,
            pictures: self.pictures,
            shards: self.shard.map_or(1, |shard| shard.of),
            overview: self.overview,
            numbering: Numbering::look(self.outdir, self.format)?,
        })
    }
}

impl Folder {
    /// Creates OUTDIR and OUTDIR/samples where they are missing. Returns what their file systems can do.
    ///
    /// # Errors
    /// When they cannot be created or written to.
    pub fn create(outdir: &Path) -> Result<FileSystem> {
        let samples = outdir.join(SAMPLES);
        create(&samples)?;
        Ok(probe(outdir)? & probe(&samples)?)
    }

    /// Finds out what the file system of OUTDIR can do, or, if OUTDIR is missing, that of the folder it will be created
    /// in. Returns that folder too; nothing stays there.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn probe(outdir: &Path) -> Result<(PathBuf, FileSystem)> {
        check_no_file(outdir)?;
        let existing = outdir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
        Ok((existing.to_owned(), probe(existing)?))
    }

    /// Begins a run in OUTDIR, which is there, or goes on with one.
    ///
    /// # Errors
    /// When another process draws there, or what is to be gone on with is another run.
    pub fn open(opening: Opening) -> Result<Self> {
        let journal = Journal::open(opening.outdir, opening.shard, opening.resume, || opening.begun())?;
        let folder = Self::new(opening.outdir, journal, opening.format, opening.pattern)?;
        folder.remove_placeholders();
        if !folder.journal.is_part() {
            folder.tidy()?;
        }
        Ok(folder)
    }

    /// OUTDIR as `open` would find it, which may not be there; nothing is written.
    ///
    /// # Errors
    /// When what is to be gone on with is another run.
    pub fn look(opening: Opening) -> Result<Self> {
        let journal = Journal::look(opening.outdir, opening.shard, opening.resume, opening.begun()?)?;
        Self::new(opening.outdir, journal, opening.format, opening.pattern)
    }

    /// OUTDIR as the last run left it.
    ///
    /// # Errors
    /// When there was none, or it goes on.
    pub fn reopen(outdir: &Path) -> Result<Self> {
        let folder = Self::new(outdir, Journal::last(outdir)?, Format::Png, None)?;
        folder.remove_placeholders();
        folder.tidy()?;
        Ok(folder)
    }

    fn new(outdir: &Path, mut journal: Journal, format: Format, pattern: Option<Pattern>) -> Result<Self> {
        journal.settle(|promise| is_kept(outdir, promise))?;
        if journal.all_kept().next().is_some() {
            let there = files(outdir)?;
            // Some file systems list names in another case or normal form than they were given.
            journal.forget(|promise| !there.contains(&*promise.file) && !outdir.join(&*promise.file).exists());
        }
        let Begun { id, numbering, .. } = journal.begun();
        let (names, aside) = (Names::new(numbering.clone(), format, pattern), Aside::new(outdir, id)?);
        Ok(Self { outdir: outdir.to_owned(), names, journal, aside, crowded: HashMap::new(), overviews: vec![] })
    }

    /// Removes the placeholders of files that a process was about to rename when it was ended.
    fn remove_placeholders(&self) {
        self.journal.unkept().for_each(|promise| unfinished::remove_placeholder(&self.outdir.join(&*promise.file)));
    }

    /// Removes what a process left unfinished that was ended. No other run draws here, but one elsewhere may have a report
    /// on its way to here.
    fn tidy(&self) -> Result<()> {
        for folder in [self.outdir.clone(), self.outdir.join(SAMPLES), self.outdir.join(INTERMEDIATES)] {
            for name in list(&folder)?.into_iter().filter(|name| unfinished::is_one(name)) {
                unfinished::remove(&folder.join(name));
            }
        }
        self.aside.clear_others(&self.outdir, self.journal.open_run())
    }

    /// The run.
    pub fn run(&self) -> &Begun {
        self.journal.begun()
    }

    /// What its files are called.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Whether a run is given up for this one that could be gone on with.
    pub fn leaves_another(&self) -> bool {
        self.journal.leaves_another()
    }

    /// The pictures that need not be drawn, for they are here, and laid aside where they are still to come on a grid.
    pub fn finished(&self) -> HashSet<usize> {
        let pictures = self.journal.all_kept().filter_map(|(what, _)| match what {
            What::Picture(n) => Some(n),
            _ => None,
        });
        pictures.filter(|n| !self.awaits(*n) || self.aside.had(*n)).collect()
    }

    /// Whether the n-th is still to come on a grid, a sheet or a page.
    pub fn awaits(&self, n: usize) -> bool {
        match self.run().overview {
            Some(Overview::Grids(grids)) => !self.has_grid(n / grids.every),
            Some(Overview::Sweep) => !self.has_sweep(),
            None => false,
        }
    }

    /// The pictures whose files are as they were saved, and those whose files are not.
    pub fn judged(&self) -> (HashSet<usize>, Vec<usize>) {
        let is_whole = |promise: Option<&Promise>| promise.is_none_or(|promise| is_kept(&self.outdir, promise));
        let (mut whole, mut changed) = (HashSet::new(), vec![]);
        for (what, promise) in self.journal.all_kept() {
            match what {
                What::Picture(n) if n >= self.run().pictures => {}
                What::Picture(n) if is_whole(promise) => _ = whole.insert(n),
                What::Picture(n) => changed.push(n),
                _ => {}
            }
        }
        changed.sort_unstable();
        (whole, changed)
    }

    /// Shards that have not drawn all of theirs.
    pub fn unfinished_shards(&self) -> Vec<usize> {
        self.journal.unfinished_shards()
    }

    /// Whether the run has its n-th grid.
    pub fn has_grid(&self, n: usize) -> bool {
        self.journal.kept(What::Grid(n)).is_some()
    }

    /// The grids of the run that are not here; none where this process draws a part, as nobody sees all before all parts
    /// have ended.
    pub fn lacking_grids(&self) -> impl DoubleEndedIterator<Item = usize> {
        let n = match self.run().overview {
            Some(Overview::Grids(grids)) if !self.journal.is_part() => self.run().pictures.div_ceil(grids.every),
            _ => 0,
        };
        (0..n).filter(|grid| !self.has_grid(*grid))
    }

    /// Whether a sweep has its page, which is written last, and its sheet, unless there was none.
    pub fn has_sweep(&self) -> bool {
        self.journal.kept(What::Page).is_some() && !self.journal.has_lost(What::Sheet)
    }

    /// Whether the n-th was laid aside before this process.
    pub fn had_aside(&self, n: usize) -> bool {
        self.aside.had(n)
    }

    /// Lays the n-th picture aside, to be had again by whoever goes on with the run.
    pub fn lay_aside(&self, n: usize, picture: &Picture) -> Result<()> {
        self.aside.put(n, picture)
    }

    /// The n-th, if it was laid aside.
    pub fn aside(&self, n: usize) -> Result<Option<Picture>> {
        self.aside.get(n)
    }

    /// Those that are on their grid by now.
    pub fn remove_aside(&self, numbers: impl Iterator<Item = usize>) {
        self.aside.remove(numbers);
    }

    /// The grids, sheets and pages that this process wrote.
    pub fn overviews(&self) -> &[PathBuf] {
        &self.overviews
    }

    /// All is drawn, and of the pictures laid aside none is needed any more, unless other shards have some.
    pub fn end(&mut self) -> Result<()> {
        if !self.journal.is_part() {
            self.aside.clear();
        }
        self.journal.end()
    }
}

/// Whether the file is there as it was promised.
fn is_kept(outdir: &Path, promise: &Promise) -> bool {
    let path = outdir.join(&*promise.file);
    // A pipe has no end.
    path.is_file() && sha256(&path, &|| true).is_ok_and(|sum| sum.as_deref() == Some(&*promise.sha256))
}

fn create(folder: &Path) -> Result<()> {
    check_no_file(folder)?;
    if folder.is_dir() {
        return Ok(());
    }
    let create = || fs::create_dir_all(folder).and_then(|()| unfinished::sync_folder(folder));
    create().with_context(|| cannot("create", folder))
}

/// Creates a folder in OUTDIR, unless it is there; an OUTDIR that was taken away does not come back.
fn create_inside(folder: &Path) -> Result<()> {
    check_no_file(folder)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created.with_context(|| cannot("create", folder)),
    }
}

/// The names of all files that a run may have, within OUTDIR: listed, for there may be many.
fn files(outdir: &Path) -> Result<HashSet<String>> {
    let mut files = HashSet::new();
    for folder in ["", SAMPLES, INTERMEDIATES] {
        let within = |name: OsString| Some(Path::new(folder).join(name).to_str()?.to_owned());
        files.extend(list(&outdir.join(folder))?.into_iter().filter_map(within));
    }
    Ok(files)
}

/// An error if the folder, or one that it is in, is a file, or a link to nothing.
fn check_no_file(folder: &Path) -> Result<()> {
    if let Some(path) = folder.ancestors().find(|path| path.symlink_metadata().is_ok() && !path.is_dir()) {
        let what = if path.exists() { "a file, not a folder" } else { "a link to a missing folder or to itself" };
        bail!("'{}' is {what}: choose another --outdir", path.display());
    }
    Ok(())
}

fn probe(folder: &Path) -> Result<FileSystem> {
    FileSystem::probe(folder).with_context(|| cannot("write to", folder))
}

/// What is in a folder; nothing if there is none.
fn list(folder: &Path) -> Result<Vec<OsString>> {
    let names = || -> io::Result<_> { fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect() };
    match names() {
        Err(missing) if missing.kind() == ErrorKind::NotFound => Ok(vec![]),
        names => names.with_context(|| cannot("list", folder)),
    }
}

fn cannot(verb: &str, folder: &Path) -> String {
    format!("cannot {verb} the folder '{}', choose another --outdir", folder.display())
}
