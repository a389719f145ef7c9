//! The sampling parameters: everything that determines a picture besides the model, its prompts and its noise.

mod lora_choice;

use crate::as_text;
use crate::by_name::ByName;
use crate::diffusion::deep_cache::DeepCache;
use crate::diffusion::guidance::Interval;
use crate::diffusion::samplers::{Kind, SamplerConfig, Spacing};
use anyhow::{Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;

pub use lora_choice::LoraChoice;

/// The largest side in pixels: more than any model draws well, and few enough to hold in memory.
const MAX_SIDE: i64 = 8192;

/// The largest plausible number of steps; [`SamplerConfig::check`] reports the actual limit.
const MAX_STEPS: i64 = 1_000_000;

/// The largest weight of a LoRA. Those above 2 already distort the picture.
const MAX_LORA_WEIGHT: f64 = 1000.;

/// The number of layers of CLIP's text encoder. Those of a smaller model are checked when it is loaded.
const TEXT_LAYERS: i64 = 12;

/// The sampling parameters, which all pictures of a batch share. The defaults are the original's.
///
/// Metadata contain these fields under these names. A new parameter needs a default (`#[serde(default)]`), for the metadata
/// of older pictures, and a row in [`PARAMS`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SamplingParams {
    /// The height of the picture in pixels, a multiple of `factor`.
    pub height: usize,
    /// The width of the picture in pixels, a multiple of `factor`.
    pub width: usize,
    /// The pixels per latent in each direction. Not part of metadata, which contain the size of the latents instead.
    #[serde(skip, default = "factor")]
    pub factor: usize,
    /// The guidance scale; 1 is no guidance.
    pub scale: f64,
    /// The share of the standard deviation of the model's output without guidance to restore, 0 to 1.
    #[serde(default)]
    pub guidance_rescale: f64,
    /// The part of the sampling with guidance.
    #[serde(default, skip_serializing_if = "is_default", with = "as_text")]
    pub guidance_interval: Interval,
    /// The evaluations in which the whole UNet runs.
    #[serde(default, skip_serializing_if = "is_default", with = "as_text")]
    pub deepcache: DeepCache,
    /// The layer of the text encoder whose output is the context, counted from the last, which is 1.
    #[serde(default = "clip_skip")]
    pub clip_skip: usize,
    /// The path of the picture to start from, as given; `None` starts from noise alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_img: Option<String>,
    /// The sampler, with its steps, eta, spacing and, if there is a picture to start from, strength.
    #[serde(flatten)]
    pub sampler: SamplerConfig,
    /// The LoRAs that change the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<LoraChoice>,
    /// A factor of the weights of all LoRAs.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub lora_weight: f64,
}

fn one() -> f64 {
    1.
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_one(number: &f64) -> bool {
    *number == 1.
}

/// Returns the default of `factor`.
fn factor() -> usize {
    SamplingParams::default().factor
}

fn clip_skip() -> usize {
    SamplingParams::default().clip_skip
}

impl Default for SamplingParams {
    fn default() -> Self {
        let sampler = SamplerConfig::default();
        Self {
            height: 512,
            width: 512,
            factor: 8,
            scale: 7.5,
            guidance_rescale: 0.,
            guidance_interval: Interval::default(),
            deepcache: DeepCache::default(),
            clip_skip: 1,
            init_img: None,
            sampler,
            loras: vec![],
            lora_weight: 1.,
        }
    }
}

impl SamplingParams {
    /// The strength with an input picture, unless it is given.
    pub const DEFAULT_STRENGTH: f64 = 0.75;

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

    /// Returns the parameters of a picture of the same latents with `factor` pixels per latent.
    pub fn with_factor(&self, factor: usize) -> Self {
        Self { height: self.latent_height() * factor, width: self.latent_width() * factor, factor, ..self.clone() }
    }

    /// Returns the parameters of the picture that shortcuts approximate: without DeepCache, and with guidance in all steps.
    pub fn without_shortcuts(&self) -> Self {
        Self { deepcache: DeepCache::default(), guidance_interval: Interval::default(), ..self.clone() }
    }

    /// Returns whether shortcuts approximate the picture.
    pub fn has_shortcuts(&self) -> bool {
        *self != self.without_shortcuts()
    }

    /// Returns the number of contexts that the UNet evaluates for an image of `n_subprompts` subprompts: that of each, and
    /// that of the negative prompt, which a single subprompt without guidance does not need.
    pub fn n_contexts(&self, n_subprompts: usize) -> usize {
        if n_subprompts == 1 && self.scale == 1. { 1 } else { n_subprompts + 1 }
    }

    /// Checks that the parameters fit together. [`Self::set`] checks each by itself.
    ///
    /// # Errors
    /// If a side is not a multiple of the factor, a LoRA's weight is beyond ±1000, guidance is rescaled by less than 0 or more
    /// than 1, or the sampler does not support its eta or its spacing.
    pub fn check(&self) -> Result<()> {
        self.sampler.check()?;
        let rescale = self.guidance_rescale;
        ensure!((0. ..=1.).contains(&rescale), "--guidance_rescale {rescale} is not between 0 and 1");
        let of_loras = self.loras.iter().flat_map(|lora| [("--lora", lora.text), ("--lora", lora.unet)]);
        for (flag, weight) in of_loras.chain([("--lora_weight", self.lora_weight)]) {
            let is_usable = weight.abs() <= MAX_LORA_WEIGHT;
            ensure!(is_usable, "a weight of {flag} is {weight}; the largest is {MAX_LORA_WEIGHT}");
        }
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

    /// Returns bytes that are equal for equal parameters only, to look them up by: the numbers' own, as a prompts file may
    /// have a million lines.
    pub fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(128);
        key.extend((self.factor as u64).to_le_bytes());
        for param in &PARAMS {
            match param.field {
                Field::Whole { get, .. } => key.extend((get(self) as u64).to_le_bytes()),
                Field::Number { get, .. } => key.extend(get(self).to_bits().to_le_bytes()),
                Field::Name { get, .. } => key.extend(get(self).bytes().chain([0])),
                Field::Text { get, .. } | Field::Path { get, .. } => key.extend(get(self).bytes().chain([0])),
                Field::List { get, .. } => {
                    let items = get(self);
                    key.extend((items.len() as u64).to_le_bytes());
                    items.iter().for_each(|item| key.extend(item.bytes().chain([0])));
                }
            }
        }
        key
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
    /// A name, or another text.
    Text(String),
    /// Texts, each a value of a flag that can be given several times.
    List(Vec<String>),
}

impl fmt::Display for ParamValue {
    /// Writes the value as on a command line.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ParamValue::Whole(number) => number.fmt(f),
            ParamValue::Number(number) => number.fmt(f),
            ParamValue::Text(text) => f.write_str(text),
            ParamValue::List(items) => f.write_str(&items.join(" ")),
        }
    }
}

/// One sampling parameter.
#[derive(Clone, Copy)]
pub struct Param {
    /// The name of its flag, which is also its key in a JSON prompts file and its axis in `--sweep`.
    pub flag: &'static str,
    /// The name of its field in metadata, which is also its placeholder in `--fname` and its other key in JSON.
    pub name: &'static str,
    /// The type of its value, with functions that access its field.
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
    /// The name of a variant of an enumeration.
    Name {
        /// Returns all names, separated by commas.
        names: fn() -> String,
        /// Returns the value.
        get: fn(&SamplingParams) -> &'static str,
        /// Sets the value; returns `None` if there is no such name.
        set: fn(&mut SamplingParams, &str) -> Option<()>,
    },
    /// A text of a form of its own.
    Text {
        /// Returns the value.
        get: fn(&SamplingParams) -> String,
        /// Sets the value. If the text is invalid, the error is a clause that says what it is not.
        set: fn(&mut SamplingParams, &str) -> Result<()>,
    },
    /// The path of a file; empty if there is none.
    Path {
        /// Returns the value.
        get: fn(&SamplingParams) -> String,
        /// Sets the value.
        set: fn(&mut SamplingParams, &str),
    },
    /// A list of texts.
    List {
        /// Returns the texts.
        get: fn(&SamplingParams) -> Vec<String>,
        /// Sets the list. Fails if a text is invalid.
        set: fn(&mut SamplingParams, &[String]) -> Result<()>,
    },
}

/// All sampling parameters, in the order in which messages list them.
///
/// Prompts files, sweeps, file names, metadata, replay and resume are all driven by this table.
pub const PARAMS: [Param; 15] = [
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
        flag: "guidance_rescale",
        name: "guidance_rescale",
        field: Field::Number {
            get: |params| params.guidance_rescale,
            set: |params, rescale| params.guidance_rescale = rescale,
        },
    },
    Param {
        flag: "guidance_interval",
        name: "guidance_interval",
        field: Field::Text {
            get: |params| params.guidance_interval.to_string(),
            set: |params, text| text.parse().map(|interval| params.guidance_interval = interval),
        },
    },
    Param {
        flag: "deepcache",
        name: "deepcache",
        field: Field::Text {
            get: |params| params.deepcache.to_string(),
            set: |params, text| text.parse().map(|deepcache| params.deepcache = deepcache),
        },
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
        flag: "init-img",
        name: "init_img",
        field: Field::Path {
            get: |params| params.init_img.clone().unwrap_or_default(),
            set: |params, path| params.init_img = (!path.is_empty()).then(|| path.to_owned()),
        },
    },
    Param {
        flag: "strength",
        name: "strength",
        field: Field::Number {
            // Without an input picture, everything is drawn anew.
            get: |params| params.sampler.strength.unwrap_or(1.),
            set: |params, strength| params.sampler.strength = Some(strength),
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
    Param {
        flag: "lora",
        name: "loras",
        field: Field::List {
            get: |params| params.loras.iter().map(ToString::to_string).collect(),
            set: |params, items| {
                items.iter().map(|item| item.parse()).collect::<Result<_>>().map(|loras| params.loras = loras)
            },
        },
    },
    Param {
        flag: "lora_weight",
        name: "lora_weight",
        field: Field::Number { get: |params| params.lora_weight, set: |params, weight| params.lora_weight = weight },
    },
];

impl Param {
    /// Returns the value of the parameter in `params`.
    pub fn get(&self, params: &SamplingParams) -> ParamValue {
        match self.field {
            Field::Whole { get, .. } => ParamValue::Whole(get(params) as i64),
            Field::Number { get, .. } => ParamValue::Number(get(params)),
            Field::Name { get, .. } => ParamValue::Text(get(params).to_owned()),
            Field::Text { get, .. } | Field::Path { get, .. } => ParamValue::Text(get(params)),
            Field::List { get, .. } => ParamValue::List(get(params)),
        }
    }

    /// Sets the parameter in `params`.
    ///
    /// # Errors
    /// If the value is out of range or of another type.
    pub fn set(&self, params: &mut SamplingParams, value: &ParamValue) -> Result<()> {
        match (self.field, value) {
            (Field::Whole { set, .. }, ParamValue::Whole(number)) => set(params, *number),
            (Field::Number { set, .. }, ParamValue::Number(number)) => {
                set(params, *number);
                Ok(())
            }
            (Field::Name { set, names, .. }, ParamValue::Text(name)) => {
                set(params, name).ok_or_else(|| anyhow!("--{} '{name}' is not one of {}", self.flag, names()))
            }
            (Field::Text { set, .. }, ParamValue::Text(text)) => {
                set(params, text).map_err(|clause| anyhow!("--{} '{text}' is {clause}", self.flag))
            }
            (Field::Path { set, .. }, ParamValue::Text(path)) => {
                set(params, path);
                Ok(())
            }
            (Field::List { set, .. }, ParamValue::List(items)) => set(params, items),
            _ => bail!("--{} does not take '{value}'", self.flag),
        }
    }
}

/// Checks the size of a side.
fn side(flag: &str, size: i64, factor: usize) -> Result<usize> {
    let range = factor as i64..=MAX_SIDE;
    ensure!(range.contains(&size), "{flag} {size} is not between {factor} and {MAX_SIDE}");
    Ok(size as usize)
}

/// Checks a number of steps.
fn steps(n: i64) -> Result<usize> {
    ensure!(n > 0, "--ddim_steps {n} draws nothing; give at least 1");
    ensure!(n <= MAX_STEPS, "--ddim_steps {n} is more than {MAX_STEPS}");
    Ok(n as usize)
}

fn text_layer(layer: i64) -> Result<usize> {
    ensure!(
        (1..=TEXT_LAYERS).contains(&layer),
        "--clip_skip {layer} is not between 1, which skips nothing, and {TEXT_LAYERS}"
    );
    Ok(layer as usize)
}
