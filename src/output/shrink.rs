//! Reduction of pictures by an integer factor: each pixel is the mean of a square.

use super::Picture;
use std::borrow::Cow;
use std::ops::Range;

/// Returns the number of pixels that `length` pixels are reduced to.
pub fn shrunk_length(length: usize, factor: usize) -> usize {
    length.div_ceil(factor)
}

/// Returns the picture reduced by `factor`. Squares at the right and bottom edges may be incomplete.
pub fn shrunk(picture: &Picture, factor: usize) -> Cow<'_, Picture> {
    if factor == 1 {
        return Cow::Borrowed(picture);
    }
    let (width, height) = (shrunk_length(picture.width, factor), shrunk_length(picture.height, factor));
    let mut rgb = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            let (columns, rows) = (x * factor..(x + 1) * factor, y * factor..(y + 1) * factor);
            let (right, bottom) = (columns.end.min(picture.width), rows.end.min(picture.height));
            rgb.extend(mean(picture, columns.start..right, rows.start..bottom));
        }
    }
    Cow::Owned(Picture { width, height, rgb })
}

/// Returns the mean colour of a part of a picture.
pub fn mean(picture: &Picture, columns: Range<usize>, rows: Range<usize>) -> [u8; 3] {
    let n = columns.len() * rows.len();
    let mut sums = [0; 3];
    for y in rows {
        let pixels = &picture.rgb[3 * y * picture.width..];
        for pixel in pixels[3 * columns.start..3 * columns.end].chunks_exact(3) {
            for (sum, &level) in sums.iter_mut().zip(pixel) {
                *sum += usize::from(level);
            }
        }
    }
    sums.map(|sum| ((sum + n / 2) / n) as u8)
}
