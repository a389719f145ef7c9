//! The main loop: for each batch: encode → sample → decode, and on a thread beside it: mark → save.

mod checker;
mod contexts;
mod desk;
mod hash;
mod report;
mod run;
mod verify;
mod watch;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::hub::Download;
use crate::device::{self, Precision};
use crate::interrupt::{self, Interrupted};
use crate::job::Job;
use crate::model::Model;
use crate::output::Folder;
use crate::progress::Progress;
use crate::timings::Timings;
use anyhow::{Context, Result};
use candle_core::DType;
use desk::Desk;
use hash::Hash;
use report::Report;
use run::Run;
use serde_json::json;
use std::io::Write;
use std::panic::resume_unwind;
use std::sync::mpsc::sync_channel;
use std::thread;

pub use verify::verify_watermarks;

/// How a run that did not fail ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Everything was drawn.
    Finished,
    /// Ctrl-C was pressed: what was done by then is saved.
    Interrupted,
}

/// Finished pictures that may wait to be saved: more would only fill memory.
const MOST_WAITING: usize = 8;

/// Draws everything the job asks for and saves it.
///
/// # Errors
/// When the model cannot be had or a picture cannot be saved; those saved before stay.
pub fn run(job: &Job) -> Result<End> {
    interrupt::listen();
    match draw(job) {
        Err(error) if error.is::<Interrupted>() => Ok(End::Interrupted),
        end => end,
    }
}

fn draw(job: &Job) -> Result<End> {
    if let Some(threads) = job.threads {
        device::use_threads(threads)?;
    }
    let progress = Progress::new(job.watcher);
    job.notes.iter().for_each(|note| progress.note(note));
    let mut timings = Timings::start();
    let report = Report::begin(job)?;
    let checkpoint = open(job, &progress)?;
    let folder = Folder::open(&job.outdir, job.format, job.fname.clone())?;
    let checker = checker::load(job, &progress)?;
    let model = load(&checkpoint, job, job.precision.dtype(), &progress)?;
    timings.loaded();
    let (drawn, saved) = thread::scope(|scope| {
        let (pictures, waiting) = sync_channel(MOST_WAITING);
        let is_checked = checker.is_some();
        let hash = Hash::begin(job, &checkpoint, scope);
        let desk = scope.spawn(|| Desk::new(job, folder, checker, report, hash, &progress).work(waiting));
        let drawn = Run::new(job, &checkpoint, model, &progress, pictures, is_checked).and_then(Run::draw_all);
        (drawn, desk.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    // Where saving failed, drawing only stopped for it.
    timings.drawn(saved?);
    let end = match drawn {
        Ok(()) => End::Finished,
        Err(error) if error.is::<Interrupted>() => End::Interrupted,
        Err(error) => return Err(error),
    };
    progress.event(&json!({ "event": "end", "finished": end == End::Finished }));
    let mut last_words = String::new();
    if job.timings {
        last_words += &timings.table();
    }
    if end == End::Finished {
        last_words += &format!("Your samples are ready and waiting for you here: \n{}\n", job.outdir.display());
    }
    std::io::stdout().write_all(last_words.as_bytes()).context("writing to standard output")?;
    Ok(end)
}

/// The model's files, fetched where they must be.
fn open(job: &Job, progress: &Progress) -> Result<Checkpoint> {
    let half = job.precision == Precision::Autocast;
    let mut downloads = progress.downloads();
    let mut report = |at: &Download| downloads.show(&at.file, at.done, at.size);
    let checkpoint = job.ckpt.open(half, &mut report)?;
    match &job.vae {
        Some(vae) => checkpoint.with_vae(&vae.path(half, &mut report)?),
        None => Ok(checkpoint),
    }
}

fn load(checkpoint: &Checkpoint, job: &Job, dtype: DType, progress: &Progress) -> Result<Model> {
    let parts =
        ["model.diffusion_model.", "cond_stage_model.", "first_stage_model.decoder.", "first_stage_model.post_quant"];
    let is_read = |name: &&str| parts.iter().any(|part| name.starts_with(part)) && !name.ends_with("position_ids");
    let tensors = checkpoint.names().filter(is_read).count();
    let bar = progress.loading(tensors);
    Model::load(checkpoint, &job.config, &job.device, dtype, &|| bar.tick())
}
