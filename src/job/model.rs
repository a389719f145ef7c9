//! Which model draws.

mod address;
pub(super) mod embeddings;

use super::checks;
use crate::args::{Args, DEFAULT_CKPT, DEFAULT_CONFIG};
use crate::checkpoint::hub::{Hub, OnProgress, Repo};
use crate::checkpoint::{Checkpoint, Embedding};
use crate::config::ModelConfig;
use crate::demo;
use anyhow::{Result, anyhow, bail};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where weights come from.
#[derive(Clone, PartialEq, Debug)]
pub enum ModelSource {
    /// Files.
    Files(Location),
    /// The program itself.
    Demo,
}

/// Where files are.
#[derive(Clone, PartialEq, Debug)]
pub enum Location {
    /// Here: a file, or a diffusers folder.
    Path(PathBuf),
    /// On a Hugging Face hub.
    Hub(Repo),
}

/// A well-known fork of the original keeps its checkpoint here.
pub const FORK_CKPT: &str = "stable-diffusion-v1-5-emaonly/v1-5-pruned-emaonly.ckpt";

/// What is said when nothing says which model to take.
pub const DEMO: [&str; 2] = [
    "no --ckpt given and none found at models/ldm/stable-diffusion-v1/model.ckpt; using the built-in demo model, which \
     can only draw cubes, balls, pyramids, cones, cylinders and rings in twelve colours",
    "for real pictures add --ckpt hub (downloads Stable Diffusion 1.5, 4 GB, once) or --ckpt FILE",
];

/// Returns what pictures call a file or a folder: its name alone, as where it is may be private.
pub fn name_of(path: &Path) -> String {
    // `.` and `..` have names, too.
    let path = match path.file_name() {
        Some(_) => path.to_owned(),
        None => path.canonicalize().unwrap_or_default(),
    };
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The files of a model, and its config.
#[derive(Debug)]
pub struct ModelFiles {
    /// The shapes of its networks.
    pub config: ModelConfig,
    /// The yaml file of the config; `None` is the demo model's.
    pub config_path: Option<PathBuf>,
    /// The weights.
    pub ckpt: ModelSource,
    /// The model whose autoencoder replaces its own.
    pub vae: Option<Location>,
    /// The embeddings that prompts can contain.
    pub embeddings: Vec<Embedding>,
}

impl ModelFiles {
    /// Returns the files that the flags name, or the default ones. No weights are read.
    ///
    /// # Errors
    /// If a file is missing, the config is not valid or does not fit `--C`, or a file of `--embedding` is not an embedding.
    pub fn new(args: &Args, notes: &mut Vec<String>) -> Result<Self> {
        let ckpt = match &args.ckpt {
            Some(name) if name == Path::new(demo::NAME) => ModelSource::Demo,
            Some(name) => ModelSource::Files(Location::named(name)),
            None => ModelSource::default(args.config.is_some()),
        };
        if ckpt == ModelSource::Demo && args.ckpt.is_none() {
            notes.extend(DEMO.map(Into::into));
        }
        let default = (ckpt != ModelSource::Demo).then(|| DEFAULT_CONFIG.into());
        let config_path = args.config.clone().or(default);
        let config = model_config(config_path.as_deref())?;
        checks::channels(args, &config)?;
        if let ModelSource::Files(location) = &ckpt {
            location.check_checkpoint()?;
        }
        let vae = args.vae.as_deref().map(Location::named);
        vae.iter().try_for_each(Location::check_vae)?;
        let embeddings = embeddings::read(args, config.unet.context_dim, notes)?;
        Ok(Self { config, config_path, ckpt, vae, embeddings })
    }

    /// Opens the checkpoint, with the autoencoder of `vae` if there is one, and the embeddings. `path` returns the path of a location.
    ///
    /// # Errors
    /// If `path` fails, or there is no such checkpoint or it is not one of Stable Diffusion 1.x.
    pub fn open(&self, mut path: impl FnMut(&Location) -> Result<PathBuf>) -> Result<Checkpoint> {
        let ckpt = match &self.ckpt {
            ModelSource::Demo => None,
            ModelSource::Files(location) => Some(path(location)?),
        };
        let vae = self.vae.as_ref().map(path).transpose()?;
        let checkpoint = match (ckpt, vae) {
            (None, None) => demo::checkpoint(),
            (None, Some(vae)) => demo::checkpoint()?.with_vae(&vae),
            (Some(ckpt), None) => Checkpoint::open(&ckpt),
            (Some(ckpt), Some(vae)) => Checkpoint::open_with_vae(&ckpt, &vae),
        };
        Ok(checkpoint?.with_embeddings(self.embeddings.iter().cloned()))
    }
}

/// Returns the config in a yaml file. The default file may be missing, because its config is built in.
fn model_config(path: Option<&Path>) -> Result<ModelConfig> {
    match path {
        Some(path) if path == Path::new(DEFAULT_CONFIG) && !path.exists() => Ok(ModelConfig::v1()),
        Some(path) => ModelConfig::from_yaml(path),
        None => demo::config(),
    }
}

impl ModelSource {
    fn default(has_config: bool) -> Self {
        let there = [DEFAULT_CKPT, FORK_CKPT].into_iter().find(|path| Path::new(path).exists());
        match there {
            Some(path) => ModelSource::Files(Location::Path(path.into())),
            // A config is for a model of its own: that it is missing should be said.
            None if has_config => ModelSource::Files(Location::Path(DEFAULT_CKPT.into())),
            None => ModelSource::Demo,
        }
    }

    /// Returns what pictures call it.
    pub fn name(&self) -> String {
        match self {
            ModelSource::Files(place) => place.name(),
            ModelSource::Demo => demo::NAME.into(),
        }
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ModelSource::Files(place) => place.fmt(f),
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
    /// A path, if there is something at it; else what a hub may have under this name.
    pub fn named(name: &Path) -> Self {
        let repo = name.to_str().filter(|_| !name.exists()).and_then(Repo::parse);
        repo.map_or_else(|| Location::Path(name.to_owned()), Location::Hub)
    }

    /// Returns what pictures call it: a file's name without folder and extension, or the repository's.
    pub fn name(&self) -> String {
        match self {
            Location::Path(path) => name_of(path),
            Location::Hub(repo) => repo.to_string(),
        }
    }

    /// Whether there may be something. What is wrong with it is said when it is opened.
    pub fn may_exist(&self) -> bool {
        match self {
            Location::Path(path) => !matches!(path.try_exists(), Ok(false)),
            Location::Hub(_) => true,
        }
    }

    /// Checks that there may be a checkpoint, as `--ckpt` needs one.
    ///
    /// # Errors
    /// When there certainly is none, with what to give instead.
    pub fn check_checkpoint(&self) -> Result<()> {
        self.check(
            "checkpoint",
            "give a Stable Diffusion 1.x model with --ckpt FILE (a .ckpt or .safetensors file or a diffusers folder), or \
             put one at this path",
        )
    }

    /// Checks that there may be an autoencoder, as `--vae` needs one.
    ///
    /// # Errors
    /// When there certainly is none, with what to give instead.
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

    /// Where it is, or is after it was fetched. half: half precision is enough.
    ///
    /// # Errors
    /// When it cannot be had; `Interrupted` after Ctrl-C.
    pub fn path(&self, half: bool, report: OnProgress) -> Result<PathBuf> {
        match self {
            Location::Path(path) => Ok(path.clone()),
            Location::Hub(repo) => Hub::from_env()?.fetch(repo, half, report),
        }
    }

    /// The same if it is here, or was fetched before.
    ///
    /// # Errors
    /// When it would have to be fetched.
    pub fn path_here(&self, half: bool) -> Result<PathBuf> {
        match self {
            Location::Path(path) => Ok(path.clone()),
            Location::Hub(repo) => {
                let here = Hub { offline: true, ..Hub::from_env()? };
                let path = here.fetch(repo, half, &mut |_| ());
                path.map_err(|_| {
                    anyhow!("'{repo}' is not in the cache, and a dry run downloads nothing; draw with it once")
                })
            }
        }
    }
}
