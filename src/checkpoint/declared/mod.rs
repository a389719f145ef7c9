//! What the files of a checkpoint say about the model beside its weights.

mod diffusers;
mod metadata;

pub(super) use diffusers::CONFIGS;

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use super::{Layout, Tensors, about};
use crate::config::{NoiseConfig, Prediction};

/// A tensor without numbers that marks a model of v-prediction.
const V_PREDICTION: &str = "v_pred";

/// A tensor without numbers that marks a noise schedule of zero terminal signal-to-noise ratio.
const ZERO_TERMINAL_SNR: &str = "ztsnr";

/// The tensors that state something by being there.
pub const MARKERS: [&str; 2] = [V_PREDICTION, ZERO_TERMINAL_SNR];

/// A value and what stated it, as users find it: a tensor, a file, or the config.
#[derive(Clone, PartialEq, Debug)]
pub struct Stated<T> {
    /// The value.
    pub value: T,
    /// What stated it.
    pub by: String,
}

impl<T> Stated<T> {
    /// Returns `value`, stated by `by`.
    pub fn new(value: T, by: impl Into<String>) -> Self {
        Self { value, by: by.into() }
    }
}

/// What a checkpoint states about its model. A tensor takes precedence over a file's metadata, which a diffusers folder's
/// JSON files do not have.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Declared {
    /// What the UNet predicts.
    pub prediction: Option<Stated<Prediction>>,
    /// The noise that the model was trained with.
    pub noise: Option<Stated<NoiseConfig>>,
    /// Whether that noise leaves no signal at the last timestep.
    pub zero_terminal_snr: Option<Stated<()>>,
    /// The factor between the autoencoder's latents and the UNet's.
    pub scale_factor: Option<Stated<f64>>,
    /// The number of attention heads at each level of the UNet; one number stands for all.
    pub unet_heads: Option<Stated<Vec<usize>>>,
    /// The number of attention heads of the text encoder.
    pub text_heads: Option<Stated<usize>>,
}

impl Declared {
    /// Reads what the checkpoint at `path`, in these `files` (none if built in), states.
    ///
    /// # Errors
    /// If a file cannot be read or states something that is not supported; the sentence names it.
    pub(super) fn read(path: &Path, layout: Layout, files: &[PathBuf], tensors: &Tensors) -> Result<Self> {
        let mut declared = match (layout, files) {
            (Layout::Diffusers, _) => diffusers::read(path)?,
            (Layout::Safetensors, [file]) => metadata::read(file).map_err(|error| about(path, error))?,
            _ => Self::default(),
        };
        if let Some(name) = tensors.keys().find(|name| name.starts_with("edm_")) {
            let error = anyhow!("is an EDM model (it has the tensor '{name}'), whose prediction is not supported");
            return Err(about(path, error));
        }
        if tensors.contains_key(V_PREDICTION) {
            declared.prediction = Some(Stated::new(Prediction::V, format!("tensor '{V_PREDICTION}'")));
        }
        if tensors.contains_key(ZERO_TERMINAL_SNR) {
            declared.zero_terminal_snr = Some(Stated::new((), format!("tensor '{ZERO_TERMINAL_SNR}'")));
        }
        Ok(declared)
    }

    /// Reads the scale factor that the folder of an autoencoder states, if `path` is one.
    ///
    /// # Errors
    /// As those of `read`.
    pub(super) fn vae_scale_factor(path: &Path) -> Result<Option<Stated<f64>>> {
        diffusers::vae_scale_factor(path)
    }
}
