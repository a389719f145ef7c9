//! Previews of unfinished pictures, without the decoder.

use super::{Picture, picture};
use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};

/// The linear map from Stable Diffusion 1.x's latent channels to red, green and blue, -1 to 1.
///
/// Fitted by keturn to the output of 1.4's decoder: "Decoding latents to RGB without upscaling",
/// discuss.huggingface.co/t/23204.
const FACTORS: [[f32; 3]; 4] =
    [[0.298, 0.207, 0.208], [0.187, 0.286, 0.173], [-0.158, 0.189, 0.264], [-0.184, -0.271, -0.473]];

/// Pixels per latent, in each direction.
const SIDE: usize = 8;

/// Approximates the picture of `latents` (1, h, w, 4): 8w×8h pixels, with one colour per square of 8×8.
///
/// # Errors
/// If `latents` have another shape, or the device fails.
pub fn preview(latents: &Tensor) -> Result<Picture> {
    let &[1, h, w, 4] = latents.dims() else {
        bail!("a preview needs latents of the shape (1, h, w, 4), not {:?}", latents.dims());
    };
    let latents = latents.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.reshape((h * w, 4))?;
    let colours = latents.matmul(&Tensor::new(&FACTORS, &Device::Cpu)?)?; // (h·w, 3)
    Ok(enlarged(&picture(&colours.flatten_all()?.to_vec1::<f32>()?, w, h)))
}

/// Enlarges each pixel to a square of `SIDE`×`SIDE`.
fn enlarged(picture: &Picture) -> Picture {
    let mut rgb = Vec::with_capacity(picture.rgb.len() * SIDE * SIDE);
    for row in picture.rgb.chunks_exact((3 * picture.width).max(1)) {
        let wide: Vec<u8> = row.chunks_exact(3).flat_map(|pixel| pixel.repeat(SIDE)).collect();
        rgb.extend(wide.repeat(SIDE));
    }
    Picture { width: SIDE * picture.width, height: SIDE * picture.height, rgb }
}
