//! The sampling parameters: everything that determines a picture besides the model, its prompts and its noise.

mod hires;
mod lora_choice;
mod mask_fill;
mod table;

use crate::as_text;
use crate::by_name;
use crate::diffusion::deep_cache::DeepCache;
use crate::diffusion::guidance::Interval;
use crate::diffusion::samplers::SamplerConfig;
use crate::output::Borders;
use crate::text::PassSteps;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;

pub use hires::{Hires, HiresSize, Upscaler};
pub use lora_choice::LoraChoice;
pub use mask_fill::MaskFill;
pub use table::{Field, PARAMS, Param};

/// The largest side in pixels: more than any model draws well, and few enough to hold in memory.
const MAX_SIDE: i64 = 8192;

/// The most steps of which the second pass takes the last ones: those that samplers support.
const MAX_SECOND_STEPS: usize = 1000;

/// The largest plausible blur of a mask, in pixels.
const MAX_MASK_BLUR: f64 = 1000.;

/// The largest weight of a LoRA. Those above 2 already distort the picture.
const MAX_LORA_WEIGHT: f64 = 1000.;

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
    /// The region of that picture to draw anew; `None` is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// The standard deviation in pixels of the Gaussian that softens the edges of the region.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mask_blur: f64,
    /// The start of sampling in the region.
    #[serde(default, skip_serializing_if = "is_default", with = "by_name")]
    pub mask_fill: MaskFill,
    /// The pixels added around that picture, which belong to the region.
    #[serde(default, skip_serializing_if = "is_default", with = "as_text")]
    pub outpaint: Borders,
    /// The sampler, with its steps, eta, spacing and, if there is a picture to start from, strength.
    #[serde(flatten)]
    pub sampler: SamplerConfig,
    /// The second pass, which enlarges the picture.
    #[serde(flatten)]
    pub hires: Hires,
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
            mask: None,
            mask_blur: 0.,
            mask_fill: MaskFill::default(),
            outpaint: Borders::default(),
            sampler,
            hires: Hires::default(),
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

    /// Returns the parameters of the second pass, which draws the enlarged picture, if there is one.
    pub fn second_pass(&self) -> Option<Self> {
        let (height, width) = self.hires.latent_size(self)?;
        Some(Self {
            height: height * self.factor,
            width: width * self.factor,
            sampler: self.hires.sampler(self.sampler),
            hires: Hires::default(),
            ..self.clone()
        })
    }

    /// Returns the parameters of each pass.
    pub fn passes(&self) -> impl Iterator<Item = Self> {
        [self.clone()].into_iter().chain(self.second_pass())
    }

    /// Returns the requested steps of each pass, as prompts count them.
    pub fn prompt_steps(&self) -> Vec<PassSteps> {
        let first = self.sampler.prompt_steps(self.sampler.steps);
        let second = self.second_pass().map(|second| PassSteps {
            steps: second.sampler.prompt_steps(self.hires.steps(self.sampler)),
            before: Some(first),
        });
        [first.into()].into_iter().chain(second).collect()
    }

    /// Returns the rows and columns of latents of the finished picture: those of the last pass.
    pub fn final_latent_size(&self) -> (usize, usize) {
        self.hires.latent_size(self).unwrap_or((self.latent_height(), self.latent_width()))
    }

    /// Returns the number of latents of the finished picture.
    pub fn n_final_latents(&self) -> usize {
        let (height, width) = self.final_latent_size();
        height * width
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
    /// If a side or a border is not a multiple of the factor, a mask is blurred by less than 0 or more than 1000 pixels, a LoRA's
    /// weight is beyond ±1000, guidance is rescaled by less than 0 or more than 1, the sampler does not support its eta or its
    /// spacing, or the second pass cannot be drawn.
    pub fn check(&self) -> Result<()> {
        self.sampler.check()?;
        let rescale = self.guidance_rescale;
        ensure!((0. ..=1.).contains(&rescale), "--guidance_rescale {rescale} is not between 0 and 1");
        let of_loras = self.loras.iter().flat_map(|lora| [("--lora", lora.text), ("--lora", lora.unet)]);
        for (flag, weight) in of_loras.chain([("--lora_weight", self.lora_weight)]) {
            let is_usable = weight.abs() <= MAX_LORA_WEIGHT;
            ensure!(is_usable, "a weight of {flag} is {weight}; the largest is {MAX_LORA_WEIGHT}");
        }
        let (f, blur) = (self.factor, self.mask_blur);
        ensure!((0. ..=MAX_MASK_BLUR).contains(&blur), "--mask_blur {blur} is not between 0 and {MAX_MASK_BLUR}");
        ensure!(
            self.outpaint.are_multiples_of(f),
            "--outpaint {} is not in multiples of {f}, the pixels per latent",
            self.outpaint
        );
        for (flag, size) in [("--H", self.height), ("--W", self.width)] {
            let (below, above) = (size / f * f, (size / f + 1) * f);
            ensure!(size % f == 0, "{flag} {size} is not a multiple of {f}; the nearest are {below} and {above}");
        }
        self.second_pass().map_or(Ok(()), |second| self.check_second_pass(&second))
    }

    /// Checks the parameters of the second pass.
    fn check_second_pass(&self, second: &Self) -> Result<()> {
        let Hires { size, strength, .. } = self.hires;
        ensure!(self.init_img.is_none(), "--hires {size} cannot be combined with --init-img");
        ensure!(strength > 0. && strength <= 1., "--hires_strength {strength} must be above 0 and at most 1");
        let size_is_given = matches!(size, HiresSize::Pixels { .. });
        if let HiresSize::Pixels { width, height } = size {
            ensure!(
                width % self.factor == 0 && height % self.factor == 0,
                "--hires {size} is not in multiples of {}",
                self.factor
            );
        }
        let sides = self.factor..=MAX_SIDE as usize;
        ensure!(
            sides.contains(&second.width) && sides.contains(&second.height),
            "--hires {size} makes a picture of {}×{} pixels, whose sides must be between {} and {MAX_SIDE}",
            second.width,
            second.height,
            self.factor
        );
        ensure!(
            second.height >= self.height && second.width >= self.width,
            "--hires {size} is smaller than the first pass, of {}×{} pixels",
            self.width,
            self.height
        );
        ensure!(
            size_is_given || (second.height, second.width) != (self.height, self.width),
            "--hires {size} does not enlarge {}×{} pixels, because sizes are rounded down to multiples of {}",
            self.width,
            self.height,
            self.factor
        );
        let (taken, steps) = (self.hires.steps(self.sampler), second.sampler.steps);
        ensure!(
            steps <= MAX_SECOND_STEPS,
            "--hires_strength {strength} is too low for {taken} steps: they would be the last of more than {MAX_SECOND_STEPS}; give at \
             least {}, or fewer --hires_steps",
            (1000. * taken as f64 / MAX_SECOND_STEPS as f64).ceil() / 1000.
        );
        second.sampler.check().with_context(|| format!("the second pass takes the last {taken} of {steps} steps"))
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
