//! `--collect`: whether a run is complete, whoever drew it.

use crate::outdir::{OutDir, Overview};
use crate::progress::Progress;
use crate::ranges::ranges;
use crate::txt2img::End;
use crate::txt2img::overview::save_grid;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

/// Checks every picture of the last run in OUTDIR against what was saved, and writes the grids that are missing.
///
/// # Errors
/// When a picture is missing, and which; or when there is no run, or one that goes on.
pub fn collect(outdir: &Path, progress: &Progress) -> Result<End> {
    let mut folder = OutDir::reopen(outdir)?;
    let n = folder.run().pictures;
    let (whole, changed) = folder.verify();
    ensure!(whole.len() == n, "{}", what_is_missing(&folder, &whole, &changed));
    let is_swept = folder.run().overview == Some(Overview::Sweep);
    ensure!(
        !is_swept || folder.has_sweep(),
        "all {n} pictures are present, but their page or their sheet is missing; repeat the command with --resume to make \
         it again"
    );
    if let Some(Overview::Grids(grids)) = folder.run().overview {
        for grid in folder.missing_grids().collect::<Vec<_>>() {
            let lost = grids.pictures(grid, n).find(|n| !folder.was_spooled(*n));
            if let Some(lost) = lost {
                bail!(
                    "all {n} pictures are present, but a grid is missing, and picture {lost} as the grid shows it is no longer \
                     stored; repeat the command with --resume to draw what the grid needs"
                );
            }
            save_grid(&mut folder, grids, grid, progress)?;
        }
    }
    folder.end()?;
    let words = format!("All {n} pictures are present and unchanged:\n{}\n", outdir.display());
    std::io::stdout().write_all(words.as_bytes()).context("writing to standard output")?;
    Ok(End::Finished)
}

fn what_is_missing(folder: &OutDir, whole: &HashSet<usize>, changed: &[usize]) -> String {
    let (n, shards) = (folder.run().pictures, folder.unfinished_shards());
    let mut sentences = vec![];
    let n_missing = n - whole.len() - changed.len();
    if n_missing > 0 {
        let missing = (0..n).filter(|n| !whole.contains(n) && changed.binary_search(n).is_err());
        let are = if n_missing == 1 { "is" } else { "are" };
        sentences.push(format!("{n_missing} of {n} pictures {are} missing ({})", ranges(missing)));
    }
    if let [_, ..] = changed {
        let (n_changed, were) = (changed.len(), if changed.len() == 1 { "was" } else { "were" });
        sentences.push(format!("{n_changed} of {n} pictures {were} modified ({})", ranges(changed.iter().copied())));
    }
    if !shards.is_empty() {
        let (has, of) = (if shards.len() == 1 { "shard" } else { "shards" }, folder.run().shards);
        sentences.push(format!("{has} {} of {of} did not finish", ranges(shards.into_iter())));
    }
    sentences.push(match changed {
        [] => "repeat the command with --resume to draw what is missing".into(),
        _ => "delete the modified files and repeat the command with --resume to draw them again".into(),
    });
    sentences.join("; ")
}
