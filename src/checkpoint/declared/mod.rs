//! Conventions that a checkpoint's files state about the model beside its weights.

mod diffusers;
pub(super) mod metadata;

use super::{Layout, Tensors, with_path};
use crate::config::{NoiseConfig, Prediction};
use anyhow::{Result, anyhow};
use std::path::{Path, PathBuf};

pub(super) use diffusers::CONFIGS;

/// An empty tensor that marks a model of v-prediction.
const V_PREDICTION: &str = "v_pred";

/// An empty tensor that marks a noise schedule with a terminal signal-to-noise ratio of zero.
const ZERO_TERMINAL_SNR: &str = "ztsnr";

/// The tensors whose presence states a convention.
pub(crate) const MARKERS: [&str; 2] = [V_PREDICTION, ZERO_TERMINAL_SNR];

/// A value and its source.
#[derive(Clone, PartialEq, Debug)]
pub struct Stated<T> {
    /// The value.
    pub value: T,
    /// The source as shown to users: a tensor, a file or the config.
    pub by: String,
}

impl<T> Stated<T> {
    /// Creates a value with the source `by`.
    pub fn new(value: T, by: impl Into<String>) -> Self {
        Self { value, by: by.into() }
    }
}

/// The conventions that a checkpoint states. Marker tensors take precedence over metadata and JSON files.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Declared {
    /// The meaning of the UNet's output.
    pub prediction: Option<Stated<Prediction>>,
    /// The noise schedule that the model was trained with.
    pub noise: Option<Stated<NoiseConfig>>,
    /// Present if the schedule's signal-to-noise ratio is zero at the last timestep.
    pub zero_terminal_snr: Option<Stated<()>>,
    /// The factor from the autoencoder's latents to the UNet's.
    pub scale_factor: Option<Stated<f64>>,
    /// The number of attention heads at each level of the UNet. A single number holds for all levels.
    pub unet_heads: Option<Stated<Vec<usize>>>,
    /// The width of the embedding of the guidance scale, if the scale is an input of the UNet.
    pub guidance_width: Option<Stated<u64>>,
    /// The number of attention heads of the text encoder.
    pub text_heads: Option<Stated<usize>>,
}

impl Declared {
    /// Reads the conventions of the checkpoint at `path`. `files` is empty if it is built in.
    ///
    /// # Errors
    /// If a file cannot be read or states something unsupported; the error names it.
    pub(super) fn read(path: &Path, layout: Layout, files: &[PathBuf], tensors: &Tensors) -> Result<Self> {
        let mut declared = match (layout, files) {
            (Layout::Diffusers, _) => diffusers::read_configs(path)?,
            (Layout::Safetensors, [file]) => metadata::read_metadata(file).map_err(|error| with_path(path, error))?,
            _ => Self::default(),
        };
        if let Some(name) = tensors.keys().find(|name| name.starts_with("edm_")) {
            let error = anyhow!("is an EDM model (it has the tensor '{name}'), whose prediction is not supported");
            return Err(with_path(path, error));
        }
        if tensors.contains_key(V_PREDICTION) {
            declared.prediction = Some(Stated::new(Prediction::V, format!("tensor '{V_PREDICTION}'")));
        }
        if tensors.contains_key(ZERO_TERMINAL_SNR) {
            declared.zero_terminal_snr = Some(Stated::new((), format!("tensor '{ZERO_TERMINAL_SNR}'")));
        }
        Ok(declared)
    }

    /// Reads the scale factor that an autoencoder's folder states. Returns `None` if `path` is a file.
    ///
    /// # Errors
    /// If a config cannot be read or states something unsupported.
    pub(super) fn vae_scale_factor(path: &Path) -> Result<Option<Stated<f64>>> {
        diffusers::vae_scale_factor(path)
    }
}
