//! Conversion to 8-bit levels, and grids.

use super::{fixture, flat, load, waves};
use txt2img::output::{Picture, grid, picture};

#[test]
fn levels_are_truncated_and_clamped() {
    let below = -1.0 + 2.0 * 0.999 / 255.0;
    let numbers = [-1.0, 1.0, 0.0, -7.0, 7.0, below, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    assert_eq!(picture(&numbers, 3, 1).rgb, [0, 255, 127, 0, 255, 0, 0, 255, 0]);
}

#[test]
fn a_grid_has_two_black_pixels_around_every_picture() {
    let grid = grid(&[1, 2, 3, 4, 5].map(|level| flat(4, 3, level)), 2).unwrap();
    assert_eq!((grid.width, grid.height), (2 * (4 + 2) + 2, 3 * (3 + 2) + 2));
    let drawn = [
        "..............",
        "..............",
        "..1111..2222..",
        "..1111..2222..",
        "..1111..2222..",
        "..............",
        "..............",
        "..3333..4444..",
        "..3333..4444..",
        "..3333..4444..",
        "..............",
        "..............",
        "..5555........",
        "..5555........",
        "..5555........",
        "..............",
        "..............",
    ];
    let levels: Vec<u8> = drawn.concat().bytes().flat_map(|c| [if c == b'.' { 0 } else { c - b'0' }; 3]).collect();
    assert_eq!(grid.rgb, levels);
}

#[test]
fn grids_have_the_sizes_of_the_originals() {
    for (case, sample, n, columns) in [("bulk", "00000", 8, 2), ("dpm", "00000", 4, 3), ("plms", "00000", 3, 1)] {
        let sample = load(fixture(&format!("cases/{case}/samples/{sample}.png")));
        let expected = load(fixture(&format!("cases/{case}/grid-0000.png")));
        let grid = grid(&vec![sample; n], columns).unwrap();
        assert_eq!((grid.width, grid.height), (expected.width, expected.height), "{case}");
    }
}

#[test]
fn a_grid_is_no_wider_than_its_pictures() {
    assert_eq!(grid(&[flat(4, 3, 1), flat(4, 3, 2)], 9).unwrap().width, 2 * (4 + 2) + 2);
}

#[test]
fn a_single_picture_is_its_own_grid() {
    assert_eq!(grid(&[waves(40, 30)], 3).unwrap(), waves(40, 30));
}

#[test]
fn impossible_grids_are_refused() {
    let refusal = |pictures: &[Picture], columns| grid(pictures, columns).unwrap_err().to_string();
    assert_eq!(refusal(&[], 1), "a grid needs at least one picture");
    assert_eq!(refusal(&[flat(4, 3, 1)], 0), "a grid needs at least one column");
    assert_eq!(refusal(&[flat(4, 3, 1), flat(3, 4, 1)], 1), "a grid needs pictures of one size, not 4x3 and 3x4");
}
