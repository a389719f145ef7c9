use super::{even, picture};
use txt2img::by_name::ByName;
use txt2img::output::Picture;
use txt2img::safety::Action;

const SIZES: [(usize, usize); 7] = [(8, 8), (8, 4096), (1024, 64), (1, 1), (1, 9), (511, 257), (512, 512)];

/// A black and white chessboard with squares of 8 pixels.
fn chessboard(width: usize, height: usize) -> Picture {
    let level = |at: usize| if (at % width / 8 + at / width / 8).is_multiple_of(2) { 255 } else { 0 };
    Picture { width, height, rgb: (0..width * height).flat_map(|at| [level(at); 3]).collect() }
}

fn after(action: Action, mut picture: Picture) -> Picture {
    action.apply(&mut picture);
    picture
}

#[test]
fn replace_and_black_make_images_black() {
    for (width, height) in SIZES {
        for action in [Action::Replace, Action::Black] {
            assert_eq!(after(action, chessboard(width, height)), even(width, height, 0));
        }
    }
}

#[test]
fn flag_and_off_leave_images_unchanged() {
    assert_eq!(after(Action::Flag, picture(0)), picture(0));
    assert_eq!(after(Action::Off, picture(0)), picture(0));
}

#[test]
fn blurred_images_are_unrecognisable() {
    let blurred = after(Action::Blur, chessboard(512, 512));
    let near = |level: &u8| (112..=143).contains(level);
    assert!(blurred.rgb.iter().all(near), "the squares are not grey");
    // In a photograph, pixels that are eight columns apart are nearly equal.
    let blurred = after(Action::Blur, picture(3));
    assert_ne!(blurred, picture(3));
    let rows = blurred.rgb.chunks_exact(3 * blurred.width);
    let step = rows.flat_map(|row| row.windows(25).map(|window| window[0].abs_diff(window[24]))).max();
    assert!(step <= Some(16), "{step:?}");
}

#[test]
fn blur_keeps_the_size_and_uniform_colours() {
    for (width, height) in SIZES {
        assert_eq!(after(Action::Blur, even(width, height, 200)), even(width, height, 200), "{width}x{height}");
        let blurred = after(Action::Blur, chessboard(width, height));
        assert_eq!((blurred.width, blurred.height, blurred.rgb.len()), (width, height, 3 * width * height));
    }
    assert_eq!(after(Action::Blur, even(0, 0, 0)), even(0, 0, 0));
}

#[test]
fn actions_have_names() {
    for &(name, action) in Action::ALL {
        assert_eq!(Action::from_name(name), Some(action));
        assert_eq!(action.name(), name);
    }
    assert_eq!(Action::from_name("smear"), None);
}
