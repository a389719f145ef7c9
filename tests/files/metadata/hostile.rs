//! Damaged and forged metadata.

use super::{PictureFile, drawn, picture};
use exif::experimental::Writer;
use exif::{Field, In, Tag, Value};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use png::text_metadata::ITXtChunk;
use std::fs;
use std::io::Cursor;
use tempfile::TempDir;
use txt2img::by_name::ByName;
use txt2img::output::{self, Format};

/// Writes a PNG file with this text chunk.
fn png_with(chunk: ITXtChunk) -> PictureFile {
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, 24, 16);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_text_chunk(&chunk).unwrap();
    writer.write_image_data(&picture().rgb).unwrap();
    writer.finish().unwrap();
    PictureFile::of(&bytes)
}

fn png_saying(keyword: &str, text: &str) -> PictureFile {
    png_with(ITXtChunk::new(keyword, text))
}

/// Writes a file with only AUTOMATIC1111's comment.
fn of_web_ui(encoder: impl FnOnce(&mut Vec<u8>, Vec<u8>)) -> PictureFile {
    let comment = b"UNICODE\0".iter().copied().chain("a cube\nSteps: 20".encode_utf16().flat_map(u16::to_be_bytes));
    let field = Field { tag: Tag::UserComment, ifd_num: In::PRIMARY, value: Value::Undefined(comment.collect(), 0) };
    let (mut writer, mut exif, mut bytes) = (Writer::new(), Cursor::new(vec![]), vec![]);
    writer.push_field(&field);
    writer.write(&mut exif, false).unwrap();
    encoder(&mut bytes, exif.into_inner());
    PictureFile::of(&bytes)
}

fn write(mut encoder: impl ImageEncoder, exif: Vec<u8>) {
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(&picture().rgb, 24, 16, ExtendedColorType::Rgb8).unwrap();
}

/// Asserts that an error is one line that names the file.
#[track_caller]
fn is_a_sentence(refusal: &str) {
    assert!(refusal.contains("'picture'") && refusal.len() < 300 && !refusal.contains(char::is_control), "{refusal}");
}

/// Returns a file with a record in each format.
fn whole_files() -> impl Iterator<Item = Vec<u8>> {
    Format::ALL.iter().map(|(_, format)| format.encode(&picture(), Some(&drawn("a cube"))).unwrap())
}

/// Asserts that each file is either read or refused in one sentence.
fn are_read_or_refused(files: impl Iterator<Item = Vec<u8>>) {
    let file = PictureFile::of(b"");
    for bytes in files {
        file.becomes(&bytes);
        if let Err(refusal) = file.read() {
            is_a_sentence(&refusal);
        }
    }
}

#[test]
fn cut_files_are_read_or_refused() {
    for whole in whole_files() {
        are_read_or_refused((0..whole.len()).map(|length| whole[..length].to_vec()));
    }
}

#[test]
fn files_with_a_changed_byte_are_read_or_refused() {
    for whole in whole_files() {
        are_read_or_refused((0..whole.len()).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x81;
            bytes
        }));
    }
}

#[test]
fn files_with_impossible_lengths_are_read_or_refused() {
    for whole in whole_files() {
        are_read_or_refused((4..whole.len()).step_by(3).map(|end| {
            let mut bytes = whole.clone();
            bytes[end - 4..end].fill(0xff);
            bytes
        }));
    }
}

#[test]
fn records_of_wrong_types_are_refused_in_a_sentence() {
    let json = serde_json::to_string(&drawn("a cube")).unwrap();
    for (good, bad) in [
        ("\"steps\":20", "\"steps\":-1"),
        ("\"steps\":20", "\"steps\":20.5"),
        ("\"steps\":20", "\"steps\":\"20\""),
        ("\"steps\":20", "\"steps\":20,\"steps\":20"),
        ("\"scale\":7.5", "\"scale\":1e999"),
        ("\"scale\":7.5", "\"scale\":null"),
        ("\"scale\":7.5", "\"scale\":NaN"),
        ("\"seed\":42", "\"seed\":4294967296"),
        ("\"a cube\"", "[]"),
        ("\"a cube\"", "\"\\ud800\""),
        ("\"rng\":\"cuda\",", ""),
    ] {
        let bad = json.replacen(good, bad, 1);
        assert_ne!(bad, json);
        is_a_sentence(&png_saying("txt2img", &bad).refusal());
    }
    for bad in ["", "null", "7", "[]", "{}", "{", "\u{0}", &"[".repeat(100_000), &"{\"a\":".repeat(100_000)] {
        is_a_sentence(&png_saying("txt2img", bad).refusal());
    }
}

#[test]
fn a_small_file_is_never_a_large_text() {
    let json = serde_json::to_string(&drawn("a cube")).unwrap();
    for (n_spaces, fits) in [(1_000, true), (50_000_000, false)] {
        let mut chunk = ITXtChunk::new("txt2img", json.clone() + &" ".repeat(n_spaces));
        chunk.compress_text().unwrap();
        let file = png_with(chunk);
        if fits {
            assert_eq!(file.record(), drawn("a cube"));
        } else {
            is_a_sentence(&file.refusal());
        }
    }
}

#[test]
fn pictures_of_the_web_ui_are_told_from_others() {
    let files = [
        png_saying("parameters", "a cube\nSteps: 20"),
        of_web_ui(|bytes, exif| write(JpegEncoder::new(bytes), exif)),
        of_web_ui(|bytes, exif| write(WebPEncoder::new_lossless(bytes), exif)),
    ];
    for file in files {
        assert_eq!(
            file.refusal(),
            "'picture' has only a parameters text, which is not enough to redraw it, and no txt2img metadata; give its settings as flags"
        );
    }
}

#[test]
fn pictures_that_say_nothing_are_told_from_other_files() {
    for &(_, format) in Format::ALL {
        let refusal = PictureFile::of(&format.encode(&picture(), None).unwrap()).refusal();
        assert_eq!(refusal, "'picture' contains no metadata; give a picture made by txt2img");
    }
    for bytes in [&b""[..], b"hello", b"GIF89a, and more", b"II*\0\x08\0\0\0", &[0; 5000], b"RIFF....WAVEfmt "] {
        let refusal = PictureFile::of(bytes).refusal();
        assert_eq!(refusal, "'picture' is not a readable picture; give a PNG, JPEG or WebP file");
    }
    let folder = TempDir::new().unwrap();
    let refusal = output::record(folder.path()).unwrap_err().to_string();
    assert_eq!(refusal, format!("'{}' is not a file; give a picture made by txt2img", folder.path().display()));
    fs::remove_dir(folder.path()).unwrap();
    assert!(output::record(folder.path()).unwrap_err().to_string().starts_with("opening '"));
}
