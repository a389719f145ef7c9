//! The model of a run: its config, and the source of its weights.

mod address;
pub(super) mod embeddings;

use super::checks;
use crate::args::{Args, DEFAULT_CKPT, DEFAULT_CONFIG};
use crate::checkpoint::hub::{Hub, OnProgress, Repo};
use crate::checkpoint::{Checkpoint, Embedding};
use crate::config::ModelConfig;
use crate::demo;
use crate::usage::OrUsage;
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The source of a model's weights.
#[derive(Clone, PartialEq, Debug)]
pub enum ModelSource {
    /// A checkpoint.
    Files(Location),
    /// The demo model, which is built in.
    Demo,
}

/// The location of files.
#[derive(Clone, PartialEq, Debug)]
pub enum Location {
    /// A file, or a diffusers folder.
    Path(PathBuf),
    /// A repository on a Hugging Face hub.
    Hub(Repo),
}

/// The path of the checkpoint in a well-known fork of the original.
pub const FORK_CKPT: &str = "stable-diffusion-v1-5-emaonly/v1-5-pruned-emaonly.ckpt";

/// The notes when the demo model is used because no other was found.
const DEMO_NOTES: [&str; 2] = [
    "no --ckpt given and none found at models/ldm/stable-diffusion-v1/model.ckpt; using the built-in demo model, which \
     can only draw cubes, balls, pyramids, cones, cylinders and rings in twelve colours, at 256×256 unless --H or --W is given",
    "for real pictures add --ckpt hub (downloads Stable Diffusion 1.5, 4 GB, once) or --ckpt FILE",
];

/// Returns the name of a file, without its extension, or of a folder, as metadata record it. The rest of its path may be
/// private.
pub fn name_of(path: &Path) -> String {
    // Resolves `.` and `..`, which have no names of their own.
    let path = match path.file_name() {
        Some(_) => path.to_owned(),
        None => path.canonicalize().unwrap_or_default(),
    };
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Returns whether a name is that of a file alone. A name in metadata may also be a path, which may be anywhere.
pub fn is_file_name(name: &str) -> bool {
    Path::new(name).file_name() == Some(name.as_ref())
}

/// The model of a run.
#[derive(Debug)]
pub struct ModelFiles {
    /// The config.
    pub config: ModelConfig,
    /// The YAML file of the config; `None` for the demo model's, which is built in.
    pub config_path: Option<PathBuf>,
    /// The weights.
    pub ckpt: ModelSource,
    /// The location of an autoencoder that replaces the model's own.
    pub vae: Option<Location>,
    /// The embeddings that prompts can contain.
    pub embeddings: Vec<Embedding>,
    /// The locations of the LoRAs, by the names that the requests use.
    pub loras: BTreeMap<String, Location>,
}

impl ModelFiles {
    /// Returns the model that the flags name, or the default one, without reading weights, and without LoRAs.
    ///
    /// # Errors
    /// If a file is missing, the config is invalid or does not fit `--C`, or a file of `--embedding` is not an embedding.
    pub fn new(args: &Args, notes: &mut Vec<String>) -> Result<Self> {
        let ckpt = ModelSource::of(args);
        if ckpt == ModelSource::Demo && args.ckpt.is_none() {
            notes.extend(DEMO_NOTES.map(Into::into));
        }
        let default = (ckpt != ModelSource::Demo).then(|| DEFAULT_CONFIG.into());
        let config_path = args.config.clone().or(default);
        let config = ModelConfig { assumed_prediction: args.prediction, ..model_config(config_path.as_deref())? };
        checks::channels(args, &config).or_usage()?;
        if let ModelSource::Files(location) = &ckpt {
            location.check_checkpoint()?;
        }
        let vae = args.vae.as_deref().map(Location::new);
        vae.iter().try_for_each(Location::check_vae)?;
        let embeddings = embeddings::read(args, config.unet.context_dim, notes)?;
        Ok(Self { config, config_path, ckpt, vae, embeddings, loras: BTreeMap::new() })
    }

    /// Returns whether the latents of two models have the same shapes and noise schedule.
    fn draws_like(&self, other: &Self) -> bool {
        let (one, other) = (&self.config, &other.config);
        one.unet.out_channels == other.unet.out_channels
            && one.vae.side_factor() == other.vae.side_factor()
            && one.noise == other.noise
    }

    /// Opens the checkpoint, with the autoencoder of `vae` if there is one, and the embeddings. `path` returns the path
    /// of a location, and may download it.
    ///
    /// # Errors
    /// If `path` fails, or the checkpoint is missing or not one of Stable Diffusion 1.x.
    pub fn open(&self, path: impl FnMut(&Location) -> Result<PathBuf>) -> Result<Checkpoint> {
        self.open_with(self.vae.as_ref(), path)
    }

    /// Opens the checkpoint like [`Self::open`], but with its own autoencoder.
    ///
    /// # Errors
    /// The errors of [`Self::open`].
    pub fn open_with_own_vae(&self, path: impl FnMut(&Location) -> Result<PathBuf>) -> Result<Checkpoint> {
        self.open_with(None, path)
    }

    fn open_with(
        &self,
        vae: Option<&Location>,
        mut path: impl FnMut(&Location) -> Result<PathBuf>,
    ) -> Result<Checkpoint> {
        let ckpt = match &self.ckpt {
            ModelSource::Demo => None,
            ModelSource::Files(location) => Some(path(location)?),
        };
        let vae = vae.map(path).transpose()?;
        let checkpoint = match (ckpt, vae) {
            (None, None) => demo::checkpoint(),
            (None, Some(vae)) => demo::checkpoint()?.with_vae(&vae),
            (Some(ckpt), None) => Checkpoint::open(&ckpt),
            (Some(ckpt), Some(vae)) => Checkpoint::open_with_vae(&ckpt, &vae),
        };
        Ok(checkpoint?.with_embeddings(self.embeddings.iter().cloned()))
    }
}

/// Returns the model that the flags name, or the distinct models of a sweep's cells, and the number of each cell's model.
///
/// # Errors
/// If one of them cannot be used, or the latents of several differ in their shapes or noise.
pub fn models(args: &Args, notes: &mut Vec<String>) -> Result<(Vec<ModelFiles>, Vec<usize>)> {
    let cells = args.swept.iter().flat_map(|swept| &swept.cells);
    let mut keys: Vec<(&Option<PathBuf>, &Option<PathBuf>)> = vec![];
    let (mut models, mut numbers) = (vec![], vec![]);
    for args in cells.chain(args.swept.is_none().then_some(args)) {
        let key = (&args.ckpt, &args.vae);
        let number = keys.iter().position(|other| *other == key);
        if number.is_none() {
            keys.push(key);
            models.push(ModelFiles::new(args, notes)?);
        }
        numbers.push(number.unwrap_or(keys.len() - 1));
    }
    let (first, others) = models.split_first().context("a sweep has cells")?;
    for other in others {
        ensure!(
            first.draws_like(other),
            "--sweep cannot compare '{}' with '{}', as their latents differ; sweep over one of them",
            first.ckpt,
            other.ckpt
        );
    }
    Ok((models, numbers))
}

/// Returns the config in a YAML file, or the demo model's for `None`. The default file may be missing, because its
/// config is built in.
fn model_config(path: Option<&Path>) -> Result<ModelConfig> {
    match path {
        Some(path) if path == Path::new(DEFAULT_CONFIG) && !path.exists() => Ok(ModelConfig::v1()),
        Some(path) => ModelConfig::from_yaml(path),
        None => demo::config(),
    }
}

impl ModelSource {
    /// Returns the model that the flags name, or the default one.
    pub fn of(args: &Args) -> Self {
        match &args.ckpt {
            Some(name) if name == Path::new(demo::NAME) => ModelSource::Demo,
            Some(name) => ModelSource::Files(Location::new(name)),
            None => ModelSource::default(args.config.is_some()),
        }
    }

    /// Returns the model to use without `--ckpt`. `has_config`: whether `--config` is given.
    fn default(has_config: bool) -> Self {
        let found = [DEFAULT_CKPT, FORK_CKPT].into_iter().find(|path| Path::new(path).exists());
        match found {
            Some(path) => ModelSource::Files(Location::Path(path.into())),
            // A config without its checkpoint is a mistake, which opening this path reports.
            None if has_config => ModelSource::Files(Location::Path(DEFAULT_CKPT.into())),
            None => ModelSource::Demo,
        }
    }

    /// Returns the name of the model, as metadata record it.
    pub fn name(&self) -> String {
        match self {
            ModelSource::Files(location) => location.name(),
            ModelSource::Demo => demo::NAME.into(),
        }
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ModelSource::Files(location) => location.fmt(f),
            ModelSource::Demo => f.write_str(demo::NAME),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Location::Path(path) => path.display().fmt(f),
            Location::Hub(repo) => repo.fmt(f),
        }
    }
}

impl Location {
    /// Returns the location that a flag names: a path if it exists or cannot be the name of a repository, else a
    /// repository.
    pub fn new(name: &Path) -> Self {
        let repo = name.to_str().filter(|_| !name.exists()).and_then(Repo::parse);
        repo.map_or_else(|| Location::Path(name.to_owned()), Location::Hub)
    }

    /// Returns the name of the model there, as metadata record it: that of the file, without folder and extension, or that
    /// of the repository.
    pub fn name(&self) -> String {
        match self {
            Location::Path(path) => name_of(path),
            Location::Hub(repo) => repo.to_string(),
        }
    }

    /// Whether there may be files. Opening them reports all other problems.
    pub fn may_exist(&self) -> bool {
        match self {
            Location::Path(path) => !matches!(path.try_exists(), Ok(false)),
            Location::Hub(_) => true,
        }
    }

    /// Checks that there may be a checkpoint for `--ckpt`.
    ///
    /// # Errors
    /// If there is certainly none, with advice.
    pub fn check_checkpoint(&self) -> Result<()> {
        self.check(
            "checkpoint",
            "give a Stable Diffusion 1.x model with --ckpt FILE (a .ckpt or .safetensors file or a diffusers folder), or \
             put one at this path",
        )
    }

    /// Checks that there may be an autoencoder for `--vae`.
    ///
    /// # Errors
    /// If there is certainly none, with advice.
    pub fn check_vae(&self) -> Result<()> {
        self.check(
            "VAE",
            "give one with --vae FILE (a .vae.pt, .ckpt or .safetensors file of a VAE or of a model with one, or a \
             diffusers folder)",
        )
    }

    fn check(&self, what: &str, remedy: &str) -> Result<()> {
        if self.may_exist() {
            return Ok(());
        }
        if let Location::Path(path) = self
            && let Some(hint) = address::hint(path)
        {
            bail!("{what} '{self}' is a web address, not a path; {hint}");
        }
        bail!("{what} '{self}' does not exist; {remedy}")
    }

    /// Returns the path of the files, and downloads them if necessary. With `half`, weights in half precision are
    /// preferred.
    ///
    /// # Errors
    /// If they cannot be downloaded; [`Interrupted`](crate::interrupt::Interrupted) after Ctrl-C.
    pub fn path(&self, half: bool, on_progress: OnProgress) -> Result<PathBuf> {
        self.resolved(|repo| Hub::from_env()?.fetch(repo, half, on_progress))
    }

    /// Returns the path of the files like [`Self::path`], without downloading them.
    ///
    /// # Errors
    /// If they are neither on this machine nor in the cache.
    pub fn local_path(&self, half: bool) -> Result<PathBuf> {
        self.resolved_offline(|hub, repo| hub.fetch(repo, half, &mut |_| ()))
    }

    /// Returns the path, or what `fetch` returns for a repository.
    pub fn resolved(&self, fetch: impl FnOnce(&Repo) -> Result<PathBuf>) -> Result<PathBuf> {
        match self {
            Location::Path(path) => Ok(path.clone()),
            Location::Hub(repo) => fetch(repo),
        }
    }

    /// Returns the path, or what `fetch` returns for a repository and a hub of which only the cache is used.
    pub fn resolved_offline(&self, fetch: impl FnOnce(&Hub, &Repo) -> Result<PathBuf>) -> Result<PathBuf> {
        self.resolved(|repo| {
            let path = fetch(&Hub { offline: true, ..Hub::from_env()? }, repo);
            path.map_err(|_| {
                anyhow!("'{repo}' is not in the cache, and --dry_run downloads nothing; run once without --dry_run")
            })
        })
    }
}
