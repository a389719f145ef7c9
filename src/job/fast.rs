//! `--fast`: the sampling parameters that models and LoRAs of few steps are made for.

use super::{Location, loras, name_of};
use crate::args::{Args, Fast, SamplingFlags};
use crate::by_name::ByName;
use crate::checkpoint::lora;
use crate::diffusion::samplers::{Kind, Spacing};
use crate::json;
use crate::params::{LoraChoice, SamplingParams};
use crate::usage::OrUsage;
use anyhow::{Result, anyhow};
use serde_json::Value;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

/// The scale above which guidance is too much for a model that was distilled with guidance.
const MAX_SCALE: f64 = 2.;

/// The metadata in which a LoRA's name stands, whatever its file is called.
const TITLES: [&str; 3] = ["ss_output_name", "modelspec.title", "ss_network_module"];

/// The sizes in bytes of LoRAs whose names do not show what they are: LCM-LoRA and TCD-LoRA have rank 64 in all layers, in f16;
/// those of Hyper-SD are twice as large.
const SIZES: [(Fast, RangeInclusive<u64>); 2] =
    [(Fast::Lcm, 134_000_000..=136_000_000), (Fast::Hyper, 268_000_000..=271_000_000)];

/// The names of files that many LoRAs have.
const COMMON_STEMS: [&str; 3] = ["pytorch_lora_weights", "adapter_model", "model"];

/// The parameters that a method is made for.
struct Settings {
    sampler: Kind,
    steps: i64,
    /// `None` if guidance is an input of the model, at any scale.
    scale: Option<f64>,
    eta: Option<f64>,
    spacing: Spacing,
}

/// What `--fast` recognises.
struct Found {
    method: Fast,
    /// The LoRA or the model, as the flags name it.
    name: String,
    /// The text that shows the method, and may state its number of steps.
    mark: String,
    /// How it is recognised, for `auto`.
    by: &'static str,
}

/// Returns the sampling parameters of a command line, of which `--fast` sets those that are not given, and a note on these.
///
/// # Errors
/// If the parameters are out of range or do not fit together, or `--fast auto` recognises nothing.
pub fn params(args: &Args) -> Result<(SamplingParams, Option<String>)> {
    let (flags, note) = resolve(args)?;
    Ok((flags.params().or_usage()?, note))
}

/// Returns a note on guidance at a scale that is not meant for few steps.
pub fn guidance_note(args: &Args, all: &[SamplingParams]) -> Option<String> {
    let is_few = |params: &SamplingParams| matches!(params.sampler.kind, Kind::Lcm | Kind::Tcd);
    let scales = all.iter().filter(|params| params.passes().any(|pass| is_few(&pass))).map(|params| params.scale);
    let scale = scales.max_by(f64::total_cmp).filter(|scale| *scale > MAX_SCALE && !takes_guidance(args))?;
    Some(format!(
        "--scale {scale} is usually too high for the samplers lcm and tcd, because guidance is distilled into their models and \
         LoRAs: use 1 (no guidance) to {MAX_SCALE} (0 draws the negative prompt, as in the original)"
    ))
}

fn resolve(args: &Args) -> Result<(SamplingFlags, Option<String>)> {
    let mut flags = args.sampling.clone();
    let Some(method) = flags.fast else { return Ok((flags, None)) };
    let found = match method {
        Fast::Auto => recognise(args)?,
        method => {
            let marks = names(args)?.into_iter().map(|name| marks_of_name(&name).join(" "));
            let mark = marks.into_iter().find(|mark| method_of(mark) == Some(method)).unwrap_or_default();
            Found { method, name: String::new(), mark, by: "" }
        }
    };
    let Settings { sampler, steps, scale, eta, spacing } = settings(&found, takes_guidance(args));
    let swept = args.swept.iter().flat_map(|sweep| [Some(&sweep.columns), sweep.rows.as_ref()]).flatten();
    let swept: Vec<&str> = swept.map(|axis| &*axis.name).collect();
    let is_given = |flag| args.is_given(flag) || swept.contains(&flag);
    let mut set = vec![];
    if flags.sampler.is_none() && !is_given("sampler") {
        flags.sampler = Some(sampler);
        set.push(format!("--sampler {}", sampler.name()));
        if !is_given("schedule") && spacing != flags.schedule {
            flags.schedule = spacing;
            set.push(format!("--schedule {}", spacing.name()));
        }
        if let (None, Some(eta)) = (flags.ddim_eta, eta) {
            flags.ddim_eta = Some(eta);
            set.push(format!("--ddim_eta {eta}"));
        }
    }
    if !is_given("ddim_steps") {
        flags.ddim_steps = steps;
        set.push(format!("--ddim_steps {steps}"));
    }
    if let (false, Some(scale)) = (is_given("scale"), scale) {
        flags.scale = scale;
        set.push(format!("--scale {scale}"));
    }
    let what = match method {
        Fast::Auto => {
            format!("--fast auto recognises '{}' as {} by its {}, and", found.name, found.method.title(), found.by)
        }
        method => format!("--fast {}", method.name()),
    };
    let set = if set.is_empty() { "nothing, as everything is given".to_owned() } else { set.join(" ") };
    Ok((flags, Some(format!("{what} sets {set}"))))
}

/// Recognises the method of the LoRAs that flags name, or of the model.
fn recognise(args: &Args) -> Result<Found> {
    for name in names(args)? {
        let found = |mark: &str, method: Option<Fast>, by| {
            method.map(|method| Found { method, name: name.clone(), mark: mark.to_owned(), by })
        };
        let path = loras::located(&name, args.lora_dir.as_deref())?;
        let by_name = marks_of_name(&name).into_iter().find_map(|mark| found(&mark, method_of(&mark), "name"));
        let by_file = path.as_deref().and_then(|path| {
            let metadata = lora::metadata(path);
            let titles = TITLES.iter().filter_map(|key| metadata.get(*key));
            let by_title = titles.into_iter().find_map(|title| found(title, method_of(title), "metadata"));
            let size = fs::metadata(path).map_or(0, |file| file.len());
            let by_size = SIZES.iter().find(|(_, sizes)| sizes.contains(&size)).map(|(method, _)| *method);
            by_title.or_else(|| found("", by_size, "size"))
        });
        if let Some(found) = by_name.or(by_file) {
            return Ok(found);
        }
    }
    if let (true, Some(ckpt)) = (takes_guidance(args), &args.ckpt) {
        let name = ckpt.display().to_string();
        return Ok(Found { method: Fast::Lcm, name, mark: String::new(), by: "guidance input" });
    }
    Err(anyhow!(
        "--fast auto recognises neither a few-step LoRA in --lora (those in tags, sweeps and prompts files are not \
         considered) nor a few-step model; choose the method with --fast lcm, tcd or hyper"
    ))
    .or_usage()
}

/// The names of the LoRAs that flags give.
fn names(args: &Args) -> Result<Vec<String>> {
    args.sampling.lora.iter().map(|text| Ok(text.parse::<LoraChoice>().or_usage()?.name)).collect()
}

/// Returns the parts of a LoRA's name that may show its method: the repository and its file, or the file. Files of PEFT and
/// diffusers all have the same name, but their folder tells them apart.
fn marks_of_name(name: &str) -> Vec<String> {
    let path = match Location::new(Path::new(name)) {
        Location::Hub(repo) => return vec![repo.file.unwrap_or_default(), format!("{}/{}", repo.owner, repo.name)],
        Location::Path(path) => path,
    };
    let stem = name_of(&path);
    let folder = path.parent().and_then(Path::file_name).filter(|_| COMMON_STEMS.contains(&&*stem));
    let folder = folder.map(|folder| folder.to_string_lossy().into_owned());
    [stem].into_iter().chain(folder).collect()
}

/// Returns the method that a text names, as a word.
fn method_of(text: &str) -> Option<Fast> {
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let has = |name: &str| words.iter().any(|word| *word == name || *word == format!("{name}lora"));
    let has_both =
        |first: &str, second: &str| words.windows(2).any(|two| two[0] == first && two[1].starts_with(second));
    if has_both("hyper", "sd") || words.iter().any(|word| word.starts_with("hypersd")) {
        Some(Fast::Hyper)
    } else if has("tcd") {
        Some(Fast::Tcd)
    } else if has("lcm") || has_both("latent", "consistency") {
        Some(Fast::Lcm)
    } else {
        None
    }
}

fn settings(Found { method, mark, .. }: &Found, takes_guidance: bool) -> Settings {
    let (scale, spacing) = (Some(1.), Spacing::Discrete);
    match method {
        Fast::Tcd => Settings { sampler: Kind::Tcd, steps: 4, scale, eta: None, spacing },
        Fast::Hyper => match hyper_steps(mark) {
            1 => Settings { sampler: Kind::Tcd, steps: 1, scale, eta: Some(1.), spacing },
            steps => {
                let scale = Some(if mark.to_lowercase().contains("cfg") { 5. } else { 1. });
                Settings { sampler: Kind::Ddim, steps, scale, eta: None, spacing: Spacing::Trailing }
            }
        },
        Fast::Lcm | Fast::Auto => {
            Settings { sampler: Kind::Lcm, steps: 4, scale: scale.filter(|_| !takes_guidance), eta: None, spacing }
        }
    }
}

/// Returns the number of steps in the name of a LoRA of Hyper-SD, such as `Hyper-SD15-4steps-lora`; 8 if there is none.
fn hyper_steps(mark: &str) -> i64 {
    let mark = mark.to_lowercase();
    let before = mark.split_once("step").map_or("", |(before, _)| before);
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().ok().filter(|steps| (1..=16).contains(steps)).unwrap_or(8)
}

/// Returns whether the model is a diffusers folder on this machine whose UNet takes the guidance scale as an input.
pub fn takes_guidance(args: &Args) -> bool {
    let Some(Location::Path(folder)) = args.ckpt.as_deref().map(Location::new) else { return false };
    let config = json::read_file::<Value>(&folder.join("unet/config.json"));
    config.is_ok_and(|config| config["time_cond_proj_dim"].as_u64().is_some())
}
