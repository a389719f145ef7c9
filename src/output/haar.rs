//! The Haar wavelet transform of 2×2 pixels.

use std::f64::consts::FRAC_1_SQRT_2;

/// The transform of the pixels a b over c d.
///
/// The order of the operations must not change: levels are truncated, so the last bit may decide between two levels.
pub struct Quad {
    pub average: f64,
    horizontal: f64,
    vertical: f64,
    diagonal: f64,
}

impl Quad {
    /// Transforms the pixels `[a, b, c, d]`.
    pub fn new(pixels: [u8; 4]) -> Self {
        let [a, b, c, d] = pixels.map(f64::from);
        let (left, right) = (step(a, c), step(b, d));
        let (average, vertical) = step(left.0, right.0);
        let (horizontal, diagonal) = step(left.1, right.1);
        Self { average, horizontal, vertical, diagonal }
    }

    /// Returns the pixels `[a, b, c, d]` of the inverse transform with horizontal and vertical details swapped, which
    /// exchanges b and c.
    pub fn transposed(&self) -> [u8; 4] {
        let (left, right) = (step(self.average, self.horizontal), step(self.vertical, self.diagonal));
        let (a, c) = step(left.0, right.0);
        let (b, d) = step(left.1, right.1);
        // Wraps below 0 and above 255, as numpy's conversion does.
        [a, b, c, d].map(|level| level as i32 as u8)
    }
}

/// Computes one step of the transform, which is also one of its inverse.
fn step(x: f64, y: f64) -> (f64, f64) {
    let (x, y) = (x * FRAC_1_SQRT_2, y * FRAC_1_SQRT_2);
    (x + y, x - y)
}
