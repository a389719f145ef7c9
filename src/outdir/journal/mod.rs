//! The journal of an output folder, `OUTDIR/run.jsonl`: a write-ahead log, by which a run can be resumed after any end.
//!
//! The intent to create a file is logged, with the hash of its contents, before the file gets its name, and a commit is
//! logged after. Whatever happens in between, the next process knows whether the file is there. Shards have journals of
//! their own, `run-I-of-N.jsonl`, beside that of the run. See [`lock`] for how processes keep out of each other's way.

mod lock;
mod log;
mod open;
mod record;
mod recover;
mod resumable;

use crate::shard::Shard;
use anyhow::Result;
use record::LogRecord;
use recover::RunState;
use std::fs::File;
use std::path::{Path, PathBuf};

pub use record::{Artifact, Completeness, Grids, Intent, Overview, PARAMS_VERSION, RunHeader, RunParams};
pub use resumable::Mode;

/// The journal of a run, locked so that no other process draws the same pictures.
pub struct Journal {
    /// The file, locked exclusively; `None` for a dry run, which writes nothing.
    file: Option<File>,
    path: PathBuf,
    shard: Option<Shard>,
    /// The file `run.jsonl` with a shared lock, if this is the journal of a shard.
    _shared: Option<File>,
    run: RunState,
    abandons_unfinished: bool,
    latest_unfinished: Option<String>,
}

impl Journal {
    /// The run, as recorded when it began.
    pub fn header(&self) -> &RunHeader {
        &self.run.header
    }

    /// Whether a new run begins although the run before it is unfinished.
    pub fn abandons_unfinished(&self) -> bool {
        self.abandons_unfinished
    }

    /// The id of the latest other run that is unfinished, if any.
    pub fn latest_unfinished(&self) -> Option<&str> {
        self.latest_unfinished.as_deref()
    }

    /// Whether this process draws one shard of the run.
    pub fn is_of_shard(&self) -> bool {
        self.shard.is_some()
    }

    /// Returns whether earlier processes completed an artifact: `Some` if so, with the intent of its file, if it has one.
    pub fn committed(&self, artifact: Artifact) -> Option<Option<&Intent>> {
        let intent = self.run.committed.get(&artifact)?.as_ref();
        intent.is_none_or(|intent| intent.completeness.is_complete()).then_some(intent)
    }

    /// Iterates over the artifacts that earlier processes committed, partial ones included, with the intents of their
    /// files.
    pub fn all_committed(&self) -> impl Iterator<Item = (Artifact, Option<&Intent>)> {
        self.run.committed.iter().map(|(artifact, intent)| (*artifact, intent.as_ref()))
    }

    /// Returns the intent of the file that shows an artifact partially, if an earlier process committed one.
    pub fn partial(&self, artifact: Artifact) -> Option<&Intent> {
        self.run.committed.get(&artifact)?.as_ref().filter(|intent| !intent.completeness.is_complete())
    }

    /// Whether an artifact was committed and its file is missing.
    pub fn has_lost(&self, artifact: Artifact) -> bool {
        self.run.lost.contains(&artifact)
    }

    /// Returns the indices of the shards that are unfinished, none for a run that is not divided.
    pub fn unfinished_shards(&self) -> Vec<usize> {
        let shards = self.run.header.shards;
        if shards == 1 { vec![] } else { (0..shards).filter(|shard| !self.run.is_shard_finished(*shard)).collect() }
    }

    /// Returns the intents without a commit, except those of other shards, which may be about to commit them.
    pub fn pending(&self) -> impl Iterator<Item = &Intent> {
        let is_ours = |by: &Option<usize>| self.shard.is_none_or(|shard| by.is_none_or(|by| by == shard.index));
        self.run.pending.values().filter(move |(by, _)| is_ours(by)).map(|(_, intent)| intent)
    }

    /// Commits the pending intents that were fulfilled before the last process was killed: it renamed the file and did
    /// not get to log that.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn recover(&mut self, outdir: &Path) -> Result<()> {
        let fulfilled: Vec<_> = self.pending().filter(|intent| intent.is_fulfilled(outdir)).cloned().collect();
        for intent in fulfilled {
            let artifact = intent.artifact;
            self.intend(intent)?;
            self.commit(artifact)?;
            self.run.commit(artifact);
        }
        Ok(())
    }

    /// Treats the committed artifacts whose file `is_missing` as lost, to be made again.
    pub fn drop_missing(&mut self, is_missing: impl Fn(&Intent) -> bool) {
        self.run.drop_missing(is_missing);
    }

    /// Logs that a file is about to get its name.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn intend(&mut self, intent: Intent) -> Result<()> {
        self.append(&LogRecord::Intend(intent))
    }

    /// Logs that an artifact is done.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn commit(&mut self, artifact: Artifact) -> Result<()> {
        self.append(&LogRecord::Commit(artifact))
    }

    /// Logs that this process drew all of its pictures.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn end(&mut self) -> Result<()> {
        self.append(&LogRecord::End(self.shard.map(|shard| shard.index)))
    }

    fn append(&mut self, record: &LogRecord) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        log::append(&self.path, file, record)
    }
}
