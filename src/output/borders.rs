//! Borders around pictures, which are drawn anew (outpainting).

use super::Picture;
use anyhow::{Error, Result, bail};
use std::fmt;
use std::str::FromStr;

/// The widest border in pixels: that of the largest picture.
const MAX: usize = 8192;

/// The pixels to add at each side of a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Borders {
    /// At the left.
    pub left: usize,
    /// At the top.
    pub top: usize,
    /// At the right.
    pub right: usize,
    /// At the bottom.
    pub bottom: usize,
}

impl Borders {
    /// Returns the pixels that the borders add to a width.
    pub fn horizontal(&self) -> usize {
        self.left + self.right
    }

    /// Returns the pixels that the borders add to a height.
    pub fn vertical(&self) -> usize {
        self.top + self.bottom
    }

    /// Returns whether there are no borders.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether all borders are multiples of `step`.
    pub fn are_multiples_of(&self, step: usize) -> bool {
        [self.left, self.top, self.right, self.bottom].iter().all(|border| border.is_multiple_of(step))
    }
}

impl FromStr for Borders {
    type Err = Error;

    /// Parses `LEFT,TOP,RIGHT,BOTTOM`. An error is a clause.
    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number <= MAX);
        let numbers: Option<Vec<usize>> = text.split(',').map(number).collect();
        match numbers.as_deref() {
            Some(&[left, top, right, bottom]) => Ok(Self { left, top, right, bottom }),
            _ => bail!(
                "not four whole numbers up to {MAX} for the left, the top, the right and the bottom, such as 64,0,64,0"
            ),
        }
    }
}

impl fmt::Display for Borders {
    /// Writes the borders as they are parsed.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{},{},{},{}", self.left, self.top, self.right, self.bottom)
    }
}

impl Picture {
    /// Returns the picture with borders, which repeat its outermost pixels.
    pub fn with_borders(&self, borders: Borders) -> Self {
        let Borders { left, top, right, bottom } = borders;
        let (width, height) = (left + self.width + right, top + self.height + bottom);
        let inside = |at: usize, before: usize, side: usize| at.saturating_sub(before).min(side - 1);
        let mut rgb = Vec::with_capacity(3 * width * height);
        for y in 0..height {
            let row = &self.rgb[3 * self.width * inside(y, top, self.height)..];
            for x in 0..width {
                rgb.extend_from_slice(&row[3 * inside(x, left, self.width)..][..3]);
            }
        }
        Self { width, height, rgb }
    }
}
