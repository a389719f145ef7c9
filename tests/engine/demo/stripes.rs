//! Recognition of horizontal white stripes on a coloured solid.

use txt2img::output::Picture;

/// The number of columns that are examined, around the middle of the picture.
const COLUMNS: usize = 16;
/// The number of columns of a striped solid that show a stripe: more than chance and highlights do.
const ENOUGH: usize = 4;
/// The width of a column relative to the picture, as a divisor.
const WIDTH: usize = 32;
/// The height of a row relative to the picture, as a divisor.
const HEIGHT: usize = 64;
/// The least number of rows that count as a band; fewer are blurred edges.
const ROWS: usize = 2;

/// The look of a row of a column.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    /// The solid's colour, in light or shade.
    Own,
    White,
    Other,
}

/// Returns whether a picture shows white stripes between bands of `colour`, which is not grey, in sRGB.
///
/// The background must be neither white nor grey: through a ring, it would be taken for a stripe.
pub fn is_striped(picture: &Picture, colour: [f32; 3]) -> bool {
    let left = (0..COLUMNS).map(|i| picture.width / 4 + i * picture.width / 2 / COLUMNS);
    left.filter(|x| has_stripe(&column(picture, *x), colour)).count() >= ENOUGH
}

/// Returns whether white lies between the solid's colour above and below.
fn has_stripe(column: &[[f32; 3]], colour: [f32; 3]) -> bool {
    let looks: Vec<_> = column.iter().map(|rgb| look(rgb.map(linear), colour.map(linear))).collect();
    let bands = looks.chunk_by(|a, b| a == b).filter(|rows| rows.len() >= ROWS).map(|rows| rows[0]);
    let mut bands: Vec<_> = bands.collect();
    bands.dedup();
    bands.windows(3).any(|three| three == [Look::Own, Look::White, Look::Own])
}

/// Returns the mean colour of each row of the column that starts at `x`, in sRGB.
fn column(picture: &Picture, x: usize) -> Vec<[f32; 3]> {
    let (width, height) = (picture.width / WIDTH, picture.height / HEIGHT);
    let mean = |row: usize, channel: usize| {
        let pixels = (row * height..(row + 1) * height).flat_map(|y| (x..x + width).map(move |x| (x, y)));
        let sum: f32 = pixels.map(|(x, y)| f32::from(picture.rgb[3 * (y * picture.width + x) + channel])).sum();
        sum / (width * height) as f32 / 255.
    };
    (0..HEIGHT).map(|row| [0, 1, 2].map(|channel| mean(row, channel))).collect()
}

fn linear(srgb: f32) -> f32 {
    srgb.powf(2.2)
}

/// Returns the look of a row; both colours are in linear light. Lightness does not matter, as bands are shaded.
fn look(rgb: [f32; 3], colour: [f32; 3]) -> Look {
    let extremes = |rgb: [f32; 3]| rgb.iter().fold((f32::MAX, 0f32), |(low, top), &c| (low.min(c), top.max(c)));
    let (low, top) = extremes(rgb);
    let pale = low > 0.45 * top;
    let (chroma, wanted) = (rgb.map(|c| c - low), colour.map(|c| c - extremes(colour).0));
    let dot = |a: [f32; 3], b: [f32; 3]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let length = dot(chroma, chroma).sqrt();
    if pale && top > 0.15 {
        Look::White
    } else if !pale && length > 0.02 && dot(chroma, wanted) > 0.9 * length * dot(wanted, wanted).sqrt() {
        Look::Own
    } else {
        Look::Other
    }
}
