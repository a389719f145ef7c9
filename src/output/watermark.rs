//! The original's invisible watermark: `dwtDct` of the package invisible-watermark, bit for bit. Despite the name it
//! has no DCT.

use super::haar::Quad;
use super::{Picture, yuv};
use std::array;

/// The text of the watermark.
pub(super) const TEXT: &str = "StableDiffusionV1";
/// The least number of pixels of a picture that can be marked.
const MIN_PIXELS: usize = 256 * 256;
/// The quantisation step: averages ¼ of a step above a multiple of it encode 0, ¾ above encode 1.
const SCALE: f64 = 36.0;

/// Adds the watermark to the picture. Returns false and leaves it unchanged if it has fewer than 256·256 pixels.
pub fn mark(picture: &mut Picture) -> bool {
    if picture.width * picture.height < MIN_PIXELS {
        return false;
    }
    let layout = Layout::new(picture);
    let mut colours = yuv_colours(picture);
    let mut quads = layout.quads_of_u(&colours);
    for (block, bit) in layout.blocks().zip(bits(TEXT.as_bytes()).cycle()) {
        let peak = peak(&quads, block);
        quads[peak].average = with_bit(quads[peak].average, bit);
    }
    // The package swaps horizontal and vertical details in the inverse transform.
    for (pixels, quad) in layout.pixels().zip(&quads) {
        for (at, u) in pixels.into_iter().zip(quad.transposed()) {
            colours[at][1] = u;
        }
    }
    picture.rgb = colours.into_iter().flat_map(yuv::to_rgb).collect();
    true
}

/// Returns the text of `length` bytes that the package's own decoder finds.
pub fn read(picture: &Picture, length: usize) -> Vec<u8> {
    text(&votes(picture, length))
}

/// Returns the text by majority vote.
pub(super) fn text(votes: &[Votes]) -> Vec<u8> {
    let (bytes, _) = votes.as_chunks::<8>();
    bytes.iter().map(byte).collect()
}

/// Returns the votes of the blocks on each bit of a text of `length` bytes.
pub(super) fn votes(picture: &Picture, length: usize) -> Vec<Votes> {
    let layout = Layout::new(picture);
    let quads = layout.quads_of_u(&yuv_colours(picture));
    let mut votes = vec![Votes::default(); 8 * length];
    for (block, bit) in layout.blocks().zip((0..votes.len()).cycle()) {
        let average = quads[peak(&quads, block)].average;
        votes[bit].all += 1.0;
        votes[bit].ones += f64::from(bit_of(average));
    }
    votes
}

/// Returns the number near `average` that encodes `bit`.
fn with_bit(average: f64, bit: bool) -> f64 {
    ((average / SCALE).floor() + if bit { 0.75 } else { 0.25 }) * SCALE
}

/// Returns the bit that `average` encodes.
fn bit_of(average: f64) -> bool {
    average % SCALE > SCALE / 2.0
}

/// The votes of the blocks on one bit: the number of ones, and of all votes.
#[derive(Clone, Default)]
pub(super) struct Votes {
    pub ones: f64,
    pub all: f64,
}

impl Votes {
    fn bit(&self) -> u8 {
        u8::from(self.ones / self.all * 255.0 > 127.0)
    }
}

/// Returns the byte with the bits of `votes`, most significant first.
fn byte(votes: &[Votes; 8]) -> u8 {
    votes.iter().fold(0, |byte, votes| byte << 1 | votes.bit())
}

/// Returns the bits of `text`, most significant first in each byte.
pub(super) fn bits(text: &[u8]) -> impl Iterator<Item = bool> + Clone {
    text.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1 == 1))
}

fn yuv_colours(picture: &Picture) -> Vec<[u8; 3]> {
    let (pixels, _) = picture.rgb.as_chunks();
    pixels.iter().map(|&rgb| yuv::from_rgb(rgb)).collect()
}

/// Returns the quad of a block with the largest average, except the first quad.
fn peak(quads: &[Quad], [_, second, rest @ ..]: [usize; 16]) -> usize {
    // The first of equal ones, as numpy's argmax.
    rest.into_iter().fold(second, |peak, quad| if quads[quad].average > quads[peak].average { quad } else { peak })
}

/// The positions of the quads of a picture, row by row, with its sides cropped to multiples of 4 pixels.
struct Layout {
    /// The width of the picture, in pixels.
    width: usize,
    /// The number of quads per row.
    columns: usize,
    /// The number of quads per column.
    rows: usize,
}

impl Layout {
    fn new(picture: &Picture) -> Self {
        Self { width: picture.width, columns: picture.width / 4 * 2, rows: picture.height / 4 * 2 }
    }

    /// Returns the indices of the four pixels of each quad.
    fn pixels(&self) -> impl Iterator<Item = [usize; 4]> {
        (0..self.columns * self.rows).map(|quad| {
            let first = 2 * (quad / self.columns * self.width + quad % self.columns);
            [first, first + 1, first + self.width, first + self.width + 1]
        })
    }

    /// Returns the indices of the 4×4 quads of each block. A block holds one bit.
    fn blocks(&self) -> impl Iterator<Item = [usize; 16]> {
        let across = self.columns / 4;
        (0..across * (self.rows / 4)).map(move |block| {
            let first = 4 * (block / across * self.columns + block % across);
            array::from_fn(|quad| first + quad / 4 * self.columns + quad % 4)
        })
    }

    fn quads_of_u(&self, colours: &[[u8; 3]]) -> Vec<Quad> {
        let u = |at: usize| colours[at][1];
        self.pixels().map(|pixels| Quad::new(pixels.map(u))).collect()
    }
}
