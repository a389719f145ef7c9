//! From the decoder's numbers to the bytes of files. Nothing here knows the output folder.

mod axis;
mod blur;
mod format;
mod grid;
mod haar;
mod name;
mod open;
mod page;
mod pixels;
mod preview;
mod record;
mod sheet;
mod shrink;
mod text;
mod verify;
mod watermark;
mod yuv;

pub use axis::Axis;
pub use blur::blur;
pub use format::{Format, record};
pub use grid::grid;
pub use name::{NameFields, Pattern};
pub use open::{decode, open};
pub use page::page;
pub use pixels::{picture, rounded};
pub use preview::preview;
pub use record::Record;
pub use sheet::sheet;
pub use shrink::shrunk;
pub use verify::{Mark, verify};
pub use watermark::{mark, read};

/// A finished picture: 8-bit RGB, rows top to bottom.
#[derive(Clone, PartialEq, Debug)]
pub struct Picture {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Three values a pixel: 3 · width · height in all.
    pub rgb: Vec<u8>,
}
