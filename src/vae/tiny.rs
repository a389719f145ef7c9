//! The decoder of TAESD (Bohan 2023, github.com/madebyollin/taesd), a small autoencoder that was trained to give the pictures
//! of Stable Diffusion 1.x's own.

use crate::ops::{Conv2d, LayerBuilder, UpsampledConv2d, conv3x3, conv3x3_relu, conv3x3_upsampled_no_bias};
use candle_core::{DType, Result, Tensor};
use std::ops::Range;

/// The channels of all maps.
const CHANNELS: usize = 64;

/// The largest absolute value of the latents, which larger ones approach.
const LIMIT: f64 = 3.;

/// The rows of the last level's map that are upsampled at once. The maps after it are the largest: whole ones would take
/// more memory than the rest of drawing with few steps.
const BAND: usize = 64;

/// The rows beside a band that its pixels depend on, through five convolutions of the upsampled map.
const HALO: usize = 3;

/// The decoder. Its layers are numbered as in diffusers' `AutoencoderTiny`, below `decoder.layers`.
pub struct TinyDecoder {
    conv_in: Conv2d,    // 0
    levels: Vec<Level>, // smallest map first
    last: Level,
    block: Block,     // 17
    conv_out: Conv2d, // 18
}

/// Three blocks, then twice the size.
struct Level {
    blocks: Vec<Block>,
    conv: UpsampledConv2d,
}

/// conv → ReLU, twice, and conv, added to the input, → ReLU.
struct Block(Conv2d, Conv2d, Conv2d);

impl TinyDecoder {
    /// Builds the decoder from the layers below `lb`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn new(lb: LayerBuilder) -> Result<Self> {
        let layers = lb.pp("decoder.layers").for_large_maps();
        Ok(Self {
            conv_in: conv3x3_relu(4, CHANNELS, layers.pp(0))?,
            levels: [2, 7].map(|first| Level::new(first, &layers)).into_iter().collect::<Result<_>>()?,
            last: Level::new(12, &layers)?,
            block: Block::new(layers.pp(17))?,
            conv_out: conv3x3(CHANNELS, 3, layers.pp(18))?,
        })
    }

    /// Decodes `latents` (B, h, w, 4), as the UNet has them, → pixels (B, 8h, 8w, 3), about -1 to 1.
    ///
    /// # Errors
    /// If the device fails.
    pub fn forward(&self, latents: &Tensor) -> Result<Tensor> {
        let mut x = self.conv_in.forward(&((latents / LIMIT)?.tanh()? * LIMIT)?)?; // (B, h, w, C)
        for level in &self.levels {
            x = level.upsampled(&level.refined(x)?)?;
        }
        x = self.last.refined(x)?; // (B, 4h, 4w, C)
        let h = x.dim(1)?;
        let bands = (0..h).step_by(BAND).map(|start| self.pixels(&x, start..h.min(start + BAND)));
        Tensor::cat(&bands.collect::<Result<Vec<_>>>()?, 1)
    }

    /// Decodes `rows` of the last level's map `x` (B, 4h, 4w, C) → pixels (B, 2 · rows, 8w, 3).
    fn pixels(&self, x: &Tensor, rows: Range<usize>) -> Result<Tensor> {
        let (start, end) = (rows.start.saturating_sub(HALO), x.dim(1)?.min(rows.end + HALO));
        let band = x.narrow(1, start, end - start)?.contiguous()?;
        let y = self.conv_out.forward(&self.block.forward(&self.last.upsampled(&band)?)?)?; // 0 to 1
        let y = y.narrow(1, 2 * (rows.start - start), 2 * rows.len())?;
        y.to_dtype(DType::F32)?.affine(2., -1.)
    }
}

impl Level {
    /// `first`: the number of the first layer.
    fn new(first: usize, layers: &LayerBuilder) -> Result<Self> {
        Ok(Self {
            blocks: (first..first + 3).map(|i| Block::new(layers.pp(i))).collect::<Result<_>>()?,
            // Upsampling is a layer, too.
            conv: conv3x3_upsampled_no_bias(CHANNELS, CHANNELS, layers.pp(first + 4))?,
        })
    }

    /// Applies the blocks: `x` (B, h, w, C) → the same shape.
    fn refined(&self, mut x: Tensor) -> Result<Tensor> {
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        Ok(x)
    }

    /// `x`: (B, h, w, C) → (B, 2h, 2w, C).
    fn upsampled(&self, x: &Tensor) -> Result<Tensor> {
        let (_, h, w, _) = x.dims4()?;
        self.conv.forward(x, 2 * h, 2 * w)
    }
}

impl Block {
    fn new(lb: LayerBuilder) -> Result<Self> {
        let conv = |name| conv3x3_relu(CHANNELS, CHANNELS, lb.pp(name));
        Ok(Self(conv("conv.0")?, conv("conv.2")?, conv("conv.4")?))
    }

    /// `x`: (B, h, w, C) → the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.2.forward_add(&self.1.forward(&self.0.forward(x)?)?, x)
    }
}
