//! What a model's files say about how it is drawn with, beyond the shapes of its networks.
//!
//! Several may speak of the same thing. The first of these that does so decides:
//!
//! - **prediction type**: the config's `parameterization`; the checkpoint's tensor `v_pred`; the metadata of a
//!   `.safetensors` file or the `scheduler_config.json` of a diffusers folder; else `eps`.
//! - **noise schedule**: the checkpoint's tensor `alphas_cumprod` in f32, as in the original; the folder's
//!   `scheduler_config.json`; the config. Its terminal signal-to-noise ratio becomes 0 if the checkpoint's tensor `ztsnr`,
//!   a rounded `alphas_cumprod` that ends in 0, or `scheduler_config.json` says so.
//! - **weights of the UNet**: the moving averages if the config's `use_ema` asks for them and there are any, or if there
//!   are no others.
//! - **scale factor**: the `config.json` of a diffusers folder's autoencoder (with `--vae`, of that one); the config.

use crate::checkpoint::{Checkpoint, Stated, ema, weights};
use crate::config::{Ends, ModelConfig, NoiseConfig, Prediction};
use crate::diffusion::schedule::Schedule;
use crate::engine::UNET;
use anyhow::{Result, ensure};

/// How a model is drawn with.
#[derive(Clone, PartialEq, Debug)]
pub struct Conventions {
    /// What the UNet predicts.
    pub prediction: Stated<Prediction>,
    /// The noise that the model was trained with, in words and numbers.
    pub noise: Stated<String>,
    /// The same, in numbers.
    pub schedule: Schedule,
    /// Whether the UNet's weights are the moving averages.
    pub use_ema: Stated<bool>,
    /// The factor between the autoencoder's latents and the UNet's.
    pub scale_factor: Stated<f64>,
    /// What the user should know of this, a sentence each.
    pub notes: Vec<String>,
}

/// What states that which nothing else does.
const DEFAULT: &str = "the default";
const CONFIG: &str = "config";

impl Conventions {
    /// Reads those of a checkpoint with this config.
    ///
    /// # Errors
    /// If the two contradict each other in what a picture cannot be drawn without.
    pub fn new(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<Self> {
        check_heads(checkpoint, config)?;
        let declared = checkpoint.declared();
        let of_config = config.prediction.map(|prediction| Stated::new(prediction, CONFIG));
        let prediction = of_config.or(declared.prediction.clone());
        let (noise, schedule) = schedule(checkpoint, config);
        let mut notes = vec![];
        Ok(Self {
            prediction: prediction.unwrap_or_else(|| Stated::new(Prediction::Eps, DEFAULT)),
            noise,
            schedule,
            use_ema: use_ema(checkpoint, config, &mut notes),
            scale_factor: declared.scale_factor.clone().unwrap_or_else(|| Stated::new(config.scale_factor, CONFIG)),
            notes,
        })
    }

    /// Returns the names under which the checkpoint has the tensors that the networks ask for.
    pub fn stored(&self, inventory: Inventory) -> Inventory {
        let stored = |(name, shape): (String, _)| match self.use_ema.value && name.starts_with(UNET) {
            true => (ema::name(&name), shape),
            false => (name, shape),
        };
        inventory.into_iter().map(stored).collect()
    }
}

/// What a network reads: names and shapes.
type Inventory = Vec<(String, Vec<usize>)>;

/// Returns the noise schedule, in words and numbers.
fn schedule(checkpoint: &Checkpoint, config: &ModelConfig) -> (Stated<String>, Schedule) {
    let declared = checkpoint.declared();
    let (mut noise, mut schedule) = match (weights::schedule(checkpoint), &declared.noise) {
        (Some(schedule), _) => (Stated::new("its own".into(), "tensor 'alphas_cumprod'"), schedule),
        (None, Some(Stated { value, by })) => (Stated::new(words(value), by), Schedule::new(value)),
        (None, None) => (Stated::new(words(&config.noise), CONFIG), Schedule::new(&config.noise)),
    };
    let of_buffer = || weights::schedule_ends_in_zero(checkpoint).then(|| Stated::new((), "tensor 'alphas_cumprod'"));
    let zero = declared.zero_terminal_snr.clone().or_else(of_buffer);
    if let Some(Stated { by, .. }) = zero.filter(|_| !schedule.has_zero_terminal_snr()) {
        schedule = schedule.with_zero_terminal_snr();
        noise = Stated::new(noise.value, format!("{}; zero terminal SNR: {by}", noise.by));
    } else if schedule.has_zero_terminal_snr() {
        noise.value += ", zero terminal SNR";
    }
    (noise, schedule)
}

fn words(noise: &NoiseConfig) -> String {
    let (name, Ends { start, end }) = match noise {
        NoiseConfig::ScaledLinear(ends) => ("evenly spaced in √β", *ends),
        NoiseConfig::Linear(ends) => ("evenly spaced in β", *ends),
        NoiseConfig::Sqrt(ends) => ("square roots of evenly spaced numbers", *ends),
        NoiseConfig::Cosine { .. } => return "cosine".into(),
        NoiseConfig::Betas(_) => return "β given for each timestep".into(),
    };
    format!("{name}, {start} to {end}")
}

/// Whether to take the moving averages of the UNet's weights.
fn use_ema(checkpoint: &Checkpoint, config: &ModelConfig, notes: &mut Vec<String>) -> Stated<bool> {
    let has = |start: &str| checkpoint.names().any(|name| name.starts_with(start));
    match (config.use_ema, has(ema::UNET), has(UNET)) {
        (true, false, _) => {
            notes.push(
                "the config asks for the moving averages of the UNet's weights (use_ema, which is True unless it says \
                 False), but the checkpoint has none; its other weights are used"
                    .into(),
            );
            Stated::new(false, "the checkpoint has no others")
        }
        (false, true, false) => {
            notes.push(
                "the checkpoint has only the moving averages (EMA) of the UNet's weights, so these are used".into(),
            );
            Stated::new(true, "the checkpoint has no others")
        }
        (wanted, ..) => Stated::new(wanted, CONFIG),
    }
}

/// Attention heads, which no tensor's shape shows.
fn check_heads(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<()> {
    let Some(Stated { value, by }) = &checkpoint.declared().unet_heads else { return Ok(()) };
    let path = checkpoint.path().join(by);
    for level in 0..config.unet.channel_mult.len() {
        let Some(ours) = config.unet.heads(level) else { continue };
        let Some(theirs) = value.get(level).or(value.first().filter(|_| value.len() == 1)) else { continue };
        ensure!(
            *theirs == ours,
            "'{}' says that level {level} of the UNet has {theirs} attention heads, and the config {ours}; give the config \
             that belongs to the model",
            path.display()
        );
    }
    Ok(())
}
