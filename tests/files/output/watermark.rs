//! The invisible watermark.

use super::{fixture, flat, load, names, waves};
use txt2img::output::{Picture, mark, read};

const TEXT: &[u8] = b"StableDiffusionV1";

#[test]
fn the_watermark_is_the_originals() {
    let mut marked = load(fixture("modules/watermark_in.png"));
    assert!(mark(&mut marked));
    assert_eq!(marked, load(fixture("modules/watermark_out.png")));
}

#[test]
fn a_marked_picture_reads_back() {
    for (width, height) in [(512, 512), (768, 320), (312, 264), (511, 257), (333, 299)] {
        let mut picture = waves(width, height);
        assert_ne!(read(&picture, TEXT.len()), TEXT);
        assert!(mark(&mut picture));
        assert_eq!(read(&picture, TEXT.len()), TEXT, "{width}x{height}");
        assert_eq!((picture.width, picture.height, picture.rgb.len()), (width, height, 3 * width * height));
    }
}

#[test]
fn pictures_of_the_original_read_as_marked() {
    for case in ["bulk", "ddim", "ddim_eta", "dpm", "fixed_code", "plms", "scale_one"] {
        for name in names(&fixture(&format!("cases/{case}/samples"))) {
            let text = read(&load(fixture(&format!("cases/{case}/samples/{name}"))), TEXT.len());
            let n_wrong: u32 = text.iter().zip(TEXT).map(|(a, b)| (a ^ b).count_ones()).sum();
            // The original's own decoder makes as many errors in pictures as small as these.
            assert!(n_wrong <= 10, "{case}/{name}: {n_wrong} of {} bits are wrong", 8 * TEXT.len());
        }
    }
}

#[test]
fn every_colour_can_be_marked() {
    for rgb in [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]] {
        let mut picture = Picture { width: 264, height: 264, rgb: rgb.repeat(264 * 264) };
        assert!(mark(&mut picture), "{rgb:?}");
    }
}

#[test]
fn a_small_picture_is_left_alone() {
    let mut picture = waves(256, 255);
    assert!(!mark(&mut picture));
    assert_eq!(picture, waves(256, 255));
}

#[test]
fn a_thin_picture_is_marked_without_harm() {
    for (width, height) in [(70_000, 1), (1, 70_000), (3, 30_000), (20_000, 7), (7, 20_000), (5, 20_000)] {
        let mut picture = waves(width, height);
        assert!(mark(&mut picture));
        assert_eq!(read(&picture, 1), [0], "no block, no bit");
    }
}

#[test]
fn any_length_can_be_read() {
    assert!(read(&waves(256, 256), 0).is_empty());
    assert_eq!(read(&flat(0, 0, 0), 2), [0, 0]);
    assert_eq!(read(&waves(256, 256), 1000).len(), 1000);
}
