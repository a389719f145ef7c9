//! The sampling parameters: everything that determines a picture besides the model, its prompts and its noise.

use crate::by_name::ByName;
use crate::diffusion::samplers::{Kind, SamplerConfig, Spacing};
use anyhow::{Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most pixels of a side: more than any model draws well, and few enough to hold in memory.
const MAX_SIDE: i64 = 8192;

/// The most steps that are a number of steps at all; [`SamplerConfig::check`] names the actual limit.
const MAX_STEPS: i64 = 1_000_000;

/// The layers of CLIP's text encoder. A smaller model's are checked when it is loaded.
const TEXT_LAYERS: i64 = 12;

/// The parameters of one picture, which all pictures of a batch share. The default is the original's.
///
/// Records of pictures contain these fields under the names given here. A parameter that is added needs a default there
/// (`#[serde(default)]`), for the records of older pictures, and a row in [`PARAMS`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct SamplingParams {
    /// The height of the picture in pixels, a multiple of `factor`.
    pub height: usize,
    /// The width of the picture in pixels, a multiple of `factor`.
    pub width: usize,
    /// Pixels per latent in each direction. Not recorded, because records contain the size of the latents.
    #[serde(skip, default = "factor")]
    pub factor: usize,
    /// The guidance scale; 1 is no guidance.
    pub scale: f64,
    /// The layer of the text encoder whose output is the context, counted from the last, which is 1.
    #[serde(default = "clip_skip")]
    pub clip_skip: usize,
    /// The sampler, with its steps, eta and spacing.
    #[serde(flatten)]
    pub sampler: SamplerConfig,
}

fn factor() -> usize {
    SamplingParams::default().factor
}

fn clip_skip() -> usize {
    SamplingParams::default().clip_skip
}

impl Default for SamplingParams {
    fn default() -> Self {
        let sampler = SamplerConfig { kind: Kind::Ddim, steps: 50, eta: 0., spacing: Spacing::Discrete };
        Self { height: 512, width: 512, factor: 8, scale: 7.5, clip_skip: 1, sampler }
    }
}

impl SamplingParams {
    /// Returns the number of rows of latents.
    pub fn latent_height(&self) -> usize {
        self.height / self.factor
    }

    /// Returns the number of columns of latents.
    pub fn latent_width(&self) -> usize {
        self.width / self.factor
    }

    /// Returns the number of latents of a picture, each of which has several channels.
    pub fn n_latents(&self) -> usize {
        self.latent_height() * self.latent_width()
    }

    /// Returns the parameters of a picture that has `factor` pixels per latent, as those with the same latents.
    pub fn with_factor(&self, factor: usize) -> Self {
        Self { height: self.latent_height() * factor, width: self.latent_width() * factor, factor, ..*self }
    }

    /// Checks the parameters against each other. [`Self::set`] has checked each by itself.
    ///
    /// # Errors
    /// If a side is not a multiple of the factor, or the sampler does not support its eta or its spacing.
    pub fn check(&self) -> Result<()> {
        self.sampler.check()?;
        for (flag, size) in [("--H", self.height), ("--W", self.width)] {
            let f = self.factor;
            let (below, above) = (size / f * f, (size / f + 1) * f);
            ensure!(size % f == 0, "{flag} {size} is not a multiple of {f}; the nearest are {below} and {above}");
        }
        Ok(())
    }

    /// Sets the parameter with the flag `flag`.
    ///
    /// # Errors
    /// If there is no such parameter, or the value is out of range or of another type.
    pub fn set(&mut self, flag: &str, value: &ParamValue) -> Result<()> {
        match PARAMS.iter().find(|param| param.flag == flag) {
            Some(param) => param.set(self, value),
            None => bail!("'{flag}' is not a sampling parameter"),
        }
    }

    /// Returns a text that is equal for equal parameters only, to look them up by.
    pub fn key(&self) -> String {
        let values: Vec<String> = PARAMS.iter().map(|param| param.get(self).to_string()).collect();
        format!("{} {}", self.factor, values.join(" "))
    }
}

/// The value of a parameter.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum ParamValue {
    /// A whole number.
    Whole(i64),
    /// A finite number.
    Number(f64),
    /// A name.
    Name(String),
}

impl fmt::Display for ParamValue {
    /// Writes the value as a command line does.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ParamValue::Whole(number) => number.fmt(f),
            ParamValue::Number(number) => number.fmt(f),
            ParamValue::Name(name) => f.write_str(name),
        }
    }
}

/// One sampling parameter.
#[derive(Clone, Copy)]
pub struct Param {
    /// The name of its flag, which is also its key in a JSON prompts file and its axis in `--sweep`.
    pub flag: &'static str,
    /// The name of its field in records, which is also its placeholder in `--fname` and its other key in JSON.
    pub name: &'static str,
    /// Its type, with access to its field.
    pub field: Field,
}

/// The type of a parameter, with functions that read and set its field of [`SamplingParams`].
#[derive(Clone, Copy)]
pub enum Field {
    /// A whole number. Setting fails if it is out of range.
    Whole {
        /// Returns the value.
        get: fn(&SamplingParams) -> usize,
        /// Sets the value.
        set: fn(&mut SamplingParams, i64) -> Result<()>,
    },
    /// A finite number.
    Number {
        /// Returns the value.
        get: fn(&SamplingParams) -> f64,
        /// Sets the value.
        set: fn(&mut SamplingParams, f64),
    },
    /// A name of an enumeration.
    Name {
        /// Returns all names, separated by commas.
        names: fn() -> String,
        /// Returns the value.
        get: fn(&SamplingParams) -> &'static str,
        /// Sets the value; returns `None` if there is no such name.
        set: fn(&mut SamplingParams, &str) -> Option<()>,
    },
}

/// The sampling parameters, in the order in which messages list them.
///
/// Prompts files, sweeps, file names, records, replay and resume all go by these rows.
pub const PARAMS: [Param; 8] = [
    Param {
        flag: "H",
        name: "height",
        field: Field::Whole {
            get: |params| params.height,
            set: |params, height| side("--H", height, params.factor).map(|height| params.height = height),
        },
    },
    Param {
        flag: "W",
        name: "width",
        field: Field::Whole {
            get: |params| params.width,
            set: |params, width| side("--W", width, params.factor).map(|width| params.width = width),
        },
    },
    Param {
        flag: "ddim_steps",
        name: "steps",
        field: Field::Whole {
            get: |params| params.sampler.steps,
            set: |params, n| steps(n).map(|n| params.sampler.steps = n),
        },
    },
    Param {
        flag: "scale",
        name: "scale",
        field: Field::Number { get: |params| params.scale, set: |params, scale| params.scale = scale },
    },
    Param {
        flag: "clip_skip",
        name: "clip_skip",
        field: Field::Whole {
            get: |params| params.clip_skip,
            set: |params, layer| text_layer(layer).map(|layer| params.clip_skip = layer),
        },
    },
    Param {
        flag: "sampler",
        name: "sampler",
        field: Field::Name {
            names: Kind::names,
            get: |params| params.sampler.kind.name(),
            set: |params, name| Kind::from_name(name).map(|kind| params.sampler.kind = kind),
        },
    },
    Param {
        flag: "ddim_eta",
        name: "eta",
        field: Field::Number { get: |params| params.sampler.eta, set: |params, eta| params.sampler.eta = eta },
    },
    Param {
        flag: "schedule",
        name: "schedule",
        field: Field::Name {
            names: Spacing::names,
            get: |params| params.sampler.spacing.name(),
            set: |params, name| Spacing::from_name(name).map(|spacing| params.sampler.spacing = spacing),
        },
    },
];

impl Param {
    /// Returns its value in `params`.
    pub fn get(&self, params: &SamplingParams) -> ParamValue {
        match self.field {
            Field::Whole { get, .. } => ParamValue::Whole(get(params) as i64),
            Field::Number { get, .. } => ParamValue::Number(get(params)),
            Field::Name { get, .. } => ParamValue::Name(get(params).to_owned()),
        }
    }

    fn set(&self, params: &mut SamplingParams, value: &ParamValue) -> Result<()> {
        match (self.field, value) {
            (Field::Whole { set, .. }, ParamValue::Whole(number)) => set(params, *number),
            (Field::Number { set, .. }, ParamValue::Number(number)) => {
                set(params, *number);
                Ok(())
            }
            (Field::Name { set, names, .. }, ParamValue::Name(name)) => {
                set(params, name).ok_or_else(|| anyhow!("--{} '{name}' is not one of {}", self.flag, names()))
            }
            _ => bail!("--{} does not take '{value}'", self.flag),
        }
    }
}

fn side(flag: &str, size: i64, factor: usize) -> Result<usize> {
    let range = factor as i64..=MAX_SIDE;
    ensure!(range.contains(&size), "{flag} {size} is not between {factor} and {MAX_SIDE}");
    Ok(size as usize)
}

fn steps(n: i64) -> Result<usize> {
    ensure!(n > 0, "--ddim_steps {n} draws nothing; give at least 1");
    ensure!(n <= MAX_STEPS, "--ddim_steps {n} is more than {MAX_STEPS}");
    Ok(n as usize)
}

fn text_layer(layer: i64) -> Result<usize> {
    ensure!((1..=TEXT_LAYERS).contains(&layer), "--clip_skip {layer} is not between 1 (none) and {TEXT_LAYERS}");
    Ok(layer as usize)
}
