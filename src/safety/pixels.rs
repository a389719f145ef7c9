//! Preprocessing of images for CLIP, as by transformers' `CLIPImageProcessor`.

use crate::output::{Picture, square};

/// The mean of red, green and blue for CLIP's normalisation.
const MEAN: [f32; 3] = [0.48145466, 0.4578275, 0.40821073];
/// The standard deviation of red, green and blue for CLIP's normalisation.
const STD: [f32; 3] = [0.26862954, 0.2613026, 0.2757771];

/// Returns the centre crop of an image, resized to `side` × `side` pixels and normalised: (3, `side`, `side`).
///
/// The result is empty if the image has no pixels, or if their number does not match its size.
pub fn pixels(picture: &Picture, side: usize) -> Vec<f32> {
    if picture.rgb.is_empty() || picture.rgb.len() != 3 * picture.width * picture.height {
        return vec![];
    }
    let levels = square(picture, side);
    let colour = |c: usize| levels.iter().skip(c).step_by(3).map(move |&level| (unit(level) - MEAN[c]) / STD[c]);
    (0..3).flat_map(colour).collect()
}

/// Scales a level to 0..1, in f64 as numpy does.
fn unit(level: u8) -> f32 {
    (f64::from(level) * (1. / 255.)) as f32
}
