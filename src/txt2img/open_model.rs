//! The models of a run, opened: their files are there and understood, and their weights are not read yet.

use super::on_download;
use crate::checkpoint::Checkpoint;
use crate::conventions::Conventions;
use crate::device::Precision;
use crate::engine;
use crate::job::{Job, Location, LoraFiles, ModelFiles, loras};
use crate::params::SamplingParams;
use crate::progress::Progress;
use crate::text;
use crate::usage::OrUsage;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// An opened model with its LoRAs.
pub struct OpenModel<'a> {
    pub files: &'a ModelFiles,
    pub checkpoint: Checkpoint,
    /// The checkpoint with its own autoencoder, if TAESD replaces it and it is needed too.
    pub with_own_vae: Option<Checkpoint>,
    pub loras: LoraFiles,
}

impl<'a> OpenModel<'a> {
    /// Opens a model of `job`, and downloads the files that are on a hub. Notes what the model declares.
    ///
    /// # Errors
    /// If a file is missing or cannot be used, or the requests do not fit the model.
    pub fn open(job: &Job, files: &'a ModelFiles, progress: &Progress) -> Result<Self> {
        let checkpoint = files.open(path(job, progress))?;
        let with_own_vae = open_with_own_vae(job, files, &checkpoint, progress)?;
        let conventions = Conventions::new(&checkpoint, &files.config)?;
        check_clip_skip(job, files, &checkpoint)?;
        conventions.notes.iter().for_each(|note| progress.note(note));
        let mut on_progress = on_download(progress);
        let loras = LoraFiles::open(files, &checkpoint, |location| loras::path(location, &mut on_progress))?;
        loras.summaries().for_each(|summary| progress.note(&format!("LoRA {summary}")));
        Ok(Self { files, checkpoint, with_own_vae, loras })
    }

    /// Opens a model of `job` for a dry run, which downloads nothing.
    ///
    /// # Errors
    /// The errors of [`Self::open`], and if a file is not in the cache.
    pub fn inspect(job: &Job, files: &'a ModelFiles) -> Result<Self> {
        let half = is_half(job);
        let checkpoint = files.open(|location| location.local_path(half))?;
        check_clip_skip(job, files, &checkpoint)?;
        let loras = LoraFiles::open(files, &checkpoint, loras::local_path)?;
        Ok(Self { files, checkpoint, with_own_vae: None, loras })
    }
}

fn is_half(job: &Job) -> bool {
    job.compute.precision == Precision::Autocast
}

/// Returns a function that returns the path of a location, and downloads it if it is on a hub.
fn path(job: &Job, progress: &Progress) -> impl FnMut(&Location) -> Result<PathBuf> {
    let half = is_half(job);
    let mut on_progress = on_download(progress);
    move |location| location.path(half, &mut on_progress)
}

/// Opens the model's files without TAESD, if its pictures are compared with those of the model's own autoencoder, or pictures
/// have to be encoded, as they are for inpainting models.
fn open_with_own_vae(
    job: &Job,
    files: &ModelFiles,
    checkpoint: &Checkpoint,
    progress: &Progress,
) -> Result<Option<Checkpoint>> {
    let (compares, encodes) = (job.output.compares_exact, job.images.are_encoded());
    let takes_mask = checkpoint.unet_config(&files.config).takes_mask();
    if checkpoint.has_tiny_vae() && (compares || encodes || takes_mask) {
        let reason = match (compares, encodes) {
            (true, _) => "--compare_exact",
            (_, true) if job.images.inputs.is_empty() => "--hires_upscaler lanczos",
            (_, true) => "--init-img",
            _ => "an inpainting model",
        };
        let opened = files.open_with_own_vae(path(job, progress));
        return opened.with_context(|| format!("{reason} needs the model's own autoencoder")).map(Some);
    }
    if compares && !job.images.requests.params().iter().any(SamplingParams::has_shortcuts) {
        progress.note("--compare_exact has no effect without --deepcache, --guidance_interval or TAESD");
    }
    Ok(None)
}

/// Checks that the model's text encoder has the layers that the requests ask for.
///
/// # Errors
/// If it has fewer.
fn check_clip_skip(job: &Job, files: &ModelFiles, checkpoint: &Checkpoint) -> Result<()> {
    let largest = job.images.requests.params().iter().map(|params| params.clip_skip).max().unwrap_or(1);
    // Every text encoder has a layer; whether there is a text encoder is found out later.
    if largest == 1 {
        return Ok(());
    }
    let layers = engine::text_config(checkpoint, &files.config)?.layers;
    text::check_clip_skip(largest, layers).or_usage()
}
