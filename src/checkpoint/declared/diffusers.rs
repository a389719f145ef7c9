//! The model's conventions in the JSON files of a diffusers folder.
//!
//! The networks' shapes come from the model's config and the tensors; these files state what neither shows. Settings of
//! sampling (the scheduler's class, `timestep_spacing`, `steps_offset`, `clip_sample`, `set_alpha_to_one`, …) are
//! ignored, since the flags determine them.

use super::{Declared, Stated};
use crate::checkpoint::with_path;
use crate::config::{Ends, NoiseConfig, Prediction, TIMESTEPS};
use crate::json;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::Path;

const SCHEDULER: &str = "scheduler/scheduler_config.json";
const UNET: &str = "unet/config.json";
const VAE: &str = "vae/config.json";
const TEXT_ENCODER: &str = "text_encoder/config.json";

/// The files to read, if they exist.
pub(in crate::checkpoint) const CONFIGS: [&str; 4] = [SCHEDULER, UNET, VAE, TEXT_ENCODER];

/// Prefixes of the schedulers of models that were trained with another kind of noise.
const OTHER_SCHEDULERS: [&str; 5] = ["FlowMatch", "EDM", "CosineDPM", "VQDiffusion", "ScoreSde"];

/// The only supported value of each key, as JSON. A missing key is valid.
const UNET_VALUES: [(&str, &str); 15] = [
    ("act_fn", "\"silu\""),
    ("center_input_sample", "false"),
    ("conv_in_kernel", "3"),
    ("conv_out_kernel", "3"),
    ("downsample_padding", "1"),
    ("flip_sin_to_cos", "true"),
    ("freq_shift", "0"),
    ("mid_block_scale_factor", "1"),
    ("norm_eps", "1e-5"),
    ("norm_num_groups", "32"),
    ("only_cross_attention", "false"),
    ("dual_cross_attention", "false"),
    ("resnet_skip_time_act", "false"),
    ("resnet_time_scale_shift", "\"default\""),
    ("time_embedding_type", "\"positional\""),
];

/// The keys of inputs that the UNet does not have. They must be missing or null.
const UNET_INPUTS: [&str; 5] =
    ["class_embed_type", "addition_embed_type", "encoder_hid_dim_type", "num_class_embeds", "timestep_post_act"];

const VAE_VALUES: [(&str, &str); 2] = [("act_fn", "\"silu\""), ("norm_num_groups", "32")];
const VAE_INPUTS: [&str; 3] = ["shift_factor", "latents_mean", "latents_std"];
const TEXT_VALUES: [(&str, &str); 2] = [("hidden_act", "\"quick_gelu\""), ("layer_norm_eps", "1e-5")];

/// Reads the JSON files of a folder that exist.
pub(super) fn read_configs(folder: &Path) -> Result<Declared> {
    let mut declared = Declared::default();
    with_file(folder, SCHEDULER, |config| scheduler(config, &mut declared))?;
    with_file(folder, UNET, |config| unet(config, &mut declared))?;
    with_file(folder, VAE, |config| {
        declared.scale_factor = vae(config, VAE)?;
        Ok(())
    })?;
    with_file(folder, TEXT_ENCODER, |config| text_encoder(&config, &mut declared))?;
    Ok(declared)
}

/// Reads the scale factor of the autoencoder in a folder, which is that of a model or of an autoencoder alone.
pub(super) fn vae_scale_factor(folder: &Path) -> Result<Option<Stated<f64>>> {
    let file = if folder.join("vae").is_dir() { VAE } else { "config.json" };
    let mut scale = None;
    with_file(folder, file, |config| {
        scale = vae(config, file)?;
        Ok(())
    })?;
    Ok(scale)
}

/// Calls `read` with the contents of a file, if it exists. The errors of `read` are clauses about the file.
fn with_file<T: DeserializeOwned>(folder: &Path, file: &str, read: impl FnOnce(T) -> Result<()>) -> Result<()> {
    let path = folder.join(file);
    if !path.exists() {
        return Ok(());
    }
    let config = json::read_file(&path).with_context(|| format!("config '{}'", path.display()))?;
    read(config).map_err(|error| with_path(&path, anyhow!("{error:#}")))
}

/// The keys of diffusers' `scheduler_config.json` that describe the training.
#[derive(Deserialize)]
struct Scheduler {
    #[serde(rename = "_class_name")]
    class: Option<String>,
    prediction_type: Option<String>,
    beta_start: Option<f64>,
    beta_end: Option<f64>,
    beta_schedule: Option<String>,
    trained_betas: Option<Vec<f64>>,
    num_train_timesteps: Option<usize>,
    #[serde(default)]
    rescale_betas_zero_snr: Option<bool>,
}

fn scheduler(config: Scheduler, declared: &mut Declared) -> Result<()> {
    if let Some(class) = &config.class {
        let is_other = OTHER_SCHEDULERS.iter().any(|other| class.starts_with(other));
        ensure!(!is_other, "names the scheduler '{class}', whose kind of noise is not Stable Diffusion 1.x's");
    }
    if let Some(n) = config.num_train_timesteps {
        ensure!(n == TIMESTEPS, "has num_train_timesteps {n}; every Stable Diffusion 1.x model has {TIMESTEPS}");
    }
    if let Some(name) = &config.prediction_type {
        let prediction = Prediction::from_any_name(name);
        let prediction = prediction.with_context(|| {
            format!("has prediction_type '{name}', which is not supported; 'epsilon' and 'v_prediction' are")
        })?;
        declared.prediction = Some(Stated::new(prediction, SCHEDULER));
    }
    if config.rescale_betas_zero_snr == Some(true) {
        declared.zero_terminal_snr = Some(Stated::new((), SCHEDULER));
    }
    declared.noise = noise(config)?.map(|noise| Stated::new(noise, SCHEDULER));
    Ok(())
}

/// Returns the noise schedule, if the config states one.
fn noise(config: Scheduler) -> Result<Option<NoiseConfig>> {
    if let Some(betas) = config.trained_betas {
        let noise = NoiseConfig::Betas(betas);
        noise.check().context("has invalid trained_betas")?;
        return Ok(Some(noise));
    }
    let (start, end, name) = match (config.beta_start, config.beta_end, config.beta_schedule) {
        (None, None, None) => return Ok(None),
        (_, _, Some(name)) if name == "squaredcos_cap_v2" => return Ok(Some(NoiseConfig::Cosine { s: 0.008 })),
        (Some(start), Some(end), Some(name)) => (start, end, name),
        _ => bail!("must give all of beta_start, beta_end and beta_schedule, or none of them"),
    };
    ensure!(
        0. < start && start <= end && end < 1.,
        "has beta_start {start} and beta_end {end}, which must lie between 0 and 1, in this order"
    );
    let ends = Ends { start, end };
    let noise = match &*name {
        "scaled_linear" => NoiseConfig::ScaledLinear(ends),
        "linear" => NoiseConfig::Linear(ends),
        _ => {
            bail!("has beta_schedule '{name}', which is not supported; scaled_linear, linear and squaredcos_cap_v2 are")
        }
    };
    noise.check().context("has betas that leave no signal")?;
    Ok(Some(noise))
}

fn unet(config: Map<String, Value>, declared: &mut Declared) -> Result<()> {
    check(&config, &UNET_VALUES, &UNET_INPUTS)?;
    if let Some(width) = config.get("time_cond_proj_dim").filter(|width| !width.is_null()) {
        let width = width.as_u64().with_context(|| format!("has time_cond_proj_dim {width}, not a whole number"))?;
        declared.guidance_width = Some(Stated::new(width, UNET));
    }
    // In spite of its name, `attention_head_dim` is the number of heads, unless the other key is given.
    let keys = ["num_attention_heads", "attention_head_dim"];
    let heads = keys.iter().find_map(|key| config.get(*key).filter(|value| !value.is_null()));
    declared.unet_heads = heads.map(counts).transpose()?.map(|heads| Stated::new(heads, UNET));
    Ok(())
}

/// Reads a number or a list of numbers.
fn counts(value: &Value) -> Result<Vec<usize>> {
    let count = |value: &Value| Some(usize::try_from(value.as_u64()?).unwrap_or(usize::MAX));
    let counts = match value {
        Value::Array(values) => values.iter().map(count).collect(),
        value => count(value).map(|count| vec![count]),
    };
    counts.context("gives the attention heads neither as a number nor as a list of numbers")
}

fn vae(config: Map<String, Value>, file: &str) -> Result<Option<Stated<f64>>> {
    check(&config, &VAE_VALUES, &VAE_INPUTS)?;
    let Some(scale) = config.get("scaling_factor").filter(|scale| !scale.is_null()) else { return Ok(None) };
    let scale = scale.as_f64().filter(|scale| scale.is_normal());
    Ok(Some(Stated::new(scale.context("gives a scaling_factor that is not a number other than 0")?, file)))
}

fn text_encoder(config: &Map<String, Value>, declared: &mut Declared) -> Result<()> {
    // The config of a whole CLIP model contains that of its text encoder.
    let config = config.get("text_config").and_then(Value::as_object).unwrap_or(config);
    check(config, &TEXT_VALUES, &[])?;
    let heads = config.get("num_attention_heads").and_then(Value::as_u64);
    declared.text_heads = heads.map(|n| Stated::new(usize::try_from(n).unwrap_or(usize::MAX), TEXT_ENCODER));
    Ok(())
}

/// Returns whether `value`, or each of its items if it is a list, equals `wanted`, which is JSON.
fn equals(value: &Value, wanted: &str) -> bool {
    match (value, value.as_f64()) {
        (Value::Array(values), _) => values.iter().all(|value| equals(value, wanted)),
        (_, Some(number)) => wanted.parse() == Ok(number),
        (_, None) => serde_json::from_str(wanted).is_ok_and(|wanted: Value| *value == wanted),
    }
}

/// Checks that the keys in `values` have their only supported value, and that those in `inputs` are missing or null.
fn check(config: &Map<String, Value>, values: &[(&str, &str)], inputs: &[&str]) -> Result<()> {
    for (key, wanted) in values {
        let Some(value) = config.get(*key).filter(|value| !value.is_null()) else { continue };
        ensure!(equals(value, wanted), "has {key} {value}; only {wanted} is supported, as in Stable Diffusion 1.x");
    }
    for key in inputs {
        let value = config.get(*key).filter(|value| !value.is_null());
        ensure!(value.is_none(), "has {key} {}, which is not supported", value.unwrap_or(&Value::Null));
    }
    Ok(())
}
