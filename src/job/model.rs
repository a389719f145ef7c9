//! Which model draws.

mod address;

use crate::args::{Args, DEFAULT_CKPT, DEFAULT_CONFIG};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::hub::{Hub, Repo, Report};
use crate::config::ModelConfig;
use crate::demo;
use anyhow::{Result, anyhow, bail};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where weights come from.
#[derive(Clone, PartialEq, Debug)]
pub enum Ckpt {
    /// Files.
    At(Place),
    /// The program itself.
    Demo,
}

/// Where files are.
#[derive(Clone, PartialEq, Debug)]
pub enum Place {
    /// Here: a file, or a diffusers folder.
    Path(PathBuf),
    /// On a Hugging Face hub.
    Hub(Repo),
}

/// A well-known fork of the original keeps its checkpoint here.
const FORK_CKPT: &str = "stable-diffusion-v1-5-emaonly/v1-5-pruned-emaonly.ckpt";

/// What is said when nothing says which model to take.
pub const DEMO: [&str; 2] = [
    "no model is named and none is at models/ldm/stable-diffusion-v1/model.ckpt, so the built-in demo model draws: cubes, \
     balls, pyramids, cones, cylinders and rings, in twelve colours",
    "for Stable Diffusion 1.5, add --ckpt hub, which downloads it once, or --ckpt FILE, if it is here",
];

/// Files and folders the flags name.
pub struct Files<'a> {
    /// None is the demo model's.
    pub config: Option<&'a Path>,
    /// The weights.
    pub ckpt: Ckpt,
}

impl<'a> Files<'a> {
    /// Those of these flags.
    pub fn new(args: &'a Args) -> Self {
        let ckpt = match &args.ckpt {
            Some(name) if name == Path::new(demo::NAME) => Ckpt::Demo,
            Some(name) => Ckpt::At(Place::named(name)),
            None => Ckpt::default(args.config.is_some()),
        };
        let default = (ckpt != Ckpt::Demo).then_some(DEFAULT_CONFIG.as_ref());
        Self { config: args.config.as_deref().or(default), ckpt }
    }

    /// The model's shape, from the file or from the program.
    pub fn model_config(&self) -> Result<ModelConfig> {
        match self.config {
            Some(path) if path == Path::new(DEFAULT_CONFIG) && !path.exists() => Ok(ModelConfig::v1()),
            Some(path) => ModelConfig::from_yaml(path),
            None => demo::config(),
        }
    }
}

impl Ckpt {
    fn default(has_config: bool) -> Self {
        let there = [DEFAULT_CKPT, FORK_CKPT].into_iter().find(|path| Path::new(path).exists());
        match there {
            Some(path) => Ckpt::At(Place::Path(path.into())),
            // A config is for a model of its own: that it is missing should be said.
            None if has_config => Ckpt::At(Place::Path(DEFAULT_CKPT.into())),
            None => Ckpt::Demo,
        }
    }

    /// Opens the checkpoint, with the autoencoder of `vae` if there is one; `path` gives the path of a place.
    ///
    /// # Errors
    /// Those of `path`, and when there is no such checkpoint or it is not one of Stable Diffusion 1.x.
    pub fn open(&self, vae: Option<&Place>, mut path: impl FnMut(&Place) -> Result<PathBuf>) -> Result<Checkpoint> {
        let ckpt = match self {
            Ckpt::Demo => None,
            Ckpt::At(place) => Some(path(place)?),
        };
        let vae = vae.map(path).transpose()?;
        match (ckpt, vae) {
            (None, None) => demo::checkpoint(),
            (None, Some(vae)) => demo::checkpoint()?.with_vae(&vae),
            (Some(ckpt), None) => Checkpoint::open(&ckpt),
            (Some(ckpt), Some(vae)) => Checkpoint::open_with_vae(&ckpt, &vae),
        }
    }
}

impl fmt::Display for Ckpt {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Ckpt::At(place) => place.fmt(f),
            Ckpt::Demo => f.write_str(demo::NAME),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Place::Path(path) => path.display().fmt(f),
            Place::Hub(repo) => repo.fmt(f),
        }
    }
}

impl Place {
    /// A path, if there is something at it; else what a hub may have under this name.
    pub fn named(name: &Path) -> Self {
        let repo = name.to_str().filter(|_| !name.exists()).and_then(Repo::parse);
        repo.map_or_else(|| Place::Path(name.to_owned()), Place::Hub)
    }

    /// Whether there may be something. What is wrong with it is said when it is opened.
    pub fn may_exist(&self) -> bool {
        match self {
            Place::Path(path) => !matches!(path.try_exists(), Ok(false)),
            Place::Hub(_) => true,
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
        if let Place::Path(path) = self
            && let Some(hint) = address::hint(path)
        {
            bail!("{what} '{self}' is a web address, not a path; {hint}");
        }
        bail!("{what} '{self}' is not there; {remedy}")
    }

    /// Where it is, or is after it was fetched. half: half precision is enough.
    ///
    /// # Errors
    /// When it cannot be had; `Interrupted` after Ctrl-C.
    pub fn path(&self, half: bool, report: Report) -> Result<PathBuf> {
        match self {
            Place::Path(path) => Ok(path.clone()),
            Place::Hub(repo) => Hub::from_env()?.fetch(repo, half, report),
        }
    }

    /// The same if it is here, or was fetched before.
    ///
    /// # Errors
    /// When it would have to be fetched.
    pub fn path_here(&self, half: bool) -> Result<PathBuf> {
        match self {
            Place::Path(path) => Ok(path.clone()),
            Place::Hub(repo) => {
                let here = Hub { offline: true, ..Hub::from_env()? };
                let path = here.fetch(repo, half, &mut |_| ());
                path.map_err(|_| {
                    anyhow!("'{repo}' was not fetched yet, and a dry run fetches nothing; draw with it once")
                })
            }
        }
    }
}
