//! The checkpoint, compared with the tensors that loading reads.

use super::Row;
use crate::checkpoint::weights::{SCHEDULE, mismatch, schedule};
use crate::checkpoint::{Checkpoint, Dtype, Layout, MARKERS};
use crate::demo;
use crate::files::sha256;
use crate::human::{bytes, counted};
use crate::interrupt::{self, Interrupted};
use crate::job::{Job, ModelSource};
use anyhow::{Context, Result, bail};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The most groups of unread tensors that are named.
const MAX_GROUPS: usize = 6;

/// Returns the names of the tensors that do not fit, with a clause about each.
pub fn mismatches<'a>(checkpoint: &Checkpoint, inventory: &'a [(String, Vec<usize>)]) -> Vec<(&'a str, String)> {
    let clause = |(name, shape): &'a (String, Vec<usize>)| {
        let clause = mismatch(checkpoint, name, shape).or_else(|| not_float(name, checkpoint.dtype(name)?));
        Some((&**name, clause?))
    };
    inventory.iter().filter_map(clause).collect()
}

/// Returns a clause about a tensor that does not contain floating point numbers.
fn not_float(name: &str, dtype: Dtype) -> Option<String> {
    (!dtype.is_float()).then(|| format!("'{name}' is stored as {dtype}, not as floating point numbers"))
}

/// Returns the lines about the checkpoint's contents.
pub fn rows(checkpoint: &Checkpoint, inventory: &[(String, Vec<usize>)]) -> Vec<Row> {
    vec![
        Row::new("layout", layout(checkpoint.layout())),
        Row::new("parameters", parameters(checkpoint, inventory)),
        Row::new("not read", unread(checkpoint, inventory)),
    ]
}

/// Returns the lines that name the model and the sizes of its files.
///
/// # Errors
/// If a file cannot be read.
pub fn model_rows(job: &Job, checkpoint: &Checkpoint) -> Result<Vec<Row>> {
    if let ModelSource::Demo = job.model.ckpt {
        return Ok(vec![Row::new("model", "demo, built in"), Row::new("size", bytes(demo::WEIGHTS.len() as f64))]);
    }
    let mut rows = vec![Row::new("model", checkpoint.path().display())];
    for file in checkpoint.files() {
        let size = fs::metadata(file).with_context(|| reading(file))?.len();
        rows.push(Row::new("size", bytes(size as f64) + &suffix(checkpoint, file)));
    }
    Ok(rows)
}

/// Returns the lines about the hashes of the model's files, which are read.
///
/// # Errors
/// If a file cannot be read, or the user interrupts the program.
pub fn hashes(job: &Job, checkpoint: &Checkpoint) -> Result<Vec<Row>> {
    if let ModelSource::Demo = job.model.ckpt {
        return Ok(vec![Row::new("sha256", sha256::of_bytes(demo::WEIGHTS))]);
    }
    let row = |file: &PathBuf| {
        let hash = sha256::of_file(file, &|| interrupt::check().is_ok()).with_context(|| reading(file))?;
        let Some(hash) = hash else { bail!(Interrupted) };
        Ok(Row::new("sha256", hash + &suffix(checkpoint, file)))
    };
    checkpoint.files().iter().map(row).collect()
}

fn reading(file: &Path) -> String {
    format!("reading checkpoint '{}'", file.display())
}

/// Returns a file's path in the model's folder, after a space; empty if the model is a single file.
fn suffix(checkpoint: &Checkpoint, file: &Path) -> String {
    let name = file.strip_prefix(checkpoint.path()).ok().filter(|name| *name != Path::new(""));
    name.map_or(String::new(), |name| format!(" {}", name.display()))
}

fn layout(layout: Layout) -> &'static str {
    match layout {
        Layout::Torch => "ckpt",
        Layout::Safetensors => "safetensors",
        Layout::Diffusers => "diffusers folder",
    }
}

fn parameters(checkpoint: &Checkpoint, inventory: &[(String, Vec<usize>)]) -> String {
    let shapes = inventory.iter().filter_map(|(name, _)| checkpoint.shape(name));
    // A damaged file may claim any shapes.
    let count = |shape: &[usize]| shape.iter().fold(1, |n: usize, &size| n.saturating_mul(size));
    let counts: Vec<usize> = shapes.map(count).collect();
    format!("{} in {} tensors", counts.iter().fold(0, |sum: usize, &n| sum.saturating_add(n)), counts.len())
}

/// Counts the tensors that are not read: usually the VAE's encoder and the state of training.
fn unread(checkpoint: &Checkpoint, inventory: &[(String, Vec<usize>)]) -> String {
    let mut read: HashSet<&str> = inventory.iter().map(|(name, _)| &**name).collect();
    if schedule(checkpoint).is_some() {
        read.insert(SCHEDULE);
    }
    read.extend(MARKERS);
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in checkpoint.names().filter(|name| !read.contains(name)) {
        groups.entry(group(name)).or_default().push(name);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, names)| Reverse(names.len())); // stable: by name among equals
    let n = |groups: &[(&str, Vec<&str>)]| groups.iter().map(|(_, names)| names.len()).sum::<usize>();
    let (named, others) = groups.split_at(groups.len().min(MAX_GROUPS));
    let mut parts: Vec<String> = named.iter().map(|(group, names)| describe_group(group, names)).collect();
    if !others.is_empty() {
        parts.push(format!("{} more", n(others)));
    }
    let parts = parts.join(", ");
    if groups.is_empty() { "0 tensors".into() } else { format!("{}: {parts}", counted(n(&groups), "tensor")) }
}

/// Returns a name up to and including its second dot, or all of it if it has fewer.
fn group(name: &str) -> &str {
    name.match_indices('.').nth(1).map_or(name, |(at, _)| &name[..=at])
}

fn describe_group(group: &str, names: &[&str]) -> String {
    match names {
        [name] => name.to_string(),
        _ => format!("{} of {group}…", names.len()),
    }
}
