//! The choice of the run to resume.

use super::record::RunHeader;
use super::recover::RunState;
use crate::outdir::names::{JOURNAL, shard_path};
use crate::shard::Shard;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;

/// Whether a process begins a run or resumes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Begins a run.
    Begin,
    /// Resumes a run that has the same parameters, or begins one if no run was begun in OUTDIR.
    Resume,
}

/// Returns the index of the run that was begun or resumed last.
pub fn latest(runs: &[RunState]) -> Option<usize> {
    (0..runs.len()).max_by_key(|run| runs[*run].last_selected)
}

/// Returns the id of the latest unfinished run other than `this`.
pub fn latest_unfinished(runs: &[RunState], this: &RunState) -> Option<String> {
    let others = runs.iter().filter(|run| run.header.id != this.header.id && !run.is_finished());
    others.max_by_key(|run| run.last_selected).map(|run| run.header.id.clone())
}

/// Returns the index of the last run that equals the one asked for in `header`, or `None` if a new run is to begin.
///
/// # Errors
/// If there are runs and `mode` is `Resume`, but none is equal.
pub fn resumable(outdir: &Path, runs: &[RunState], mode: Mode, header: &RunHeader) -> Result<Option<usize>> {
    let Some(latest) = latest(runs).filter(|_| mode == Mode::Resume) else { return Ok(None) };
    let is_equal = |run: &RunHeader| {
        has_same_params(run, header) && run.pictures == header.pictures && run.overview == header.overview
    };
    runs.iter().rposition(|run| is_equal(&run.header)).map(Some).with_context(|| {
        let differences = differences(&runs[latest].header, header);
        format!(
            "--resume: '{}' holds a different run ({differences}); use the same flags or another --outdir",
            outdir.display()
        )
    })
}

/// Checks that a shard that was begun is to be resumed.
///
/// # Errors
/// If it is not.
pub fn ensure_shard_may_begin(outdir: &Path, shard: Shard, mode: Mode) -> Result<()> {
    let is_begun = shard_path(&outdir.join(JOURNAL), shard).exists();
    let outdir = outdir.display();
    ensure!(
        mode == Mode::Resume || !is_begun,
        "shard {shard} was already begun in '{outdir}'; add --resume to continue it"
    );
    Ok(())
}

/// Checks that a shard belongs to the run in `outdir`: with the same parameters, divided into as many shards.
///
/// # Errors
/// If it does not.
pub fn ensure_same_run(outdir: &Path, run: &RunHeader, header: &RunHeader) -> Result<()> {
    let (outdir, needed) = (outdir.display(), "shards need an output folder without other runs");
    ensure!(has_same_params(run, header), "{needed}: '{outdir}' holds a different run ({})", differences(run, header));
    let shards = if run.shards == 1 { "one process".into() } else { format!("{} shards", run.shards) };
    ensure!(run.shards == header.shards, "{needed}: '{outdir}' holds a run of {shards}");
    Ok(())
}

fn has_same_params(one: &RunHeader, other: &RunHeader) -> bool {
    one.params_version == other.params_version && one.params == other.params
}

/// Describes how the parameters of two runs differ; empty if they do not.
fn differences(run: &RunHeader, header: &RunHeader) -> String {
    if run.params_version != header.params_version {
        return "it was started by another version of txt2img; finish it with that version".into();
    }
    let (was, is) = (&run.params, &header.params);
    let names = was.keys().chain(is.keys().filter(|name| !was.contains_key(*name)));
    let different = names.filter(|name| was.get(*name) != is.get(*name));
    let words = different.map(|name| match (was.get(name).map(short), is.get(name).map(short)) {
        (Some(Some(was)), Some(Some(is))) => format!("{name} was {was}, is now {is}"),
        _ => format!("{name} changed"),
    });
    words.collect::<Vec<_>>().join("; ")
}

/// Returns a value as text if that is short enough for a message.
fn short(value: &Value) -> Option<String> {
    let text = match value {
        Value::Array(items) if items.is_empty() => "none".into(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    (text.len() <= 40).then_some(text)
}
