//! `--collect`: whether a run is complete, whoever drew it.

use super::End;
use super::overview::save_grid;
use crate::output::{Folder, Overview};
use crate::progress::{Progress, Watcher};
use anyhow::{Context, Result, ensure};
use std::collections::HashSet;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::Path;

/// Of missing pictures, so many runs of numbers are named.
const MOST_NAMED: usize = 20;

/// The others are counted.
const MOST_LOOKED_AT: usize = 1_000_000;

/// Checks every picture of the last run in OUTDIR against what was saved, and writes the grids that are missing.
///
/// # Errors
/// When a picture is missing, and which; or when there is no run, or one that goes on.
pub fn collect(outdir: &Path, watcher: Watcher) -> Result<End> {
    let progress = Progress::new(watcher);
    let mut folder = Folder::reopen(outdir)?;
    let (n, whole) = (folder.run().pictures, folder.whole());
    ensure!(whole.len() == n, "{}", what_is_missing(&folder, &whole));
    if let Some(Overview::Grids(grids)) = folder.run().overview {
        for grid in (0..n.div_ceil(grids.every)).filter(|grid| !folder.has_grid(*grid)).collect::<Vec<_>>() {
            let lost = grids.pictures(grid, n).find(|n| folder.aside(*n).is_ok_and(|picture| picture.is_none()));
            if let Some(lost) = lost {
                ensure!(
                    false,
                    "all {n} pictures are there, but for the grid number {lost} was laid aside and is gone; \
                     --resume, with the run's flags, draws what the grid needs"
                );
            }
            save_grid(&mut folder, grids, grid, &progress)?;
        }
    }
    let words = format!("All {n} pictures are there, as they were saved:\n{}\n", outdir.display());
    std::io::stdout().write_all(words.as_bytes()).context("writing to standard output")?;
    Ok(End::Finished)
}

fn what_is_missing(folder: &Folder, whole: &HashSet<usize>) -> String {
    let (n, shards) = (folder.run().pictures, folder.unfinished_shards());
    let missing = (0..n).filter(|n| !whole.contains(n));
    let mut sentence = format!("{} of {n} pictures are not there: {}", n - whole.len(), runs(missing));
    if !shards.is_empty() {
        let (has, of) = (if shards.len() == 1 { "shard" } else { "shards" }, folder.run().shards);
        sentence += &format!("; {has} {} of {of} did not end", runs(shards.into_iter()));
    }
    sentence + "; --resume draws them"
}

/// `1-3, 7, …`
fn runs(mut numbers: impl Iterator<Item = usize>) -> String {
    let (mut runs, mut more): (Vec<RangeInclusive<usize>>, bool) = (vec![], false);
    for n in numbers.by_ref().take(MOST_LOOKED_AT) {
        match runs.pop() {
            Some(last) if last.end() + 1 == n => runs.push(*last.start()..=n),
            last => {
                runs.extend(last);
                if runs.len() == MOST_NAMED {
                    more = true;
                    break;
                }
                runs.push(n..=n);
            }
        }
    }
    let run = |run: &RangeInclusive<usize>| match (run.start(), run.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    let named = runs.iter().map(run).collect::<Vec<_>>().join(", ");
    if more || numbers.next().is_some() { named + ", …" } else { named }
}
