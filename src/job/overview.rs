//! The overview of a run: grids, or the sheet and page of a sweep.

use super::Requests;
use super::checks::is_one_size;
use crate::args::Args;
use crate::outdir::{Grids, Overview};
use anyhow::{Result, ensure};

/// The most pixels of a grid, which most programs can still open: those of 256 pictures of 512×512.
const MAX_PIXELS: usize = 1 << 26;

/// Returns the overview of a run of `n_pictures` pictures, or `None` if it gets none.
///
/// # Errors
/// If `--grid_every` is more than fits on a grid.
pub fn overview(
    args: &Args,
    requests: &Requests,
    n_pictures: usize,
    notes: &mut Vec<String>,
) -> Result<Option<Overview>> {
    if args.skip_grid {
        return Ok(None);
    }
    if args.swept.is_some() {
        return Ok(Some(Overview::Sweep));
    }
    if !is_one_size(requests) {
        notes.push("no grid is written, because the pictures differ in size".into());
        return Ok(None);
    }
    // In the original, 0 means `n_samples`.
    let columns = if args.n_rows > 0 { args.n_rows as usize } else { args.n_samples as usize };
    let every = grid_size(args, requests, n_pictures, columns)?;
    if every < n_pictures && args.grid_every.is_none() {
        notes.push(format!(
            "at most {every} of these pictures fit on a grid, so {} grids will be written",
            n_pictures.div_ceil(every)
        ));
    }
    Ok(Some(Overview::Grids(Grids { columns, every, watermark: !args.skip_watermark })))
}

/// Returns the number of pictures on a grid: all, or as many whole rows as fit.
fn grid_size(args: &Args, requests: &Requests, n_pictures: usize, columns: usize) -> Result<usize> {
    let max = (MAX_PIXELS / (requests.params_of(0).n_final_latents() * 64)).max(1);
    if let Some(every) = args.grid_every {
        let every = every as usize;
        ensure!(
            every.min(n_pictures) <= max,
            "--grid_every {every} is more than the {max} pictures of this size that fit on a grid; give at most {max}"
        );
        return Ok(every);
    }
    Ok(if n_pictures <= max { n_pictures } else { (max / columns * columns).max(columns.min(max)) })
}
