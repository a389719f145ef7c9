//! `--collect`: verifies that a run is complete, whichever processes drew it.

use crate::human::listed;
use crate::outdir::{OutDir, Overview};
use crate::progress::Progress;
use crate::ranges::ranges;
use crate::terminal;
use crate::txt2img::End;
use crate::txt2img::overview::{save_grid, save_index};
use anyhow::{Result, bail, ensure};
use std::collections::HashSet;
use std::path::Path;

/// Verifies every picture of the latest run in OUTDIR by its hash, and writes the missing grids. `makes_index`: also
/// writes the page that lists all pictures.
///
/// # Errors
/// If pictures are missing or modified, if a grid, sheet or page is modified, if the page or the sheet of a sweep is missing,
/// or if there is no run or it is still running.
pub fn collect(path: &Path, makes_index: bool, progress: &Progress) -> Result<End> {
    let mut outdir = OutDir::reopen(path)?;
    let n = outdir.run().pictures;
    let (unchanged, modified) = outdir.verify();
    ensure!(unchanged.len() == n, "{}", describe_missing(&outdir, &unchanged, &modified));
    let is_sweep = outdir.run().overview == Some(Overview::Sweep);
    ensure!(
        !is_sweep || outdir.has_sweep(),
        "no picture is missing, but the sweep's HTML page or sheet is; repeat the command with --resume to rebuild \
         it"
    );
    let modified = outdir.modified_overviews();
    let (were, them) = if modified.len() == 1 { ("was", "it") } else { ("were", "them") };
    ensure!(
        modified.is_empty(),
        "no picture is missing, but {} {were} modified; delete {them} and repeat the command with --resume to rebuild {them}",
        listed(&modified)
    );
    if let Some(Overview::Grids(grids)) = outdir.run().overview {
        for grid in outdir.missing_grids().collect::<Vec<_>>() {
            let lost = grids.pictures(grid, n).find(|n| !outdir.was_spooled(*n));
            if let Some(lost) = lost {
                bail!(
                    "no picture is missing, but a grid is, and the copy of picture {lost} that was kept for it is gone; \
                     repeat the command with --resume to redraw what the grid needs"
                );
            }
            save_grid(&mut outdir, grids, grid, progress)?;
        }
    }
    if makes_index {
        save_index(&mut outdir)?;
    }
    outdir.end()?;
    let message = format!(
        "{} present and unchanged:\n{}\n",
        if n == 1 { "The picture is".into() } else { format!("All {n} pictures are") },
        path.display()
    );
    terminal::write_results(message.as_bytes())?;
    Ok(End::Finished)
}

/// Returns the message about an incomplete run: its missing and modified pictures, and its unfinished shards.
fn describe_missing(outdir: &OutDir, unchanged: &HashSet<usize>, modified: &[usize]) -> String {
    let (n, shards) = (outdir.run().pictures, outdir.unfinished_shards());
    let mut sentences = vec![];
    let n_missing = n - unchanged.len() - modified.len();
    if n_missing > 0 {
        let missing = (0..n).filter(|n| !unchanged.contains(n) && modified.binary_search(n).is_err());
        let are = if n_missing == 1 { "is" } else { "are" };
        sentences.push(format!("{n_missing} of {n} pictures {are} missing ({})", ranges(missing)));
    }
    if let [_, ..] = modified {
        let (n_modified, were) = (modified.len(), if modified.len() == 1 { "was" } else { "were" });
        sentences.push(format!("{n_modified} of {n} pictures {were} modified ({})", ranges(modified.iter().copied())));
    }
    if !shards.is_empty() {
        let (noun, n_shards) = (if shards.len() == 1 { "shard" } else { "shards" }, outdir.run().shards);
        sentences.push(format!("{noun} {} of {n_shards} did not finish", ranges(shards.into_iter())));
    }
    sentences.push(match modified {
        [] => "repeat the command with --resume to draw what is missing".into(),
        _ => "delete the modified files and repeat the command with --resume to redraw them".into(),
    });
    sentences.join("; ")
}
