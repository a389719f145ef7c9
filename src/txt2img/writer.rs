//! Where finished pictures are marked, saved and laid aside for the grid, while the next are drawn.

use super::model_hash::ModelHash;
use super::overview::{mark, save_grid, save_sweep};
use super::report::Report;
use super::work::Units;
use super::worker::{Message, Rendered};
use crate::job::{Job, Replay};
use crate::outdir::{Grids, OutDir, Overview};
use crate::output::{self, Format, Picture};
use crate::params::SamplingParams;
use crate::progress::Progress;
use crate::safety::{Action, Checker, Verdict};
use anyhow::{Result, ensure};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

/// Of all pictures of a sweep together, kept for its sheet and its page: 0.9 GB.
const MOST_PIXELS: f64 = 3e8;

/// The files that a process wrote.
pub struct Made {
    /// The number of pictures, which are drawn but not saved with `--skip_save`.
    pub pictures: usize,
    /// Grids, sheets and pages.
    pub overviews: Vec<PathBuf>,
}

/// A job's pictures on their way to files.
pub struct Writer<'a> {
    job: &'a Job,
    progress: &'a Progress,
    folder: OutDir,
    /// The pictures that will not come, for they are here.
    finished: &'a HashSet<usize>,
    /// How many pictures each grid lacks that is under way.
    lacking: HashMap<usize, usize>,
    /// How much smaller, in each direction, a sweep's pictures are kept.
    shrinking: usize,
    checker: Option<Checker>,
    report: Report,
    /// The model's hash, on its way.
    hash: ModelHash<'a>,
    /// How many were saved, or would have been.
    n_saved: usize,
    units: Units,
}

impl<'a> Writer<'a> {
    pub fn new(
        job: &'a Job,
        folder: OutDir,
        finished: &'a HashSet<usize>,
        checker: Option<Checker>,
        report: Report,
        hash: ModelHash<'a>,
        progress: &'a Progress,
    ) -> Self {
        let (lacking, shrinking) = (HashMap::new(), shrinking(job));
        Self {
            job,
            progress,
            folder,
            finished,
            lacking,
            shrinking,
            checker,
            report,
            hash,
            n_saved: 0,
            units: Units::of(job),
        }
    }

    /// Saves all that come, then the overview of them; returns what was made. `n`: how many pictures there should be.
    ///
    /// # Errors
    /// When one cannot be saved, or is not what it should have come out as.
    pub fn run(mut self, waiting: Receiver<Message>, n: usize) -> Result<Made> {
        self.save_grids_left()?;
        let saved = waiting.into_iter().try_for_each(|finished| match finished {
            Message::Image(drawn) => self.save(*drawn),
            Message::Preview { number, step, picture } => self.folder.save_preview(number, step, &picture).map(drop),
        });
        let is_finished = self.n_saved == n;
        // What was done is in the report, whatever came after.
        let done = saved.and_then(|()| self.save_overviews()).and_then(|()| match is_finished {
            true => self.folder.end(),
            false => Ok(()),
        });
        let reported = self.report.end(is_finished, self.progress);
        done.and(reported)?;
        Ok(Made { pictures: self.n_saved, overviews: self.folder.overviews().to_vec() })
    }

    fn save(&mut self, mut drawn: Rendered) -> Result<()> {
        let verdict = self.check(&mut drawn)?;
        drawn.record.model_hash = self.hash.get()?;
        // A sheet shows pictures as they are saved; a grid is made of unmarked ones, then marked as a whole.
        let aside = if self.job.images.sweep.is_some() {
            self.mark(&mut drawn);
            self.for_overview(&drawn)
        } else {
            let unmarked = self.for_overview(&drawn);
            self.mark(&mut drawn);
            unmarked
        };
        aside.iter().try_for_each(|picture| self.folder.spool(drawn.number, picture))?;
        let mut path = None;
        if self.job.output.saves_samples {
            let record = self.job.output.metadata.then_some(&drawn.record);
            if record.map_or(Ok(true), |record| self.job.output.format.has_room(record)).is_ok_and(|has_room| !has_room)
            {
                self.progress.note(
                    "a prompt is too long for JPEG's EXIF, whose 64 KiB the parameters text would exceed: that text is \
                     left out; the JSON that --replay reads is complete",
                );
            }
            let bytes = self.job.output.format.encode(&drawn.picture, record)?;
            path = Some(self.folder.save_sample(drawn.number, &bytes, &drawn.record.named())?);
        } else {
            self.folder.skip_sample(drawn.number)?;
        }
        self.n_saved += 1;
        self.progress.worked(self.units.saving(&drawn.params));
        self.report.add(&drawn, path.as_deref(), verdict.as_ref())?;
        self.tell(&drawn, path.as_deref());
        self.job.images.replay.iter().try_for_each(|replay| compare(replay, &drawn, self.progress))?;
        self.save_grid_of(drawn.number)
    }

    /// What the safety checker says of it, if there is one, and does to it.
    fn check(&self, drawn: &mut Rendered) -> Result<Option<Verdict>> {
        let (Some(checker), Some(seen)) = (&self.checker, &drawn.seen) else { return Ok(None) };
        let verdict = checker.check(seen)?;
        if verdict.flagged {
            let (action, number) = (self.job.output.safety.unwrap_or(Action::Replace), drawn.number + 1);
            action.apply(&mut drawn.picture);
            self.progress.note(&format!("picture {number} is flagged by the safety checker: {}", action.outcome()));
        }
        Ok(Some(verdict))
    }

    fn tell(&self, drawn: &Rendered, path: Option<&Path>) {
        let path = path.map(|path| path.display().to_string());
        self.progress.event(&json!({ "event": "picture", "number": drawn.number, "file": path }));
    }

    /// What an overview will show of it, if there is one to come.
    fn for_overview(&self, drawn: &Rendered) -> Option<Picture> {
        let awaited = self.folder.is_awaited(drawn.number);
        awaited.then(|| output::shrunk(&drawn.picture, self.shrinking).into_owned())
    }

    fn mark(&self, drawn: &mut Rendered) {
        if self.job.output.watermark {
            mark(&mut drawn.picture, self.progress);
        }
    }

    /// The grids that this process makes. Of what shards draw, nobody sees all before they have ended.
    fn grids(&self) -> Option<Grids> {
        match (self.job.output.overview, self.job.run.shard) {
            (Some(Overview::Grids(grids)), None) => Some(grids),
            _ => None,
        }
    }

    /// Those whose pictures are all here, when the last process did not come to make them.
    fn save_grids_left(&mut self) -> Result<()> {
        let Some(grids) = self.grids().filter(|_| !self.finished.is_empty()) else { return Ok(()) };
        for n in self.folder.missing_grids().collect::<Vec<_>>() {
            if self.n_lacking(grids, n) == 0 {
                save_grid(&mut self.folder, grids, n, self.progress)?;
            }
        }
        Ok(())
    }

    /// How many pictures of a grid are to come.
    fn n_lacking(&self, grids: Grids, grid: usize) -> usize {
        grids.pictures(grid, self.job.images.n_pictures()).filter(|n| !self.finished.contains(n)).count()
    }

    /// The grid that a picture is on, if it was the last one missing.
    fn save_grid_of(&mut self, picture: usize) -> Result<()> {
        let Some(grids) = self.grids() else { return Ok(()) };
        let grid = picture / grids.every;
        if self.folder.has_grid(grid) {
            return Ok(());
        }
        let lacking = self.lacking.remove(&grid).unwrap_or_else(|| self.n_lacking(grids, grid)) - 1;
        if lacking == 0 {
            return save_grid(&mut self.folder, grids, grid, self.progress);
        }
        self.lacking.insert(grid, lacking);
        Ok(())
    }

    /// What shows all pictures, or those that were drawn before the run was stopped.
    fn save_overviews(&mut self) -> Result<()> {
        if let (Some(Overview::Sweep), Some(sweep)) = (self.job.output.overview, &self.job.images.sweep) {
            return save_sweep(&mut self.folder, sweep, self.progress);
        }
        let Some(grids) = self.grids() else { return Ok(()) };
        for n in std::mem::take(&mut self.lacking).into_keys() {
            save_grid(&mut self.folder, grids, n, self.progress)?;
        }
        Ok(())
    }
}

/// How much smaller, in each direction, pictures must be for those of a sweep to fit in memory together.
fn shrinking(job: &Job) -> usize {
    if job.images.sweep.is_none() {
        return 1;
    }
    let pixels = |settings: &SamplingParams| settings.n_latents() * 64;
    let largest = job.images.requests.params().iter().map(pixels).max().unwrap_or(0);
    ((largest * job.images.requests.lines().len()) as f64 / MOST_PIXELS).sqrt().ceil() as usize
}

/// Whether a picture that was drawn again is what it was.
fn compare(replay: &Replay, again: &Rendered, progress: &Progress) -> Result<()> {
    let (name, was) = (replay.path.display(), &replay.picture);
    if replay.record.model_hash != again.record.model_hash {
        progress.note(&format!("'{name}' was drawn with a different model file; give that one with --ckpt"));
    }
    if replay.record.products != again.record.products {
        let (was, is) = (&replay.record.products, &again.record.products);
        progress
            .note(&format!("'{name}' was drawn with {was} arithmetic, now with {is}: small differences are expected"));
    }
    // What its format lost, it loses again.
    let format = Format::of(&replay.path)?;
    let again = output::decode(&format.encode(&again.picture, None)?)?;
    let differences =
        was.rgb.iter().zip(&again.rgb).map(|(was, is)| was.abs_diff(*is)).filter(|difference| *difference > 0);
    let (n, most) = differences.fold((0, 0), |(n, most), difference| (n + 1, difference.max(most)));
    ensure!(
        n == 0 && was.rgb.len() == again.rgb.len(),
        "'{name}' redrawn: {n} of {} values differ, by up to {most} of 255",
        was.rgb.len()
    );
    progress.note(&match format {
        Format::Jpg => format!("'{name}' redrawn: identical (compared as JPEG, which is lossy)"),
        Format::Png | Format::WebP => format!("'{name}' redrawn: identical"),
    });
    Ok(())
}
