//! The choice of the run to resume.

use super::record::{Overview, RunHeader};
use super::recover::RunState;
use crate::outdir::names::{JOURNAL, shard_path};
use crate::shard::Shard;
use anyhow::{Result, bail, ensure};
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

/// A run to resume.
pub struct Resumption {
    /// The index of the run.
    pub run: usize,
    /// The header that it gets, if it is extended.
    pub extended: Option<RunHeader>,
}

/// Returns the header of a run (the first argument) that is extended to the one asked for (the second), if that is possible.
pub type Extension<'a> = dyn Fn(&RunHeader, &RunHeader) -> Result<Option<RunHeader>> + 'a;

/// Returns the last run that equals the one asked for in `header`, or else the last that can be extended to it, or `None` if a
/// new run is to begin.
///
/// # Errors
/// If there are runs and `mode` is `Resume`, but none of these.
pub fn resumable(
    outdir: &Path,
    runs: &[RunState],
    mode: Mode,
    header: &RunHeader,
    extension: &Extension,
) -> Result<Option<Resumption>> {
    let Some(latest) = latest(runs).filter(|_| mode == Mode::Resume) else { return Ok(None) };
    // Their overviews may differ, as the grids of a run that was extended are smaller.
    let is_equal = |run: &RunHeader| has_same_params(run, header) && run.pictures == header.pictures;
    if let Some(run) = runs.iter().rposition(|run| is_equal(&run.header)) {
        return Ok(Some(Resumption { run, extended: None }));
    }
    for (run, state) in runs.iter().enumerate().rev() {
        if let Some(header) = extension(&state.header, header)? {
            return Ok(Some(Resumption { run, extended: Some(header) }));
        }
    }
    let (run, outdir) = (&runs[latest].header, outdir.display());
    let hint = match can_differ_in_length(run, header) {
        true => {
            "a run can be extended by a larger --n_iter, or, with --n_iter 1 and without --fixed_code, by lines after whole batches \
             of --n_samples; otherwise use the same flags or another --outdir"
        }
        false => "use the same flags or another --outdir",
    };
    bail!("--resume: '{outdir}' holds a different run ({}); {hint}", differences(run, header))
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

/// Returns whether two runs differ only in parameters that decide how many pictures they have.
fn can_differ_in_length(one: &RunHeader, other: &RunHeader) -> bool {
    let are_equal = |name: &String| one.params.get(name) == other.params.get(name);
    let mut names = one.params.keys().chain(other.params.keys());
    one.params_version == other.params_version
        && [one.shards, other.shards] == [1, 1]
        && one.overview != Some(Overview::Sweep)
        && names.all(|name| ["--n_iter", "--from-file"].contains(&&**name) || are_equal(name))
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
        Value::Null => "none".into(),
        Value::Array(items) if items.is_empty() => "none".into(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    (text.len() <= 40).then_some(text)
}
