//! Where finished pictures are marked, saved and laid aside for the grid, while the next are drawn.

use super::hash::Hash;
use super::report::Report;
use super::run::{Drawn, Finished};
use crate::job::{Job, Replay, Settings, Sweep};
use crate::output::{self, Folder, Format, Picture};
use crate::progress::Progress;
use crate::safety::{Action, Checker, Verdict};
use anyhow::{Result, ensure};
use serde_json::json;
use std::io::{BufWriter, Write};
use std::path::Path;
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
    checker: Option<Checker>,
    report: Report,
    /// The model's hash, on its way.
    hash: Hash<'a>,
    /// How many were saved, or would have been.
    n_saved: usize,
}

impl<'a> Desk<'a> {
    pub fn new(
        job: &'a Job,
        folder: Folder,
        checker: Option<Checker>,
        report: Report,
        hash: Hash<'a>,
        progress: &'a Progress,
    ) -> Self {
        let shrinking = shrinking(job);
        Self { job, progress, folder, pictures: vec![], shrinking, checker, report, hash, n_saved: 0 }
    }

    /// Saves all that come, then the overview of them; says how many they were.
    ///
    /// # Errors
    /// When one cannot be saved, or is not what it should have come out as.
    pub fn work(mut self, waiting: Receiver<Finished>) -> Result<usize> {
        let saved = waiting.into_iter().try_for_each(|finished| match finished {
            Finished::Picture(drawn) => self.save(*drawn),
            Finished::Preview { index, step, picture } => {
                // The pictures before those of this batch are saved, and counted.
                self.folder.save_preview(self.folder.next_index() + index, step, &picture).map(drop)
            }
        });
        // What was done is in the report, whatever came after.
        let overview = saved.and_then(|()| self.save_overview());
        self.report.end(self.n_saved == self.job.n_pictures())?;
        overview?;
        Ok(self.n_saved)
    }

    fn save(&mut self, mut drawn: Drawn) -> Result<()> {
        let verdict = self.check(&mut drawn)?;
        drawn.record.model_hash = self.hash.get();
        if self.job.sweep.is_some() {
            // A sheet shows pictures as they are saved; a grid is made of unmarked ones, then marked as a whole.
            self.mark(&mut drawn.picture);
            self.keep(|shrinking| output::shrunk(&drawn.picture, shrinking).into_owned());
        } else {
            self.keep(|_| drawn.picture.clone());
            self.mark(&mut drawn.picture);
        }
        let mut path = None;
        if self.job.saves_samples {
            let record = self.job.metadata.then_some(&drawn.record);
            let bytes = self.job.format.encode(&drawn.picture, record)?;
            path = Some(self.folder.save_sample(|file| Ok(file.write_all(&bytes)?), &drawn.record.named())?);
        }
        self.n_saved += 1;
        self.report.add(&drawn, path.as_deref(), verdict.as_ref())?;
        self.tell(&drawn, path.as_deref());
        self.job.replay.iter().try_for_each(|replay| compare(replay, &drawn, self.progress))
    }

    /// What the safety checker says of it, if there is one, and does to it.
    fn check(&self, drawn: &mut Drawn) -> Result<Option<Verdict>> {
        let (Some(checker), Some(seen)) = (&self.checker, &drawn.seen) else { return Ok(None) };
        let verdict = checker.check(seen)?;
        if verdict.flagged {
            let (action, number) = (self.job.safety.unwrap_or(Action::Replace), drawn.number + 1);
            action.apply(&mut drawn.picture);
            self.progress.note(&format!("picture {number} is flagged by the safety checker: {}", action.outcome()));
        }
        Ok(Some(verdict))
    }

    fn tell(&self, drawn: &Drawn, path: Option<&Path>) {
        let path = path.map(|path| path.display().to_string());
        self.progress.event(&json!({ "event": "picture", "number": drawn.number, "file": path }));
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
    let pixels = |settings: &Settings| settings.latent_height * settings.latent_width * 64;
    let largest = job.lines.settings().iter().map(pixels).max().unwrap_or(0);
    ((largest * job.lines.lines().len()) as f64 / MOST_PIXELS).sqrt().ceil() as usize
}

/// Whether a picture that was drawn again is what it was.
fn compare(replay: &Replay, again: &Drawn, progress: &Progress) -> Result<()> {
    let (name, was) = (replay.path.display(), &replay.picture);
    if replay.record.model_hash != again.record.model_hash {
        progress.note(&format!("'{name}' was drawn by another model, or one in another file; --ckpt names it"));
    }
    // What its format lost, it loses again.
    let again = output::decode(&Format::of(&replay.path)?.encode(&again.picture, None)?)?;
    let differences =
        was.rgb.iter().zip(&again.rgb).map(|(was, is)| was.abs_diff(*is)).filter(|difference| *difference > 0);
    let (n, most) = differences.fold((0, 0), |(n, most), difference| (n + 1, difference.max(most)));
    ensure!(
        n == 0 && was.rgb.len() == again.rgb.len(),
        "'{name}' was drawn again and is not the same: {n} of {} values differ, by up to {most} of 255",
        was.rgb.len()
    );
    progress.note(&format!("'{name}' was drawn again and came out equal, to the last bit"));
    Ok(())
}
