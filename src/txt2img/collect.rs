//! `--collect`: whether a run is complete, whoever drew it.

use super::End;
use super::overview::save_grid;
use crate::output::{Folder, Overview};
use crate::progress::Progress;
use crate::ranges::ranges;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

/// Checks every picture of the last run in OUTDIR against what was saved, and writes the grids that are missing.
///
/// # Errors
/// When a picture is missing, and which; or when there is no run, or one that goes on.
pub fn collect(outdir: &Path, progress: &Progress) -> Result<End> {
    let mut folder = Folder::reopen(outdir)?;
    let n = folder.run().pictures;
    let (whole, changed) = folder.judged();
    ensure!(whole.len() == n, "{}", what_is_missing(&folder, &whole, &changed));
    let is_swept = folder.run().overview == Some(Overview::Sweep);
    ensure!(
        !is_swept || folder.has_sweep(),
        "all {n} pictures are there, but their page or their sheet is missing; --resume makes it again"
    );
    if let Some(Overview::Grids(grids)) = folder.run().overview {
        for grid in folder.lacking_grids().collect::<Vec<_>>() {
            let lost = grids.pictures(grid, n).find(|n| !folder.had_aside(*n));
            if let Some(lost) = lost {
                bail!(
                    "all {n} pictures are there, but a grid is not, and what it shows of picture {lost} is gone; \
                     --resume draws what it needs"
                );
            }
            save_grid(&mut folder, grids, grid, progress)?;
        }
    }
    folder.end()?;
    let words = format!("All {n} pictures are there, as they were saved:\n{}\n", outdir.display());
    std::io::stdout().write_all(words.as_bytes()).context("writing to standard output")?;
    Ok(End::Finished)
}

fn what_is_missing(folder: &Folder, whole: &HashSet<usize>, changed: &[usize]) -> String {
    let (n, shards) = (folder.run().pictures, folder.unfinished_shards());
    let mut sentences = vec![];
    let n_missing = n - whole.len() - changed.len();
    if n_missing > 0 {
        let missing = (0..n).filter(|n| !whole.contains(n) && changed.binary_search(n).is_err());
        sentences.push(format!("{n_missing} of {n} pictures are not there: {}", ranges(missing)));
    }
    if !shards.is_empty() {
        let (has, of) = (if shards.len() == 1 { "shard" } else { "shards" }, folder.run().shards);
        sentences.push(format!("{has} {} of {of} did not end", ranges(shards.into_iter())));
    }
    if changed.is_empty() {
        return sentences.join("; ") + "; --resume draws them";
    }
    let changed =
        format!("{} of {n} pictures are not as they were saved: {}", changed.len(), ranges(changed.iter().copied()));
    sentences.push(changed);
    sentences.join("; ") + "; where their files are removed, --resume draws them"
}
