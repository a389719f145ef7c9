//! Overviews of many pictures, made from spooled pictures: grids, or the sheet and page of a sweep.

use crate::job::Sweep;
use crate::outdir::{Completeness, Grids, OutDir};
use crate::output::{self, Picture};
use crate::progress::Progress;
use anyhow::Result;
use std::io::{BufWriter, Write};

/// Writes grid `n` from the spooled pictures, which are removed from the spool if none is missing.
///
/// # Errors
/// If the spool cannot be read or the grid cannot be written.
pub fn save_grid(outdir: &mut OutDir, grids: Grids, n: usize, progress: &Progress) -> Result<()> {
    let numbers = grids.pictures(n, outdir.run().pictures);
    let pictures = numbers.clone().filter_map(|n| outdir.spooled(n).transpose()).collect::<Result<Vec<_>>>()?;
    if pictures.is_empty() {
        return Ok(());
    }
    let mut grid = output::grid(&pictures, grids.columns)?;
    if grids.watermark {
        mark(&mut grid, progress);
    }
    let completeness = Completeness::of(pictures.len() == numbers.len());
    outdir.save_grid(n, &grid, completeness)?;
    if completeness.is_complete() {
        outdir.unspool(numbers);
    }
    Ok(())
}

/// Writes a sweep's sheet and page, with grey in place of missing pictures.
///
/// # Errors
/// If the spool cannot be read or the page cannot be written.
pub fn save_sweep(outdir: &mut OutDir, sweep: &Sweep, progress: &Progress) -> Result<()> {
    let n = outdir.run().pictures;
    let spooled = (0..n).map(|n| outdir.spooled(n)).collect::<Result<Vec<_>>>()?;
    let completeness = Completeness::of(spooled.iter().all(Option::is_some));
    if spooled.iter().all(Option::is_none) {
        return Ok(());
    }
    let grey = || Picture { width: 1, height: 1, rgb: vec![128; 3] };
    let pictures: Vec<Picture> = spooled.into_iter().map(|picture| picture.unwrap_or_else(grey)).collect();
    let Sweep { title, columns, rows, .. } = sweep;
    match output::sheet(title, columns, rows.as_ref(), &pictures) {
        Ok(sheet) => _ = outdir.save_sheet(&sheet, completeness)?,
        Err(too_large) => {
            progress.note(&format!("no sheet is written for this sweep, only the HTML page: {too_large}"))
        }
    }
    outdir.save_page(completeness, |file| {
        let mut out = BufWriter::new(file);
        output::page(&mut out, title, columns, rows.as_ref(), &pictures)?;
        Ok(out.flush()?)
    })?;
    if completeness.is_complete() {
        outdir.unspool(0..n);
    }
    Ok(())
}

/// Writes the page that lists all pictures of the run that are saved.
///
/// # Errors
/// If a picture cannot be read, or the page cannot be written.
pub fn save_index(outdir: &mut OutDir) -> Result<()> {
    let folder = outdir.path().to_owned();
    outdir.save_index(|file, samples| {
        let mut out = BufWriter::new(file);
        output::index(&mut out, &folder, samples)?;
        Ok(out.flush()?)
    })?;
    Ok(())
}

/// Adds the watermark, or a note if the picture is too small for it.
pub fn mark(picture: &mut Picture, progress: &Progress) {
    if !output::mark(picture) {
        progress.note("pictures under 256×256 pixels are too small for the invisible watermark; it is left out");
    }
}
