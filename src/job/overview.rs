//! What will show many pictures at once.

use super::Requests;
use super::checks::is_one_size;
use crate::args::Args;
use crate::outdir::{Grids, Overview};
use anyhow::{Result, ensure};

/// Pixels of a grid that most programs still open: as many as 256 pictures of 512x512 have.
const MOST_PIXELS: usize = 1 << 26;

/// The overview that a run gets, of so many pictures.
///
/// # Errors
/// When more pictures are to be on a grid than fit.
pub fn overview(args: &Args, lines: &Requests, pictures: usize, notes: &mut Vec<String>) -> Result<Option<Overview>> {
    if args.skip_grid {
        return Ok(None);
    }
    if args.swept.is_some() {
        return Ok(Some(Overview::Sweep));
    }
    if !is_one_size(lines) {
        notes.push("pictures of several sizes make no grid".into());
        return Ok(None);
    }
    // 0 is the original's spelling of "as many as n_samples".
    let columns = if args.n_rows > 0 { args.n_rows as usize } else { args.n_samples as usize };
    let every = every(args, lines, pictures, columns)?;
    if every < pictures && args.grid_every.is_none() {
        notes.push(format!("{every} pictures of this size fit on a grid: there will be {}", pictures.div_ceil(every)));
    }
    Ok(Some(Overview::Grids(Grids { columns, every, watermark: !args.skip_watermark })))
}

/// Pictures on a grid: all, or as many as fit, in whole rows.
fn every(args: &Args, lines: &Requests, pictures: usize, columns: usize) -> Result<usize> {
    let most = (MOST_PIXELS / (lines.params_of(0).n_latents() * 64)).max(1);
    if let Some(every) = args.grid_every {
        let every = every as usize;
        ensure!(
            every.min(pictures) <= most,
            "--grid_every {every} is more than the {most} pictures of this size that fit on a grid; give at most {most}"
        );
        return Ok(every);
    }
    Ok(if pictures <= most { pictures } else { (most / columns * columns).max(columns.min(most)) })
}
