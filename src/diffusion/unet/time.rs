//! The time embedding.

use crate::ops::{LayerBuilder, Linear, StackedLinears, linear};
use candle_core::{DType, Device, Result, Tensor};

/// Sinusoids of t, then linear → SiLU → linear (LDM `time_embed`), then SiLU → linear for each residual block (their
/// `emb_layers`).
pub struct TimeEmbedding {
    channels: usize,
    first: Linear,
    second: Linear,
    of_blocks: StackedLinears,
}

impl TimeEmbedding {
    /// `channels`: the UNet's `model_channels`; the embedding is four times as wide. `of_blocks`: the channels and
    /// locations of the residual blocks.
    pub fn new(channels: usize, of_blocks: &[(usize, LayerBuilder)], lb: LayerBuilder) -> Result<Self> {
        let of_blocks: Vec<_> = of_blocks.iter().map(|(c, lb)| (*c, lb.pp("emb_layers.1"))).collect();
        Ok(Self {
            channels,
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

    /// `t`: sinusoids (1, channels) → the shift (1, C_out) of each residual block.
    pub fn forward(&self, t: &Tensor) -> Result<Vec<Tensor>> {
        // SiLU is computed in f32, whatever type the layers return.
        let silu = |x: Tensor| x.to_dtype(DType::F32)?.silu();
        self.of_blocks.forward(&silu(self.second.forward(&silu(self.first.forward(t)?)?)?)?)
    }
}
