//! Where finished pictures are marked, saved and laid aside for the grid, while the next are drawn.

use super::Drawn;
use crate::job::{Job, Sweep};
use crate::output::{self, Folder, Picture};
use crate::progress::Progress;
use anyhow::Result;
use std::io::BufWriter;
use std::sync::mpsc::Receiver;

/// Of all pictures of a sweep together, kept for its sheet and its page: 0.9 GB.
const MOST_PIXELS: f64 = 3e8;

/// A job's pictures on their way to files.
pub struct Desk<'a> {
    job: &'a Job,
    progress: &'a Progress,
    folder: Folder,
    /// What the grid, or the sweep's sheet, will show.
    pictures: Vec<Picture>,
    /// How much smaller, in each direction, a sweep's pictures are kept.
    shrinking: usize,
}

impl<'a> Desk<'a> {
    pub fn new(job: &'a Job, folder: Folder, progress: &'a Progress) -> Self {
        Self { job, progress, folder, pictures: vec![], shrinking: shrinking(job) }
    }

    /// Saves all that come, then the overview of them; says how many they were.
    pub fn work(mut self, waiting: Receiver<Drawn>) -> Result<usize> {
        let mut n_saved = 0;
        for Drawn { picture, .. } in waiting {
            self.save(picture)?;
            n_saved += 1;
        }
        self.save_overview()?;
        Ok(n_saved)
    }

    fn save(&mut self, mut picture: Picture) -> Result<()> {
        if self.job.sweep.is_some() {
            // A sheet shows pictures as they are saved; a grid is made of unmarked ones, then marked as a whole.
            self.mark(&mut picture);
            self.keep(|shrinking| output::shrunk(&picture, shrinking).into_owned());
        } else {
            self.keep(|_| picture.clone());
            self.mark(&mut picture);
        }
        if self.job.saves_samples {
            self.folder.save_sample(&picture)?;
        }
        Ok(())
    }

    /// For the overview, if there will be one.
    fn keep(&mut self, picture: impl FnOnce(usize) -> Picture) {
        if self.job.grid_columns.is_some() {
            self.pictures.push(picture(self.shrinking));
        }
    }

    /// The watermark, if it is wanted and there is room for it.
    fn mark(&mut self, picture: &mut Picture) {
        if self.job.watermark && !output::mark(picture) {
            self.progress.note("pictures of less than 256·256 pixels have no room for the invisible watermark");
        }
    }

    /// All pictures on one: the grid, or the sheet of a sweep and its page.
    fn save_overview(&mut self) -> Result<()> {
        let (Some(columns), false) = (self.job.grid_columns, self.pictures.is_empty()) else { return Ok(()) };
        let Some(Sweep { title, columns, rows }) = &self.job.sweep else {
            let mut grid = output::grid(&self.pictures, columns)?;
            self.mark(&mut grid);
            self.folder.save_grid(&grid)?;
            return Ok(());
        };
        // What an interrupted sweep has not drawn is grey.
        self.pictures.resize(self.job.lines.lines().len(), Picture { width: 1, height: 1, rgb: vec![128; 3] });
        let (rows, pictures) = (rows.as_ref(), &self.pictures);
        self.folder.save_page(|file| output::page(&mut BufWriter::new(file), title, columns, rows, pictures))?;
        match output::sheet(title, columns, rows, pictures) {
            Ok(sheet) => {
                self.folder.save_sheet(&sheet)?;
            }
            Err(too_large) => self.progress.note(&format!("there is a page of this sweep, but no sheet: {too_large}")),
        }
        Ok(())
    }
}

/// How much smaller, in each direction, pictures must be for those of a sweep to fit in memory together.
fn shrinking(job: &Job) -> usize {
    let pixels = |settings: crate::job::Settings| settings.latent_height * settings.latent_width * 64;
    let largest = job.lines.lines().iter().map(|line| pixels(line.settings)).max().unwrap_or(0);
    ((largest * job.lines.lines().len()) as f64 / MOST_PIXELS).sqrt().ceil() as usize
}
