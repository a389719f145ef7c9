//! The main loop: for each batch: encode → sample → decode, and on a thread beside it: mark → save.

mod checker;
mod closing;
mod collect;
mod model_hash;
mod overview;
mod pool;
mod report;
pub(crate) mod tasks;
mod verify;
mod work;
mod worker;
mod writer;

use crate::by_name::ByName;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::hub::Download;
use crate::conventions::Conventions;
use crate::device::{self, ComputeDevice, Precision};
use crate::interrupt::{self, Interrupted};
use crate::job::Job;
use crate::outdir::{Mode, OutDir, RunParams, RunSpec};
use crate::progress::Progress;
use crate::safety::{Action, Checker};
use crate::timings::Timings;
use anyhow::{Context, Error, Result, ensure};
use closing::{Made, Start};
use model_hash::ModelHash;
use report::Report;
use serde_json::json;
use std::io::Write;
use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Instant;
use tasks::{Task, Tasks};
use worker::{Message, Worker, WriterGone};
use writer::Writer;

pub use collect::collect;
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
    let progress = Progress::new(job.watcher, job.quiet);
    match draw(job, &progress) {
        Err(error) if error.is::<Interrupted>() => {
            progress.stopped(&closing::interrupted(job, None, &Made::default()));
            Ok(End::Interrupted)
        }
        end => end,
    }
}

fn draw(job: &Job, progress: &Progress) -> Result<End> {
    let begun = Instant::now();
    device::use_threads(job.threads)?;
    job.notes.iter().for_each(|note| progress.note(note));
    let mut timings = Timings::start();
    Report::check(job)?;
    // Before the model is fetched, which may take long; OUTDIR is created only if there is one.
    OutDir::probe(&job.outdir)?;
    let checkpoint = open(job, progress)?;
    let conventions = Conventions::new(&checkpoint, &job.config)?;
    conventions.notes.iter().for_each(|note| progress.note(note));
    let file_system = OutDir::create(&job.outdir)?;
    if !file_system.locks {
        let outdir = job.outdir.display();
        progress
            .note(&format!("the file system of '{outdir}' has no locks: let no other txt2img draw there meanwhile"));
    }
    let checker = checker::load(job, progress)?;
    let folder = begin(job, &checkpoint, checker.as_ref())?;
    if folder.abandons_unfinished() {
        let outdir = job.outdir.display();
        progress
            .note(&format!("the run before this one in '{outdir}' has not ended; --resume, with its flags, goes on"));
    }
    // Only now: a run that begins removes what others left unfinished.
    let finished = folder.finished();
    let tasks = Tasks::new(job, &finished);
    let report = Report::begin(job, &folder.run().id, &finished, tasks.n_finished)?;
    let n_left = tasks.n_pictures;
    let start = Start { n_finished: tasks.n_finished, n_left, first: tasks.first };
    let (drawn, saved) = thread::scope(|scope| {
        let (pictures, waiting) = sync_channel(MOST_WAITING);
        let is_checked = checker.is_some();
        let hash = if n_left > 0 { ModelHash::begin(job, &checkpoint, scope) } else { ModelHash::default() };
        let writer = Writer::new(job, folder, &finished, checker, report, hash, progress);
        let writer = scope.spawn(|| writer.run(waiting, n_left));
        let drawn = if n_left > 0 {
            draw_all(job, &checkpoint, tasks, progress, &mut timings, pictures, is_checked)
        } else {
            drop(pictures);
            Ok(())
        };
        (drawn, writer.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    // Where saving failed, drawing only stopped for it.
    let made = saved?;
    let n_saved = made.pictures;
    timings.drawn(n_saved);
    let end = match drawn {
        Ok(()) => End::Finished,
        Err(error) if error.is::<Interrupted>() && n_saved < n_left => End::Interrupted,
        Err(error) if error.is::<Interrupted>() => End::Finished,
        Err(error) => return Err(error),
    };
    progress.event(&json!({ "event": "end", "finished": end == End::Finished }));
    match end {
        End::Finished => progress.closing(&closing::finished(job, start, &made, begun.elapsed())),
        End::Interrupted => progress.stopped(&closing::interrupted(job, Some(start), &made)),
    }
    print_results(job, end, &timings)?;
    Ok(end)
}

/// Prints what goes to standard output.
fn print_results(job: &Job, end: End, timings: &Timings) -> Result<()> {
    let mut results = if job.timings { timings.table() } else { String::new() };
    if end == End::Finished {
        results += &format!("Your samples are ready and waiting for you here: \n{}\n", job.outdir.display());
    }
    std::io::stdout().write_all(results.as_bytes()).context("writing to standard output")
}

/// OUTDIR for this run, or as the one left it that is gone on with.
fn begin(job: &Job, checkpoint: &Checkpoint, checker: Option<&Checker>) -> Result<OutDir> {
    let safety = checker.map_or(Action::Off, |_| job.safety.unwrap_or(Action::Replace));
    OutDir::open(run_spec(job, checkpoint, Some(safety), checker.map(|checker| checker.fingerprint().to_owned())))
}

/// What there would be in OUTDIR for a run to begin with; nothing is written.
///
/// # Errors
/// When it is to go on with a run that is another, or its report is there already.
pub(crate) fn look(job: &Job, checkpoint: &Checkpoint) -> Result<OutDir> {
    Report::look(job)?;
    OutDir::inspect(run_spec(job, checkpoint, checker::action(job), checker::fingerprint(job)))
}

/// `safety`: what is done to flagged pictures, and `checker`: the fingerprint of what flags them, if they are known.
fn run_spec<'a>(job: &'a Job, checkpoint: &Checkpoint, safety: Option<Action>, checker: Option<String>) -> RunSpec<'a> {
    let mut terms = terms(job, checkpoint);
    terms.extend(safety.map(|safety| ("--safety".into(), safety.name().into())));
    terms.extend(checker.map(|checker| ("the safety checker".into(), checker.into())));
    RunSpec {
        outdir: &job.outdir,
        format: job.format,
        pattern: job.fname.clone(),
        shard: job.shard,
        mode: if job.resume { Mode::Resume } else { Mode::Begin },
        params: terms,
        pictures: job.n_pictures(),
        overview: job.overview,
    }
}

/// What the run must have in common with one that it goes on with.
fn terms(job: &Job, checkpoint: &Checkpoint) -> RunParams {
    let mut terms = job.terms.clone();
    terms.insert("the model".into(), checkpoint.fingerprint().into());
    if job.metadata && job.saves_samples {
        // Pictures say what it was called.
        terms.insert("--ckpt".into(), job.ckpt.to_string().into());
        terms.insert("--vae".into(), job.vae.as_ref().map(ToString::to_string).into());
        terms
            .insert("the config's name".into(), job.config_path.as_ref().map(|path| path.display().to_string()).into());
    }
    terms.insert("what is multiplied".into(), multiplied(job).into());
    terms
}

/// What the devices multiply: pictures may differ by which of them drew one.
fn multiplied(job: &Job) -> String {
    let mut names: Vec<_> = job.units.iter().map(|unit| unit.dtype(job.precision).as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// Every device draws its share of the tasks.
fn draw_all<'a>(
    job: &'a Job,
    checkpoint: &'a Checkpoint,
    tasks: Tasks<'a>,
    progress: &Progress,
    timings: &mut Timings,
    pictures: SyncSender<Message>,
    is_checked: bool,
) -> Result<()> {
    let units = tasks.units;
    let loaded: Vec<_> = thread::scope(|scope| {
        let begin = |unit: &'a ComputeDevice| {
            let pictures = pictures.clone();
            scope.spawn(move || unit.run(|| Worker::new(job, checkpoint, unit, progress, pictures, is_checked, units)))
        };
        let loading: Vec<_> = job.units.iter().map(begin).collect();
        loading.into_iter().map(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    drop(pictures);
    let mut runs = vec![];
    for (unit, run) in job.units.iter().zip(loaded) {
        match run {
            Err(error) if job.units.len() > 1 && !stops(&error) => tell_failed(&unit.name, &error, progress),
            run => runs.push(run?),
        }
    }
    ensure!(!runs.is_empty(), "no device of --device can draw; the notes say why");
    timings.loaded();
    let names: Vec<&str> = runs.iter().map(|run| &*run.device.name).collect();
    progress.begin_run(tasks.n_tasks, tasks.work());
    let workers = runs.into_iter().map(|run| worker(run, progress)).collect();
    pool::run(tasks, workers, stops, |i, error| tell_failed(names[i], error, progress))
}

/// What a device does with each batch.
fn worker<'a>(mut run: Worker<'a>, progress: &'a Progress) -> impl FnMut(&mut Task<'a>) -> Result<()> + Send + 'a {
    move |task| run.device.run(|| run.draw(task)).inspect(|()| progress.batch_drawn())
}

/// Whether an error is no fault of the device that came upon it.
fn stops(error: &Error) -> bool {
    error.is::<Interrupted>() || error.is::<WriterGone>()
}

fn tell_failed(device: &str, error: &Error, progress: &Progress) {
    progress.note(&format!("{device} draws no more: {error:#}"));
}

/// The model's files, fetched where they must be.
fn open(job: &Job, progress: &Progress) -> Result<Checkpoint> {
    let half = job.precision == Precision::Autocast;
    let mut downloads = progress.downloads();
    let mut report = |at: &Download| downloads.show(&at.file, at.done, at.size);
    job.ckpt.open(job.vae.as_ref(), |place| place.path(half, &mut report))
}
