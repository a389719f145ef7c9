//! Conversion of the decoder's output to 8-bit pictures.

use super::Picture;

/// Converts `pixels` (height, width, 3), -1 to 1, to a picture.
pub fn picture(pixels: &[f32], width: usize, height: usize) -> Picture {
    // Truncated, not rounded, as by the original's `astype(np.uint8)`; NaN is 0.
    levels(pixels, width, height, |x| x as u8)
}

/// Converts `pixels` (height, width, 3), -1 to 1, to a picture with rounded levels, as the original does for its safety
/// checker.
pub fn rounded(pixels: &[f32], width: usize, height: usize) -> Picture {
    levels(pixels, width, height, |x| x.round_ties_even() as u8)
}

/// Converts `pixels`; `level` converts a number from 0 to 255 to a level.
fn levels(pixels: &[f32], width: usize, height: usize, level: impl Fn(f32) -> u8) -> Picture {
    assert_eq!(pixels.len(), 3 * width * height, "numbers for {width}x{height} pixels");
    let rgb = pixels.iter().map(|&x| level(((x + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0)).collect();
    Picture { width, height, rgb }
}
