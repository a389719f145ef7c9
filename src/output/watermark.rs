//! The original's invisible watermark: `dwtDct` of the package invisible-watermark, to the bit. There is no DCT in it.

use std::array;

use super::haar::Quad;
use super::{Picture, yuv};

/// What the watermark says.
pub(super) const TEXT: &str = "StableDiffusionV1";
const MIN_PIXELS: usize = 256 * 256;
/// From one multiple of this to the next, numbers near 1/4 of the way say 0 and near 3/4 say 1.
const SCALE: f64 = 36.0;

/// Writes the watermark into the picture; one too small for it is left alone, which returns false.
pub fn mark(picture: &mut Picture) -> bool {
    if picture.width * picture.height < MIN_PIXELS {
        return false;
    }
    let layout = Layout::of(picture);
    let mut colours = yuv_colours(picture);
    let mut quads = layout.quads_of_u(&colours);
    for (block, bit) in layout.blocks().zip(bits(TEXT.as_bytes()).cycle()) {
        let peak = peak(&quads, block);
        quads[peak].average = with_bit(quads[peak].average, bit);
    }
    // The package swaps two kinds of details on the way back.
    for (pixels, quad) in layout.pixels().zip(&quads) {
        for (at, u) in pixels.into_iter().zip(quad.transposed()) {
            colours[at][1] = u;
        }
    }
    picture.rgb = colours.into_iter().flat_map(yuv::to_rgb).collect();
    true
}

/// The text of `length` bytes that the package's own decoder would find.
pub fn read(picture: &Picture, length: usize) -> Vec<u8> {
    text(&votes(picture, length))
}

/// The text that most blocks say.
pub(super) fn text(votes: &[Votes]) -> Vec<u8> {
    let (bytes, _) = votes.as_chunks::<8>();
    bytes.iter().map(byte).collect()
}

/// What the blocks say of each bit of `length` bytes.
pub(super) fn votes(picture: &Picture, length: usize) -> Vec<Votes> {
    let layout = Layout::of(picture);
    let quads = layout.quads_of_u(&yuv_colours(picture));
    let mut votes = vec![Votes::default(); 8 * length];
    for (block, bit) in layout.blocks().zip((0..votes.len()).cycle()) {
        let average = quads[peak(&quads, block)].average;
        votes[bit].all += 1.0;
        votes[bit].ones += f64::from(bit_of(average));
    }
    votes
}

/// The number near `average` that says `bit`.
fn with_bit(average: f64, bit: bool) -> f64 {
    ((average / SCALE).floor() + if bit { 0.75 } else { 0.25 }) * SCALE
}

/// The bit that `average` says.
fn bit_of(average: f64) -> bool {
    average % SCALE > SCALE / 2.0
}

/// What the blocks that hold a bit say about it.
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

/// Most significant bit first.
fn byte(votes: &[Votes; 8]) -> u8 {
    votes.iter().fold(0, |byte, votes| byte << 1 | votes.bit())
}

/// Most significant bit of each byte first.
pub(super) fn bits(text: &[u8]) -> impl Iterator<Item = bool> + Clone {
    text.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1 == 1))
}

fn yuv_colours(picture: &Picture) -> Vec<[u8; 3]> {
    let (pixels, _) = picture.rgb.as_chunks();
    pixels.iter().map(|&rgb| yuv::from_rgb(rgb)).collect()
}

/// The quad of a block with the largest average, the first quad left out.
fn peak(quads: &[Quad], [_, second, rest @ ..]: [usize; 16]) -> usize {
    // The first of equals, as numpy's argmax.
    rest.into_iter().fold(second, |peak, quad| if quads[quad].average > quads[peak].average { quad } else { peak })
}

/// Where quads are in a picture, row by row, its sides cut to multiples of 4 pixels.
struct Layout {
    /// Pixels in a row of the picture.
    width: usize,
    /// Quads in a row, and in a column.
    columns: usize,
    rows: usize,
}

impl Layout {
    fn of(picture: &Picture) -> Self {
        Self { width: picture.width, columns: picture.width / 4 * 2, rows: picture.height / 4 * 2 }
    }

    /// The four pixels of each quad.
    fn pixels(&self) -> impl Iterator<Item = [usize; 4]> {
        (0..self.columns * self.rows).map(|quad| {
            let first = 2 * (quad / self.columns * self.width + quad % self.columns);
            [first, first + 1, first + self.width, first + self.width + 1]
        })
    }

    /// The 4×4 quads that hold each bit.
    fn blocks(&self) -> impl Iterator<Item = [usize; 16]> {
        let across = self.columns / 4;
        (0..across * (self.rows / 4)).map(move |block| {
            let first = 4 * (block / across * self.columns + block % across);
            array::from_fn(|quad| first + quad / 4 * self.columns + quad % 4)
        })
    }

    fn quads_of_u(&self, colours: &[[u8; 3]]) -> Vec<Quad> {
        let u = |at: usize| colours[at][1];
        self.pixels().map(|pixels| Quad::of(pixels.map(u))).collect()
    }
}
