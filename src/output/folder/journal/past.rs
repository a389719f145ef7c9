//! What the journals of a folder tell of its runs.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::entry::{Begun, Entry, Promise, What};
use super::{NAME, shard_of};
use crate::output::folder::list;

/// One run, so far.
pub struct Past {
    pub begun: Begun,
    /// The line of the folder's own journal that it was begun or gone on with in last.
    pub taken_up: usize,
    /// What there is, with its file if it has one.
    pub kept: HashMap<What, Option<Promise>>,
    /// What there was.
    pub lost: HashSet<What>,
    /// What there may be, and by which shard.
    pub promised: HashMap<What, (Option<usize>, Promise)>,
    /// Shards that have drawn all of theirs; none of them is who drew all there was.
    pub ended: Vec<Option<usize>>,
}

/// All runs of a folder, the first of them first.
pub fn read(outdir: &Path) -> Result<Vec<Past>> {
    let shards = list(outdir)?.into_iter().filter_map(|name| Some((name.clone(), shard_of(&name)?)));
    let mut journals: Vec<_> = shards.map(|(name, shard)| (outdir.join(name), Some(shard))).collect();
    journals.insert(0, (outdir.join(NAME), None));
    let mut runs = vec![];
    for (path, shard) in journals {
        read_one(&path, shard, &mut runs)?;
    }
    Ok(runs)
}

/// The last run that a folder's own journal tells of.
pub fn last_begun(path: &Path) -> Result<Option<Begun>> {
    let mut runs = vec![];
    read_one(path, None, &mut runs)?;
    Ok(runs.pop().map(|past| past.begun))
}

fn no_journal(path: &Path) -> String {
    format!("'{}' is no journal of a run of ours; move it away or choose another --outdir", path.display())
}

/// shard: whose it is, if it is not the run's.
fn read_one(path: &Path, shard: Option<usize>, runs: &mut Vec<Past>) -> Result<()> {
    let text = match fs::read(path) {
        Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(()),
        text => text.with_context(|| format!("cannot read '{}'", path.display()))?,
    };
    add_all(&text, shard, runs).with_context(|| no_journal(path))
}

/// The lines of a journal.
fn add_all(text: &[u8], shard: Option<usize>, runs: &mut Vec<Past>) -> Result<()> {
    let mut current = None;
    for (i, line) in text[..whole_lines(text)].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let entry = serde_json::from_slice(line).with_context(|| format!("line {}", i + 1))?;
        add(entry, i, shard, runs, &mut current).with_context(|| format!("line {}", i + 1))?;
    }
    Ok(())
}

/// line: the entry's, from 0; current: the run that is spoken of.
fn add(
    entry: Entry,
    line: usize,
    shard: Option<usize>,
    runs: &mut Vec<Past>,
    current: &mut Option<usize>,
) -> Result<()> {
    match entry {
        Entry::Begun(begun) => {
            ensure!(begun.is_sound(), "no run is like that");
            *current = Some(runs.len());
            runs.push(Past { taken_up: line, ..Past::new(*begun) });
            return Ok(());
        }
        Entry::Of(run) => *current = Some(run),
        _ => {}
    }
    let Some(run) = current.and_then(|current| runs.get_mut(current)) else { bail!("it is of no run") };
    match entry {
        Entry::Promised(promise) if !promise.is_inside() => bail!("'{}' is somewhere else", promise.file),
        Entry::Promised(promise) => _ = run.promised.insert(promise.what, (shard, promise)),
        Entry::Done(what) => run.keep(what),
        Entry::Ended(shard) => run.ended.push(shard),
        Entry::Of(_) if shard.is_none() => run.taken_up = line,
        Entry::Begun(_) | Entry::Of(_) => {}
    }
    Ok(())
}

/// Bytes of the lines that were written to their ends.
fn whole_lines(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1)
}

/// Cuts off a line that was not written to its end, if all others are ours, and it is as ours begin.
pub fn mend(path: &Path, file: &File) -> Result<()> {
    let text = fs::read(path)?;
    let (lines, rest) = text.split_at(whole_lines(&text));
    if rest.is_empty() {
        return Ok(());
    }
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        serde_json::from_slice::<Entry>(line).with_context(|| no_journal(path))?;
    }
    let begins_as_ours = BEGINNINGS.iter().any(|ours| rest.starts_with(ours) || ours.starts_with(rest));
    // What a power cut leaves unwritten may read as zeros.
    let is_blank = rest.iter().all(|byte| *byte == 0);
    ensure!(is_blank || begins_as_ours, "{}", no_journal(path));
    Ok(file.set_len(lines.len() as u64)?)
}

/// How lines begin.
const BEGINNINGS: [&[u8]; 5] = [br#"{"begun":"#, br#"{"of":"#, br#"{"promised":"#, br#"{"done":"#, br#"{"ended":"#];

impl Past {
    pub fn new(begun: Begun) -> Self {
        let (kept, lost, promised) = (HashMap::new(), HashSet::new(), HashMap::new());
        Self { begun, taken_up: 0, kept, lost, promised, ended: vec![] }
    }

    /// Whether all was drawn that a shard is to draw.
    pub fn has_drawn(&self, shard: usize) -> bool {
        self.ended.iter().any(|ended| ended.is_none_or(|ended| ended == shard))
    }

    /// Whether all was drawn.
    pub fn has_ended(&self) -> bool {
        (0..self.begun.shards).all(|shard| self.has_drawn(shard))
    }

    pub fn keep(&mut self, what: What) {
        let promise = self.promised.remove(&what).map(|(_, promise)| promise);
        self.kept.insert(what, promise);
    }
}

/// Returns what is different about two runs, in words; empty if nothing is.
pub fn differences(then: &Begun, now: &Begun) -> String {
    if then.edition != now.edition {
        return "it was begun by another version of txt2img; finish it with that one, or draw into another --outdir"
            .into();
    }
    let (then, now) = (&then.terms, &now.terms);
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
