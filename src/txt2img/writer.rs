//! The writer, which checks, marks and saves pictures and makes overviews of them, while the next are drawn.

use super::model_hash::ModelHash;
use super::overview::{mark, save_grid, save_index, save_sweep};
use super::report::Report;
use super::worker::{Comparison, Message, Rendered};
use crate::args::SeedMode;
use crate::job::{Job, Replay};
use crate::outdir::{Grids, OutDir, Overview};
use crate::output::{self, Distance, Format, Picture};
use crate::params::SamplingParams;
use crate::progress::Progress;
use crate::safety::{Action, Checker, Verdict};
use anyhow::{Result, ensure};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

/// The most pixels of all pictures of a sweep together, which its sheet and page hold in memory: 0.9 GB.
const MAX_PIXELS: f64 = 3e8;

/// The files that a process wrote.
pub struct Written {
    /// The number of pictures, including those that are only drawn, with `--skip_save`.
    pub pictures: usize,
    /// The grids, sheets and pages.
    pub overviews: Vec<PathBuf>,
    /// The first picture of the run that is saved, if it is to be shown or opened.
    pub first: Option<PathBuf>,
}

/// The writer of a run's files.
pub struct Writer<'a> {
    job: &'a Job,
    progress: &'a Progress,
    outdir: OutDir,
    /// The pictures that need not be drawn.
    finished: &'a HashSet<usize>,
    /// The number of pictures still to be drawn for each grid that has been started.
    missing: HashMap<usize, usize>,
    /// The factor by which a sweep's pictures are scaled down in each direction.
    shrink_factor: usize,
    checker: Option<Checker>,
    report: Report,
    hash: ModelHash<'a>,
    /// The number of pictures saved, or skipped with `--skip_save`.
    n_saved: usize,
}

impl<'a> Writer<'a> {
    /// Returns the writer of a job. `finished`: the pictures that need not be drawn.
    pub fn new(
        job: &'a Job,
        outdir: OutDir,
        finished: &'a HashSet<usize>,
        checker: Option<Checker>,
        report: Report,
        hash: ModelHash<'a>,
        progress: &'a Progress,
    ) -> Self {
        Self {
            job,
            progress,
            outdir,
            finished,
            missing: HashMap::new(),
            shrink_factor: shrink_factor(job),
            checker,
            report,
            hash,
            n_saved: 0,
        }
    }

    /// Saves all pictures received, then their overview. `n`: the number of pictures to expect.
    ///
    /// # Errors
    /// If a file cannot be written, the safety checker fails, or a replayed picture differs.
    pub fn run(mut self, messages: Receiver<Message>, n: usize) -> Result<Written> {
        if self.job.output.index || self.job.output.show || self.job.output.open {
            self.outdir.remember_samples();
        }
        self.save_complete_grids()?;
        let saved = messages.into_iter().try_for_each(|message| match message {
            Message::Image(rendered) => self.save(*rendered),
            Message::Preview { number, step, picture } => self.outdir.save_preview(number, step, &picture).map(drop),
        });
        let is_finished = self.n_saved == n;
        // The report is written even after an error.
        let result = saved.and_then(|()| self.save_overviews()).and_then(|()| match is_finished {
            true => self.outdir.end(),
            false => Ok(()),
        });
        let reported = self.report.end(is_finished, self.progress);
        result.and(reported).map_err(|error| self.outdir.explain(error))?;
        let Job { output, .. } = self.job;
        let files = if output.show || output.open { self.outdir.sample_files() } else { vec![] };
        let first = files.first().map(|file| self.outdir.path().join(&**file));
        Ok(Written { pictures: self.n_saved, overviews: self.outdir.overviews().to_vec(), first })
    }

    /// Checks, marks and saves a picture, and the grid that it completes.
    fn save(&mut self, mut rendered: Rendered) -> Result<()> {
        let verdict = self.check(&mut rendered)?;
        rendered.record.model_hash = self.hash.get(rendered.model)?;
        // A sheet shows pictures as they are saved; a grid is made of unmarked pictures and then marked as a whole.
        let spooled = if self.job.images.sweep.is_some() {
            self.mark(&mut rendered);
            self.for_overview(&rendered)
        } else {
            let unmarked = self.for_overview(&rendered);
            self.mark(&mut rendered);
            unmarked
        };
        spooled.iter().try_for_each(|picture| self.outdir.spool(rendered.number, picture))?;
        let mut path = None;
        if self.job.output.saves_samples {
            let record = self.job.output.metadata.then_some(&rendered.record);
            if record.map_or(Ok(true), |record| self.job.output.format.has_room(record)).is_ok_and(|has_room| !has_room)
            {
                self.progress.note(
                    "a prompt is too long for the EXIF data of a JPEG (at most 64 KiB): the parameters text is \
                     omitted; the metadata that --replay reads is complete",
                );
            }
            let bytes = self.job.output.format.encode(&rendered.picture, record)?;
            path = Some(self.outdir.save_sample(rendered.number, &bytes, &rendered.record.name_fields())?);
        } else {
            self.outdir.skip_sample(rendered.number)?;
        }
        self.n_saved += 1;
        self.progress.worked(rendered.saving_cost);
        self.note_comparison(&rendered);
        self.report.add(&rendered, path.as_deref(), verdict.as_ref())?;
        self.emit_event(&rendered, path.as_deref());
        self.job.images.replay.iter().try_for_each(|replay| compare(replay, &rendered, self.progress))?;
        self.save_grid_of(rendered.number)
    }

    /// Applies the safety checker, if there is one, and returns its verdict.
    fn check(&self, rendered: &mut Rendered) -> Result<Option<Verdict>> {
        let (Some(checker), Some(seen)) = (&self.checker, &rendered.seen) else { return Ok(None) };
        let verdict = checker.check(seen)?;
        if verdict.flagged {
            let (action, number) = (self.job.output.safety.unwrap_or(Action::Replace), rendered.number + 1);
            action.apply(&mut rendered.picture);
            self.progress.note(&format!("picture {number} was flagged by the safety checker and {}", action.outcome()));
        }
        Ok(Some(verdict))
    }

    /// Prints the distance from the picture without shortcuts.
    fn note_comparison(&self, Rendered { comparison, seconds, number, .. }: &Rendered) {
        let Some(Comparison { distance: Distance { psnr, ssim }, seconds: exact }) = comparison else { return };
        let distance = match ssim {
            _ if psnr.is_infinite() => "equal to".to_owned(),
            Some(ssim) => format!("PSNR {psnr:.1} dB, SSIM {ssim:.3} compared to"),
            None => format!("PSNR {psnr:.1} dB compared to"),
        };
        let [ours, exact]: [f64; 2] = [seconds, exact].map(|seconds| seconds.iter().sum());
        self.progress.note(&format!(
            "picture {}: {distance} the picture without shortcuts; {ours:.1} s instead of {exact:.1} s",
            number + 1
        ));
    }

    /// Emits the event of a saved picture.
    fn emit_event(&self, rendered: &Rendered, path: Option<&Path>) {
        let path = path.map(|path| path.display().to_string());
        self.progress.event(&json!({ "event": "picture", "number": rendered.number, "file": path }));
    }

    /// Returns the picture as an overview will show it, if one is still to be made.
    fn for_overview(&self, rendered: &Rendered) -> Option<Picture> {
        let awaited = self.outdir.is_awaited(rendered.number);
        awaited.then(|| match self.job.output.caption {
            true => output::captioned(&rendered.picture, &self.caption(rendered)),
            false => output::shrunk(&rendered.picture, self.shrink_factor).into_owned(),
        })
    }

    /// Returns the caption of a picture: the number in its file's name, its seed if it has one of its own, and the prompt.
    fn caption(&self, Rendered { number, record, .. }: &Rendered) -> String {
        let index = self.outdir.names().index(*number);
        let seed = match self.job.images.seed_mode {
            SeedMode::PerImage => format!("seed {} ", record.origin.seed),
            SeedMode::Stream => String::new(),
        };
        format!("{index:05} {seed}{}", record.prompt)
    }

    fn mark(&self, rendered: &mut Rendered) {
        if self.job.output.watermark {
            mark(&mut rendered.picture, self.progress);
        }
    }

    /// Returns the grids that this process makes. With shards, `--collect` makes them when all shards are done.
    fn grids(&self) -> Option<Grids> {
        match (self.outdir.run().overview, self.job.run.shard) {
            (Some(Overview::Grids(grids)), None) => Some(grids),
            _ => None,
        }
    }

    /// Writes the missing grids whose pictures are all finished: the previous process ended before it wrote them.
    fn save_complete_grids(&mut self) -> Result<()> {
        let Some(grids) = self.grids().filter(|_| !self.finished.is_empty()) else { return Ok(()) };
        for n in self.outdir.missing_grids().collect::<Vec<_>>() {
            if self.n_missing(grids, n) == 0 {
                save_grid(&mut self.outdir, grids, n, self.progress)?;
            }
        }
        Ok(())
    }

    /// Returns the number of pictures of a grid that are not finished.
    fn n_missing(&self, grids: Grids, grid: usize) -> usize {
        grids.pictures(grid, self.job.images.n_pictures()).filter(|n| !self.finished.contains(n)).count()
    }

    /// Writes the grid of a picture, if it was the last one missing.
    fn save_grid_of(&mut self, picture: usize) -> Result<()> {
        let Some(grids) = self.grids() else { return Ok(()) };
        let grid = picture / grids.every;
        if self.outdir.has_grid(grid) {
            return Ok(());
        }
        let missing = self.missing.remove(&grid).unwrap_or_else(|| self.n_missing(grids, grid)) - 1;
        if missing == 0 {
            return save_grid(&mut self.outdir, grids, grid, self.progress);
        }
        self.missing.insert(grid, missing);
        Ok(())
    }

    /// Writes the overviews of all pictures, or of those drawn before the run was stopped.
    fn save_overviews(&mut self) -> Result<()> {
        if let (Some(Overview::Sweep), Some(sweep)) = (self.job.output.overview, &self.job.images.sweep) {
            save_sweep(&mut self.outdir, sweep, self.progress)?;
        }
        if let Some(grids) = self.grids() {
            for n in std::mem::take(&mut self.missing).into_keys() {
                save_grid(&mut self.outdir, grids, n, self.progress)?;
            }
        }
        // Of a shard's run, --collect sees all pictures.
        if self.job.output.index && self.job.run.shard.is_none() {
            save_index(&mut self.outdir)?;
        }
        Ok(())
    }
}

/// Returns the factor by which a sweep's pictures are scaled down in each direction so that they all fit in memory.
fn shrink_factor(job: &Job) -> usize {
    if job.images.sweep.is_none() {
        return 1;
    }
    let pixels = |params: &SamplingParams| params.n_final_latents() * 64;
    let largest = job.images.requests.params().iter().map(pixels).max().unwrap_or(0);
    ((largest * job.images.requests.n_requests()) as f64 / MAX_PIXELS).sqrt().ceil() as usize
}

/// Compares a redrawn picture with the original.
///
/// # Errors
/// If they differ.
fn compare(replay: &Replay, rerendered: &Rendered, progress: &Progress) -> Result<()> {
    let (name, old) = (replay.path.display(), &replay.picture);
    if replay.record.model_hash != rerendered.record.model_hash {
        progress.note(&format!("'{name}' was drawn with a different model file; give that one with --ckpt"));
    }
    if replay.record.products != rerendered.record.products {
        let (old, new) = (&replay.record.products, &rerendered.record.products);
        progress
            .note(&format!("'{name}' was drawn with {old} arithmetic, now with {new}: small differences are expected"));
    }
    // A lossy format must lose the same information again.
    let format = Format::of(&replay.path)?;
    let new = output::decode(&format.encode(&rerendered.picture, None)?)?;
    let differences =
        old.rgb.iter().zip(&new.rgb).map(|(old, new)| old.abs_diff(*new)).filter(|difference| *difference > 0);
    let (n, max) = differences.fold((0, 0), |(n, max), difference| (n + 1, difference.max(max)));
    ensure!(
        n == 0 && old.rgb.len() == new.rgb.len(),
        "'{name}' redrawn: {n} of {} values differ, by up to {max} of 255",
        old.rgb.len()
    );
    progress.note(&match format {
        Format::Jpg => format!("'{name}' redrawn: identical (compared as JPEG, which is lossy)"),
        Format::Png | Format::WebP => format!("'{name}' redrawn: identical"),
    });
    Ok(())
}
