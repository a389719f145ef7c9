//! What CLIP sees of a picture, as transformers' `CLIPImageProcessor` prepares it.

use super::resize::square;
use crate::output::Picture;

/// CLIP's mean and standard deviation of red, green and blue.
const MEAN: [f32; 3] = [0.48145466, 0.4578275, 0.40821073];
const STD: [f32; 3] = [0.26862954, 0.2613026, 0.2757771];

/// The middle square of a picture at `side` × `side` pixels: (3, side, side).
///
/// A picture without pixels, or with less than it says, gives no numbers.
pub fn pixels(picture: &Picture, side: usize) -> Vec<f32> {
    if picture.rgb.is_empty() || picture.rgb.len() != 3 * picture.width * picture.height {
        return vec![];
    }
    let levels = square(picture, side);
    let colour = |c: usize| levels.iter().skip(c).step_by(3).map(move |&level| (unit(level) - MEAN[c]) / STD[c]);
    (0..3).flat_map(colour).collect()
}

/// 0..1, by way of numpy's f64.
fn unit(level: u8) -> f32 {
    (f64::from(level) * (1. / 255.)) as f32
}
