//! The distance between two pictures.

use super::Picture;

/// The distance between a picture and another of the same size.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Distance {
    /// The peak signal-to-noise ratio in dB: 10·log₁₀(255² / mean square difference); infinite if the pictures are equal.
    pub psnr: f64,
    /// The structural similarity of the brightness (Wang et al. 2004), at most 1. Pictures smaller than its window have none.
    pub ssim: Option<f64>,
}

/// The side of SSIM's window in pixels, and its standard deviation.
const WINDOW: (usize, f64) = (11, 1.5);

/// The constants that keep SSIM finite: (0.01·255)² and (0.03·255)².
const STABILIZERS: [f64; 2] = [6.5025, 58.5225];

/// The shares of red, green and blue in the brightness (ITU-R BT.601).
const BRIGHTNESS: [f64; 3] = [0.299, 0.587, 0.114];

impl Distance {
    /// Compares two pictures.
    ///
    /// # Panics
    /// If their sizes differ.
    pub fn new(a: &Picture, b: &Picture) -> Self {
        assert_eq!((a.width, a.height), (b.width, b.height), "the pictures differ in size");
        let squares = a.rgb.iter().zip(&b.rgb).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
        let psnr = 10. * (255f64.powi(2) / (squares.sum::<f64>() / a.rgb.len() as f64)).log10();
        Self { psnr, ssim: ssim(a, b) }
    }
}

/// Returns the mean SSIM of all windows that lie within the pictures.
fn ssim(a: &Picture, b: &Picture) -> Option<f64> {
    let (width, height) = (a.width, a.height);
    if width.min(height) < WINDOW.0 {
        return None;
    }
    let (a, b) = (brightness(a), brightness(b));
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).collect::<Vec<_>>();
    let of = |x: &[f64]| blurred(x, width, height);
    let (mean_a, mean_b) = (of(&a), of(&b));
    let (square_a, square_b, both) = (of(&product(&a, &a)), of(&product(&b, &b)), of(&product(&a, &b)));
    let [c1, c2] = STABILIZERS;
    let at = |i: usize| {
        let (ma, mb) = (mean_a[i], mean_b[i]);
        let (variance_a, variance_b, covariance) = (square_a[i] - ma * ma, square_b[i] - mb * mb, both[i] - ma * mb);
        (2. * ma * mb + c1) * (2. * covariance + c2) / ((ma * ma + mb * mb + c1) * (variance_a + variance_b + c2))
    };
    Some((0..mean_a.len()).map(at).sum::<f64>() / mean_a.len() as f64)
}

fn brightness(picture: &Picture) -> Vec<f64> {
    let of = |rgb: &[u8; 3]| (0..3).map(|c| BRIGHTNESS[c] * f64::from(rgb[c])).sum();
    picture.rgb.as_chunks().0.iter().map(of).collect()
}

/// Returns the weighted mean of each window within a map (height, width), as (height − 10, width − 10).
fn blurred(map: &[f64], width: usize, height: usize) -> Vec<f64> {
    let (side, deviation) = WINDOW;
    let weight = |i: usize| (-(i as f64 - (side / 2) as f64).powi(2) / (2. * deviation * deviation)).exp();
    let sum: f64 = (0..side).map(weight).sum();
    let weights: Vec<f64> = (0..side).map(|i| weight(i) / sum).collect();
    let mean = |map: &[f64], first: usize, step: usize| -> f64 {
        weights.iter().enumerate().map(|(i, weight)| weight * map[first + i * step]).sum()
    };
    let columns = width + 1 - side;
    let across = |y: usize| (0..columns).map(move |x| (y * width + x, 1));
    let rows: Vec<f64> = (0..height).flat_map(across).map(|(first, step)| mean(map, first, step)).collect();
    (0..(height + 1 - side) * columns).map(|first| mean(&rows, first, columns)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a picture of waves, with `noise` added to every third value.
    fn waves(noise: i32) -> Picture {
        let (width, height) = (24, 16);
        let value = |i: usize| {
            let wave = 128. + 90. * (i as f64 / 17.).sin() * (i as f64 / 5.).cos();
            (wave as i32 + if i.is_multiple_of(3) { noise } else { 0 }).clamp(0, 255) as u8
        };
        Picture { width, height, rgb: (0..3 * width * height).map(value).collect() }
    }

    #[test]
    fn equal_pictures_have_no_distance() {
        let distance = Distance::new(&waves(0), &waves(0));
        assert_eq!(distance.psnr, f64::INFINITY);
        assert!((distance.ssim.unwrap() - 1.).abs() < 1e-12);
    }

    #[test]
    fn distances_are_those_of_the_definitions() {
        // Computed by PyTorch's conv2d with the window's 121 weights, in f64.
        let distance = Distance::new(&waves(0), &waves(20));
        assert!((distance.psnr - 26.8814162).abs() < 1e-6, "{distance:?}");
        assert!((distance.ssim.unwrap() - 0.9988648).abs() < 1e-6, "{distance:?}");
    }

    #[test]
    fn pictures_smaller_than_the_window_have_no_ssim() {
        let small = Picture { width: 10, height: 20, rgb: vec![7; 600] };
        assert_eq!(Distance::new(&small, &small).ssim, None);
    }
}
