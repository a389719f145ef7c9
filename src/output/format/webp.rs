//! WebP: lossless, as the encoder supports nothing else. Both texts are in EXIF, which may have any length.

use super::{Picture, Texts, exif, write};
use anyhow::Result;
use image::codecs::webp::WebPEncoder;

/// Encodes a picture with its texts.
pub fn encode(picture: &Picture, texts: Texts) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    write(WebPEncoder::new_lossless(&mut bytes), picture, exif::encode(texts)?)?;
    Ok(bytes)
}
