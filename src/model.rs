//! The library's front: a model that draws pictures from prompts.

use crate::checkpoint::Checkpoint;
use crate::checkpoint::lora::Loras;
use crate::config::ModelConfig;
use crate::demo;
use crate::device::{ComputeDevice, DeviceSpecs, Precision};
use crate::engine::{Batch, Engine, Observer, SeedNoise};
use crate::output::Picture;
use crate::params::SamplingParams;
use crate::rng::Rng;
use crate::text::Reading;
use anyhow::{Context, Error, Result};
use std::path::Path;

/// A Stable Diffusion 1.x model, and the device that it runs on.
pub struct Model {
    checkpoint: Checkpoint,
    config: ModelConfig,
    device: ComputeDevice,
    /// The parameters of pictures that are drawn from a prompt alone.
    params: SamplingParams,
}

/// A model whose weights are in memory.
pub struct LoadedModel<'a> {
    engine: Engine<'a>,
    device: &'a ComputeDevice,
    params: SamplingParams,
}

/// A picture to draw.
#[derive(Clone, PartialEq, Debug)]
pub struct Drawing {
    /// The prompt.
    pub prompt: String,
    /// What should not be in the picture.
    pub negative_prompt: String,
    /// The seed of the noise, which is that of torch on a GPU.
    pub seed: u32,
    /// The sampling parameters: the sampler, its steps, the scale, the size.
    pub params: SamplingParams,
}

/// Ignores progress and notes.
struct NoObserver;

impl Observer for NoObserver {}

impl Model {
    /// Returns the built-in demo model, which draws coloured solids, such as "a photo of a pink cube, black background", in
    /// 256×256 pixels.
    ///
    /// # Errors
    /// If the model cannot be read.
    pub fn demo() -> Result<Self> {
        let params = SamplingParams { height: demo::SIDE, width: demo::SIDE, ..SamplingParams::default() };
        Self::new(demo::checkpoint()?, demo::config()?, params)
    }

    /// Opens a model: a `.safetensors` or `.ckpt` file, or a folder in diffusers' layout. Its pictures have 512×512 pixels, unless
    /// the parameters say otherwise.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a Stable Diffusion 1.x model.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(Checkpoint::open(path.as_ref())?, ModelConfig::v1(), SamplingParams::default())
    }

    /// `params`: the parameters of pictures that are drawn from a prompt alone.
    fn new(checkpoint: Checkpoint, config: ModelConfig, params: SamplingParams) -> Result<Self> {
        let device = "auto".parse::<DeviceSpecs>().map_err(Error::msg)?.open(None)?.into_iter().next();
        Ok(Self { checkpoint, config, device: device.context("no device was found")?, params })
    }

    /// Draws one picture from a prompt with seed 42, 50 steps of DDIM and scale 7.5, as `txt2img` does by default. Loads the weights
    /// for it; to draw several pictures, [load](Self::load) them once.
    ///
    /// # Errors
    /// If the model cannot be loaded, or the device fails.
    pub fn draw(&self, prompt: &str) -> Result<Picture> {
        let mut model = self.load()?;
        let drawing = model.drawing(prompt);
        model.draw(&drawing)
    }

    /// Loads the weights, in half precision if the device is faster with it.
    ///
    /// # Errors
    /// If the model cannot be loaded, or memory does not suffice.
    pub fn load(&self) -> Result<LoadedModel<'_>> {
        let Self { checkpoint, config, device, params } = self;
        let (dtype, reading) = (device.dtype(Precision::Autocast), Reading::default());
        let load = || Engine::load(checkpoint, config, &Loras::default(), device, dtype, reading, &mut NoObserver);
        Ok(LoadedModel { engine: device.run(load)?, device, params: params.clone() })
    }
}

impl LoadedModel<'_> {
    /// Returns a drawing of a prompt with the model's usual parameters, to change and to draw.
    pub fn drawing(&self, prompt: &str) -> Drawing {
        Drawing { prompt: prompt.into(), negative_prompt: String::new(), seed: 42, params: self.params.clone() }
    }

    /// Draws a picture.
    ///
    /// # Errors
    /// If the parameters do not fit together, memory does not suffice, or the device fails.
    pub fn draw(&mut self, drawing: &Drawing) -> Result<Picture> {
        drawing.params.check()?;
        let prompts = vec![(&*drawing.prompt, &*drawing.negative_prompt)];
        let batch = Batch { prompts, params: drawing.params.clone(), input: None };
        self.device.run(|| {
            let mut noise = SeedNoise::new(Rng::default(), drawing.seed);
            let images = self.engine.render(&batch, &mut noise, &mut NoObserver)?;
            images.first().context("nothing was drawn")?.picture()
        })
    }
}
