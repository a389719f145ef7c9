//! Pillow's bicubic `resize` of 8-bit pictures, to the bit: fixed point, rows first, each pass rounded to 8 bits.
//!
//! The crate `fast_image_resize` has coefficients of 16 bits; a quarter of its levels are others.

use std::ops::Range;

use crate::output::Picture;

/// Binary places of a weight.
const PLACES: u32 = 22;

/// The middle square of a picture that is scaled until its shorter side has `side` pixels: 3 · side · side levels.
///
/// Only the pixels that stay are computed. The picture must have some.
pub fn square(picture: &Picture, side: usize) -> Vec<u8> {
    let short = picture.width.min(picture.height);
    let windows = |length: usize| {
        let resized = side * length / short;
        let start = (resized - side) / 2;
        windows(length, resized, start..start + side)
    };
    let narrow = across(picture, &windows(picture.width));
    down(&narrow, side, &windows(picture.height))
}

/// What a resized level is made of: those from `first` on, each times its weight.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

impl Window {
    fn level(&self, old: impl Fn(usize) -> u8) -> u8 {
        let terms = self.weights.iter().zip(self.first..).map(|(weight, at)| weight * i32::from(old(at)));
        let sum: i32 = terms.sum();
        ((sum + (1 << (PLACES - 1))) >> PLACES).clamp(0, 255) as u8
    }
}

/// Of the pixels `kept` in a row or column that goes from `length` to `resized` pixels.
fn windows(length: usize, resized: usize, kept: Range<usize>) -> Vec<Window> {
    let scale = length as f64 / resized as f64;
    kept.map(|at| window(length, scale, (at as f64 + 0.5) * scale)).collect()
}

/// Of a pixel at `centre`; it looks at the more pixels the more the picture shrinks.
fn window(length: usize, scale: f64, centre: f64) -> Window {
    let stretch = scale.max(1.);
    let reach = 2. * stretch;
    // Numbers below 0 become 0.
    let first = (centre - reach + 0.5) as usize;
    let end = ((centre + reach + 0.5) as usize).min(length);
    let weights: Vec<f64> = (first..end).map(|at| cubic((at as f64 - centre + 0.5) / stretch)).collect();
    let sum: f64 = weights.iter().sum();
    Window { first, weights: weights.into_iter().map(|weight| fixed(weight / sum)).collect() }
}

/// Rounded half away from 0.
fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << PLACES)).round() as i32
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

fn across(picture: &Picture, windows: &[Window]) -> Vec<u8> {
    let mut narrow = Vec::with_capacity(3 * windows.len() * picture.height);
    for row in picture.rgb.chunks_exact(3 * picture.width) {
        for window in windows {
            narrow.extend([0, 1, 2].map(|colour| window.level(|x| row[3 * x + colour])));
        }
    }
    narrow
}

fn down(rows: &[u8], width: usize, windows: &[Window]) -> Vec<u8> {
    let levels = |window| (0..3 * width).map(move |x| Window::level(window, |y| rows[3 * width * y + x]));
    windows.iter().flat_map(levels).collect()
}
