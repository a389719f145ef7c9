//! A model on one device, which draws batches of images. It knows no flags, files, terminal or journal: prompts and
//! parameters, noise and an observer are passed in.
//!
//! # Example
//!
//! Draws a picture with the bundled demo model and saves it:
//!
//! ```
//! use candle_core::{DType, Tensor};
//! use txt2img::checkpoint::lora::Loras;
//! use txt2img::demo;
//! use txt2img::device::DeviceSpecs;
//! use txt2img::diffusion::samplers::{Kind, SamplerConfig, Spacing};
//! use txt2img::engine::{Batch, Engine, Observer, Preview, SeedNoise};
//! use txt2img::params::SamplingParams;
//! use txt2img::rng::Rng;
//! use txt2img::text::Reading;
//!
//! /// Prints progress. An engine calls its observer after each step; an error there stops it.
//! struct Steps;
//!
//! impl Observer for Steps {
//!     fn on_step(&mut self, i: usize, _x: &Tensor, _x0: &Tensor, _preview: &Preview) -> anyhow::Result<()> {
//!         eprintln!("step {}", i + 1);
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> anyhow::Result<()> {
//! # let folder = tempfile::tempdir()?;
//! # let file = folder.path().join("cube.png");
//! // The bundled demo model, on the CPU.
//! let (checkpoint, config) = (demo::checkpoint()?, demo::config()?);
//! let device = "cpu".parse::<DeviceSpecs>().map_err(anyhow::Error::msg)?.open(None)?.remove(0);
//! let (loras, reading) = (Loras::default(), Reading::default());
//! let mut engine = Engine::load(&checkpoint, &config, &loras, &device, DType::F32, reading, &mut Steps)?;
//!
//! // One image of 256×256 pixels, from seed 42.
//! let sampler = SamplerConfig { kind: Kind::DpmSolver, steps: 10, ..SamplerConfig::default() };
//! let params = SamplingParams { height: 256, width: 256, sampler, ..SamplingParams::default() };
//! let prompts = vec![("a photo of a pink cube, black background", "")];
//! let batch = Batch { prompts, params, input: None };
//! let mut noise = SeedNoise::new(Rng::default(), 42);
//! // On the threads of the device. On others it works, too, but small images take longer.
//! let images = device.run(|| engine.render(&batch, &mut noise, &mut Steps))?;
//! for image in images {
//!     image.picture()?.save(&file)?;
//! }
//! # Ok(())
//! # }
//! ```

mod conditions;
mod context_cache;
mod enlarge;
mod input;
mod model;
mod noise;
mod observer;
mod part;
mod sampling;
mod sources;

use crate::checkpoint::lora::Loras;
use crate::checkpoint::names::VAE;
use crate::checkpoint::{Checkpoint, Embedding, ema, weights};
use crate::config::{ModelConfig, VaeConfig};
use crate::conventions::Conventions;
use crate::device::ComputeDevice;
use crate::ops::{Compute, LayerBuilder};
use crate::output::{self, Picture};
use crate::params::SamplingParams;
use crate::text::Reading;
use crate::vae::Decoder;
use anyhow::{Context, Error, Result, anyhow};
use candle_core::{DType, IndexOp, Tensor};
use candle_nn::VarBuilder;
use context_cache::ContextCache;
use input::InputEncoder;
use std::fmt;

pub use conditions::Conditions;
pub use input::Input;
pub use model::{Evaluation, Model, Phase, text_config};
pub use noise::{BatchNoise, SeedNoise};
pub use observer::{Observer, Preview};
pub use sampling::Pass;

/// A batch of images.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch<'a> {
    /// The prompt and the negative prompt of each image.
    pub prompts: Vec<(&'a str, &'a str)>,
    /// The parameters of all of them.
    pub params: SamplingParams,
    /// The picture that all of them start from, if the sampler has a strength.
    pub input: Option<&'a Input>,
}

/// The latents of a batch.
pub struct Latents {
    /// (B, h, w, 4).
    pub latents: Tensor,
    /// The type in which the UNet computed.
    pub dtype: DType,
    /// The stage that returned NaN or infinity in f32, if one did: the images are not the ones asked for.
    pub non_finite: Option<Stage>,
}

/// A decoded image.
pub struct Image {
    pixels: Tensor, // (1, 8h, 8w, 3), about -1 to 1
    /// The stage that returned NaN or infinity in f32, if one did: the image is not the one asked for.
    pub non_finite: Option<Stage>,
}

/// A stage of the engine that may return NaN or infinity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The text encoder.
    Text,
    /// The sampler with the UNet.
    Step,
    /// The decoder.
    Decode,
}

/// A model on one device.
pub struct Engine<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a ModelConfig,
    device: &'a ComputeDevice,
    /// The type in which the UNet and the decoder compute, as long as it has no NaN or infinity for a result.
    dtype: DType,
    reading: Reading,
    /// The LoRAs in the loaded models.
    loras: Loras,
    /// The model. `None` if it could not be loaded again with other LoRAs.
    loaded: Option<Loaded<'a>>,
    /// The model in f32, once half precision has returned NaN or infinity.
    fallback: Option<Loaded<'a>>,
    /// The model's own decoder beside TAESD, for [`Self::decode_exactly`].
    exact_decoder: Option<Decoder>,
    /// The encoder of input pictures, if it was loaded.
    encoder: Option<InputEncoder<'a>>,
    /// The number of images that fit in memory at once, as far as is known.
    max_batch: usize,
    /// If true, images are decoded in tiles, because a whole one does not fit in memory or takes too much of it.
    tiled: bool,
}

/// A loaded model with its contexts.
struct Loaded<'a> {
    model: Model<'a>,
    dtype: DType,
    contexts: ContextCache,
}

/// The error after loading a model with other LoRAs has failed.
const NOT_LOADED: &str = "no model is loaded";

impl<'a> Engine<'a> {
    /// Loads a model, changed by `loras`. `dtype`: the type in which the UNet and the decoder compute. `reading`: how
    /// prompts are read.
    ///
    /// # Errors
    /// If the checkpoint does not fit the config, or memory does not suffice.
    pub fn load(
        checkpoint: &'a Checkpoint,
        config: &'a ModelConfig,
        loras: &Loras,
        device: &'a ComputeDevice,
        dtype: DType,
        reading: Reading,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let mut engine = Self {
            checkpoint,
            config,
            device,
            dtype,
            reading,
            loras: loras.clone(),
            loaded: None,
            fallback: None,
            exact_decoder: None,
            encoder: None,
            max_batch: usize::MAX,
            tiled: device.saves_memory,
        };
        engine.loaded = Some(engine.load_model(dtype, observer)?);
        Ok(engine)
    }

    /// Changes the model by `loras` from now on. Loads it again, unless it is changed by these already.
    ///
    /// # Errors
    /// If the LoRAs cannot be added, or memory does not suffice.
    pub fn use_loras(&mut self, loras: &Loras, observer: &mut dyn Observer) -> Result<()> {
        if self.loras == *loras && self.loaded.is_some() {
            return Ok(());
        }
        // Before the next one is loaded, so that there are never two.
        (self.loaded, self.fallback) = (None, None);
        self.loras = loras.clone();
        self.loaded = Some(self.load_model(self.dtype, observer)?);
        Ok(())
    }

    /// Frees the memory of the weights. [`Self::use_loras`] loads them again.
    pub fn unload(&mut self) {
        (self.loaded, self.fallback, self.exact_decoder, self.encoder) = (None, None, None, None);
    }

    fn load_model(&self, dtype: DType, observer: &mut dyn Observer) -> Result<Loaded<'a>> {
        let Self { checkpoint, config, device, .. } = *self;
        let on_tensor = observer.on_load(count_tensors(checkpoint, config, device.saves_memory)?);
        let load = if device.saves_memory { Model::load_on_demand } else { Model::load };
        let model = load(checkpoint, config, &self.loras, &device.device, dtype, &*on_tensor);
        let model = model.map_err(|error| match device.is_out_of_memory(&error) {
            true => anyhow!("{} is too small for the model in {}", device.memory(), dtype.as_str()),
            false => error,
        })?;
        Ok(Loaded { model, dtype, contexts: ContextCache::new(self.reading) })
    }

    /// Draws a batch: [`Self::sample`], then [`Self::decode`] for each image.
    ///
    /// # Errors
    /// The errors of [`Self::sample`] and [`Self::decode`].
    pub fn render(
        &mut self,
        batch: &Batch,
        noise: &mut dyn BatchNoise,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Image>> {
        let latents = self.sample(batch, noise, observer)?;
        (0..batch.prompts.len()).map(|index| self.decode(&latents, index, observer)).collect()
    }

    /// Returns the model. `in_f32`: whether it is the fallback.
    fn loaded(&self, in_f32: bool) -> Result<&Loaded<'a>> {
        if in_f32 { &self.fallback } else { &self.loaded }.as_ref().context(NOT_LOADED)
    }

    /// Returns the checkpoint's embeddings that a prompt and a negative prompt contain. `params`: those of sampling, during which
    /// prompts may change.
    ///
    /// # Errors
    /// If the weights of emphasis multiply to infinity.
    pub fn embeddings_in(&self, prompts: (&str, &str), params: &SamplingParams) -> Result<Vec<&'a Embedding>> {
        let embeddings = self.checkpoint.embeddings();
        if embeddings.is_empty() {
            return Ok(vec![]);
        }
        let model = &self.loaded(false)?.model;
        let passes = match self.reading.web_ui {
            true => Pass::all(params, model.schedule()).into_iter().map(|pass| pass.steps).collect(),
            // Prompts do not depend on steps.
            false => vec![1.into()],
        };
        let found = model.embeddings_in(prompts, self.reading, &passes)?;
        Ok(found.into_iter().filter_map(|i| embeddings.get(i)).collect())
    }

    /// Decodes image `index` of a batch.
    ///
    /// # Errors
    /// If memory does not suffice, or the device fails.
    pub fn decode(&mut self, latents: &Latents, index: usize, observer: &mut dyn Observer) -> Result<Image> {
        let z = latents.latents.i(index..=index)?; // (1, h, w, 4)
        let mut pixels = self.pixels(&z, observer, false)?;
        let mut non_finite = latents.non_finite;
        if non_finite.is_none() && !is_finite(&pixels)? {
            if self.fall_back_to_f32(Stage::Decode, observer)? {
                pixels = self.pixels(&z, observer, true)?;
            }
            non_finite = (!is_finite(&pixels)?).then_some(Stage::Decode);
        }
        if let Some(stage) = non_finite {
            observer.on_note(&format!(
                "{stage} returned NaN or infinite values, so the picture is unusable: the checkpoint may be \
                 damaged, or --scale far too large"
            ));
        }
        Ok(Image { pixels, non_finite })
    }

    /// Loads the decoder of `checkpoint`, which is the model with its own autoencoder instead of TAESD, for
    /// [`Self::decode_exactly`].
    ///
    /// # Errors
    /// If the checkpoint does not fit the config, or memory does not suffice.
    pub fn load_exact_decoder(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let decoder = load_vae(checkpoint, self.config, self.device, self.dtype, Decoder::new)?;
        self.exact_decoder = Some(decoder);
        Ok(())
    }

    /// Loads the encoder of `checkpoint`, which is the model with its own autoencoder instead of TAESD, for batches with an
    /// input picture and for inpainting models.
    ///
    /// # Errors
    /// If the checkpoint lacks the encoder or does not fit the config, or memory does not suffice.
    pub fn load_encoder(&mut self, checkpoint: &'a Checkpoint) -> Result<()> {
        self.encoder = Some(InputEncoder::load(checkpoint, self.config, self.device, self.dtype)?);
        Ok(())
    }

    /// Returns whether the model is an inpainting model, which needs the encoder for every batch.
    pub fn takes_mask(&self) -> bool {
        self.checkpoint.unet_config(self.config).takes_mask()
    }

    /// Returns whether the model's own decoder was loaded beside TAESD.
    pub fn has_exact_decoder(&self) -> bool {
        self.exact_decoder.is_some()
    }

    /// Decodes image `index` of a batch with the model's own decoder, if it was loaded beside TAESD, and else with the only
    /// one.
    ///
    /// # Errors
    /// If memory does not suffice, or the device fails.
    pub fn decode_exactly(&mut self, latents: &Latents, index: usize, observer: &mut dyn Observer) -> Result<Image> {
        match &self.exact_decoder {
            Some(decoder) => {
                let latent = latents.latents.i(index..=index)?; // (1, h, w, 4)
                let pixels = if self.tiled { decoder.forward_in_tiles(&latent)? } else { decoder.forward(&latent)? };
                Ok(Image { pixels, non_finite: latents.non_finite })
            }
            None => self.decode(latents, index, observer),
        }
    }

    /// `latents`: (1, h, w, 4) → (1, 8h, 8w, 3). `in_f32`: whether to use the fallback.
    fn pixels(&mut self, latents: &Tensor, observer: &mut dyn Observer, in_f32: bool) -> Result<Tensor> {
        let loaded = if in_f32 { &self.fallback } else { &self.loaded };
        let model = &loaded.as_ref().context(NOT_LOADED)?.model;
        let (_, height, width, _) = latents.dims4()?;
        if !self.tiled {
            // A first failure releases the memory that sampling left.
            for _ in 0..2 {
                match model.pixels(latents) {
                    Err(error) if self.device.is_out_of_memory(&error) => (),
                    pixels => return pixels,
                }
            }
            self.tiled = true;
            observer.on_note(&format!(
                "{} is too small to decode a whole picture; from now on pictures are decoded in tiles, which changes \
                 them slightly",
                self.device.memory()
            ));
        }
        model.pixels_in_tiles(latents).map_err(|error| match self.device.is_out_of_memory(&error) {
            true => self.too_large(height, width),
            false => error,
        })
    }

    /// Makes sure that there is a model in f32. Returns false if the model computes in f32 already.
    fn fall_back_to_f32(&mut self, stage: Stage, observer: &mut dyn Observer) -> Result<bool> {
        if self.dtype == DType::F32 {
            return Ok(false);
        }
        observer.on_note(&format!(
            "{stage} returned NaN or infinite values in half precision; affected pictures are redrawn in f32"
        ));
        if self.fallback.is_none() {
            self.fallback = Some(self.load_model(DType::F32, observer)?);
        }
        Ok(true)
    }

    /// The error of an image of `height`·`width` latents, which does not fit in memory even alone.
    fn too_large(&self, height: usize, width: usize) -> Error {
        let side = self.config.vae.side_factor();
        anyhow!(
            "{} is too small for a picture of {}×{} pixels; reduce --H or --W, or use \
             --precision autocast",
            self.device.memory(),
            width * side,
            height * side
        )
    }
}

/// Returns the number of tensors that loading reads. `only_unet`: whether the other networks are loaded on demand.
fn count_tensors(checkpoint: &Checkpoint, config: &ModelConfig, only_unet: bool) -> Result<usize> {
    let use_ema = Conventions::new(checkpoint, config)?.use_ema.value;
    let unet = if use_ema { ema::UNET } else { "model.diffusion_model." };
    let parts = [unet, "cond_stage_model.", "first_stage_model.decoder.", "first_stage_model.post_quant"];
    let parts = if only_unet { &parts[..1] } else { &parts[..] };
    let is_read = |name: &&str| parts.iter().any(|part| name.starts_with(part)) && !name.ends_with("position_ids");
    Ok(checkpoint.names().filter(is_read).count())
}

impl Image {
    /// The image as the original saves it: values are truncated to 8 bits.
    ///
    /// # Errors
    /// If the device fails.
    pub fn picture(&self) -> Result<Picture> {
        model::picture(&self.pixels, output::picture)
    }

    /// The image as the safety checker sees it: values are rounded to 8 bits.
    ///
    /// # Errors
    /// If the device fails.
    pub fn rounded(&self) -> Result<Picture> {
        model::picture(&self.pixels, output::rounded)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Stage::Text => "the text encoder",
            Stage::Step => "a sampling step",
            Stage::Decode => "the decoder",
        })
    }
}

/// Loads the encoder or the decoder of a checkpoint's autoencoder, which `build` builds from the config, the scale factor and
/// the layers.
fn load_vae<T>(
    checkpoint: &Checkpoint,
    config: &ModelConfig,
    device: &ComputeDevice,
    dtype: DType,
    build: fn(&VaeConfig, f64, LayerBuilder) -> candle_core::Result<T>,
) -> Result<T> {
    let scale_factor = Conventions::new(checkpoint, config)?.scale_factor.value;
    let build = |vb: VarBuilder| {
        Ok(build(&config.vae, scale_factor, LayerBuilder::new(vb.pp(VAE), Compute::of(dtype), device.packing())?)?)
    };
    weights::load(checkpoint, &Loras::default(), &device.device, &|| (), build)
}

/// Returns whether all values are finite.
fn is_finite(x: &Tensor) -> candle_core::Result<bool> {
    // NaN and infinities survive a sum, and a sum of finite f32 is finite in f64. GPUs add up rows in parallel, so the
    // rows are summed first.
    let sum = x.to_dtype(DType::F64)?.flatten_to(1)?.flatten_from(1)?.sum(1)?.sum_all()?;
    Ok(sum.to_scalar::<f64>()?.is_finite())
}
