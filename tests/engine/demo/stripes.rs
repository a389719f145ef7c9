//! Recognition of horizontal white stripes on a solid.

use txt2img::output::Picture;

/// The number of columns that are examined, around the middle of the picture.
const COLUMNS: usize = 16;
/// The number of columns that show the stripes of a striped solid: more than chance and highlights do.
const ENOUGH: usize = 4;
/// The width of a column relative to the picture, as a divisor.
const WIDTH: usize = 32;
/// The height of a row relative to the picture, as a divisor.
const HEIGHT: usize = 64;
/// The least number of rows of a band; fewer are blurred edges.
const ROWS: usize = 2;

/// Returns whether a picture shows at least two white bands one above the other.
///
/// The background must be neither white nor grey, and the solid itself too: in the shade, white is grey.
pub fn is_striped(picture: &Picture) -> bool {
    let left = (0..COLUMNS).map(|i| picture.width / 4 + i * picture.width / 2 / COLUMNS);
    left.filter(|x| white_bands(&column(picture, *x)) >= 2).count() >= ENOUGH
}

/// Returns the number of white bands in a column.
fn white_bands(column: &[[f32; 3]]) -> usize {
    let bands = column.chunk_by(|a, b| is_white(*a) == is_white(*b)).filter(|rows| rows.len() >= ROWS);
    let mut bands: Vec<bool> = bands.map(|rows| is_white(rows[0])).collect();
    bands.dedup();
    bands.into_iter().filter(|white| *white).count()
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

/// Returns whether a colour in sRGB is white, lit or in the shade.
fn is_white(rgb: [f32; 3]) -> bool {
    let [r, g, b] = rgb.map(|level| level.powf(2.2));
    let (low, top) = (r.min(g).min(b), r.max(g).max(b));
    top > 0.15 && low > 0.45 * top
}
