//! The checkpoint, and how it compares with what is read of one.

use super::units::bytes;
use super::{Row, sha256};
use crate::checkpoint::weights::misfit;
use crate::checkpoint::{Checkpoint, Layout};
use crate::demo;
use crate::job::{Ckpt, Job};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::Path;

type Inventory = [(String, Vec<usize>)];

/// Groups of tensors that are not read: so many are named.
const MOST_GROUPS: usize = 6;

/// What does not fit, a clause each.
pub fn misfits(checkpoint: &Checkpoint, inventory: &Inventory) -> Vec<String> {
    inventory.iter().filter_map(|(name, shape)| misfit(checkpoint, name, shape)).collect()
}

/// Which model it is, and what is in it.
pub fn rows(job: &Job, checkpoint: &Checkpoint, inventory: &Inventory) -> Result<Vec<Row>> {
    let mut rows = match &job.ckpt {
        Ckpt::Demo => vec![
            Row::new("model", "demo, built in"),
            Row::new("size", bytes(demo::WEIGHTS.len() as f64)),
            Row::new("sha256", sha256(demo::WEIGHTS)?),
        ],
        Ckpt::Path(path) => of_files(path, checkpoint)?,
    };
    rows.push(Row::new("layout", layout(checkpoint.layout())));
    rows.push(Row::new("parameters", parameters(checkpoint, inventory)));
    rows.push(Row::new("not read", surplus(checkpoint, inventory)));
    Ok(rows)
}

fn of_files(path: &Path, checkpoint: &Checkpoint) -> Result<Vec<Row>> {
    let mut rows = vec![Row::new("model", path.display())];
    for file in checkpoint.files() {
        let reading = || format!("reading checkpoint '{}'", file.display());
        let opened = File::open(file).with_context(reading)?;
        let size = opened.metadata().with_context(reading)?.len();
        let hash = sha256(opened).with_context(reading)?;
        // Of a folder, the files' own names; the path is said above.
        let name = file.strip_prefix(path).ok().filter(|name| *name != Path::new(""));
        let of = name.map_or(String::new(), |name| format!(" {}", name.display()));
        rows.push(Row::new("size", bytes(size as f64) + &of));
        rows.push(Row::new("sha256", hash + &of));
    }
    Ok(rows)
}

fn layout(layout: Layout) -> &'static str {
    match layout {
        Layout::Torch => "ckpt",
        Layout::Safetensors => "safetensors",
        Layout::Diffusers => "diffusers folder",
    }
}

fn parameters(checkpoint: &Checkpoint, inventory: &Inventory) -> String {
    let shapes = inventory.iter().filter_map(|(name, _)| checkpoint.shape(name));
    let numbers: Vec<usize> = shapes.map(|shape| shape.iter().product()).collect();
    format!("{} in {} tensors", numbers.iter().sum::<usize>(), numbers.len())
}

/// Tensors that drawing does not read: the encoder and what training needs, as a rule.
fn surplus(checkpoint: &Checkpoint, inventory: &Inventory) -> String {
    let read: HashSet<&str> = inventory.iter().map(|(name, _)| &**name).collect();
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for name in checkpoint.names().filter(|name| !read.contains(name)) {
        *groups.entry(group(name)).or_default() += 1;
    }
    let count: usize = groups.values().sum();
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, n)| std::cmp::Reverse(*n)); // stable: by name among equals
    let named =
        groups.iter().take(MOST_GROUPS).map(|(name, n)| if *n > 1 { format!("{n} of {name}") } else { name.clone() });
    let mut listed = named.collect::<Vec<_>>().join(", ");
    if groups.len() > MOST_GROUPS {
        let others: usize = groups[MOST_GROUPS..].iter().map(|(_, n)| n).sum();
        listed += &format!(" and {others} more");
    }
    if count == 0 { "0 tensors".into() } else { format!("{count} tensors: {listed}") }
}

/// `first_stage_model.encoder.…` for all that is below.
fn group(name: &str) -> String {
    match name.match_indices('.').nth(1) {
        Some((at, _)) => format!("{}…", &name[..=at]),
        None => name.to_owned(),
    }
}
