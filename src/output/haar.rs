//! The Haar wavelets of two by two pixels.

use std::f64::consts::FRAC_1_SQRT_2;

/// Pixels a b over c d, transformed.
///
/// The order of the operations counts: levels are truncated, so a last binary place decides between two of them.
pub struct Quad {
    pub average: f64,
    horizontal: f64,
    vertical: f64,
    diagonal: f64,
}

impl Quad {
    pub fn of(pixels: [u8; 4]) -> Self {
        let [a, b, c, d] = pixels.map(f64::from);
        let (left, right) = (step(a, c), step(b, d));
        let (average, vertical) = step(left.0, right.0);
        let (horizontal, diagonal) = step(left.1, right.1);
        Self { average, horizontal, vertical, diagonal }
    }

    /// The pixels, with horizontal and vertical swapped: b and c change places.
    pub fn transposed(&self) -> [u8; 4] {
        let (left, right) = (step(self.average, self.horizontal), step(self.vertical, self.diagonal));
        let (a, c) = step(left.0, right.0);
        let (b, d) = step(left.1, right.1);
        // Wraps around below 0 and above 255, as numpy's conversion does.
        [a, b, c, d].map(|level| level as i32 as u8)
    }
}

/// One step of the transform, and of its inverse.
fn step(x: f64, y: f64) -> (f64, f64) {
    let (x, y) = (x * FRAC_1_SQRT_2, y * FRAC_1_SQRT_2);
    (x + y, x - y)
}
