//! `--replay`: the job that redraws a picture from its metadata.

use super::loras::find_by_hash;
use super::model::embeddings::{self, EXTENSIONS};
use super::model::{FORK_CKPT, is_file_name};
use super::{Job, name_of};
use crate::args::{Args, DEFAULT_CKPT, DEFAULT_CONFIG, SamplingFlags, Seed};
use crate::by_name::ByName;
use crate::checkpoint::model_sha256;
use crate::config::Prediction;
use crate::demo;
use crate::device::Precision;
use crate::files::sha256;
use crate::output::{self, EmbeddingRecord, Picture, Record};
use crate::params::{LoraChoice, PARAMS, SamplingParams};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// A picture to redraw.
#[derive(Debug)]
pub struct Replay {
    /// The path of its file.
    pub path: PathBuf,
    /// The metadata in the file.
    pub record: Record,
    /// The pixels in the file.
    pub picture: Picture,
}

/// The flags that metadata override, besides those of the sampling parameters.
const RECORDED: [&str; 18] = [
    "prompt",
    "negative_prompt",
    "emphasis",
    "long_prompt",
    "webui_prompts",
    "wildcards",
    "auto_orient",
    "fit",
    "plms",
    "dpm_solver",
    "fast",
    "f",
    "seed",
    "seed_mode",
    "rng",
    "fixed_code",
    "precision",
    "skip_watermark",
];

/// The flags that concern several pictures.
const MULTIPLE: [&str; 4] = ["n_iter", "n_samples", "n_rows", "grid_every"];

/// Returns the job that redraws one picture. Flags apply only to settings that its metadata lack.
///
/// # Errors
/// If the file is not a picture of this program, or its model cannot be found.
pub fn job(path: &Path, args: &Args) -> Result<Job> {
    let record = output::record(path)?;
    let picture = output::open(path)?;
    let cannot = || format!("'{}' cannot be redrawn", path.display());
    let mut params = params(&record).with_context(cannot)?;
    params.loras = loras(args, &record).with_context(cannot)?;
    let (init_img, mask) = (&args.sampling.init_img, &args.sampling.mask);
    params.init_img = input("--init-img", init_img, &params.init_img, &record.init_img_sha256).with_context(cannot)?;
    if record.mask_sha256.is_some() {
        params.mask = input("--mask", mask, &params.mask, &record.mask_sha256).with_context(cannot)?;
    }
    let mut job = Job::new(&overridden(args, &record).with_context(cannot)?, params, vec![])?;
    job.run.notes.extend(note_ignored(args, &record));
    job.images.replay = Some(Replay { path: path.to_owned(), record, picture });
    Ok(job)
}

/// Returns a note on the flags that are ignored.
fn note_ignored(args: &Args, record: &Record) -> Option<String> {
    let flags: Vec<String> =
        ignored_flags(record).filter(|flag| args.is_given(flag)).map(|flag| format!("--{flag}")).collect();
    (!flags.is_empty())
        .then(|| format!("--replay redraws one picture from its metadata and ignores {}", flags.join(", ")))
}

/// Returns the sampling parameters of a picture.
fn params(record: &Record) -> Result<SamplingParams> {
    let SamplingParams { height, width, .. } = record.params;
    let factor = width / record.latent_width.max(1);
    let fits = |side: usize, latents: usize| factor > 0 && latents.checked_mul(factor) == Some(side);
    ensure!(
        fits(width, record.latent_width) && fits(height, record.latent_height),
        "its size is not that of its latents"
    );
    let mut params = SamplingParams { factor, ..record.params.clone() };
    // Sets every parameter once more, because metadata may contain values that flags reject.
    PARAMS.iter().try_for_each(|param| param.set(&mut params, &param.get(&record.params)))?;
    params.check()?;
    Ok(params)
}

/// Returns the command line, overridden by the metadata.
fn overridden(args: &Args, record: &Record) -> Result<Args> {
    let (ckpt, config) = model(args, record)?;
    Ok(Args {
        prompt: record.prompt.clone(),
        negative_prompt: record.negative_prompt.clone(),
        emphasis: record.emphasis,
        long_prompt: record.long_prompt,
        webui_prompts: record.webui_prompts,
        wildcards: false,
        auto_orient: record.auto_orient,
        fit: false,
        seed: Seed::Given(record.origin.seed),
        rng: record.rng.parse()?,
        n_iter: 1,
        n_samples: 1,
        n_rows: 0,
        grid_every: None,
        fixed_code: false,
        skip_grid: true,
        skip_watermark: !record.watermark,
        sampling: SamplingFlags { fast: None, ..args.sampling.clone() },
        precision: if record.products == "f32" { Precision::Full } else { Precision::Autocast },
        ckpt: Some(ckpt),
        config,
        prediction: prediction(args, record)?,
        vae: vae(args, record)?,
        embedding: embeddings(args, record)?,
        embedding_dir: None,
        // The LoRAs are given by their paths, and tags have been removed from the prompt.
        lora_dir: None,
        from_file: None,
        given: args
            .given
            .iter()
            .filter(|flag| ignored_flags(record).all(|ignored| ignored != *flag))
            .cloned()
            .collect(),
        ..args.clone()
    })
}

/// Returns the flags that `--replay` ignores.
fn ignored_flags(record: &Record) -> impl Iterator<Item = &'static str> {
    // With these, files that moved are found.
    let has_file = |flag: &str| match flag {
        "init-img" => record.init_img_sha256.is_some(),
        "mask" => record.mask_sha256.is_some(),
        _ => false,
    };
    let params = PARAMS.iter().map(|param| param.flag).filter(move |flag| !has_file(flag));
    RECORDED.into_iter().chain(params).chain(MULTIPLE)
}

/// Returns the checkpoint and the config of the picture: those given by flags, or else those that can be found.
fn model(args: &Args, record: &Record) -> Result<(PathBuf, Option<PathBuf>)> {
    let is_demo = match &record.model_hash {
        Some(hash) => *hash == sha256::of_bytes(demo::WEIGHTS),
        None => record.model == demo::NAME,
    };
    if args.ckpt.is_none() && is_demo {
        return Ok((demo::NAME.into(), args.config.clone()));
    }
    let ckpt = match &args.ckpt {
        Some(given) => given.clone(),
        None => checkpoint(record)?,
    };
    Ok((ckpt, config(args, record)?))
}

/// Finds the checkpoint of the picture: in the usual folders if its hash is equal, or, for metadata without a hash, at the
/// path that they contain. Nothing is downloaded, because the picture may come from a stranger.
fn checkpoint(record: &Record) -> Result<PathBuf> {
    let (name, folder) = (Path::new(&record.model), Path::new(DEFAULT_CKPT).with_file_name(""));
    let files = [".safetensors", ".ckpt", ""].map(|extension| format!("{}{extension}", record.model));
    let in_cwd = files.iter().map(PathBuf::from);
    let in_folder = files.iter().filter(|_| is_file_name(&record.model)).map(|file| folder.join(file));
    let defaults = [DEFAULT_CKPT, FORK_CKPT].into_iter().map(PathBuf::from);
    let Some(hash) = &record.model_hash else {
        ensure!(name.exists(), "its model '{}' was not found; give it with --ckpt", record.model);
        return Ok(name.to_owned());
    };
    let matches_hash =
        |path: &PathBuf| path.exists() && matches!(model_sha256(path, &|| true), Ok(Some(other)) if other == *hash);
    match in_cwd.chain(in_folder).chain(defaults).find(matches_hash) {
        Some(path) => Ok(path),
        None => bail!(
            "its model '{}' was not found in this folder or in {}; give it with --ckpt (its SHA-256 begins with \
             {:.10})",
            record.model,
            folder.display(),
            hash
        ),
    }
}

/// Returns the config of the picture, or `None` for the default.
fn config(args: &Args, record: &Record) -> Result<Option<PathBuf>> {
    match (&args.config, &record.config) {
        (None, Some(named)) if *named != name_of(Path::new(DEFAULT_CONFIG)) && named != DEFAULT_CONFIG => {
            ensure!(Path::new(named).is_file(), "its config '{named}' was not found; give it with --config");
            Ok(Some(named.into()))
        }
        (given, _) => Ok(given.clone()),
    }
}

/// Returns the prediction type that the picture's metadata state, or the given one.
fn prediction(args: &Args, record: &Record) -> Result<Option<Prediction>> {
    let Some(name) = &record.prediction else { return Ok(args.prediction) };
    let prediction = Prediction::from_name(name).with_context(|| format!("its prediction type '{name}' is unknown"))?;
    Ok(Some(prediction))
}

/// Returns the autoencoder of the picture, or `None` for the model's own.
fn vae(args: &Args, record: &Record) -> Result<Option<PathBuf>> {
    match (&args.vae, &record.vae) {
        (None, Some(named)) => {
            ensure!(Path::new(named).exists(), "its autoencoder '{named}' was not found; give it with --vae");
            Ok(Some(named.into()))
        }
        (given, _) => Ok(given.clone()),
    }
}

/// Returns the path of a file that the picture was drawn from: the one that `flag` gives, or the recorded one, if it has the
/// recorded hash.
fn input(
    flag: &str,
    given: &Option<String>,
    recorded: &Option<String>,
    sha256: &Option<String>,
) -> Result<Option<String>> {
    let Some(path) = recorded.as_ref().map(|recorded| given.as_ref().unwrap_or(recorded)) else { return Ok(None) };
    let hash = sha256::of_file(Path::new(path), &|| true).ok().flatten();
    ensure!(
        hash.is_some() && hash == *sha256,
        "'{path}' is missing or is not the picture that was used; give the original with {flag} (its SHA-256 begins with {:.10})",
        sha256.as_deref().unwrap_or_default()
    );
    Ok(Some(path.clone()))
}

/// Returns the LoRAs of the picture with the paths of their files: those in `--lora_dir` or this folder that have the same
/// hash.
fn loras(args: &Args, record: &Record) -> Result<Vec<LoraChoice>> {
    let found = record.params.loras.iter().map(|lora| {
        let name = &lora.name;
        let file = record.lora_files.iter().find(|file| file.name == *name);
        let file = file.with_context(|| format!("its metadata lack the hash of its LoRA '{name}'"))?;
        let path = find_by_hash(file, args.lora_dir.as_deref()).with_context(|| {
            let hash = &file.hash;
            format!("its LoRA '{name}' (hash {hash}) was not found; give the file's folder with --lora_dir")
        })?;
        Ok(LoraChoice { name: path.display().to_string(), ..lora.clone() })
    });
    found.collect()
}

/// Returns the embeddings that the picture names, as values of `--embedding`: those that are given, or that are in this
/// folder or in `embeddings`, if they have the same hash.
fn embeddings(args: &Args, record: &Record) -> Result<Vec<PathBuf>> {
    if record.embeddings.is_empty() {
        return Ok(vec![]);
    }
    let mut given: Vec<PathBuf> = args.embedding.iter().map(|value| embeddings::file_and_name(value).0).collect();
    if let Some(folder) = &args.embedding_dir {
        given.extend(embeddings::files(folder)?);
    }
    let found = record.embeddings.iter().map(|EmbeddingRecord { name, sha256 }| {
        let files = EXTENSIONS.iter().map(|extension| format!("{name}.{extension}")).filter(|_| is_file_name(name));
        let usual = files.flat_map(|file| [Path::new(&file).to_owned(), Path::new("embeddings").join(file)]);
        let is_it = |path: &PathBuf| {
            path.is_file() && matches!(sha256::of_file(path, &|| true), Ok(Some(hash)) if hash == *sha256)
        };
        let file = given.iter().cloned().chain(usual).find(is_it).with_context(|| {
            format!(
                "its embedding '{name}' was not found; give it with --embedding (its SHA-256 begins with {sha256:.10})"
            )
        })?;
        let mut value = file.into_os_string();
        value.push(format!("={name}"));
        Ok(value.into())
    });
    found.collect()
}
