//! Pixels, watermarks, grids, and the files in the output folder.

mod failures;
mod file_names;
mod hashes;
mod numbering;
mod outdir;
mod pixels_and_grid;
mod previews;
mod resizing;
mod shards;
mod watermark;

use std::fs;
use std::path::{Path, PathBuf};
use txt2img::output::Picture;

fn flat(width: usize, height: usize, level: u8) -> Picture {
    Picture { width, height, rgb: vec![level; 3 * width * height] }
}

/// Returns a picture with waves of brightness in a constant tint.
fn waves(width: usize, height: usize) -> Picture {
    let light = |x: usize, y: usize| 100.0 + 40.0 * (x as f32 / 31.0).sin() + 30.0 * (y as f32 / 43.0).cos();
    let pixels = (0..width * height).map(|at| light(at % width, at / width) as u8);
    Picture { width, height, rgb: pixels.flat_map(|level| [level, level + 20, level + 50]).collect() }
}

fn load(path: impl AsRef<Path>) -> Picture {
    let image = image::open(path).unwrap().into_rgb8();
    Picture { width: image.width() as usize, height: image.height() as usize, rgb: image.into_raw() }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Returns the names of a folder's entries, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
