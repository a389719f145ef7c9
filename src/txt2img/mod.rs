//! The command that draws pictures, in three phases: `Session::prepare`, `pipeline::run`, `outcome::report`.

mod checker;
mod costs;
mod model_hash;
mod open_model;
mod outcome;
pub(crate) mod overview;
mod pipeline;
mod pool;
mod report;
mod session;
mod worker;
mod writer;

use crate::checkpoint::hub::Download;
use crate::interrupt::{self, Interrupted};
use crate::job::Job;
use crate::progress::Progress;
use crate::timings::Timings;
use anyhow::Result;
use session::Session;

pub(crate) use open_model::OpenModel;
pub(crate) use session::inspect;

/// The end of a run that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Everything is done.
    Finished,
    /// Ctrl-C was pressed; the pictures drawn by then are saved.
    Interrupted,
}

/// Draws all pictures of a job and saves them.
///
/// # Errors
/// If the model cannot be loaded or a picture cannot be saved. Pictures saved before are kept.
pub fn run(job: &Job) -> Result<End> {
    interrupt::listen();
    let progress = Progress::new(job.run.progress, job.run.quiet);
    match draw(job, &progress) {
        Err(error) if error.is::<Interrupted>() => {
            outcome::interrupted_early(&progress);
            Ok(End::Interrupted)
        }
        end => end,
    }
}

/// Returns a function that shows the progress of downloads.
fn on_download(progress: &Progress) -> impl FnMut(&Download) {
    let mut downloads = progress.downloads();
    move |at| downloads.show(&at.file, at.done, at.size)
}

fn draw(job: &Job, progress: &Progress) -> Result<End> {
    let mut timings = Timings::start();
    let session = Session::prepare(job, progress)?;
    let start = session.remaining;
    let result = pipeline::run(session, &mut timings);
    outcome::report(job, start, result, &timings, progress)
}
