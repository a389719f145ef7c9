//! Pillow's `resize` of 8-bit images, bit for bit: in fixed point, rows first, each pass rounded to 8 bits.
//!
//! The crate `fast_image_resize` has 16-bit coefficients, and differs in a quarter of the levels.

use super::Picture;
use std::borrow::Cow;
use std::f64::consts::PI;
use std::ops::Range;

/// The number of fractional bits of a weight.
const FRACTION_BITS: u32 = 22;

/// A filter, with the distance from which it is 0.
#[derive(Clone, Copy)]
struct Filter {
    at: fn(f64) -> f64,
    support: f64,
}

const BICUBIC: Filter = Filter { at: cubic, support: 2. };
const LANCZOS: Filter = Filter { at: lanczos, support: 3. };

/// Resizes an image to `width` × `height` pixels with the Lanczos filter. The image must not be empty.
pub fn resized(picture: &Picture, width: usize, height: usize) -> Cow<'_, Picture> {
    let mut resized = Cow::Borrowed(picture);
    if width != picture.width {
        let rgb = resize_rows(&resized, &windows(LANCZOS, picture.width, width, 0..width));
        resized = Cow::Owned(Picture { width, height: picture.height, rgb });
    }
    if height != picture.height {
        let rgb = resize_columns(&resized.rgb, width, &windows(LANCZOS, picture.height, height, 0..height));
        resized = Cow::Owned(Picture { width, height, rgb });
    }
    resized
}

/// Resizes an image with the bicubic filter until its shorter side has `side` pixels, and returns the centre square: 3 · `side` · `side`
/// levels.
///
/// Pixels outside the square are not computed. The image must not be empty.
pub fn square(picture: &Picture, side: usize) -> Vec<u8> {
    let short = picture.width.min(picture.height);
    let windows = |length: usize| {
        let resized = side * length / short;
        let start = (resized - side) / 2;
        windows(BICUBIC, length, resized, start..start + side)
    };
    let narrow = resize_rows(picture, &windows(picture.width));
    resize_columns(&narrow, side, &windows(picture.height))
}

/// The filter of a resized level: weights of the original levels from `first` on.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

impl Window {
    /// Returns the filtered level. `old`: the original level at a position.
    fn level(&self, old: impl Fn(usize) -> u8) -> u8 {
        let terms = self.weights.iter().zip(self.first..).map(|(weight, at)| weight * i32::from(old(at)));
        let sum: i32 = terms.sum();
        ((sum + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS).clamp(0, 255) as u8
    }
}

/// Returns the filters of the pixels in `range` of a row or column that is resized from `length` to `resized` pixels.
fn windows(filter: Filter, length: usize, resized: usize, range: Range<usize>) -> Vec<Window> {
    let scale = length as f64 / resized as f64;
    range.map(|at| window(filter, length, scale, (at as f64 + 0.5) * scale)).collect()
}

/// The filter of a pixel at `centre` in the original. When shrinking, its support grows with `scale`.
fn window(filter: Filter, length: usize, scale: f64, centre: f64) -> Window {
    let filter_scale = scale.max(1.);
    let support = filter.support * filter_scale;
    // The cast turns negative values into 0.
    let first = (centre - support + 0.5) as usize;
    let end = ((centre + support + 0.5) as usize).min(length);
    let weights: Vec<f64> =
        (first..end).map(|at| (filter.at)((at as f64 - centre + 0.5) * filter_scale.recip())).collect();
    let sum: f64 = weights.iter().sum();
    Window { first, weights: weights.into_iter().map(|weight| fixed(weight / sum)).collect() }
}

/// Converts a weight to fixed point, rounding half away from 0.
fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << FRACTION_BITS)).round() as i32
}

/// The cubic convolution of Keys 1981 with a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    match x {
        ..1. => ((A + 2.) * x - (A + 3.)) * x * x + 1.,
        ..2. => (((x - 5.) * x + 8.) * x - 4.) * A,
        _ => 0.,
    }
}

/// The product of sinc(x) and sinc(x / 3), for |x| < 3.
fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0. { 1. } else { (x * PI).sin() / (x * PI) };
    if (-3. ..3.).contains(&x) { sinc(x) * sinc(x / 3.) } else { 0. }
}

/// Resizes each row.
fn resize_rows(picture: &Picture, windows: &[Window]) -> Vec<u8> {
    let mut narrow = Vec::with_capacity(3 * windows.len() * picture.height);
    for row in picture.rgb.chunks_exact(3 * picture.width) {
        for window in windows {
            narrow.extend([0, 1, 2].map(|colour| window.level(|x| row[3 * x + colour])));
        }
    }
    narrow
}

/// Resizes each column of `rows`, which are `width` pixels wide.
fn resize_columns(rows: &[u8], width: usize, windows: &[Window]) -> Vec<u8> {
    let levels = |window| (0..3 * width).map(move |x| Window::level(window, |y| rows[3 * width * y + x]));
    windows.iter().flat_map(levels).collect()
}
