//! What the journals of a folder tell of its runs.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::entry::{Begun, Entry, Promise, Terms, What};
use super::is_one;
use crate::output::folder::list;

/// One run, so far.
pub struct Past {
    pub begun: Begun,
    /// What there is, with its file if it has one.
    pub kept: HashMap<What, Option<Promise>>,
    /// What there may be.
    pub promised: HashMap<What, Promise>,
    /// The shards that have drawn all of theirs.
    pub ended: Vec<Option<usize>>,
}

/// All runs of a folder, the first of them first.
pub fn read(outdir: &Path) -> Result<Vec<Past>> {
    // The run's own comes first: "run.jsonl" sorts behind "run-0-of-8.jsonl".
    let mut journals: Vec<_> = list(outdir)?.into_iter().filter(|name| is_one(name)).collect();
    journals.sort_by_key(|name| (name.len(), name.clone()));
    let mut runs = vec![];
    for name in journals {
        let path = outdir.join(name);
        read_one(&path, &mut runs).with_context(|| {
            format!("'{}' is no journal of a run of ours; move it away or choose another --outdir", path.display())
        })?;
    }
    Ok(runs)
}

fn read_one(path: &Path, runs: &mut Vec<Past>) -> Result<()> {
    let text = match fs::read(path) {
        Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let mut current = None;
    for (i, line) in text[..whole_lines(&text)].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let entry = serde_json::from_slice(line).with_context(|| format!("line {}", i + 1))?;
        add(entry, runs, &mut current).with_context(|| format!("line {}", i + 1))?;
    }
    Ok(())
}

/// current: the run that is spoken of.
fn add(entry: Entry, runs: &mut Vec<Past>, current: &mut Option<usize>) -> Result<()> {
    match entry {
        Entry::Begun(begun) => {
            *current = Some(runs.len());
            runs.push(Past::new(*begun));
            return Ok(());
        }
        Entry::Of(run) => *current = Some(run),
        _ => {}
    }
    let Some(run) = current.and_then(|current| runs.get_mut(current)) else { bail!("it is of no run") };
    match entry {
        Entry::Promised(promise) => _ = run.promised.insert(promise.what, promise),
        Entry::Done(what) => run.keep(what),
        Entry::Ended(shard) => run.ended.push(shard),
        Entry::Begun(_) | Entry::Of(_) => {}
    }
    Ok(())
}

/// Bytes of the lines that were written to their ends.
fn whole_lines(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1)
}

/// Cuts off a line that was not written to its end.
pub fn mend(file: &mut File) -> std::io::Result<()> {
    let mut text = vec![];
    file.read_to_end(&mut text)?;
    let whole = whole_lines(&text);
    if whole < text.len() { file.set_len(whole as u64) } else { Ok(()) }
}

impl Past {
    pub fn new(begun: Begun) -> Self {
        Self { begun, kept: HashMap::new(), promised: HashMap::new(), ended: vec![] }
    }

    pub fn keep(&mut self, what: What) {
        let promise = self.promised.remove(&what);
        self.kept.insert(what, promise);
    }
}

/// What is different, in words; empty if nothing is.
pub fn differences(then: &Terms, now: &Terms) -> String {
    let names = then.keys().chain(now.keys().filter(|name| !then.contains_key(*name)));
    let different = names.filter(|name| then.get(*name) != now.get(*name));
    let words = different.map(|name| match (then.get(name).map(word), now.get(name).map(word)) {
        (Some(Some(then)), Some(Some(now))) => format!("{name} was {then} and is {now}"),
        _ => format!("{name} is another"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// A value that is short enough for a sentence.
fn word(value: &serde_json::Value) -> Option<String> {
    let word = value.to_string();
    (word.len() <= 40).then_some(word)
}
