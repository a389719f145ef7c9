//! The recovery of runs from the journals in OUTDIR.

use super::log;
use super::record::{Artifact, Completeness, Intent, LogRecord, Overview, RunHeader};
use crate::outdir::dir::list;
use crate::outdir::names::{JOURNAL, shard_of_journal};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// The state of a run, recovered from journals.
pub struct RunState {
    /// The run, as recorded when it began.
    pub header: RunHeader,
    /// The line of `run.jsonl`, counted from 0, in which the run was begun or last resumed.
    pub last_selected: usize,
    /// The committed artifacts, each with the intent of its file, if it has one.
    pub committed: HashMap<Artifact, Option<Intent>>,
    /// The artifacts that were committed and whose files are missing.
    pub lost: HashSet<Artifact>,
    /// The intents without a commit, each with the index of the shard that logged it, `None` for `run.jsonl`.
    pub pending: HashMap<Artifact, (Option<usize>, Intent)>,
    /// The indices of finished shards; `None` stands for a process that drew everything.
    pub finished: Vec<Option<usize>>,
}

/// Recovers all runs in `outdir`, in the order in which they began.
///
/// # Errors
/// If a journal cannot be read or is invalid.
pub fn read(outdir: &Path) -> Result<Vec<RunState>> {
    let shards = list(outdir)?.into_iter().filter_map(|name| Some((name.clone(), shard_of_journal(&name)?)));
    let mut journals: Vec<_> = shards.map(|(name, shard)| (outdir.join(name), Some(shard))).collect();
    // The run's journal comes first, because those of shards refer to it.
    journals.insert(0, (outdir.join(JOURNAL), None));
    let mut runs = vec![];
    for (path, shard) in journals {
        read_one(&path, shard, &mut runs)?;
    }
    Ok(runs)
}

/// Returns the header of the last run in the journal `path`, a `run.jsonl`.
///
/// # Errors
/// If the journal cannot be read or is invalid.
pub fn last_header(path: &Path) -> Result<Option<RunHeader>> {
    let mut runs = vec![];
    read_one(path, None, &mut runs)?;
    Ok(runs.pop().map(|run| run.header))
}

/// Applies the records of one journal to `runs`. `shard`: the index of the shard it belongs to, `None` for `run.jsonl`.
fn read_one(path: &Path, shard: Option<usize>, runs: &mut Vec<RunState>) -> Result<()> {
    let text = log::read(path)?;
    let mut selected = None;
    for (line, record) in log::records(&text).enumerate() {
        let applied = record
            .map_err(|_| anyhow!("not a record of a run"))
            .and_then(|record| apply(record, line, shard, runs, &mut selected));
        applied.with_context(|| format!("line {}", line + 1)).with_context(|| log::not_a_journal(path))?;
    }
    Ok(())
}

/// Applies the record in `line`, counted from 0. `selected`: the index of the run that the record belongs to.
fn apply(
    record: LogRecord,
    line: usize,
    shard: Option<usize>,
    runs: &mut Vec<RunState>,
    selected: &mut Option<usize>,
) -> Result<()> {
    match record {
        LogRecord::Begin(header) => {
            ensure!(header.is_valid(), "the run's header is invalid");
            *selected = Some(runs.len());
            runs.push(RunState { last_selected: line, ..RunState::new(*header) });
            return Ok(());
        }
        LogRecord::Select(run) => *selected = Some(run),
        _ => {}
    }
    let Some(run) = selected.and_then(|selected| runs.get_mut(selected)) else { bail!("no run was begun before it") };
    match record {
        LogRecord::Intend(intent) if !intent.is_inside() => bail!("'{}' is outside the output folder", intent.file),
        LogRecord::Intend(intent) => _ = run.pending.insert(intent.artifact, (shard, intent)),
        LogRecord::Commit(artifact) => run.commit(artifact),
        LogRecord::End(shard) => run.finished.push(shard),
        LogRecord::Select(_) if shard.is_none() => run.last_selected = line,
        LogRecord::Extend(header) => {
            ensure!(header.is_valid() && header.id == run.header.id, "the run's header is invalid");
            run.extend(*header);
        }
        LogRecord::Begin(_) | LogRecord::Select(_) => {}
    }
    Ok(())
}

impl RunState {
    /// Creates the state of a run that has just begun.
    pub fn new(header: RunHeader) -> Self {
        let (committed, lost, pending) = (HashMap::new(), HashSet::new(), HashMap::new());
        Self { header, last_selected: 0, committed, lost, pending, finished: vec![] }
    }

    /// Adds the pictures that `header` has more. The last grid, if it is short, and the index do not show everything then.
    pub fn extend(&mut self, header: RunHeader) {
        let shows_all = |artifact: &Artifact| match (artifact, self.header.overview) {
            (Artifact::Grid(n), Some(Overview::Grids(grids))) => {
                grids.pictures(*n, self.header.pictures).len() == grids.every
            }
            (artifact, _) => *artifact != Artifact::Index,
        };
        for (_, intent) in self.committed.iter_mut().filter(|(artifact, _)| !shows_all(artifact)) {
            intent.iter_mut().for_each(|intent| intent.completeness = Completeness::Partial);
        }
        self.header = header;
        self.finished.clear();
    }

    /// Whether everything that belongs to this shard was drawn.
    pub fn is_shard_finished(&self, shard: usize) -> bool {
        self.finished.iter().any(|finished| finished.is_none_or(|finished| finished == shard))
    }

    /// Whether everything was drawn.
    pub fn is_finished(&self) -> bool {
        (0..self.header.shards).all(|shard| self.is_shard_finished(shard))
    }

    /// Marks an artifact as committed, with the intent that is pending, if any.
    pub fn commit(&mut self, artifact: Artifact) {
        let intent = self.pending.remove(&artifact).map(|(_, intent)| intent);
        self.committed.insert(artifact, intent);
    }

    /// Marks the committed artifacts whose file `is_missing` as lost, to be made again.
    pub fn drop_missing(&mut self, is_missing: impl Fn(&Intent) -> bool) {
        let lost = self.committed.extract_if(|_, intent| intent.as_ref().is_some_and(&is_missing));
        self.lost.extend(lost.map(|(artifact, _)| artifact));
    }
}
