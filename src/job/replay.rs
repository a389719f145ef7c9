//! `--replay`: the job that draws a picture of ours again.

use super::Job;
use crate::args::{Args, Seed};
use crate::by_name::ByName;
use crate::demo;
use crate::device::Precision;
use crate::diffusion::samplers::{Kind, Spacing};
use crate::output::{self, Picture, Record};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// A picture that is drawn again.
#[derive(Debug)]
pub struct Replay {
    /// Its file.
    pub path: PathBuf,
    /// What it says.
    pub record: Record,
    /// What it shows.
    pub picture: Picture,
}

/// The job of drawing one picture as its file says. Of the flags, those count that the file does not know.
pub fn job(path: &Path, args: &Args) -> Result<Job> {
    let record = output::record(path)?;
    let picture = output::open(path)?;
    let again = over(args, &record).with_context(|| format!("'{}' says how it was drawn, but", path.display()))?;
    let mut job = Job::of(&again)?;
    job.replay = Some(Replay { path: path.to_owned(), record, picture });
    Ok(job)
}

/// The command line with what the record says instead.
fn over(args: &Args, record: &Record) -> Result<Args> {
    let factor = record.width / record.latent_width.max(1);
    let fits = |side: usize, latents: usize| latents.checked_mul(factor) == Some(side);
    ensure!(
        fits(record.width, record.latent_width) && fits(record.height, record.latent_height),
        "its size is not that of its latents"
    );
    let model = |given: &Option<PathBuf>, flag: &str, named: &Option<String>| match (given, named) {
        (None, Some(named)) if *named != demo::NAME => {
            // What a stranger's picture names is not fetched.
            ensure!(Path::new(named).exists(), "its model '{named}' is not here; give it with {flag}");
            Ok(Some(named.into()))
        }
        (given, named) => Ok(given.clone().or_else(|| named.as_ref().map(Into::into))),
    };
    Ok(Args {
        prompt: record.prompt.clone(),
        negative_prompt: record.negative_prompt.clone(),
        emphasis: record.emphasis,
        long_prompt: record.long_prompt,
        wildcards: false,
        sampler: Some(Kind::from_name(&record.sampler).with_context(|| format!("'{}' is no sampler", record.sampler))?),
        schedule: Spacing::from_name(&record.schedule)
            .with_context(|| format!("'{}' is no schedule", record.schedule))?,
        ddim_steps: i64::try_from(record.steps)?,
        ddim_eta: record.eta,
        scale: record.scale,
        height: i64::try_from(record.height)?,
        width: i64::try_from(record.width)?,
        factor: i64::try_from(factor)?,
        seed: Seed::Given(record.origin.seed),
        rng: record.rng.parse()?,
        n_iter: 1,
        n_samples: 1,
        fixed_code: false,
        skip_grid: true,
        skip_watermark: !record.watermark,
        precision: if record.products == "f32" { Precision::Full } else { Precision::Autocast },
        ckpt: model(&args.ckpt, "--ckpt", &Some(record.model.clone()))?,
        config: args.config.clone().or_else(|| record.config.clone().map(Into::into)),
        vae: model(&args.vae, "--vae", &record.vae)?,
        from_file: None,
        ..args.clone()
    })
}
