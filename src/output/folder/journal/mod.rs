//! `OUTDIR/run.jsonl`: what was begun and what of it is done, so that it can be gone on with after any end.
//!
//! A file is promised, with its hash, before it gets its name, and done after: whatever happens in between, the next
//! process knows whether it is there. Shards have journals of their own, `run-I-of-N.jsonl`, and share the run's.

mod entry;
mod lock;
mod past;

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use entry::Entry;
pub use entry::{Begun, EDITION, Grids, Overview, Promise, Terms, What};
use lock::Held;
use past::{Past, differences};

use super::list;
use super::names::of_shard;
use crate::shard::Shard;
use crate::unfinished::{sync, sync_folder};

const NAME: &str = "run.jsonl";

/// Whether a file of OUTDIR is a journal.
pub fn is_one(name: &OsStr) -> bool {
    name == NAME || shard_of(name).is_some()
}

/// Whose journal a file is.
fn shard_of(name: &OsStr) -> Option<usize> {
    let (index, of) = name.to_str()?.strip_prefix("run-")?.strip_suffix(".jsonl")?.split_once("-of-")?;
    of.parse::<usize>().ok()?;
    index.parse().ok()
}

/// A run's journal, held so that no other process draws the same.
pub struct Journal {
    /// None if nothing is to be written.
    file: Option<File>,
    path: PathBuf,
    shard: Option<Shard>,
    /// The run's own, where `file` is a shard's.
    _shared: Option<File>,
    past: Past,
    /// Whether the run before this one has not ended.
    leaves_another: bool,
    /// The last other run that has not ended.
    open: Option<String>,
}

impl Journal {
    /// Begins a run, or goes on with one. begun: what is to be drawn, asked for once nobody else may draw.
    ///
    /// # Errors
    /// When another process draws here, when the journals are not ours, or when what is to be gone on with is another
    /// run.
    pub fn open(
        outdir: &Path,
        shard: Option<Shard>,
        resume: bool,
        begun: impl FnOnce() -> Result<Begun>,
    ) -> Result<Self> {
        match shard {
            None => Self::whole(outdir, resume, begun),
            Some(shard) => Self::part(outdir, shard, resume, begun),
        }
    }

    /// What `open` would begin or go on with, told without writing or holding anything.
    ///
    /// # Errors
    /// As `open`, but that another process may draw.
    pub fn look(outdir: &Path, shard: Option<Shard>, resume: bool, mut begun: Begun) -> Result<Self> {
        let path = outdir.join(NAME);
        let mut runs = past::read(outdir)?;
        // What is not known yet is taken to be as it was.
        for (name, value) in latest(&runs).iter().flat_map(|last| &runs[*last].begun.terms) {
            begun.terms.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let past = match shard {
            None => gone_on_with(outdir, &runs, resume, &begun)?.map(|run| runs.swap_remove(run)),
            Some(shard) => {
                ensure_new(outdir, shard, resume)?;
                let past = runs.pop();
                past.iter().try_for_each(|past| ensure_same(outdir, &past.begun, &begun))?;
                past
            }
        };
        let past = past.unwrap_or_else(|| Past::new(begun));
        Ok(Self { file: None, path, shard, _shared: None, past, leaves_another: false, open: None })
    }

    /// The run begun or gone on with last, to be checked and completed.
    ///
    /// # Errors
    /// When there is none, or it is being drawn.
    pub fn last(outdir: &Path) -> Result<Self> {
        let path = outdir.join(NAME);
        ensure!(
            outdir.is_dir() || !outdir.exists(),
            "'{}' is not a folder; give the --outdir of a run",
            outdir.display()
        );
        ensure!(path.exists(), "no run found in '{}' (no {NAME}); give the --outdir of a run", outdir.display());
        let file = hold(&path)?;
        let mut runs = past::read(outdir)?;
        let Some(last) = latest(&runs) else { bail!("'{}' tells of no run", path.display()) };
        let past = runs.remove(last);
        let open = last_open(&runs, &past);
        let file = Some(file);
        let mut journal = Self { file, path, shard: None, _shared: None, past, leaves_another: false, open };
        journal.append(&Entry::Of(last))?;
        Ok(journal)
    }

    fn whole(outdir: &Path, resume: bool, begun: impl FnOnce() -> Result<Begun>) -> Result<Self> {
        let path = outdir.join(NAME);
        let file = hold(&path)?;
        let (mut runs, begun) = (past::read(outdir)?, begun()?);
        let (past, entry) = match gone_on_with(outdir, &runs, resume, &begun)? {
            Some(run) => (runs.swap_remove(run), Entry::Of(run)),
            None => (Past::new(begun.clone()), Entry::Begun(Box::new(begun))),
        };
        let is_new = matches!(entry, Entry::Begun(_));
        let leaves_another = is_new && latest(&runs).is_some_and(|last| !runs[last].has_ended());
        let (open, file) = (last_open(&runs, &past), Some(file));
        let mut journal = Self { file, path, shard: None, _shared: None, past, leaves_another, open };
        journal.append(&entry)?;
        Ok(journal)
    }

    fn part(outdir: &Path, shard: Shard, resume: bool, begun: impl FnOnce() -> Result<Begun>) -> Result<Self> {
        let (shared, begun) = join(&outdir.join(NAME), begun)?;
        let (path, is_new) = (of_shard(&outdir.join(NAME), shard), ensure_new(outdir, shard, resume));
        let file = hold(&path)?;
        is_new?;
        // Read only now: nobody else writes any more what this shard draws.
        let mut runs = past::read(outdir)?;
        let Some(past) = runs.pop() else { bail!("'{}' tells of no run", outdir.join(NAME).display()) };
        ensure_same(outdir, &past.begun, &begun)?;
        let (shard, _shared, file) = (Some(shard), Some(shared), Some(file));
        let mut journal = Self { file, path, shard, _shared, past, leaves_another: false, open: None };
        journal.append(&Entry::Of(runs.len()))?;
        Ok(journal)
    }

    /// What is drawn.
    pub fn begun(&self) -> &Begun {
        &self.past.begun
    }

    /// Whether a run is given up for this one that could be gone on with.
    pub fn leaves_another(&self) -> bool {
        self.leaves_another
    }

    /// The id of the last other run that has not ended.
    pub fn open_run(&self) -> Option<&str> {
        self.open.as_deref()
    }

    /// Whether a process draws a part of the run.
    pub fn is_part(&self) -> bool {
        self.shard.is_some()
    }

    /// What was done before this process, with its file if it has one.
    pub fn kept(&self, what: What) -> Option<Option<&Promise>> {
        let kept = self.past.kept.get(&what)?;
        match kept {
            Some(promise) if promise.partial => None,
            kept => Some(kept.as_ref()),
        }
    }

    /// All of that.
    pub fn all_kept(&self) -> impl Iterator<Item = (What, Option<&Promise>)> {
        self.past.kept.iter().map(|(what, promise)| (*what, promise.as_ref()))
    }

    /// What was written of something when the run was stopped.
    pub fn partial(&self, what: What) -> Option<&Promise> {
        self.past.kept.get(&what)?.as_ref().filter(|promise| promise.partial)
    }

    /// The shards that have not ended.
    pub fn unfinished_shards(&self) -> Vec<usize> {
        let shards = self.past.begun.shards;
        if shards == 1 { vec![] } else { (0..shards).filter(|shard| !self.past.has_drawn(*shard)).collect() }
    }

    /// Settles what the last process did not come to say. is_there: whether a promise was kept.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn settle(&mut self, is_there: impl Fn(&Promise) -> bool) -> Result<()> {
        for promise in self.unkept().filter(|promise| is_there(promise)).cloned().collect::<Vec<_>>() {
            let what = promise.what;
            self.append(&Entry::Promised(promise))?;
            self.append(&Entry::Done(what))?;
            self.past.keep(what);
        }
        Ok(())
    }

    /// The files that were promised and are not known to be there; of other shards none, as they may be about to keep theirs.
    pub fn unkept(&self) -> impl Iterator<Item = &Promise> {
        let is_ours = |by: &Option<usize>| self.shard.is_none_or(|shard| by.is_none_or(|by| by == shard.index));
        self.past.promised.values().filter(move |(by, _)| is_ours(by)).map(|(_, promise)| promise)
    }

    /// Forgets what is not there any more.
    pub fn forget(&mut self, is_gone: impl Fn(&Promise) -> bool) {
        let lost = self.past.kept.extract_if(|_, promise| promise.as_ref().is_some_and(&is_gone));
        self.past.lost.extend(lost.map(|(what, _)| what));
    }

    /// Whether that was done before this process, and its file is gone.
    pub fn has_lost(&self, what: What) -> bool {
        self.past.lost.contains(&what)
    }

    /// A file will get its name.
    pub fn promise(&mut self, promise: Promise) -> Result<()> {
        self.append(&Entry::Promised(promise))
    }

    /// It has it.
    pub fn done(&mut self, what: What) -> Result<()> {
        self.append(&Entry::Done(what))
    }

    /// All is done.
    pub fn end(&mut self) -> Result<()> {
        self.append(&Entry::Ended(self.shard.map(|shard| shard.index)))
    }

    fn append(&mut self, entry: &Entry) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        append(file, entry).with_context(|| cannot(&self.path))
    }
}

/// The run that was begun or gone on with last.
fn latest(runs: &[Past]) -> Option<usize> {
    (0..runs.len()).max_by_key(|run| runs[*run].taken_up)
}

/// Which of these runs is to be gone on with, if any is.
fn gone_on_with(outdir: &Path, runs: &[Past], resume: bool, begun: &Begun) -> Result<Option<usize>> {
    let Some(last) = latest(runs).filter(|_| resume) else { return Ok(None) };
    let is_same = |run: &Begun| is_alike(run, begun) && run.pictures == begun.pictures;
    let same = runs.iter().rposition(|run| is_same(&run.begun) && run.begun.overview == begun.overview);
    same.map(Some).with_context(|| {
        let differences = differences(&runs[last].begun, begun);
        format!("--resume: the run in '{}' is another: {differences}", outdir.display())
    })
}

/// An error if a shard has begun that is not to be gone on with.
fn ensure_new(outdir: &Path, shard: Shard, resume: bool) -> Result<()> {
    let has_begun = of_shard(&outdir.join(NAME), shard).exists();
    ensure!(resume || !has_begun, "shard {shard} has begun in '{}': --resume goes on with it", outdir.display());
    Ok(())
}

/// The id of the last run that has not ended, but for this one.
fn last_open(runs: &[Past], this: &Past) -> Option<String> {
    let others = runs.iter().filter(|run| run.begun.id != this.begun.id && !run.has_ended());
    others.max_by_key(|run| run.taken_up).map(|run| run.begun.id.clone())
}

fn append(file: &mut File, entry: &Entry) -> Result<()> {
    let mut line = serde_json::to_string(entry)?;
    line.push('\n');
    file.write_all(line.as_bytes())?;
    Ok(sync(file)?)
}

/// The journal, held alone, its lines whole.
fn hold(path: &Path) -> Result<File> {
    let file = open(path)?;
    ensure!(lock::alone(&file), is_busy(path));
    past::mend(path, &file)?;
    Ok(file)
}

/// The run's journal, shared with the other shards; whoever comes first begins the run.
fn join(path: &Path, begun: impl FnOnce() -> Result<Begun>) -> Result<(File, Begun)> {
    let mut shared = open(path)?;
    // One that cannot be read is told of below.
    let tells_of_a_run = || past::last_begun(path).map_or(true, |run| run.is_some());
    let held = lock::alone_or_shared(&shared, tells_of_a_run).with_context(|| {
        format!("shards need locks, and '{}' cannot be locked: choose another --outdir, or --shard 0/1", path.display())
    })?;
    let Some(held) = held else { bail!(is_busy(path)) };
    let outdir = path.parent().unwrap_or(Path::new(""));
    let (begun, then) = (begun()?, past::last_begun(path)?);
    if held == Held::Alone {
        past::mend(path, &shared)?;
        if then.is_none() {
            let stale = list(outdir)?.into_iter().any(|name| shard_of(&name).is_some());
            ensure!(!stale, "'{}' has journals of shards and none of their run; move them away", outdir.display());
            append(&mut shared, &Entry::Begun(Box::new(begun.clone()))).with_context(|| cannot(path))?;
        }
        ensure!(lock::share(&shared).with_context(|| cannot(path))?, is_busy(path));
    }
    then.iter().try_for_each(|then| ensure_same(outdir, then, &begun))?;
    Ok((shared, begun))
}

/// Whether the terms of two runs are the same.
fn is_alike(one: &Begun, other: &Begun) -> bool {
    one.edition == other.edition && one.terms == other.terms
}

/// Whether both are one run, and divided alike.
fn ensure_same(outdir: &Path, then: &Begun, now: &Begun) -> Result<()> {
    let (outdir, needed) = (outdir.display(), "shards need an OUTDIR that has no other run in it");
    ensure!(is_alike(then, now), "{needed}: in '{outdir}' {}", differences(then, now));
    ensure!(then.shards == now.shards, "{needed}: '{outdir}' has one of {}", n_shards(then.shards));
    Ok(())
}

/// A file to add lines to.
fn open(path: &Path) -> Result<File> {
    // A pipe would wait for somebody to write, and a link may lead anywhere.
    let is_file = path.symlink_metadata().map_or(true, |metadata| metadata.is_file());
    ensure!(is_file, "'{}' is no file; move it away or choose another --outdir", path.display());
    let file = OpenOptions::new().create(true).append(true).read(true).open(path).with_context(|| cannot(path))?;
    sync_folder(path).with_context(|| cannot(path))?;
    Ok(file)
}

fn n_shards(n: usize) -> String {
    if n == 1 { "one process".into() } else { format!("{n} shards") }
}

fn is_busy(path: &Path) -> String {
    let outdir = path.parent().unwrap_or(Path::new("")).display();
    format!("another txt2img is drawing into '{outdir}'; wait for it, or choose another --outdir")
}

fn cannot(path: &Path) -> String {
    format!("cannot write '{}'", path.display())
}
