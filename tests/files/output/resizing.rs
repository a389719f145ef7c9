//! Resizing, against Pillow.

use crate::support::{fixture, read_png};
use txt2img::output::resized;

#[test]
fn pictures_are_resized_as_by_pillow_to_the_bit() {
    let folder = fixture("resize");
    let original = read_png(&folder.join("109x67.png"));
    for (width, height) in [(96, 64), (32, 32), (109, 64), (96, 67), (224, 160), (64, 288), (45, 77)] {
        let expected = read_png(&folder.join(format!("{width}x{height}.png")));
        assert!(*resized(&original, width, height) == expected, "{width}×{height}");
    }
    assert!(*resized(&original, 109, 67) == original);
}
