//! Pictures and their files: pixels, watermark, grids, sheets, metadata, and the output folder.

mod axis;
mod blur;
mod borders;
mod caption;
mod distance;
mod format;
mod grid;
mod haar;
mod index;
mod mask;
mod name;
mod open;
mod page;
mod pixels;
mod preview;
mod record;
mod resize;
mod sheet;
mod shrink;
mod text;
mod verify;
mod watermark;
mod yuv;

use crate::by_name::ByName;
use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

pub use axis::Axis;
pub use blur::blur;
pub use borders::Borders;
pub use caption::captioned;
pub use distance::Distance;
pub use format::{Format, record};
pub use grid::grid;
pub use index::index;
pub use mask::Mask;
pub use name::{NameFields, Pattern};
pub use open::{decode, open, open_alpha, open_upright, upright};
pub use page::page;
pub use pixels::{picture, rounded};
pub use preview::preview;
pub use record::{EmbeddingRecord, LoraRecord, Record};
pub use resize::{resized, square};
pub use sheet::sheet;
pub use shrink::{mean, shrunk};
pub use verify::{Mark, verify};
pub use watermark::{mark, read};

/// A picture in 8-bit RGB, rows from top to bottom.
#[derive(Clone, PartialEq, Debug)]
pub struct Picture {
    /// The width in pixels.
    pub width: usize,
    /// The height in pixels.
    pub height: usize,
    /// Red, green and blue of each pixel: 3 · width · height values.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// Saves the picture in the format that the file's extension names (.png, .jpg or .webp), without metadata. An existing file is
    /// overwritten.
    ///
    /// # Errors
    /// If the extension is another, or the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_lowercase();
        let format = Format::from_name(if extension == "jpeg" { "jpg" } else { &extension })
            .with_context(|| format!("'{}' does not end in .png, .jpg or .webp", path.display()))?;
        fs::write(path, format.encode(self, None)?).with_context(|| format!("cannot write '{}'", path.display()))
    }
}
