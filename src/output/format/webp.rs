//! WebP: lossless, as the encoder supports nothing else. Both texts are in EXIF, which may have any length.

use anyhow::Result;
use image::codecs::webp::WebPEncoder;
use super::{Picture, Texts, exif, write};

/// Encodes a picture with its texts.
pub fn encode(picture: &Picture, texts: Texts) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    write(WebPEncoder::new_lossless(&mut bytes), picture, exif::encode(texts)?)?;
    Ok(bytes)
}
