//! Records and pixels are the same after encoding and decoding.

use super::{PictureFile, drawn, picture};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use txt2img::by_name::ByName;
use txt2img::output::{Format, Record, decode};

#[test]
fn every_record_comes_back_from_every_format() {
    let long = "many words, ".repeat(100_000 / 12);
    let long_and_foreign = "größte 🎲 ".repeat(100_000 / 14);
    let everything: String = (0..0x3000).filter_map(char::from_u32).collect();
    for prompt in
        ["a cube", "", "größer", "方 🎲\u{10ffff}", "two\nlines\r\n", "\"{}\\", &everything, &long, &long_and_foreign]
    {
        for &(name, format) in Format::ALL {
            let record = Record { negative_prompt: prompt.chars().rev().take(50).collect(), ..drawn(prompt) };
            assert!(PictureFile::with(format, &record).record() == record, "{name}: {:.50?}", prompt);
        }
    }
}

#[test]
fn numbers_come_back_to_the_bit() {
    let file = PictureFile::of(b"");
    for i in 1..200 {
        let scale = 1. / f64::from(i) + 7.1;
        let mut record = drawn("a cube");
        record.params.scale = scale;
        record.params.sampler.eta = f64::MIN_POSITIVE * scale;
        file.becomes(&Format::Png.encode(&picture(), Some(&record)).unwrap());
        assert_eq!(file.record(), record);
    }
}

#[test]
fn pixels_are_the_same_with_and_without_a_record() {
    for &(name, format) in Format::ALL {
        let bare = decode(&format.encode(&picture(), None).unwrap()).unwrap();
        let remembering = decode(&format.encode(&picture(), Some(&drawn("a cube"))).unwrap()).unwrap();
        assert_eq!(bare, remembering, "{name}");
        let farthest = bare.rgb.iter().zip(&picture().rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(farthest <= if format == Format::Jpg { 16 } else { 0 }, "{name}: {farthest}");
    }
}

#[test]
fn a_png_without_a_record_is_as_it_always_was() {
    let (mut expected, picture) = (vec![], picture());
    let (width, height) = (picture.width as u32, picture.height as u32);
    PngEncoder::new_with_quality(&mut expected, CompressionType::Level(1), FilterType::Adaptive)
        .write_image(&picture.rgb, width, height, ExtendedColorType::Rgb8)
        .unwrap();
    assert_eq!(Format::Png.encode(&picture, None).unwrap(), expected);
}

#[test]
fn a_format_is_told_by_the_bytes() {
    for &(_, format) in Format::ALL {
        assert_eq!(Format::of(&PictureFile::with(format, &drawn("a cube")).path()).unwrap(), format);
    }
}

#[test]
fn a_record_of_another_version_is_read_as_far_as_it_goes() {
    let record = drawn("a cube");
    let mut json = serde_json::to_value(&record).unwrap();
    let fields = json.as_object_mut().unwrap();
    fields.insert("mood".into(), "gloomy".into());
    for optional in ["negative_prompt", "emphasis", "model_hash", "vae", "config"] {
        fields.remove(optional).unwrap();
    }
    assert_eq!(serde_json::from_value::<Record>(json).unwrap(), record);
}
