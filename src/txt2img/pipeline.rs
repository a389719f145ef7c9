//! The threads of a run: workers draw the tasks, one for each device, and the writer saves what they draw.

use super::costs::Costs;
use super::model_hash::ModelHash;
use super::pool;
use super::session::Session;
use super::worker::{Inputs, Message, Worker, WriterGone};
use super::writer::{Writer, Written};
use crate::device::ComputeDevice;
use crate::interrupt::Interrupted;
use crate::job::tasks::{Task, Tasks};
use crate::params::SamplingParams;
use crate::progress::Progress;
use crate::timings::Timings;
use anyhow::{Error, Result, ensure};
use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, channel, sync_channel};
use std::thread;

/// The most messages that wait for the writer; more would only fill memory.
const MAX_WAITING: usize = 8;

/// The result of a pipeline whose writer did not fail.
pub struct Outcome {
    /// The files that were written.
    pub written: Written,
    /// The error that ended drawing, if one did.
    pub error: Option<Error>,
}

/// Draws and saves the remaining pictures of a run.
///
/// # Errors
/// If a picture cannot be saved. An error of drawing is part of the outcome, because pictures may have been saved before.
pub fn run(session: Session, timings: &mut Timings) -> Result<Outcome> {
    let Session { job, progress, models, checker, outdir, report, finished, remaining } = session;
    let (drawn, saved) = thread::scope(|scope| {
        let (messages, waiting) = sync_channel(MAX_WAITING);
        let is_checked = checker.is_some();
        let (loading, loaded) = channel();
        let hash = match remaining.n_pictures {
            0 => ModelHash::default(),
            _ => ModelHash::start(job, &models, loaded, scope),
        };
        let writer = Writer::new(job, outdir, &finished, checker, report, hash, progress);
        let writer = scope.spawn(|| writer.run(waiting, remaining.n_pictures));
        let inputs = Inputs { job, models: &models, progress, is_checked, costs: Costs::of(job, &models) };
        let drawn = if remaining.n_pictures > 0 {
            let work = inputs.costs.total(job, &finished);
            let on_loaded = || {
                drop(loading);
                timings.loaded();
            };
            draw(inputs, Tasks::new(job, &finished), remaining.n_tasks, work, messages, on_loaded)
        } else {
            drop(messages);
            Ok(())
        };
        (drawn, writer.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    // An error of the writer also ends drawing, so it comes first.
    let written = saved?;
    timings.drawn(written.pictures);
    Ok(Outcome { written, error: drawn.err() })
}

/// Loads the model, calls `on_loaded`, and distributes the tasks over the devices.
fn draw<'a>(
    inputs: Inputs<'a>,
    tasks: Tasks<'a>,
    n_tasks: usize,
    work: f64,
    messages: SyncSender<Message>,
    on_loaded: impl FnOnce(),
) -> Result<()> {
    let progress = inputs.progress;
    let mut tasks = tasks.peekable();
    let first = tasks.peek().map(|task| (task.model, task.batch.params.clone())).unwrap_or_default();
    let workers = workers(inputs, first.0, &first.1, messages)?;
    on_loaded();
    let names: Vec<&str> = workers.iter().map(|worker| &*worker.device.name).collect();
    progress.begin_run(n_tasks, work);
    let draw = |mut worker: Worker<'a>| {
        move |task: &mut Task<'a>| worker.device.run(|| worker.draw(task)).inspect(|()| progress.batch_drawn())
    };
    let workers = workers.into_iter().map(draw).collect();
    pool::run(tasks, workers, is_final, |i, error| note_failure(names[i], error, progress))
}

/// Loads a model, with the LoRAs of `first`, on all devices in parallel. Devices that fail are left out, if there are
/// several.
///
/// # Errors
/// If no device is left, or the only device fails.
fn workers<'a>(
    inputs: Inputs<'a>,
    model: usize,
    first: &SamplingParams,
    messages: SyncSender<Message>,
) -> Result<Vec<Worker<'a>>> {
    let devices = &inputs.job.compute.devices;
    let loaded: Vec<_> = thread::scope(|scope| {
        let load = |device: &'a ComputeDevice| {
            let messages = messages.clone();
            scope.spawn(move || device.run(|| Worker::new(inputs, model, first, device, messages)))
        };
        let loading: Vec<_> = devices.iter().map(load).collect();
        loading.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let mut workers = vec![];
    for (device, worker) in devices.iter().zip(loaded) {
        match worker {
            Err(error) if devices.len() > 1 && !is_final(&error) => {
                note_failure(&device.name, &error, inputs.progress);
            }
            worker => workers.push(worker?),
        }
    }
    ensure!(!workers.is_empty(), "no device of --device works; the notes say why");
    Ok(workers)
}

/// Whether an error ends the run, instead of the use of one device only.
fn is_final(error: &Error) -> bool {
    error.is::<Interrupted>() || error.is::<WriterGone>()
}

fn note_failure(device: &str, error: &Error, progress: &Progress) {
    progress.note(&format!("{device} failed and is no longer used: {error:#}"));
}
