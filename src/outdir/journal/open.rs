//! The opening of journals: locks, recovery, and the choice between a new run and an earlier one.

use super::Journal;
use super::lock::{self, Lock};
use super::log;
use super::record::{LogRecord, RunHeader, RunParams};
use super::recover::{self, RunState};
use super::resumable::{
    Extension, Mode, Resumption, ensure_same_run, ensure_shard_may_begin, latest, latest_unfinished, resumable,
};
use crate::outdir::dir::list;
use crate::outdir::names::{JOURNAL, shard_of_journal, shard_path};
use crate::shard::Shard;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::path::Path;

impl Journal {
    /// Begins or resumes a run in `outdir`, or a shard of one. `header` describes the run as if it began now; it is
    /// called once no other process can begin one. `extension` decides whether an earlier run can be extended to it.
    ///
    /// # Errors
    /// If another process draws in `outdir`, a journal is invalid or cannot be written, or the run to resume is a
    /// different one.
    pub fn open(
        outdir: &Path,
        shard: Option<Shard>,
        mode: Mode,
        header: impl FnOnce() -> Result<RunHeader>,
        extension: &Extension,
    ) -> Result<Self> {
        match shard {
            None => Self::open_run(outdir, mode, header, extension),
            Some(shard) => Self::open_shard(outdir, shard, mode, header),
        }
    }

    /// Returns the journal that [`open`](Self::open) would return, for a dry run: without locks, and nothing is written.
    /// Parameters that `header` lacks, as they are known later, are taken to be those of the latest run.
    ///
    /// # Errors
    /// If a journal is invalid, or the run to resume is a different one.
    pub fn inspect(
        outdir: &Path,
        shard: Option<Shard>,
        mode: Mode,
        mut header: RunHeader,
        extension: &Extension,
    ) -> Result<Self> {
        let mut runs = recover::read(outdir)?;
        for (name, value) in latest(&runs).iter().flat_map(|latest| &runs[*latest].header.params) {
            header.params.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let run = match shard {
            None => resumable(outdir, &runs, mode, &header, extension)?.map(|resumption| {
                let mut run = runs.swap_remove(resumption.run);
                resumption.extended.into_iter().for_each(|header| run.extend(header));
                run
            }),
            Some(shard) => {
                ensure_shard_may_begin(outdir, shard, mode)?;
                let run = runs.pop();
                run.iter().try_for_each(|run| ensure_same_run(outdir, &run.header, &header))?;
                run
            }
        };
        let run = run.unwrap_or_else(|| RunState::new(header));
        Ok(Self { file: None, shard, ..Self::of_run(outdir, None, run) })
    }

    /// Returns the parameters of the run that was begun or resumed last; `None` if there is none that can be read.
    pub fn last_params(outdir: &Path) -> Option<RunParams> {
        let mut runs = recover::read(outdir).ok()?;
        let latest = latest(&runs)?;
        Some(runs.swap_remove(latest).header.params)
    }

    /// Reopens the run that was begun or resumed last, to verify and complete it.
    ///
    /// # Errors
    /// If there is none, a process draws it, or a journal is invalid or cannot be written.
    pub fn reopen(outdir: &Path) -> Result<Self> {
        let path = outdir.join(JOURNAL);
        let is_folder = outdir.is_dir() || !outdir.exists();
        ensure!(is_folder, "'{}' is not a folder; give the --outdir of a run", outdir.display());
        ensure!(path.exists(), "no run found in '{}' (no {JOURNAL}); give the --outdir of a run", outdir.display());
        let file = open_exclusively(&path)?;
        let mut runs = recover::read(outdir)?;
        let Some(latest) = latest(&runs) else { bail!(records_no_run(&path)) };
        let run = runs.remove(latest);
        let latest_unfinished = latest_unfinished(&runs, &run);
        let mut journal = Self { latest_unfinished, ..Self::of_run(outdir, Some(file), run) };
        journal.append(&LogRecord::Select(latest))?;
        Ok(journal)
    }

    fn open_run(
        outdir: &Path,
        mode: Mode,
        header: impl FnOnce() -> Result<RunHeader>,
        extension: &Extension,
    ) -> Result<Self> {
        let file = open_exclusively(&outdir.join(JOURNAL))?;
        let (mut runs, header) = (recover::read(outdir)?, header()?);
        let resumed = resumable(outdir, &runs, mode, &header, extension)?;
        let abandons_unfinished = resumed.is_none() && latest(&runs).is_some_and(|latest| !runs[latest].is_finished());
        let mut records = vec![];
        let run = match resumed {
            Some(Resumption { run: index, extended }) => {
                records.push(LogRecord::Select(index));
                let mut run = runs.swap_remove(index);
                if let Some(header) = extended {
                    records.push(LogRecord::Extend(Box::new(header.clone())));
                    run.extend(header);
                }
                run
            }
            None => {
                records.push(LogRecord::Begin(Box::new(header.clone())));
                RunState::new(header)
            }
        };
        let latest_unfinished = latest_unfinished(&runs, &run);
        let mut journal = Self { abandons_unfinished, latest_unfinished, ..Self::of_run(outdir, Some(file), run) };
        records.iter().try_for_each(|record| journal.append(record))?;
        Ok(journal)
    }

    fn open_shard(outdir: &Path, shard: Shard, mode: Mode, header: impl FnOnce() -> Result<RunHeader>) -> Result<Self> {
        let (shared, header) = join(outdir, header)?;
        // Checked before the journal is created, which it looks for, and reported after, as a running shard comes first.
        let path = shard_path(&outdir.join(JOURNAL), shard);
        let may_begin = ensure_shard_may_begin(outdir, shard, mode);
        let file = open_exclusively(&path)?;
        may_begin?;
        // Read under the lock: no other process logs what this shard draws any more.
        let mut runs = recover::read(outdir)?;
        let Some(run) = runs.pop() else { bail!(records_no_run(&outdir.join(JOURNAL))) };
        ensure_same_run(outdir, &run.header, &header)?;
        let (shard, _shared) = (Some(shard), Some(shared));
        let mut journal = Self { path, shard, _shared, ..Self::of_run(outdir, Some(file), run) };
        journal.append(&LogRecord::Select(runs.len()))?;
        Ok(journal)
    }

    /// Returns the journal of a run that is not divided, with `file` as `run.jsonl`.
    fn of_run(outdir: &Path, file: Option<File>, run: RunState) -> Self {
        let path = outdir.join(JOURNAL);
        Self { file, path, shard: None, _shared: None, run, abandons_unfinished: false, latest_unfinished: None }
    }
}

/// Opens a journal, locks it exclusively, and cuts off a torn line.
fn open_exclusively(path: &Path) -> Result<File> {
    let file = log::open(path)?;
    ensure!(lock::exclusive(&file), is_busy(path));
    log::truncate_torn_line(path, &file)?;
    Ok(file)
}

/// Opens the `run.jsonl` that shards share, with a shared lock. The first shard logs the run's header. Returns the file
/// and the header of the run as this process would begin it.
fn join(outdir: &Path, header: impl FnOnce() -> Result<RunHeader>) -> Result<(File, RunHeader)> {
    let path = outdir.join(JOURNAL);
    let mut file = log::open(&path)?;
    // A journal that cannot be read counts as begun here, and is reported below.
    let is_begun = || recover::last_header(&path).map_or(true, |header| header.is_some());
    let held = lock::exclusive_or_shared(&file, is_begun).with_context(|| {
        let path = path.display();
        format!("shards need file locks, and '{path}' cannot be locked: choose another --outdir, or --shard 0/1")
    })?;
    let Some(held) = held else { bail!(is_busy(&path)) };
    let (header, recorded) = (header()?, recover::last_header(&path)?);
    if held == Lock::Exclusive {
        log::truncate_torn_line(&path, &file)?;
        if recorded.is_none() {
            let is_stale = list(outdir)?.iter().any(|name| shard_of_journal(name).is_some());
            ensure!(
                !is_stale,
                "'{}' has journals of shards (run-I-of-N.jsonl) without the run's own (run.jsonl); move them away",
                outdir.display()
            );
            log::append(&path, &mut file, &LogRecord::Begin(Box::new(header.clone())))?;
        }
        ensure!(lock::downgrade(&file).with_context(|| log::cannot_write(&path))?, is_busy(&path));
    }
    recorded.iter().try_for_each(|recorded| ensure_same_run(outdir, recorded, &header))?;
    Ok((file, header))
}

fn records_no_run(path: &Path) -> String {
    format!("'{}' contains no run; choose another --outdir", path.display())
}

fn is_busy(path: &Path) -> String {
    let outdir = path.parent().unwrap_or(Path::new("")).display();
    format!("another txt2img is drawing into '{outdir}'; wait for it, or choose another --outdir")
}
