//! The threads of a run: workers draw the tasks, one for each device, and the writer saves what they draw.

use super::model_hash::ModelHash;
use super::pool;
use super::session::Session;
use super::work::Units;
use super::worker::{Message, Worker, WriterGone};
use super::writer::{Made, Writer};
use crate::checkpoint::Checkpoint;
use crate::device::ComputeDevice;
use crate::interrupt::Interrupted;
use crate::job::Job;
use crate::job::tasks::{Task, Tasks};
use crate::progress::Progress;
use crate::timings::Timings;
use anyhow::{Error, Result, ensure};
use std::panic::resume_unwind;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// The most pictures that wait to be saved; more would only fill memory.
const MAX_WAITING: usize = 8;

/// The result of a pipeline that saved everything it was given.
pub struct Drawn {
    /// The files that were written.
    pub made: Made,
    /// The error that ended drawing, if one did.
    pub error: Option<Error>,
}

/// Draws and saves what remains of a run.
///
/// # Errors
/// If a picture cannot be saved. An error of drawing is part of the result, because pictures were saved all the same.
pub fn run(session: Session, timings: &mut Timings) -> Result<Drawn> {
    let Session { job, progress, checkpoint, checker, folder, report, finished, remaining } = session;
    let (drawn, saved) = thread::scope(|scope| {
        let (messages, waiting) = sync_channel(MAX_WAITING);
        let is_checked = checker.is_some();
        let hash =
            if remaining.n_pictures > 0 { ModelHash::begin(job, &checkpoint, scope) } else { ModelHash::default() };
        let writer = Writer::new(job, folder, &finished, checker, report, hash, progress);
        let writer = scope.spawn(|| writer.run(waiting, remaining.n_pictures));
        let drawing = Drawing { job, checkpoint: &checkpoint, progress, is_checked, units: Units::of(job) };
        let drawn = if remaining.n_pictures > 0 {
            let work = drawing.units.total(job, &finished);
            drawing.draw(Tasks::new(job, &finished), remaining.n_tasks, work, timings, messages)
        } else {
            drop(messages);
            Ok(())
        };
        (drawn, writer.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    // If saving failed, drawing only ended because of it.
    let made = saved?;
    timings.drawn(made.pictures);
    Ok(Drawn { made, error: drawn.err() })
}

/// What all workers share.
#[derive(Clone, Copy)]
struct Drawing<'a> {
    job: &'a Job,
    checkpoint: &'a Checkpoint,
    progress: &'a Progress,
    /// Whether a safety checker looks at the images.
    is_checked: bool,
    units: Units,
}

impl<'a> Drawing<'a> {
    /// Distributes the tasks over the devices.
    fn draw(
        self,
        tasks: Tasks<'a>,
        n_tasks: usize,
        work: f64,
        timings: &mut Timings,
        messages: SyncSender<Message>,
    ) -> Result<()> {
        let progress = self.progress;
        let workers = self.workers(messages)?;
        timings.loaded();
        let names: Vec<&str> = workers.iter().map(|worker| &*worker.device.name).collect();
        progress.begin_run(n_tasks, work);
        let draw = |mut worker: Worker<'a>| {
            move |task: &mut Task<'a>| worker.device.run(|| worker.draw(task)).inspect(|()| progress.batch_drawn())
        };
        let workers = workers.into_iter().map(draw).collect();
        pool::run(tasks, workers, is_final, |i, error| note_failure(names[i], error, progress))
    }

    /// Loads the model on all devices at once. A device that fails is left out, if others do not.
    fn workers(self, messages: SyncSender<Message>) -> Result<Vec<Worker<'a>>> {
        let devices = &self.job.compute.devices;
        let loaded: Vec<_> = thread::scope(|scope| {
            let load = |device: &'a ComputeDevice| {
                let messages = messages.clone();
                scope.spawn(move || device.run(|| self.worker(device, messages)))
            };
            let loading: Vec<_> = devices.iter().map(load).collect();
            loading.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        let mut workers = vec![];
        for (device, worker) in devices.iter().zip(loaded) {
            match worker {
                Err(error) if devices.len() > 1 && !is_final(&error) => {
                    note_failure(&device.name, &error, self.progress);
                }
                worker => workers.push(worker?),
            }
        }
        ensure!(!workers.is_empty(), "no device of --device works; the notes say why");
        Ok(workers)
    }

    fn worker(self, device: &'a ComputeDevice, messages: SyncSender<Message>) -> Result<Worker<'a>> {
        let Self { job, checkpoint, progress, is_checked, units } = self;
        Worker::new(job, checkpoint, device, progress, messages, is_checked, units)
    }
}

/// Returns whether an error ends the run, rather than the use of one device.
fn is_final(error: &Error) -> bool {
    error.is::<Interrupted>() || error.is::<WriterGone>()
}

fn note_failure(device: &str, error: &Error, progress: &Progress) {
    progress.note(&format!("{device} failed and is no longer used: {error:#}"));
}
