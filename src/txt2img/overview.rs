//! What shows many pictures at once: grids, or a sweep's sheet and page, made of pictures that were laid aside.

use crate::job::Sweep;
use crate::outdir::{Completeness, Grids, OutDir};
use crate::output::{self, Picture};
use crate::progress::Progress;
use anyhow::Result;
use std::io::{BufWriter, Write};

/// Writes the n-th grid, of those of its pictures that there are; they are needed no more once it shows them all.
pub fn save_grid(folder: &mut OutDir, grids: Grids, n: usize, progress: &Progress) -> Result<()> {
    let numbers = grids.pictures(n, folder.run().pictures);
    let pictures = numbers.clone().filter_map(|n| folder.spooled(n).transpose()).collect::<Result<Vec<_>>>()?;
    if pictures.is_empty() {
        return Ok(());
    }
    let mut grid = output::grid(&pictures, grids.columns)?;
    if grids.watermark {
        mark(&mut grid, progress);
    }
    let completeness = Completeness::of(pictures.len() == numbers.len());
    folder.save_grid(n, &grid, completeness)?;
    if completeness.is_complete() {
        folder.unspool(numbers);
    }
    Ok(())
}

/// Writes a sweep's page and sheet; what was not drawn is grey on them.
pub fn save_sweep(folder: &mut OutDir, sweep: &Sweep, progress: &Progress) -> Result<()> {
    let n = folder.run().pictures;
    let drawn = (0..n).map(|n| folder.spooled(n)).collect::<Result<Vec<_>>>()?;
    let completeness = Completeness::of(drawn.iter().all(Option::is_some));
    if drawn.iter().all(Option::is_none) {
        return Ok(());
    }
    let grey = || Picture { width: 1, height: 1, rgb: vec![128; 3] };
    let pictures: Vec<Picture> = drawn.into_iter().map(|picture| picture.unwrap_or_else(grey)).collect();
    let Sweep { title, columns, rows } = sweep;
    match output::sheet(title, columns, rows.as_ref(), &pictures) {
        Ok(sheet) => _ = folder.save_sheet(&sheet, completeness)?,
        Err(too_large) => progress.note(&format!("there is a page of this sweep, but no sheet: {too_large}")),
    }
    folder.save_page(completeness, |file| {
        let mut out = BufWriter::new(file);
        output::page(&mut out, title, columns, rows.as_ref(), &pictures)?;
        Ok(out.flush()?)
    })?;
    if completeness.is_complete() {
        folder.unspool(0..n);
    }
    Ok(())
}

/// The watermark, if there is room for it.
pub fn mark(picture: &mut Picture, progress: &Progress) {
    if !output::mark(picture) {
        progress.note("pictures under 256×256 pixels are too small for the invisible watermark; it is left out");
    }
}
