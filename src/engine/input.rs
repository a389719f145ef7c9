//! Input pictures and their masks, as latents.

use super::part::Part;
use super::{is_finite, load_vae};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::device::ComputeDevice;
use crate::diffusion::samplers::Region;
use crate::output::{Mask, Picture};
use crate::params::{MaskFill, SamplingParams};
use crate::vae::Encoder;
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use std::collections::VecDeque;

/// The picture that images start from, as large as they are.
#[derive(Clone, PartialEq, Debug)]
pub struct Input {
    /// The picture.
    pub picture: Picture,
    /// The region of it that is drawn anew, as large as the picture; `None` is all of it.
    pub mask: Option<Mask>,
}

impl Input {
    /// Puts the picture back around the region of `drawn`, which is as large.
    pub fn restore(&self, drawn: &mut Picture) {
        self.mask.iter().for_each(|mask| mask.restore(drawn, &self.picture));
    }

    /// Returns the region of latents to draw anew: those with a pixel of the mask's region. `keeps_rest`: whether sampling keeps
    /// the rest of the image, or the model does.
    fn region(&self, params: &SamplingParams, keeps_rest: bool, device: &Device) -> Result<Option<Region>> {
        let Some(mask) = &self.mask else { return Ok(None) };
        let squares: Vec<u8> = mask.squares(params.factor).into_iter().map(u8::from).collect();
        let mask = Tensor::from_vec(squares, (1, params.latent_height(), params.latent_width(), 1), device)?;
        Ok(Some(Region { mask, starts_from_image: params.mask_fill == MaskFill::Original, keeps_rest }))
    }
}

/// An input picture as latents.
#[derive(Default)]
pub struct Encoded {
    /// The latents of the picture, once for each image (B, h, w, 4).
    pub image: Option<Tensor>,
    /// The region of them that is drawn anew, if it is not all of them.
    pub region: Option<Region>,
    /// What an inpainting model takes besides the latents (1, h, w, 5).
    pub mask: Option<Tensor>,
}

/// The most pictures whose latents are kept: a picture, and the same without the region.
const CAPACITY: usize = 2;

/// The encoder of a model's autoencoder, with the latents of the last pictures, as batches often share one.
pub struct InputEncoder<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a ModelConfig,
    device: &'a ComputeDevice,
    encoder: Part<'a, Encoder>,
    dtype: DType,
    /// The encoder in f32, once half precision has returned NaN or infinity. Each picture is tried in half precision first, so
    /// that no latents depend on the pictures before.
    fallback: Option<Encoder>,
    /// The last pictures, the latest one first, with the masks of their holes and their latents.
    last: VecDeque<(Picture, Option<Mask>, Tensor)>,
}

impl<'a> InputEncoder<'a> {
    /// Loads the encoder. `dtype`: the type in which it computes, as long as it has no NaN or infinity for a result.
    ///
    /// # Errors
    /// If the checkpoint lacks the encoder or does not fit the config, or memory does not suffice.
    pub fn load(
        checkpoint: &'a Checkpoint,
        config: &'a ModelConfig,
        device: &'a ComputeDevice,
        dtype: DType,
    ) -> Result<Self> {
        let load = move || load_vae(checkpoint, config, device, dtype, Encoder::new);
        let encoder = if device.saves_memory { Part::on_demand(load) } else { Part::kept(load()?) };
        Ok(Self { checkpoint, config, device, encoder, dtype, fallback: None, last: VecDeque::new() })
    }

    /// Encodes the input of a batch of `n` images. `takes_mask`: whether the model is an inpainting model.
    ///
    /// # Errors
    /// As for [`Self::encode`].
    pub fn encode_input(
        &mut self,
        input: Option<&Input>,
        params: &SamplingParams,
        n: usize,
        takes_mask: bool,
    ) -> Result<Encoded> {
        let size = (params.latent_height(), params.latent_width());
        let mask = takes_mask.then(|| self.mask_channels(input, size)).transpose()?;
        let Some(input) = input else { return Ok(Encoded { mask, ..Encoded::default() }) };
        let image = self.encode(&input.picture, None)?.repeat((n, 1, 1, 1))?; // (B, h, w, 4)
        let region = input.region(params, !takes_mask, &self.device.device)?;
        Ok(Encoded { image: Some(image), region, mask })
    }

    /// Returns what an inpainting model takes besides the latents: the mask, and the latents of the picture without the region
    /// (1, h, w, 5). Without a mask, the region is everywhere. `size`: (h, w).
    ///
    /// # Errors
    /// As for [`Self::encode`].
    fn mask_channels(&mut self, input: Option<&Input>, size: (usize, usize)) -> Result<Tensor> {
        let side = self.config.vae.side_factor();
        let (height, width) = (size.0 * side, size.1 * side);
        let mask = input.and_then(|input| input.mask.clone()).unwrap_or(Mask::filled(width, height, 255));
        let black = || Picture { width, height, rgb: vec![0; 3 * width * height] };
        let picture = input.map_or_else(black, |input| input.picture.clone());
        let around = self.encode(&picture, Some(&mask))?; // (1, h, w, 4)
        let squares: Vec<f32> = mask.squares(side).into_iter().map(|redrawn| f32::from(u8::from(redrawn))).collect();
        let squares = Tensor::from_vec(squares, (1, size.0, size.1, 1), &self.device.device)?;
        Ok(Tensor::cat(&[squares, around], 3)?)
    }

    /// Returns the latents of a picture: (1, h, w, 4). `hole`: the region that is grey instead.
    ///
    /// # Errors
    /// If the encoder returns NaN or infinity in f32, memory does not suffice, or the device fails.
    pub fn encode(&mut self, picture: &Picture, hole: Option<&Mask>) -> Result<Tensor> {
        let is_it = |(last, last_hole, _): &&(Picture, Option<Mask>, _)| (last, last_hole.as_ref()) == (picture, hole);
        if let Some((.., latents)) = self.last.iter().find(is_it) {
            return Ok(latents.clone());
        }
        let pixels = self.pixels(picture, hole)?;
        let mut latents = self.latents(&*self.encoder.get()?, &pixels)?;
        self.encoder.free();
        if self.dtype != DType::F32 && !is_finite(&latents)? {
            let fallback = match self.fallback.take() {
                Some(fallback) => fallback,
                None => load_vae(self.checkpoint, self.config, self.device, DType::F32, Encoder::new)?,
            };
            latents = self.latents(&fallback, &pixels)?;
            self.fallback = Some(fallback);
        }
        ensure!(
            is_finite(&latents)?,
            "the encoder returned NaN or infinite values for the input picture; the checkpoint may be damaged"
        );
        self.last.truncate(CAPACITY - 1);
        self.last.push_front((picture.clone(), hole.cloned(), latents.clone()));
        Ok(latents)
    }

    /// Encodes `pixels` (1, 8h, 8w, 3), in tiles if memory does not suffice for the whole.
    fn latents(&self, encoder: &Encoder, pixels: &Tensor) -> Result<Tensor> {
        let in_tiles = || -> Result<Tensor> {
            let latents = encoder.forward_in_tiles(pixels, self.config.vae.side_factor())?;
            Ok(latents.to_device(&self.device.device)?)
        };
        if self.device.saves_memory {
            return in_tiles();
        }
        match encoder.forward(pixels).map_err(Into::into) {
            Err(error) if self.device.is_out_of_memory(&error) => in_tiles(),
            latents => latents,
        }
    }

    /// Converts a picture to numbers from −1 to 1 in two steps, as the original does: (1, height, width, 3). In the hole they
    /// are 0, a grey.
    fn pixels(&self, picture: &Picture, hole: Option<&Mask>) -> Result<Tensor> {
        let mut levels: Vec<f32> = picture.rgb.iter().map(|&level| 2. * (f32::from(level) / 255.) - 1.).collect();
        for (pixel, _) in
            levels.chunks_exact_mut(3).zip(hole.iter().flat_map(|hole| hole.region())).filter(|(_, is)| *is)
        {
            pixel.fill(0.);
        }
        Ok(Tensor::from_vec(levels, (1, picture.height, picture.width, 3), &self.device.device)?)
    }
}
