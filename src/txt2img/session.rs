//! Preparation of a run: everything that can fail early fails here.

use super::report::Report;
use super::{checker, on_download};
use crate::by_name::ByName;
use crate::checkpoint::Checkpoint;
use crate::commands::dry_run::describe;
use crate::conventions::Conventions;
use crate::device::{self, Precision};
use crate::engine;
use crate::job::tasks::Remaining;
use crate::job::{Job, Location, LoraFiles, loras};
use crate::outdir::{Mode, OutDir, RunParams, RunSpec};
use crate::params::SamplingParams;
use crate::progress::Progress;
use crate::safety::{Action, Checker};
use crate::text;
use crate::usage::OrUsage;
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::path::PathBuf;

/// A run that is ready to draw.
pub struct Session<'a> {
    pub job: &'a Job,
    pub progress: &'a Progress,
    pub checkpoint: Checkpoint,
    /// The checkpoint with its own autoencoder, if TAESD replaces it and it is needed too.
    pub with_own_vae: Option<Checkpoint>,
    pub loras: LoraFiles,
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
        let checkpoint = open(job, progress)?;
        let with_own_vae = open_with_own_vae(job, &checkpoint, progress)?;
        let conventions = Conventions::new(&checkpoint, &job.model.config)?;
        check_clip_skip(job, &checkpoint)?;
        conventions.notes.iter().for_each(|note| progress.note(note));
        let loras = open_loras(job, &checkpoint, progress)?;
        create_outdir(job, progress)?;
        let checker = checker::load(job, progress)?;
        let outdir = begin(job, &checkpoint, &loras, checker.as_ref(), progress)?;
        let finished = outdir.finished();
        let remaining = Remaining::new(job, &finished);
        let report = Report::create(job, &outdir.run().id, &finished, remaining.n_finished)?;
        if job.run.verbose {
            let details = describe(job, &checkpoint, &loras, &outdir, vec![])?.to_string();
            details.lines().for_each(|line| progress.detail(line));
        }
        Ok(Self { job, progress, checkpoint, with_own_vae, loras, checker, outdir, report, finished, remaining })
    }
}

/// Opens the model's files, and downloads those on a hub.
fn open(job: &Job, progress: &Progress) -> Result<Checkpoint> {
    job.model.open(path(job, progress))
}

/// Opens the model's files without TAESD, if its pictures are compared with those of the model's own autoencoder, or pictures
/// have to be encoded, as they are for inpainting models.
fn open_with_own_vae(job: &Job, checkpoint: &Checkpoint, progress: &Progress) -> Result<Option<Checkpoint>> {
    let (compares, encodes) = (job.output.compares_exact, job.images.are_encoded());
    let takes_mask = checkpoint.unet_config(&job.model.config).takes_mask();
    if checkpoint.has_tiny_vae() && (compares || encodes || takes_mask) {
        let reason = match (compares, encodes) {
            (true, _) => "--compare_exact",
            (_, true) if job.images.inputs.is_empty() => "--hires_upscaler lanczos",
            (_, true) => "--init-img",
            _ => "an inpainting model",
        };
        let opened = job.model.open_with_own_vae(path(job, progress));
        return opened.with_context(|| format!("{reason} needs the model's own autoencoder")).map(Some);
    }
    if compares && !job.images.requests.params().iter().any(SamplingParams::has_shortcuts) {
        progress.note("--compare_exact has no effect without --deepcache, --guidance_interval or TAESD");
    }
    Ok(None)
}

/// Returns a function that returns the path of a location, and downloads it if it is on a hub.
fn path(job: &Job, progress: &Progress) -> impl FnMut(&Location) -> Result<PathBuf> {
    let half = job.compute.precision == Precision::Autocast;
    let mut on_progress = on_download(progress);
    move |location| location.path(half, &mut on_progress)
}

/// Checks that the model's text encoder has the layers that the requests ask for.
///
/// # Errors
/// If it has fewer.
pub(crate) fn check_clip_skip(job: &Job, checkpoint: &Checkpoint) -> Result<()> {
    let largest = job.images.requests.params().iter().map(|params| params.clip_skip).max().unwrap_or(1);
    // Every text encoder has a layer; whether there is a text encoder is found out later.
    if largest == 1 {
        return Ok(());
    }
    let layers = engine::text_config(checkpoint, &job.model.config)?.layers;
    text::check_clip_skip(largest, layers).or_usage()
}

/// Opens the LoRA files, downloads those on a hub, and notes what they change.
fn open_loras(job: &Job, checkpoint: &Checkpoint, progress: &Progress) -> Result<LoraFiles> {
    let mut on_progress = on_download(progress);
    let loras = LoraFiles::open(job, checkpoint, |location| loras::path(location, &mut on_progress))?;
    loras.summaries().for_each(|summary| progress.note(&format!("LoRA {summary}")));
    Ok(loras)
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
fn begin(
    job: &Job,
    checkpoint: &Checkpoint,
    loras: &LoraFiles,
    checker: Option<&Checker>,
    progress: &Progress,
) -> Result<OutDir> {
    let safety = checker.map_or(Action::Off, |_| job.output.safety.unwrap_or(Action::Replace));
    let fingerprint = checker.map(|checker| checker.fingerprint().to_owned());
    let outdir = OutDir::open(run_spec(job, checkpoint, loras, Some(safety), fingerprint))?;
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
pub(crate) fn inspect(job: &Job, checkpoint: &Checkpoint, loras: &LoraFiles) -> Result<OutDir> {
    Report::check_free(job)?;
    OutDir::inspect(run_spec(job, checkpoint, loras, checker::action(job), checker::fingerprint(job)))
}

/// Returns the specification of the run for OUTDIR. `safety`: the treatment of flagged pictures; `checker`: the
/// fingerprint of the safety checker; both `None` if unknown.
fn run_spec<'a>(
    job: &'a Job,
    checkpoint: &Checkpoint,
    loras: &LoraFiles,
    safety: Option<Action>,
    checker: Option<String>,
) -> RunSpec<'a> {
    let mut params = run_params(job, checkpoint);
    params.insert("the LoRA files".into(), loras.fingerprints().into());
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
fn run_params(job: &Job, checkpoint: &Checkpoint) -> RunParams {
    let mut params = job.run.params.clone();
    params.insert("the model".into(), checkpoint.fingerprint().into());
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

/// Returns the types that the devices compute in, on which the rounding of pictures depends.
fn compute_types(job: &Job) -> String {
    let mut names: Vec<_> =
        job.compute.devices.iter().map(|device| device.dtype(job.compute.precision).as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}
