//! The decoder's numbers as 8-bit levels.

use super::Picture;

/// The picture of channels-last numbers in -1..1.
pub fn picture(pixels: &[f32], width: usize, height: usize) -> Picture {
    assert_eq!(pixels.len(), 3 * width * height, "numbers for {width}x{height} pixels");
    Picture { width, height, rgb: pixels.iter().map(|&x| level(x)).collect() }
}

/// The same with every level rounded: what the original shows its safety checker.
pub fn rounded(pixels: &[f32], width: usize, height: usize) -> Picture {
    assert_eq!(pixels.len(), 3 * width * height, "numbers for {width}x{height} pixels");
    let level = |x: f32| (((x + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    Picture { width, height, rgb: pixels.iter().map(|&x| level(x)).collect() }
}

/// Truncated, not rounded, as by the original's `astype(np.uint8)`; NaN is 0.
fn level(x: f32) -> u8 {
    (((x + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0) as u8
}
