//! The flags of the sampling parameters.

use super::{finite, integer, one_of};
use crate::by_name::ByName;
use crate::diffusion::deep_cache::DeepCache;
use crate::diffusion::guidance::Interval;
use crate::diffusion::samplers::{Kind, Spacing};
use crate::output::Borders;
use crate::params::{HiresSize, MaskFill, ParamValue, SamplingParams, Upscaler};
use anyhow::{Result, ensure};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

#[derive(clap::Args, Clone, PartialEq, Debug)]
#[allow(missing_docs)] // a doc comment here would replace the text at the start of --help
pub struct SamplingFlags {
    /// Number of sampling steps (for all samplers, despite its name)
    #[arg(short = 's', long = "ddim_steps", visible_alias = "steps", value_name = "N", value_parser = integer, default_value_t = 50)]
    pub ddim_steps: i64,

    /// Sample with PLMS instead of DDIM
    #[arg(long)]
    pub plms: bool,

    /// Sample with DPM-Solver instead of DDIM
    #[arg(long = "dpm_solver")]
    pub dpm_solver: bool,

    /// Noise that DDIM and TCD add at each step; 0 is deterministic [default: 0; 0.3 with TCD]
    #[arg(long = "ddim_eta", value_name = "F", value_parser = finite)]
    pub ddim_eta: Option<f64>,

    /// Height of the pictures in pixels [default: 512; with --init-img, that of its picture; with the demo model, 256]
    #[arg(long = "H", visible_alias = "height", value_name = "N", value_parser = integer, default_value_t = 512, hide_default_value = true)]
    pub height: i64,

    /// Width of the pictures in pixels [default: 512; with --init-img, that of its picture; with the demo model, 256]
    #[arg(long = "W", visible_alias = "width", value_name = "N", value_parser = integer, default_value_t = 512, hide_default_value = true)]
    pub width: i64,

    /// Downsampling factor: pixels per latent, in each direction
    #[arg(long = "f", visible_alias = "downsampling_factor", value_name = "N", value_parser = integer, default_value_t = 8)]
    pub factor: i64,

    /// Guidance scale: how closely to follow the prompt; 1 turns guidance off
    #[arg(long, visible_alias = "cfg_scale", value_name = "F", default_value_t = 7.5, value_parser = finite)]
    pub scale: f64,

    /// Guidance rescale, from 0 (off) to 1: reduces the excess contrast caused by guidance; 0.7 suits models with zero
    /// terminal SNR
    #[arg(long = "guidance_rescale", value_name = "F", default_value_t = 0., value_parser = finite)]
    pub guidance_rescale: f64,

    /// Use guidance only in this part of the steps, as fractions from 0 to 1; outside of it a step takes half the time
    #[arg(long = "guidance_interval", value_name = "FROM,TO", default_value_t = Interval::default())]
    pub guidance_interval: Interval,

    /// DeepCache: run the whole UNet only every Nth evaluation (with most samplers, every Nth step), and otherwise only its
    /// outer layers, up to skip connection BRANCH [default: 0]. Faster, but changes the picture; 1 turns it off
    #[arg(long, value_name = "N[,BRANCH]", default_value_t = DeepCache::default())]
    pub deepcache: DeepCache,

    /// Layer of the text encoder to use, counted from the last; 1 is the last, as in the original ("Clip skip")
    #[arg(long = "clip_skip", value_name = "N", value_parser = integer, default_value_t = 1)]
    pub clip_skip: i64,

    /// Picture to start from: a PNG, JPEG or WebP file, or a folder of them, each of which is redrawn. The new picture is as
    /// large, rounded down to multiples of 32, unless --H or --W is given
    #[arg(long = "init-img", visible_alias = "init_img", value_name = "FILE")]
    pub init_img: Option<String>,

    /// Denoising strength: how much of --init-img is redrawn, from 0 (nothing) to 1 (everything); also the share of the steps
    /// [default: 0.75; 1 with --outpaint]
    #[arg(long, value_name = "F", value_parser = finite)]
    pub strength: Option<f64>,

    /// Redraw only a region of --init-img (inpainting): the white part of FILE, a picture of the same size, or, with the value
    /// alpha, the transparent part of --init-img itself
    #[arg(long, value_name = "FILE")]
    pub mask: Option<String>,

    /// Blur the edges of the region (of --mask or --outpaint) with a Gaussian of this standard deviation, in pixels of the new
    /// picture, up to 1000
    #[arg(long = "mask_blur", value_name = "F", default_value_t = 0., value_parser = finite)]
    pub mask_blur: f64,

    /// What sampling starts from in the region: the noised picture (original) or pure noise (noise). At --strength 1 both are
    /// pure noise
    #[arg(long = "mask_fill", value_name = "NAME", default_value = "original", value_parser = one_of::<MaskFill>())]
    pub mask_fill: MaskFill,

    /// Extend the picture of --init-img by this many pixels, multiples of 8, on each side (outpainting). --H and --W
    /// include the new borders
    #[arg(long, value_name = "LEFT,TOP,RIGHT,BOTTOM", default_value_t = Borders::default(), hide_default_value = true)]
    pub outpaint: Borders,

    /// Sampler: how steps are taken from noise to a picture [default: ddim]
    #[arg(long, value_name = "NAME", value_parser = sampler())]
    pub sampler: Option<Kind>,

    /// Spacing of the steps: discrete, karras (k-diffusion's samplers) or trailing (DDIM)
    #[arg(long, value_name = "NAME", default_value = "discrete", value_parser = one_of::<Spacing>())]
    pub schedule: Spacing,

    /// Draw the picture in two passes, like AUTOMATIC1111's "Hires. fix": enlarge it by this factor or to this size, then refine it
    /// in a second pass. Avoids the duplicated objects of a single pass at large sizes. Not with --init-img
    #[arg(long, value_name = "FACTOR|WxH", default_value_t = HiresSize::default(), hide_default_value = true)]
    pub hires: HiresSize,

    /// Denoising strength of the second pass: how much of the enlarged picture it redraws, above 0 and up to 1
    #[arg(long = "hires_strength", value_name = "F", default_value_t = 0.75, value_parser = finite)]
    pub hires_strength: f64,

    /// Number of steps of the second pass; 0 is as many as --ddim_steps
    #[arg(long = "hires_steps", value_name = "N", default_value_t = 0, value_parser = integer)]
    pub hires_steps: i64,

    /// Sampler of the second pass [default: that of the first]
    #[arg(long = "hires_sampler", value_name = "NAME", value_parser = one_of::<Kind>())]
    pub hires_sampler: Option<Kind>,

    /// How to enlarge the picture for the second pass: its latents (bilinear, nearest or bicubic) or its pixels (lanczos)
    #[arg(long = "hires_upscaler", value_name = "NAME", default_value = "latent", value_parser = one_of::<Upscaler>())]
    pub hires_upscaler: Upscaler,

    /// Set the sampler, steps, scale and schedule for a few-step LoRA or model, unless given as flags; auto detects
    /// the method from the LoRA's name, metadata or size
    #[arg(long, value_name = "NAME", value_parser = one_of::<Fast>())]
    pub fast: Option<Fast>,

    /// Apply a LoRA: a file, the name of a file in --lora_dir, or a repository as for --ckpt, with its weight
    /// [default: 1] and, if different, its weight for the UNet; can be given several times
    #[arg(long, value_name = "NAME[=WEIGHT[,UNET_WEIGHT]]", action = clap::ArgAction::Append)]
    pub lora: Vec<String>,

    /// Factor of the weights of all LoRAs
    #[arg(long = "lora_weight", value_name = "F", default_value_t = 1., value_parser = finite)]
    pub lora_weight: f64,
}

/// The value of `--fast`: a way of making models and LoRAs that draw in few steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fast {
    /// The method that the LoRA or the model was made by.
    Auto,
    /// Latent consistency models (Luo et al. 2023, arXiv 2310.04378).
    Lcm,
    /// Trajectory consistency distillation (Zheng et al. 2024, arXiv 2402.19159).
    Tcd,
    /// Hyper-SD (Ren et al. 2024, arXiv 2404.13686).
    Hyper,
}

impl ByName for Fast {
    const ALL: &'static [(&'static str, Self)] =
        &[("auto", Fast::Auto), ("lcm", Fast::Lcm), ("tcd", Fast::Tcd), ("hyper", Fast::Hyper)];
}

impl Fast {
    /// The name of the method in a sentence.
    pub fn title(self) -> &'static str {
        match self {
            Fast::Auto => "automatic",
            Fast::Lcm => "LCM",
            Fast::Tcd => "TCD",
            Fast::Hyper => "Hyper-SD",
        }
    }
}

/// Returns a parser of the names of samplers, which have a line each in `--help`.
fn sampler() -> impl TypedValueParser<Value = Kind> {
    let names = Kind::ALL.iter().map(|(name, kind)| PossibleValue::new(name).help(kind.description()));
    PossibleValuesParser::new(names).try_map(|name| Kind::from_name(&name).ok_or("not a sampler"))
}

impl SamplingFlags {
    /// Returns the parameters that the flags give.
    ///
    /// # Errors
    /// If one of them is out of range, or they do not fit together.
    pub fn params(&self) -> Result<SamplingParams> {
        let (f, sampler) = (self.factor, self.sampler.unwrap_or(Kind::Ddim));
        ensure!((1..=64).contains(&f), "--f {f} is not between 1 and 64");
        let mut params = SamplingParams { factor: f as usize, ..SamplingParams::default() };
        for (flag, value) in [
            ("H", ParamValue::Whole(self.height)),
            ("W", ParamValue::Whole(self.width)),
            ("ddim_steps", ParamValue::Whole(self.ddim_steps)),
            ("scale", ParamValue::Number(self.scale)),
            ("guidance_rescale", ParamValue::Number(self.guidance_rescale)),
            ("guidance_interval", ParamValue::Text(self.guidance_interval.to_string())),
            ("deepcache", ParamValue::Text(self.deepcache.to_string())),
            ("clip_skip", ParamValue::Whole(self.clip_skip)),
            ("init-img", ParamValue::Text(self.init_img.clone().unwrap_or_default())),
            ("mask", ParamValue::Text(self.mask.clone().unwrap_or_default())),
            ("mask_blur", ParamValue::Number(self.mask_blur)),
            ("mask_fill", ParamValue::Text(self.mask_fill.name().into())),
            ("outpaint", ParamValue::Text(self.outpaint.to_string())),
            ("sampler", ParamValue::Text(sampler.name().into())),
            ("ddim_eta", ParamValue::Number(self.ddim_eta.unwrap_or(sampler.default_eta()))),
            ("schedule", ParamValue::Text(self.schedule.name().into())),
            ("hires", ParamValue::Text(self.hires.to_string())),
            ("hires_strength", ParamValue::Number(self.hires_strength)),
            ("hires_steps", ParamValue::Whole(self.hires_steps)),
            ("hires_upscaler", ParamValue::Text(self.hires_upscaler.name().into())),
            ("lora", ParamValue::List(self.lora.clone())),
            ("lora_weight", ParamValue::Number(self.lora_weight)),
        ] {
            params.set(flag, &value)?;
        }
        params.sampler.strength = self.strength;
        params.hires.sampler = self.hires_sampler;
        params.check()?;
        Ok(params)
    }

    /// Returns the sampler of `--sampler` or of the original's `--dpm_solver` and `--plms`, of which the former takes
    /// precedence.
    ///
    /// # Errors
    /// If `--sampler` contradicts the others.
    pub(super) fn merged_sampler(&self) -> Result<Option<Kind>, &'static str> {
        let old = match (self.dpm_solver, self.plms) {
            (true, _) => Some(Kind::DpmSolver),
            (_, true) => Some(Kind::Plms),
            _ => None,
        };
        match (old, self.sampler) {
            (Some(old), Some(new)) if old != new => Err("--sampler cannot be combined with --plms or --dpm_solver"),
            (old, new) => Ok(new.or(old)),
        }
    }
}
