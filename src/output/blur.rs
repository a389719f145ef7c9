//! Blur.

use image::RgbImage;
use image::imageops::fast_blur;

use super::Picture;

/// Blurs much as a gaussian does, by three boxes in a row. sigma: its standard deviation, in pixels.
///
/// A picture with fewer levels than its size says is left alone.
pub fn blur(picture: &mut Picture, sigma: f32) {
    let size = (u32::try_from(picture.width), u32::try_from(picture.height));
    let (Ok(width), Ok(height)) = size else { return };
    if let Some(sharp) = RgbImage::from_raw(width, height, picture.rgb.clone()) {
        picture.rgb = fast_blur(&sharp, sigma).into_raw();
    }
}
