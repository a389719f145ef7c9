//! Preparation of a run: everything that can fail early fails here.

use super::report::Report;
use super::{OpenModel, checker};
use crate::by_name::ByName;
use crate::commands::dry_run::describe;
use crate::device;
use crate::job::Job;
use crate::job::tasks::Remaining;
use crate::outdir::{Mode, OutDir, RunParams, RunSpec};
use crate::progress::Progress;
use crate::safety::{Action, Checker};
use anyhow::Result;
use std::collections::{BTreeSet, HashSet};

/// A run that is ready to draw.
pub struct Session<'a> {
    pub job: &'a Job,
    pub progress: &'a Progress,
    /// The models, by the numbers of [`Job::models`].
    pub models: Vec<OpenModel<'a>>,
    pub checker: Option<Checker>,
    pub outdir: OutDir,
    pub report: Report,
    /// The pictures that need not be drawn, because an earlier process of the run saved them.
    pub finished: HashSet<usize>,
    pub remaining: Remaining,
}

impl<'a> Session<'a> {
    /// Prepares a run, in this order:
    ///
    /// 1. The report and OUTDIR are checked to be writable first, because downloading a model may take long.
    /// 2. The model and its LoRAs are opened, and downloaded if they are on a hub. OUTDIR is created only if there is a
    ///    model.
    /// 3. The safety checker is loaded.
    /// 4. The run begins in OUTDIR, which deletes the unfinished files of other runs there. From here on it can be resumed.
    /// 5. The report is created, with the entries of pictures that are finished.
    ///
    /// # Errors
    /// If any of these steps fails.
    pub fn prepare(job: &'a Job, progress: &'a Progress) -> Result<Self> {
        device::use_threads(job.compute.threads)?;
        job.run.notes.iter().for_each(|note| progress.note(note));
        Report::check(job)?;
        OutDir::probe(&job.output.outdir)?;
        let models = job.models().map(|files| OpenModel::open(job, files, progress)).collect::<Result<Vec<_>>>()?;
        create_outdir(job, progress)?;
        let checker = checker::load(job, progress)?;
        let outdir = begin(job, &models, checker.as_ref(), progress)?;
        let finished = outdir.finished();
        let remaining = Remaining::new(job, &finished);
        let report = Report::create(job, &outdir.run().id, &finished, remaining.n_finished, progress)?;
        if job.run.verbose {
            let details = describe(job, &models, &outdir, vec![])?.to_string();
            details.lines().for_each(|line| progress.detail(line));
        }
        Ok(Self { job, progress, models, checker, outdir, report, finished, remaining })
    }
}

fn create_outdir(job: &Job, progress: &Progress) -> Result<()> {
    let file_system = OutDir::create(&job.output.outdir)?;
    if !file_system.locks {
        let outdir = job.output.outdir.display();
        progress.note(&format!(
            "the file system of '{outdir}' does not support locks; do not run another txt2img there at the same time"
        ));
    }
    Ok(())
}

/// Begins the run in OUTDIR, or resumes the one there.
fn begin(job: &Job, models: &[OpenModel], checker: Option<&Checker>, progress: &Progress) -> Result<OutDir> {
    let safety = checker.map_or(Action::Off, |_| job.output.safety.unwrap_or(Action::Replace));
    let fingerprint = checker.map(|checker| checker.fingerprint().to_owned());
    let outdir = OutDir::open(run_spec(job, models, Some(safety), fingerprint))?;
    if outdir.abandons_unfinished() {
        let path = job.output.outdir.display();
        progress.note(&format!(
            "the previous run in '{path}' did not finish; repeat its command with --resume to continue it"
        ));
    }
    Ok(outdir)
}

/// Returns the state of OUTDIR for a run of the job, without writing anything.
///
/// # Errors
/// If the run cannot be resumed, or its report exists already.
pub(crate) fn inspect(job: &Job, models: &[OpenModel]) -> Result<OutDir> {
    Report::check_free(job)?;
    OutDir::inspect(run_spec(job, models, checker::action(job), checker::fingerprint(job)))
}

/// Returns the specification of the run for OUTDIR. `safety`: the treatment of flagged pictures; `checker`: the
/// fingerprint of the safety checker; both `None` if unknown.
fn run_spec<'a>(job: &'a Job, models: &[OpenModel], safety: Option<Action>, checker: Option<String>) -> RunSpec<'a> {
    let mut params = run_params(job, models);
    let loras = models.iter().flat_map(|model| model.loras.fingerprints());
    params.insert("the LoRA files".into(), loras.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().into());
    params.extend(safety.map(|safety| ("--safety".into(), safety.name().into())));
    params.extend(checker.map(|checker| ("the safety checker".into(), checker.into())));
    RunSpec {
        outdir: &job.output.outdir,
        format: job.output.format,
        pattern: job.output.fname.clone(),
        shard: job.run.shard,
        mode: if job.run.resume { Mode::Resume } else { Mode::Begin },
        params,
        pictures: job.images.n_pictures(),
        overview: job.output.overview,
        shortened: Box::new(|iterations, requests| job.images.shortened(iterations, requests)),
    }
}

/// Returns the parameters that a run and its resumption must share.
fn run_params(job: &Job, models: &[OpenModel]) -> RunParams {
    let mut params = job.run.params.clone();
    let fingerprints: Vec<String> = models.iter().map(|model| model.checkpoint.fingerprint()).collect();
    params.insert("the model".into(), fingerprints.join(" ").into());
    if !job.model.embeddings.is_empty() {
        let embeddings = job.model.embeddings.iter().map(|embedding| [embedding.name(), embedding.sha256()].join(" "));
        params.insert("--embedding".into(), embeddings.collect::<Vec<_>>().into());
    }
    if job.output.metadata && job.output.saves_samples {
        // Metadata contain these names.
        let (vae, config) = (&job.model.vae, &job.model.config_path);
        params.insert("--ckpt".into(), job.model.ckpt.to_string().into());
        params.insert("--vae".into(), vae.as_ref().map(ToString::to_string).into());
        params.insert("the config's file name".into(), config.as_ref().map(|path| path.display().to_string()).into());
    }
    params.insert("the compute type".into(), compute_types(job).into());
    params
}

/// Returns the types of the devices' weights and whether they are packed for memory, on which the rounding of pictures depends.
fn compute_types(job: &Job) -> String {
    let mut names: Vec<_> =
        job.compute.devices.iter().map(|device| device.dtype(job.compute.precision).as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let low_memory = if job.compute.saves_memory() { " with --low_memory" } else { "" };
    names.join(", ") + low_memory
}
