//! `--verify_watermark`: detection of watermarks, and its certainty.

use crate::support::{files_below, fixture, read_png};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ExtendedColorType};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use txt2img::output::{Mark, Picture, mark, verify};

const TEXT: &str = "StableDiffusionV1";

#[track_caller]
fn carries(found: &Mark, text: &str, at_least: f32) {
    assert_eq!(found.text.as_deref(), Some(text), "{}", found.probability);
    assert!((at_least..=1.).contains(&found.probability), "{}", found.probability);
}

#[track_caller]
fn carries_none(found: &Mark) {
    assert_eq!(found.text, None, "{}", found.probability);
    assert!((0.5..=1.).contains(&found.probability), "{}", found.probability);
    assert_eq!(found.to_string(), "no watermark");
}

/// Returns a picture with waves of brightness and of colour.
fn waves(width: usize, height: usize) -> Picture {
    let wave = |length: f32, at: usize| (at as f32 / length).sin();
    let pixel = |x: usize, y: usize| {
        let (light, tint) = (128. + 40. * wave(31., x) + 30. * wave(43., y), 25. * wave(23., x + y));
        [light, light + tint, light - tint].map(|level| level as u8)
    };
    Picture { width, height, rgb: (0..width * height).flat_map(|at| pixel(at % width, at / width)).collect() }
}

fn marked(mut picture: Picture) -> Picture {
    assert!(mark(&mut picture));
    picture
}

fn image_of(picture: &Picture) -> DynamicImage {
    let (width, height) = (picture.width as u32, picture.height as u32);
    image::RgbImage::from_raw(width, height, picture.rgb.clone()).unwrap().into()
}

/// Writes a file of a picture, with this extension.
fn written(picture: &Picture, end: &str, write: impl FnOnce(&DynamicImage, fs::File)) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(format!("picture.{end}"));
    write(&image_of(picture), fs::File::create(&path).unwrap());
    (folder, path)
}

fn as_jpeg(picture: &Picture, quality: u8) -> Mark {
    let write = |image: &DynamicImage, file| {
        image.write_with_encoder(JpegEncoder::new_with_quality(file, quality)).unwrap();
    };
    let (_folder, path) = written(picture, "jpg", write);
    verify(&path).unwrap()
}

#[test]
fn every_picture_of_the_original_carries_it() {
    let cases = fixture("cases");
    let files = files_below(&cases);
    let pictures: Vec<_> = files.iter().filter(|file| file.ends_with(".png")).collect();
    assert!(pictures.len() > 20);
    for file in pictures {
        let found = verify(&cases.join(file)).unwrap();
        assert_eq!(found.to_string(), "StableDiffusionV1 (100% certain)", "{file}");
    }
    carries(&verify(&fixture("modules/watermark_out.png")).unwrap(), TEXT, 0.999);
}

#[test]
fn unmarked_pictures_do_not() {
    carries_none(&verify(&fixture("modules/watermark_in.png")).unwrap());
    for index in 0..5 {
        carries_none(&verify(&fixture(&format!("safety/image{index}.png"))).unwrap());
    }
    for (width, height) in [(512, 512), (1088, 300), (256, 384), (64, 64), (7, 9), (1, 1), (1, 70_000), (0, 0)] {
        carries_none(&Mark::of(&waves(width, height)));
        for level in [0, 77, 255] {
            carries_none(&Mark::of(&Picture { width, height, rgb: vec![level; 3 * width * height] }));
        }
    }
}

#[test]
fn marked_pictures_of_all_sizes_carry_it() {
    for (width, height) in [(512, 512), (768, 320), (312, 264), (511, 257), (1088, 256)] {
        carries(&Mark::of(&marked(waves(width, height))), TEXT, 0.999);
    }
}

#[test]
fn a_picture_too_white_to_read_is_recognised() {
    let mut picture = waves(512, 512);
    // Three quarters are white, where the watermark can only encode ones.
    picture.rgb[..3 * 512 * 384].fill(255);
    carries(&Mark::of(&marked(picture)), TEXT, 0.9);
}

#[test]
fn a_jpeg_is_judged_by_what_is_left() {
    let picture = marked(waves(512, 512));
    for quality in [100, 95, 90] {
        carries(&as_jpeg(&picture, quality), TEXT, 0.999);
    }
    carries_none(&as_jpeg(&picture, 5));
    for quality in [95, 90, 75, 30] {
        carries_none(&as_jpeg(&waves(512, 512), quality));
    }
}

#[test]
fn a_webp_file_and_one_with_another_end_to_its_name_are_read() {
    let picture = marked(waves(320, 256));
    let (_folder, path) = written(&picture, "png", |image, file| {
        WebPEncoder::new_lossless(file).encode(image.as_bytes(), 320, 256, ExtendedColorType::Rgb8).unwrap();
    });
    carries(&verify(&path).unwrap(), TEXT, 0.999);
}

#[test]
fn transparent_and_16_bit_pictures_are_read() {
    let image = image_of(&marked(waves(320, 256)));
    for deep in [DynamicImage::from(image.to_rgba8()), image.to_rgb16().into()] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("picture.png");
        deep.save(&path).unwrap();
        carries(&verify(&path).unwrap(), TEXT, 0.999);
    }
}

/// Encodes a text in blocks of 8 × 8 pixels: a little blue is 0 and more blue 1; `n_wrong` of 97 blocks are wrong.
fn saying(text: &str, n_wrong: usize) -> Picture {
    let (width, height) = (512, 512);
    let says_one = |block: usize| {
        let bit = text.as_bytes()[block / 8 % text.len()] >> (7 - block % 8) & 1 == 1;
        bit ^ (block % 97 < n_wrong)
    };
    // An even block's average is 2U, which is 256 + 0.87 · blue: 9 or 27 above a multiple of 36.
    let blue = |x: usize, y: usize| if says_one(y / 8 * (width / 8) + x / 8) { 26 } else { 6 };
    let pixels = (0..width * height).flat_map(|at| [128, 128, 128 + blue(at % width, at / width)]);
    Picture { width, height, rgb: pixels.collect() }
}

#[test]
fn another_text_is_read() {
    let text = "seventeen letters";
    carries(&Mark::of(&saying(text, 0)), text, 0.999);
    carries(&Mark::of(&saying(text, 9)), text, 0.999);
    for text in ["StableDiffusionV2", "StableDiffusionXL", "stablediffusionv1"] {
        carries(&Mark::of(&saying(text, 5)), text, 0.99);
    }
    carries_none(&Mark::of(&saying(text, 48)));
    carries_none(&Mark::of(&saying("\u{1}\u{2}ABCDEFGHIJKLMNO", 0)));
}

#[track_caller]
fn refused(path: &Path, because: &str) {
    let sentence = format!("{:#}", verify(path).unwrap_err());
    assert!(sentence.starts_with(&format!("'{}' {because}", path.display())), "{sentence}");
    assert!(!sentence.contains('\n') && !sentence.ends_with('.'), "{sentence}");
}

#[test]
fn files_that_are_no_pictures_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("picture.png");
    refused(&path, "cannot be read: No such file");
    refused(folder.path(), "is not a file; give a picture");
    for bytes in [&b""[..], b"a text", b"GIF89a\x01\0\x01\0\0\0\0;", b"<html>", &[0xff; 99]] {
        fs::write(&path, bytes).unwrap();
        refused(&path, "is not a readable picture; give a PNG, JPEG or WebP file");
    }
}

#[test]
fn damaged_pictures_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("cut.png");
    let whole = fs::read(fixture("modules/watermark_out.png")).unwrap();
    for length in [9, 30, whole.len() / 2] {
        fs::write(&path, &whole[..length]).unwrap();
        refused(&path, "is a damaged picture (");
    }
    for magic in [&b"\xff\xd8\xff\xe0"[..], b"RIFF\x10\0\0\0WEBPVP8L"] {
        fs::write(&path, magic).unwrap();
        refused(&path, "is a damaged picture (");
    }
}

#[test]
fn a_picture_that_claims_to_be_huge_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("huge.png");
    let mut bytes = fs::read(fixture("modules/watermark_out.png")).unwrap();
    bytes[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    fs::write(&path, &bytes).unwrap();
    refused(&path, "is ");
}

#[test]
fn what_is_read_is_what_was_written() {
    let path = fixture("modules/watermark_out.png");
    assert_eq!(txt2img::output::open(&path).unwrap(), read_png(&path));
}
