//! The time embedding.

use crate::ops::{LayerBuilder, Linear, StackedLinears, linear, linear_no_bias};
use candle_core::{DType, Device, Result, Tensor, bail};

/// Sinusoids of t, then linear → SiLU → linear (LDM `time_embed`), then SiLU → linear for each residual block (their
/// `emb_layers`).
///
/// In latent consistency models, the embedding of the guidance scale is added to the sinusoids (Luo et al. 2023,
/// arXiv 2310.04378; diffusers' `time_embedding.cond_proj`).
pub struct TimeEmbedding {
    channels: usize,
    /// The width of the guidance scale's sinusoids, and the layer that takes them.
    guidance: Option<(usize, Linear)>,
    first: Linear,
    second: Linear,
    of_blocks: StackedLinears,
}

impl TimeEmbedding {
    /// `channels`: the UNet's `model_channels`; the embedding is four times as wide. `guidance_width`: that of the guidance
    /// scale's sinusoids, if they are an input. `of_blocks`: the channels and locations of the residual blocks.
    pub fn new(
        channels: usize,
        guidance_width: Option<usize>,
        of_blocks: &[(usize, LayerBuilder)],
        lb: LayerBuilder,
    ) -> Result<Self> {
        let of_blocks: Vec<_> = of_blocks.iter().map(|(c, lb)| (*c, lb.pp("emb_layers.1"))).collect();
        let guidance = |width| match width {
            4.. if width % 2 == 0 => Ok((width, linear_no_bias(width, channels, lb.pp("cond_proj"))?)),
            _ => bail!("the guidance scale's embedding is {width} wide, not an even number of at least 4"),
        };
        Ok(Self {
            channels,
            guidance: guidance_width.map(guidance).transpose()?,
            first: linear(channels, 4 * channels, lb.pp(0))?,
            second: linear(4 * channels, 4 * channels, lb.pp(2))?,
            of_blocks: StackedLinears::new(4 * channels, &of_blocks)?,
        })
    }

    /// The sinusoids of `t` in 0..1000, which may be a fraction: (1, channels), cosines before sines, of frequencies from
    /// 1 down to 1/10000 (Vaswani et al. 2017).
    pub fn sinusoids(&self, t: f64, device: &Device) -> Result<Tensor> {
        let half = self.channels / 2;
        // In f32, as LDM's `timestep_embedding`: at t near 1000 the rounding of the angle shows.
        let angles = (0..half).map(|i| t as f32 * (-(10000f32.ln()) * i as f32 / half as f32).exp());
        let angles = Tensor::from_iter(angles, &Device::Cpu)?;
        Tensor::cat(&[angles.cos()?, angles.sin()?], 0)?.unsqueeze(0)?.to_device(device)
    }

    /// Returns whether the guidance scale is an input.
    pub fn takes_guidance(&self) -> bool {
        self.guidance.is_some()
    }

    /// The embedding of a guidance scale (1, channels), to be added to the sinusoids of t; `None` if it is not an input.
    pub fn guidance(&self, scale: f64, device: &Device) -> Result<Option<Tensor>> {
        let Some((width, layer)) = &self.guidance else { return Ok(None) };
        let half = width / 2;
        // In f32, as diffusers' `get_guidance_scale_embedding`; sines come before cosines, and frequencies include 1/10000.
        let step = (10000f64.ln() / (half - 1) as f64) as f32;
        let angles = (0..half).map(|i| (scale - 1.) as f32 * 1000. * (-step * i as f32).exp());
        let angles = Tensor::from_iter(angles, &Device::Cpu)?;
        let sinusoids = Tensor::cat(&[angles.sin()?, angles.cos()?], 0)?.unsqueeze(0)?; // (1, width)
        layer.forward(&sinusoids.to_device(device)?).and_then(|x| x.to_dtype(DType::F32)).map(Some)
    }

    /// `t`: sinusoids (1, channels) → the shift (1, C_out) of each residual block.
    pub fn forward(&self, t: &Tensor) -> Result<Vec<Tensor>> {
        // SiLU is computed in f32, whatever type the layers return.
        let silu = |x: Tensor| x.to_dtype(DType::F32)?.silu();
        self.of_blocks.forward(&silu(self.second.forward(&silu(self.first.forward(t)?)?)?)?)
    }
}
