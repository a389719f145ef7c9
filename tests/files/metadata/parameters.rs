//! AUTOMATIC1111's `parameters` text, read as other programs read it.

use super::{drawn, params, picture};
use exif::{In, Tag, Value};
use image::ImageDecoder;
use image::codecs::{jpeg::JpegDecoder, webp::WebPDecoder};
use std::io::Cursor;
use txt2img::diffusion::samplers::{Kind, Spacing};
use txt2img::output::{Format, Record};
use txt2img::params::SamplingParams;
use txt2img::rng::{Origin, StreamPos};

fn bytes(format: Format, record: &Record) -> Vec<u8> {
    format.encode(&picture(), Some(record)).unwrap()
}

/// Returns the value of a tag in the EXIF of a file.
fn value(mut file: impl ImageDecoder, tag: Tag) -> Vec<u8> {
    let exif = exif::Reader::new().read_raw(file.exif_metadata().unwrap().unwrap()).unwrap();
    match &exif.get_field(tag, In::PRIMARY).unwrap().value {
        Value::Undefined(bytes, _) => bytes.clone(),
        Value::Ascii(lines) => lines.concat(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_text_is_the_web_uis() {
    let record = Record {
        negative_prompt: "a ball".into(),
        params: params(Kind::DpmPp2m, Spacing::Karras),
        model: "models/one, two".into(),
        model_hash: Some("0123456789abcdef".into()),
        ..drawn("a cube, black background")
    };
    let expected = "a cube, black background\nNegative prompt: a ball\nSteps: 20, Sampler: DPM++ 2M Karras, \
                    CFG scale: 7.5, Seed: 42, Size: 24x16, Model hash: 0123456789, Model: \"models/one, two\", \
                    Version: txt2img 0.1.0";
    assert_eq!(record.parameters(), expected);
    let expected =
        "\nSteps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 42, Size: 24x16, Model: v1-5, Version: txt2img 0.1.0";
    assert_eq!(drawn("").parameters(), expected);
    let skipped = Record { params: SamplingParams { clip_skip: 2, ..record.params }, ..drawn("") }.parameters();
    assert!(skipped.ends_with("Model: v1-5, Clip skip: 2, Version: txt2img 0.1.0"), "{skipped}");
}

#[test]
fn pictures_of_one_seed_are_told_apart() {
    let place = |position, of, index| {
        let origin = Origin { seed: 42, start: StreamPos { position, of }, steps: None, index };
        let text = Record { origin, ..drawn("a cube") }.parameters();
        let (_, settings) = text.split_once(", Model: v1-5, ").unwrap();
        settings.strip_suffix("Version: txt2img 0.1.0").unwrap().to_owned()
    };
    assert_eq!(place(0, 1, 0), "");
    assert_eq!(place(0, 3, 0), "Batch size: 3, Batch pos: 0, ");
    assert_eq!(place(0, 3, 2), "Batch size: 3, Batch pos: 2, ");
    assert_eq!(place(51, 3, 2), "Batch size: 3, Batch pos: 2, RNG position: 51, ");
    assert_eq!(place(51, 1, 0), "RNG position: 51, ");
}

#[test]
fn samplers_have_the_web_uis_names() {
    for (ours, theirs) in [
        (Kind::Ddim, "DDIM"),
        (Kind::Plms, "PLMS"),
        (Kind::Lms, "LMS"),
        (Kind::Euler, "Euler"),
        (Kind::EulerA, "Euler a"),
        (Kind::Heun, "Heun"),
        (Kind::Dpm2, "DPM2"),
        (Kind::DpmPp2m, "DPM++ 2M"),
        (Kind::UniPc, "UniPC"),
        (Kind::Lcm, "LCM"),
        (Kind::Tcd, "TCD"),
    ] {
        let text = Record { params: params(ours, Spacing::Discrete), ..drawn("a cube") }.parameters();
        assert!(text.contains(&format!("Sampler: {theirs}, ")), "{text}");
    }
}

#[test]
fn png_keeps_it_in_the_chunk_that_more_programs_read_if_its_letters_allow() {
    for (prompt, latin) in [("größer", true), ("größer 🎲", false)] {
        let record = drawn(prompt);
        let reader = png::Decoder::new(Cursor::new(bytes(Format::Png, &record))).read_info().unwrap();
        let info = reader.info();
        let plain = info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone()));
        let utf8 = info.utf8_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.get_text().unwrap()));
        let expected = [
            ("parameters".to_owned(), record.parameters()),
            ("txt2img".to_owned(), serde_json::to_string(&record).unwrap()),
        ];
        assert_eq!(plain.collect::<Vec<_>>(), if latin { &expected[..] } else { &[] });
        assert_eq!(utf8.collect::<Vec<_>>(), if latin { &[] } else { &expected[..] });
        assert!(info.utf8_text.iter().all(|chunk| !chunk.compressed));
    }
}

#[test]
fn jpeg_and_webp_keep_it_as_a_comment_in_utf16() {
    let record = drawn("größer 🎲");
    let mut expected = b"UNICODE\0".to_vec();
    expected.extend(record.parameters().encode_utf16().flat_map(u16::to_be_bytes));
    let jpg = JpegDecoder::new(Cursor::new(bytes(Format::Jpg, &record))).unwrap();
    let webp = WebPDecoder::new(Cursor::new(bytes(Format::WebP, &record))).unwrap();
    assert_eq!(value(jpg, Tag::UserComment), expected);
    assert_eq!(value(webp, Tag::UserComment), expected);
}

#[test]
fn webp_keeps_the_record_in_the_letters_that_exif_allows() {
    let webp = WebPDecoder::new(Cursor::new(bytes(Format::WebP, &drawn("größer 🎲")))).unwrap();
    let json = value(webp, Tag::ImageDescription);
    assert!(json.is_ascii());
    assert_eq!(serde_json::from_slice::<Record>(&json).unwrap(), drawn("größer 🎲"));
}
