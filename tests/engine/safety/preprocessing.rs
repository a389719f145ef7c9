use crate::support::{fixture, read_png, tensors};
use txt2img::output::Picture;
use txt2img::safety::pixels;

#[test]
fn pixels_equal_the_original() {
    let expected = tensors("safety/pixels.safetensors");
    assert_eq!(expected.len(), 5);
    for (name, expected) in expected {
        let picture = read_png(&fixture(&format!("safety/{}.png", name.replace("pixels.", "image"))));
        let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
        assert!(pixels(&picture, 224) == expected, "{name}");
    }
}

#[test]
fn a_uniform_image_stays_uniform_at_any_size() {
    let white = pixels(&even(224, 224), 224);
    for (width, height) in [(1, 1), (8, 8), (8, 4096), (1024, 64), (3, 224), (2000, 1999), (1, 20_000)] {
        assert!(pixels(&even(width, height), 224) == white, "{width}x{height}");
    }
}

#[test]
fn only_the_centre_square_is_used() {
    let mut wide = even(1024, 64);
    for row in wide.rgb.chunks_exact_mut(3 * 1024) {
        row[..3 * 470].fill(0);
        row[3 * 554..].fill(0);
    }
    assert!(pixels(&wide, 224) == pixels(&even(64, 64), 224));
}

#[test]
fn an_image_without_all_its_pixels_gives_an_empty_result() {
    assert!(pixels(&even(0, 0), 224).is_empty());
    assert!(pixels(&even(0, 64), 224).is_empty());
    assert!(pixels(&Picture { width: 8, height: 8, rgb: vec![0; 8] }, 224).is_empty());
}

fn even(width: usize, height: usize) -> Picture {
    Picture { width, height, rgb: vec![255; 3 * width * height] }
}
