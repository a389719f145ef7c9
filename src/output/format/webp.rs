//! WebP: lossless, which is what there is an encoder for; EXIF of any length has both texts.

use anyhow::Result;
use image::codecs::webp::WebPEncoder;

use super::{Picture, Texts, exif, write};

pub fn encode(picture: &Picture, texts: Texts) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    write(WebPEncoder::new_lossless(&mut bytes), picture, exif::encode(texts)?)?;
    Ok(bytes)
}
