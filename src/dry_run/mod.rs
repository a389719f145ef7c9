//! What a run would do, told without doing it: no weights are loaded, no picture is drawn, nothing is written.

mod conventions;
mod estimate;
mod files;
mod human;
mod inventory;
mod prompts;
mod speed;
mod steps;
mod weights;
mod workload;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::weights::remedy;
use crate::conventions::Conventions;
use crate::device::Precision;
use crate::engine;
use crate::job::Job;
use crate::txt2img::inspect;
use anyhow::{Result, bail};
use estimate::Estimate;
use std::fmt::{self, Display};

pub(crate) use human::duration;
pub use inventory::inventory;

/// A run, foretold.
pub struct Report {
    rows: Vec<Row>,
    /// What may help if the checkpoint does not fit the config.
    remedy: Option<&'static str>,
}

/// One line of a plan.
struct Row {
    what: &'static str,
    value: String,
}

impl Row {
    fn new(what: &'static str, value: impl Display) -> Self {
        Self { what, value: value.to_string() }
    }
}

/// What the job comes to, or what is left of it for this process to do. The checkpoint's files are read once, for their hash: some 3 s for 4 GB.
///
/// # Errors
/// When the checkpoint cannot be read or lacks its text encoder, or OUTDIR cannot be one. Tensors that do not fit are no
/// error but lines of the plan.
pub fn dry_run(job: &Job) -> Result<Report> {
    let checkpoint = checkpoint(job)?;
    let text = engine::text_config(&checkpoint, &job.model.config)?;
    let conventions = Conventions::new(&checkpoint, &job.model.config)?;
    let inventory = conventions.stored(inventory(&job.model.config, text));
    let misfits = weights::misfits(&checkpoint, &inventory);
    let prompts = prompts::Prompts::read(job)?;
    let outdir = inspect(job, &checkpoint)?;
    let finished = outdir.finished();
    let estimate = Estimate::new(job, text, &prompts, &outdir, &finished)?;
    let mut rows = weights::rows(job, &checkpoint, &inventory)?;
    rows.extend(conventions::rows(&conventions));
    let remedy = (!misfits.is_empty()).then(|| remedy(&checkpoint, misfits.iter().map(|(name, _)| *name)));
    let misfits: Vec<String> = misfits.into_iter().map(|(_, clause)| clause).collect();
    rows.extend(listed("does not fit", &misfits));
    rows.extend(steps::rows(job));
    rows.extend(prompts.rows());
    rows.extend(files::rows(job, &outdir, &finished));
    rows.extend(estimate.rows());
    Ok(Report { rows, remedy })
}

/// What is here; a dry run fetches nothing.
fn checkpoint(job: &Job) -> Result<Checkpoint> {
    let half = job.compute.precision == Precision::Autocast;
    job.model.open(|location| location.path_here(half))
}

impl Report {
    /// Whether the checkpoint has everything the model needs.
    pub fn fits(&self) -> bool {
        self.remedy.is_none()
    }

    /// Checks that the checkpoint has everything the model needs.
    ///
    /// # Errors
    /// When tensors are missing or of another shape, with what may help.
    pub fn check_fit(&self) -> Result<()> {
        match self.remedy {
            Some(remedy) => bail!("the checkpoint does not fit the model's config; {remedy}"),
            None => Ok(()),
        }
    }

    /// What it says of something, a value for each of its lines.
    pub fn of(&self, what: &str) -> Vec<&str> {
        self.rows.iter().filter(|row| row.what == what).map(|row| &*row.value).collect()
    }
}

/// `what  value` on each line, values below each other.
impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
        for Row { what, value } in &self.rows {
            // One line, whatever a path or a prompt puts into it.
            writeln!(f, "{what:width$}  {}", value.replace(char::is_control, " "))?;
        }
        Ok(())
    }
}

/// Requests of one kind that are written out; the others are counted.
const MOST_ROWS: usize = 20;

fn listed(what: &'static str, values: &[String]) -> Vec<Row> {
    let mut rows: Vec<Row> = values.iter().take(MOST_ROWS).map(|value| Row::new(what, value)).collect();
    if values.len() > MOST_ROWS {
        rows.push(Row::new(what, format_args!("and {} more", values.len() - MOST_ROWS)));
    }
    rows
}
