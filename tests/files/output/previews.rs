//! Previews of latents, and their files.

use super::outdir::{Outdir, save};
use super::{flat, load, names};
use candle_core::{DType, Device, Tensor};
use std::fs;
use txt2img::output::preview;

fn latents(numbers: &[f32], height: usize, width: usize) -> Tensor {
    Tensor::from_slice(numbers, (1, height, width, 4), &Device::Cpu).unwrap()
}

#[test]
fn no_latents_are_grey() {
    assert_eq!(preview(&latents(&[0.; 4 * 6], 2, 3)).unwrap(), flat(24, 16, 127));
}

#[test]
fn each_channel_has_its_colour() {
    let one_hot: Vec<f32> = (0..16).map(|at| if at % 5 == 0 { 1. } else { 0. }).collect();
    let picture = preview(&latents(&one_hot, 1, 4)).unwrap();
    let colours: Vec<&[u8]> = picture.rgb.chunks(3).step_by(8).take(4).collect();
    // 127.5 · (1 + factor), truncated.
    assert_eq!(colours, [[165, 153, 154], [151, 163, 149], [107, 151, 161], [104, 92, 67]]);
}

#[test]
fn each_latent_is_a_square() {
    let numbers: Vec<f32> = (0..4 * 6).map(|at| at as f32 / 6. - 2.).collect();
    let picture = preview(&latents(&numbers, 2, 3)).unwrap();
    assert_eq!((picture.width, picture.height), (24, 16));
    for (at, pixel) in picture.rgb.chunks(3).enumerate() {
        let (x, y) = (at % 24 / 8, at / 24 / 8);
        let alone = preview(&latents(&numbers[4 * (3 * y + x)..][..4], 1, 1)).unwrap();
        assert_eq!(pixel, &alone.rgb[..3], "{at}");
    }
}

#[test]
fn levels_end_at_black_and_white() {
    assert_eq!(preview(&latents(&[9., 9., 0., -9.], 1, 1)).unwrap(), flat(8, 8, 255));
    assert_eq!(preview(&latents(&[-9., -9., 0., 9.], 1, 1)).unwrap(), flat(8, 8, 0));
    assert_eq!(preview(&latents(&[f32::NAN; 4], 1, 1)).unwrap(), flat(8, 8, 0));
}

#[test]
fn half_precision_and_no_order_in_memory_are_fine() {
    let numbers: Vec<f32> = (0..4 * 6).map(|at| at as f32 / 8. - 1.5).collect();
    let whole = latents(&numbers, 2, 3);
    let half = whole.to_dtype(DType::BF16).unwrap();
    assert_eq!(preview(&half).unwrap(), preview(&whole).unwrap());
    let strided = whole.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap().permute((0, 2, 3, 1)).unwrap();
    assert_eq!(preview(&strided).unwrap(), preview(&whole).unwrap());
}

#[test]
fn other_shapes_are_refused() {
    for shape in [vec![2, 1, 1, 4], vec![1, 1, 1, 3], vec![1, 1, 4]] {
        let latents = Tensor::zeros(&*shape, DType::F32, &Device::Cpu).unwrap();
        let expected = format!("a preview needs latents of the shape (1, h, w, 4), not {shape:?}");
        assert_eq!(preview(&latents).unwrap_err().to_string(), expected);
    }
}

#[test]
fn previews_have_a_folder_of_their_own_that_does_not_count() {
    let outdir = Outdir::new();
    let mut folder = outdir.open();
    assert!(!outdir.path().join("intermediates").exists());
    let path = folder.folder.save_preview(3, 12, &flat(8, 8, 5)).unwrap();
    assert_eq!(path, outdir.path().join("intermediates/00003-012.png"));
    assert_eq!(load(path), flat(8, 8, 5));
    save(&mut folder, &flat(8, 8, 1)).unwrap();
    drop(folder);
    let mut next = outdir.open();
    assert!(save(&mut next, &flat(8, 8, 1)).unwrap().ends_with("samples/00001.png"));
    assert!(next.save_grid(&flat(8, 8, 1)).unwrap().ends_with("grid-0000.png"));
}

#[test]
fn a_preview_overwrites_nothing() {
    let outdir = Outdir::new();
    for level in 1..4 {
        outdir.open().folder.save_preview(0, 1, &flat(8, 8, level)).unwrap();
    }
    let previews = outdir.path().join("intermediates");
    assert_eq!(names(&previews), ["00000-001-2.png", "00000-001-3.png", "00000-001.png"]);
    assert_eq!(load(previews.join("00000-001.png")), flat(8, 8, 1));
}

#[test]
fn a_file_in_the_way_of_previews_is_named() {
    let outdir = Outdir::new();
    let mut folder = outdir.open();
    let file = outdir.path().join("intermediates");
    fs::write(&file, "in the way").unwrap();
    let error = folder.folder.save_preview(0, 1, &flat(8, 8, 1)).unwrap_err().to_string();
    assert_eq!(error, format!("'{}' is a file, not a folder: choose another --outdir", file.display()));
}
