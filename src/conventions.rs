//! The conventions of a model that are needed to sample from it, besides the shapes of its networks.
//!
//! Several files may state the same convention. The first source in these lists takes precedence:
//!
//! - **prediction type**: the config's `parameterization`; the checkpoint's tensor `v_pred`; the metadata of a
//!   `.safetensors` file or the `scheduler_config.json` of a diffusers folder; `--prediction`; else `eps`.
//! - **noise schedule**: the checkpoint's tensor `alphas_cumprod` in f32, as in the original; the folder's
//!   `scheduler_config.json`; the config. Its terminal signal-to-noise ratio becomes 0 if the checkpoint has a tensor
//!   `ztsnr` or a rounded `alphas_cumprod` that ends in 0, or `scheduler_config.json` states it.
//! - **weights of the UNet**: the moving averages (EMA) if the config's `use_ema` is set and the checkpoint has them,
//!   or if it has no other weights.
//! - **scale factor**: the `config.json` of a diffusers folder's autoencoder (with `--vae`, that of the replacement);
//!   the config.

use crate::checkpoint::names::UNET;
use crate::checkpoint::{Checkpoint, Stated, ema, weights};
use crate::config::{Ends, ModelConfig, NoiseConfig, Prediction};
use crate::diffusion::schedule::Schedule;
use anyhow::{Result, ensure};

/// The conventions of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct Conventions {
    /// The meaning of the UNet's output.
    pub prediction: Stated<Prediction>,
    /// A description of the noise schedule, for messages.
    pub noise: Stated<String>,
    /// The noise schedule that the model was trained with.
    pub schedule: Schedule,
    /// Whether to use the moving averages of the UNet's weights.
    pub use_ema: Stated<bool>,
    /// The factor from the autoencoder's latents to the UNet's.
    pub scale_factor: Stated<f64>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

/// The source of a convention that nothing states.
const DEFAULT: &str = "the default";
/// The source of a convention that the config states.
const CONFIG: &str = "config";

impl Conventions {
    /// Determines the conventions of a checkpoint with this config.
    ///
    /// # Errors
    /// If checkpoint and config state different numbers of attention heads, or another prediction type than
    /// `--prediction`.
    pub fn new(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<Self> {
        check_heads(checkpoint, config)?;
        check_guidance(checkpoint, config)?;
        let (noise, schedule) = schedule(checkpoint, config);
        let mut notes = vec![];
        Ok(Self {
            prediction: prediction(checkpoint, config)?,
            noise,
            schedule,
            use_ema: use_ema(checkpoint, config, &mut notes),
            scale_factor: checkpoint
                .declared()
                .scale_factor
                .clone()
                .unwrap_or_else(|| Stated::new(config.scale_factor, CONFIG)),
            notes,
        })
    }

    /// Returns the checkpoint's names of the tensors that the networks request.
    pub fn stored(&self, inventory: Inventory) -> Inventory {
        let stored = |(name, shape): (String, _)| match self.use_ema.value && name.starts_with(UNET) {
            true => (ema::name(&name), shape),
            false => (name, shape),
        };
        inventory.into_iter().map(stored).collect()
    }
}

/// The names and shapes of a network's tensors.
type Inventory = Vec<(String, Vec<usize>)>;

/// Returns the prediction type.
///
/// # Errors
/// If `--prediction` contradicts it.
fn prediction(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<Stated<Prediction>> {
    let by_config = config.prediction.map(|prediction| Stated::new(prediction, CONFIG));
    let stated = by_config.or(checkpoint.declared().prediction.clone());
    if let (Some(Stated { value, by }), Some(assumed)) = (&stated, config.assumed_prediction) {
        ensure!(
            *value == assumed,
            "--prediction {assumed} contradicts the model, which predicts {value} ({by}); leave it out"
        );
    }
    let assumed = config.assumed_prediction.map(|prediction| Stated::new(prediction, "--prediction"));
    Ok(stated.or(assumed).unwrap_or_else(|| Stated::new(Prediction::Eps, DEFAULT)))
}

/// Returns the description of the noise schedule, and the schedule.
fn schedule(checkpoint: &Checkpoint, config: &ModelConfig) -> (Stated<String>, Schedule) {
    let declared = checkpoint.declared();
    let (mut noise, mut schedule) = match (weights::schedule(checkpoint), &declared.noise) {
        (Some(schedule), _) => (Stated::new("stored in the checkpoint".into(), "tensor 'alphas_cumprod'"), schedule),
        (None, Some(Stated { value, by })) => (Stated::new(description(value), by), Schedule::new(value)),
        (None, None) => (Stated::new(description(&config.noise), CONFIG), Schedule::new(&config.noise)),
    };
    let rounded = || weights::schedule_ends_in_zero(checkpoint).then(|| Stated::new((), "tensor 'alphas_cumprod'"));
    let zero = declared.zero_terminal_snr.clone().or_else(rounded);
    if let Some(Stated { by, .. }) = zero.filter(|_| !schedule.has_zero_terminal_snr()) {
        schedule = schedule.with_zero_terminal_snr();
        noise = Stated::new(noise.value, format!("{}; zero terminal SNR: {by}", noise.by));
    } else if schedule.has_zero_terminal_snr() {
        noise.value += ", zero terminal SNR";
    }
    (noise, schedule)
}

/// Describes a noise schedule, for messages.
fn description(noise: &NoiseConfig) -> String {
    let (name, Ends { start, end }) = match noise {
        NoiseConfig::ScaledLinear(ends) => ("evenly spaced in √β", *ends),
        NoiseConfig::Linear(ends) => ("evenly spaced in β", *ends),
        NoiseConfig::Sqrt(ends) => ("square roots of evenly spaced numbers", *ends),
        NoiseConfig::Cosine { .. } => return "cosine".into(),
        NoiseConfig::Betas(_) => return "β given for each timestep".into(),
    };
    format!("{name}, {start} to {end}")
}

/// Returns whether to use the moving averages of the UNet's weights, and adds notes if the config does not decide.
fn use_ema(checkpoint: &Checkpoint, config: &ModelConfig, notes: &mut Vec<String>) -> Stated<bool> {
    let has = |start: &str| checkpoint.names().any(|name| name.starts_with(start));
    match (config.use_ema, has(ema::UNET), has(UNET)) {
        (true, false, _) => {
            notes.push(
                "use_ema is True in the config (the default), but the checkpoint has no EMA (moving average) UNet \
                 weights; its regular weights are used"
                    .into(),
            );
            Stated::new(false, "the checkpoint has no others")
        }
        (false, true, false) => {
            notes.push("the checkpoint has only EMA (moving average) UNet weights; they are used".into());
            Stated::new(true, "the checkpoint has no others")
        }
        (wanted, ..) => Stated::new(wanted, CONFIG),
    }
}

/// Checks that the UNet takes the guidance scale if a file states so.
fn check_guidance(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<()> {
    let Some(Stated { value, by }) = &checkpoint.declared().guidance_width else { return Ok(()) };
    let width = checkpoint.unet_config(config).guidance_width;
    ensure!(
        width.is_some_and(|width| width as u64 == *value),
        "'{}' has time_cond_proj_dim {value}, which does not fit the weights; download the model again",
        checkpoint.path().join(by).display()
    );
    Ok(())
}

/// Checks that the config has as many attention heads as the checkpoint states. The tensors' shapes do not show them.
fn check_heads(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<()> {
    let Some(Stated { value, by }) = &checkpoint.declared().unet_heads else { return Ok(()) };
    let path = checkpoint.path().join(by);
    for level in 0..config.unet.channel_mult.len() {
        let Some(ours) = config.unet.heads(level) else { continue };
        let Some(theirs) = value.get(level).or(value.first().filter(|_| value.len() == 1)) else { continue };
        ensure!(
            *theirs == ours,
            "'{}' has {theirs} attention heads at level {level} of the UNet, but the config has {ours}; give the config that \
             belongs to the model",
            path.display()
        );
    }
    Ok(())
}
