//! `--low_memory`: networks on demand, and tiles.

use crate::support::{TestRun, fixture, notes, read_png};
use candle_core::{Device, Tensor};
use image::{DynamicImage, ImageFormat};
use std::collections::HashMap;
use std::fs;
use std::io::Cursor;
use txt2img::checkpoint::Checkpoint;
use txt2img::output::{Distance, Picture};

fn picture(run: &TestRun, n: usize) -> Picture {
    read_png(&run.path(&format!("out/samples/{n:05}.png")))
}

#[test]
fn small_pictures_of_a_small_model_do_not_change() {
    let mut png = Cursor::new(vec![]);
    DynamicImage::new_rgb8(64, 64).write_to(&mut png, ImageFormat::Png).unwrap();
    let run = TestRun::new().file("in.png", png.into_inner());
    // Two batches, for which the networks are loaded twice, with a prompt each and the empty one.
    let draw = |others: &[&str]| {
        run.quick([&["--n_iter", "2", "--clip_skip", "2", "--negative_prompt", "a ball"], others].concat()).ok();
    };
    draw(&[]);
    draw(&["--low_memory"]);
    draw(&["--init-img", "in.png", "--ddim_steps", "4"]);
    draw(&["--init-img", "in.png", "--ddim_steps", "4", "--low_memory"]);
    for n in [0, 1, 4, 5] {
        assert!(picture(&run, n) == picture(&run, n + 2), "{n}");
    }
    assert!(picture(&run, 0) != picture(&run, 4));
}

#[test]
fn large_pictures_are_decoded_in_tiles() {
    let run = TestRun::new();
    let size = ["--H", "64", "--W", "576", "--skip_watermark"];
    run.quick(size).ok();
    let output = run.quick([&size[..], &["--low_memory"]].concat()).ok();
    assert!(
        notes(&output).contains("--low_memory decodes pictures larger than 512×512 in tiles"),
        "{}",
        notes(&output)
    );
    let distance = Distance::new(&picture(&run, 0), &picture(&run, 1));
    assert!((20. ..100.).contains(&distance.psnr), "{}", distance.psnr);
}

#[test]
fn a_run_is_not_resumed_with_another_use_of_memory() {
    let run = TestRun::new();
    run.quick(["--n_iter", "1"]).ok();
    run.quick(["--low_memory", "--resume", "--n_iter", "2"]).fails_with("the compute type");
}

#[test]
fn missing_weights_are_found_before_anything_is_drawn() {
    let nano = Checkpoint::open(&fixture("nano.ckpt")).unwrap();
    let missing = "first_stage_model.decoder.conv_out.bias";
    let tensor = |name: &str| {
        // All but the positions of tokens, which are integers, and not read.
        let numbers = nano.read_f32(name).ok()?;
        Some((name.to_owned(), Tensor::from_vec(numbers, nano.shape(name)?, &Device::Cpu).unwrap()))
    };
    let rest = nano.names().filter(|name| *name != missing).filter_map(tensor);
    let run = TestRun::new();
    candle_core::safetensors::save(&rest.collect::<HashMap<_, _>>(), run.path("broken.safetensors")).unwrap();
    fs::copy(fixture("nano.yaml"), run.path("nano.yaml")).unwrap();
    let flags = ["--ckpt", "broken.safetensors", "--config", "nano.yaml", "--low_memory"];
    let error = run.small(flags).fails_with(missing);
    assert!(error.contains("does not fit the model's config") && !error.contains("Progress"), "{error}");
}
