//! Masks: the regions of pictures that are drawn anew.

use super::{Borders, Picture};
use image::{GrayImage, imageops};

/// The smallest blur that changes anything, in pixels. The blur of `image` moves pictures at smaller ones.
const MIN_BLUR: f64 = 0.1;

/// The level from which on a pixel belongs to the region.
const THRESHOLD: u8 = 128;

/// A region of a picture to draw anew, with soft edges: a level for each pixel, from 0, which keeps it, to 255.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mask {
    /// The width in pixels.
    pub width: usize,
    /// The height in pixels.
    pub height: usize,
    /// The levels: width · height values.
    pub levels: Vec<u8>,
}

impl Mask {
    /// Returns the mask that is white where a picture is.
    pub fn of_white(picture: &Picture) -> Self {
        // Brightness in fixed point, as Pillow converts colours to grey.
        let grey = |rgb: &[u8]| {
            let [red, green, blue] = [0, 1, 2].map(|i| u32::from(rgb[i]));
            ((19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16) as u8
        };
        let levels = picture.rgb.chunks_exact(3).map(grey).collect();
        Self { width: picture.width, height: picture.height, levels }
    }

    /// Returns the mask that is white where a picture is black.
    pub fn of_black(picture: &Picture) -> Self {
        let mut mask = Self::of_white(picture);
        mask.levels.iter_mut().for_each(|level| *level = 255 - *level);
        mask
    }

    /// Resizes the mask. Each pixel gets the largest level of those that it covers, so that no part of the region is lost, and
    /// none is added where the picture is to be kept.
    pub fn resized(&self, width: usize, height: usize) -> Self {
        // The old pixels that a new one covers.
        let covered = |at: usize, old: usize, new: usize| at * old / new..((at + 1) * old).div_ceil(new);
        let mut levels = Vec::with_capacity(width * height);
        for y in 0..height {
            let rows = covered(y, self.height, height);
            for x in 0..width {
                let columns = covered(x, self.width, width);
                let pixels = rows.clone().flat_map(|row| &self.levels[row * self.width..][columns.clone()]);
                levels.push(pixels.copied().max().unwrap_or(0));
            }
        }
        Self { width, height, levels }
    }

    /// Returns a mask of one level.
    pub fn filled(width: usize, height: usize, level: u8) -> Self {
        Self { width, height, levels: vec![level; width * height] }
    }

    /// Returns whether a pixel belongs to the region.
    pub fn has_region(&self) -> bool {
        self.levels.iter().any(|level| *level >= THRESHOLD)
    }

    /// Returns whether each pixel belongs to the region, row by row.
    pub fn region(&self) -> impl Iterator<Item = bool> {
        self.levels.iter().map(|level| *level >= THRESHOLD)
    }

    /// Returns whether each square of `side` · `side` pixels contains a pixel of the region, row by row.
    pub fn squares(&self, side: usize) -> Vec<bool> {
        let columns = self.width / side;
        let mut squares = vec![false; columns * (self.height / side)];
        for (at, _) in self.region().enumerate().filter(|(_, is_in_region)| *is_in_region) {
            let (x, y) = (at % self.width, at / self.width);
            squares[y / side * columns + x / side] = true;
        }
        squares
    }

    /// Adds the borders to the region.
    pub fn with_borders(&self, borders: Borders) -> Self {
        let Borders { left, top, right, bottom } = borders;
        let mut mask = Self::filled(left + self.width + right, top + self.height + bottom, 255);
        for (row, old) in self.levels.chunks_exact(self.width).enumerate() {
            mask.levels[(top + row) * mask.width + left..][..self.width].copy_from_slice(old);
        }
        mask
    }

    /// Softens the edges by a Gaussian of standard deviation `sigma` pixels.
    pub fn blurred(self, sigma: f64) -> Self {
        let Self { width, height, levels } = self;
        if sigma < MIN_BLUR {
            return Self { width, height, levels };
        }
        let image = GrayImage::from_raw(width as u32, height as u32, levels).expect("a level for each pixel");
        Self { width, height, levels: imageops::blur(&image, sigma as f32).into_raw() }
    }

    /// Puts `old` back outside of the region, and mixes both where the mask is between black and white. The pictures must be
    /// as large as the mask.
    pub fn restore(&self, picture: &mut Picture, old: &Picture) {
        let pixels = picture.rgb.chunks_exact_mut(3).zip(old.rgb.chunks_exact(3));
        for (&level, (new, old)) in self.levels.iter().zip(pixels) {
            for (new, &old) in new.iter_mut().zip(old) {
                let level = u32::from(level);
                *new = ((u32::from(*new) * level + u32::from(old) * (255 - level) + 127) / 255) as u8;
            }
        }
    }
}
