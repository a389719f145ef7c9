//! `--collect`: whether a run is complete, whoever drew it.

use super::End;
use super::overview::save_grid;
use crate::output::{Folder, Overview};
use crate::progress::{Progress, Watcher};
use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::path::Path;

/// Numbers that are named.
const MOST_NAMED: usize = 20;

/// Checks every picture of the last run in OUTDIR against what was saved, and writes the grids that are missing.
///
/// # Errors
/// When a picture is missing, and which; or when there is no run, or one that goes on.
pub fn collect(outdir: &Path, watcher: Watcher) -> Result<End> {
    let progress = Progress::new(watcher);
    let mut folder = Folder::reopen(outdir)?;
    let (n, missing) = (folder.run().pictures, folder.missing());
    ensure!(missing.is_empty(), "{}", what_is_missing(&folder, &missing));
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

fn what_is_missing(folder: &Folder, missing: &[usize]) -> String {
    let mut sentence =
        format!("{} of {} pictures are not there: {}", missing.len(), folder.run().pictures, runs(missing));
    let shards = folder.unfinished_shards();
    if !shards.is_empty() {
        let (plural, of) = (if shards.len() == 1 { "" } else { "s" }, folder.run().shards);
        sentence += &format!("; shard{plural} {} of {of} have not ended", runs(&shards));
    }
    sentence + "; --resume draws them"
}

/// `1-3, 7 and 12 more`
fn runs(numbers: &[usize]) -> String {
    let runs: Vec<&[usize]> = numbers.chunk_by(|a, b| a + 1 == *b).collect();
    let run = |run: &&[usize]| match run {
        [one] => one.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    };
    let named = runs.iter().take(MOST_NAMED).map(run).collect::<Vec<_>>().join(", ");
    let others: usize = runs.iter().skip(MOST_NAMED).map(|run| run.len()).sum();
    if others == 0 { named } else { format!("{named} and {others} more") }
}
