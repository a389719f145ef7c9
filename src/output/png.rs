//! PNG, the format of every picture's file.

use anyhow::{Result, ensure};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use super::Picture;

/// 4 ms for 512x512 pixels; higher levels take up to 60 ms and save a tenth at most.
const COMPRESSION: CompressionType = CompressionType::Level(1);

pub fn encode(picture: &Picture) -> Result<Vec<u8>> {
    let &Picture { width, height, ref rgb } = picture;
    ensure!(rgb.len() == 3 * width * height, "a picture of {width}x{height} pixels has {} values", rgb.len());
    let mut png = vec![];
    PngEncoder::new_with_quality(&mut png, COMPRESSION, FilterType::Adaptive).write_image(
        rgb,
        width.try_into()?,
        height.try_into()?,
        ExtendedColorType::Rgb8,
    )?;
    Ok(png)
}
