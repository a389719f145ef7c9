//! Gaussian blur, approximately.

use super::Picture;
use image::RgbImage;
use image::imageops::fast_blur;

/// Blurs the picture by three box filters, which approximate a Gaussian of standard deviation `sigma` pixels.
///
/// A picture with fewer values than its size requires is left unchanged.
pub fn blur(picture: &mut Picture, sigma: f32) {
    let size = (u32::try_from(picture.width), u32::try_from(picture.height));
    let (Ok(width), Ok(height)) = size else { return };
    if let Some(sharp) = RgbImage::from_raw(width, height, picture.rgb.clone()) {
        picture.rgb = fast_blur(&sharp, sigma).into_raw();
    }
}
