//! The grid of several pictures: torchvision's `make_grid`.

use super::Picture;
use anyhow::{Result, bail, ensure};

/// The width of the black border around and between pictures, in pixels.
const PADDING: usize = 2;

/// Returns `pictures`, all of the same size, as a grid with `columns` in a row. A single picture is returned unchanged.
///
/// # Errors
/// If there are no pictures or no columns, or the sizes differ.
pub fn grid(pictures: &[Picture], columns: usize) -> Result<Picture> {
    let [first, others @ ..] = pictures else { bail!("a grid needs at least one picture") };
    ensure!(columns > 0, "a grid needs at least one column");
    for other in others {
        ensure_same_size(first, other)?;
    }
    if others.is_empty() {
        return Ok(first.clone());
    }
    let columns = columns.min(pictures.len());
    let (wide, high) = (first.width + PADDING, first.height + PADDING);
    let mut grid = black(columns * wide + PADDING, pictures.len().div_ceil(columns) * high + PADDING);
    for (i, picture) in pictures.iter().enumerate() {
        paste(&mut grid, picture, i % columns * wide + PADDING, i / columns * high + PADDING);
    }
    Ok(grid)
}

fn ensure_same_size(a: &Picture, b: &Picture) -> Result<()> {
    ensure!(
        (a.width, a.height) == (b.width, b.height),
        "a grid needs pictures of one size, not {}x{} and {}x{}",
        a.width,
        a.height,
        b.width,
        b.height
    );
    Ok(())
}

fn black(width: usize, height: usize) -> Picture {
    Picture { width, height, rgb: vec![0; 3 * width * height] }
}

/// Copies `picture` to `onto`, which must contain it, at (`left`, `top`).
pub fn paste(onto: &mut Picture, picture: &Picture, left: usize, top: usize) {
    let n = 3 * picture.width;
    for y in 0..picture.height {
        let start = 3 * ((top + y) * onto.width + left);
        onto.rgb[start..][..n].copy_from_slice(&picture.rgb[y * n..][..n]);
    }
}
