//! PNG: each text in an uncompressed text chunk, as AUTOMATIC1111 writes them.

use super::{Picture, Texts};
use anyhow::Result;
use png::{ColorType, Decoder, DeflateCompression, Encoder, Filter, Info};
use std::io::{BufRead, Seek};

/// The keyword of the chunk with AUTOMATIC1111's text.
const PARAMETERS: &str = "parameters";
/// The keyword of the chunk with the record.
const RECORD: &str = "txt2img";
/// The largest size of a decompressed text, in bytes. Other programs may have compressed it.
const LONGEST: usize = 1 << 24;

/// Encodes a picture with its texts.
pub fn encode(picture: &Picture, texts: Texts) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    let mut encoder = Encoder::new(&mut bytes, picture.width.try_into()?, picture.height.try_into()?);
    encoder.set_color(ColorType::Rgb);
    // 4 ms for 512x512 pixels; higher levels take up to 60 ms and save a tenth at most.
    encoder.set_deflate_compression(DeflateCompression::Level(1));
    encoder.set_filter(Filter::Adaptive);
    for (keyword, text) in [(PARAMETERS, texts.parameters), (RECORD, texts.record)] {
        let Some(text) = text else { continue };
        // More programs read the older tEXt chunk, which is limited to Latin-1.
        match text.chars().all(|c| u32::from(c) < 256) {
            true => encoder.add_text_chunk(keyword.into(), text)?,
            false => encoder.add_itxt_chunk(keyword.into(), text)?,
        }
    }
    encoder.write_header()?.write_image_data(&picture.rgb)?;
    Ok(bytes)
}

/// Reads the texts before the pixels.
pub fn texts(file: impl BufRead + Seek) -> Result<Texts> {
    let reader = Decoder::new(file).read_info()?;
    Ok(Texts { parameters: text(reader.info(), PARAMETERS)?, record: text(reader.info(), RECORD)? })
}

fn text(info: &Info, keyword: &str) -> Result<Option<String>> {
    if let Some(chunk) = info.uncompressed_latin1_text.iter().find(|chunk| chunk.keyword == keyword) {
        return Ok(Some(chunk.text.clone()));
    }
    let Some(chunk) = info.utf8_text.iter().find(|chunk| chunk.keyword == keyword) else { return Ok(None) };
    let mut chunk = chunk.clone();
    chunk.decompress_text_with_limit(LONGEST)?;
    Ok(Some(chunk.get_text()?))
}
