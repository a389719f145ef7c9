//! The decoder's numbers as 8-bit levels.

use super::Picture;

/// The picture of channels-last numbers in -1..1.
pub fn picture(pixels: &[f32], width: usize, height: usize) -> Picture {
    // Truncated, not rounded, as by the original's `astype(np.uint8)`; NaN is 0.
    levels(pixels, width, height, |x| x as u8)
}

/// The same with every level rounded: what the original shows its safety checker.
pub fn rounded(pixels: &[f32], width: usize, height: usize) -> Picture {
    levels(pixels, width, height, |x| x.round_ties_even() as u8)
}

/// level: of a number in 0..255.
fn levels(pixels: &[f32], width: usize, height: usize, level: impl Fn(f32) -> u8) -> Picture {
    assert_eq!(pixels.len(), 3 * width * height, "numbers for {width}x{height} pixels");
    let rgb = pixels.iter().map(|&x| level(((x + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0)).collect();
    Picture { width, height, rgb }
}
