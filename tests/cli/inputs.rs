//! Pictures to start from: `--init-img` and `--strength`, and the program `img2img`.

use crate::support::{TestRun, fixture, notes, read_png};
use image::{DynamicImage, ImageFormat};
use std::fs;
use std::io::Cursor;
use txt2img::args::Program;
use txt2img::output::{self, Picture};

/// Enough steps for strengths to differ.
const STEPS: [&str; 2] = ["--ddim_steps", "10"];

fn square() -> DynamicImage {
    image::open(fixture("img2img/square.png")).unwrap()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A run with the picture `in.png`, of 64×64 pixels.
fn run() -> TestRun {
    TestRun::new().file("in.png", encoded(&square().thumbnail_exact(64, 64), ImageFormat::Png))
}

fn picture(run: &TestRun, n: usize) -> Picture {
    read_png(&run.path(&format!("out/samples/{n:05}.png")))
}

/// Returns arguments that start from `in.png`.
fn from<'a>(others: &[&'a str]) -> Vec<&'a str> {
    [&STEPS[..], &["--init-img", "in.png", "--skip_watermark"], others].concat()
}

fn draw(run: &TestRun, others: &[&str]) {
    run.quick(from(others)).ok();
}

#[test]
fn the_picture_matters_less_with_strength() {
    let run = TestRun::new().file("in.png", fs::read("models/demo/pink-cube.png").unwrap());
    let draw = |flags: &[&str]| {
        let all = ["--outdir", "out", "--init-img", "in.png", "--prompt", "a photo of a blue cube, white background"];
        let few = ["--sampler", "dpm_solver", "--ddim_steps", "20", "--n_samples", "1", "--n_iter", "1", "--skip_grid"];
        run.alone([&all[..], &few, &["--safety", "off", "--ckpt", "demo"], flags].concat()).ok();
    };
    for strength in ["0", "0.3", "0.75", "1"] {
        draw(&["--strength", strength]);
    }
    draw(&[]);
    let input = output::open(&run.path("in.png")).unwrap();
    let decibels = [0, 1, 2, 3].map(|n| output::Distance::new(&picture(&run, n), &input).psnr);
    assert!(decibels[0] > 25. && decibels.windows(2).all(|two| two[0] > two[1] + 1.), "{decibels:?}");
    assert!(picture(&run, 4) == picture(&run, 2), "the default is not 0.75");
}

#[test]
fn every_sampler_starts_from_the_picture() {
    let run = run();
    let samplers =
        ["ddim", "plms", "dpm_solver", "lms", "euler", "euler_a", "heun", "dpm2", "dpmpp_2m", "uni_pc", "lcm", "tcd"];
    for sampler in samplers {
        draw(&run, &["--sampler", sampler, "--strength", "0.5"]);
        draw(&run, &["--sampler", sampler, "--strength", "0"]);
    }
    let without_steps = picture(&run, 3);
    for (i, sampler) in samplers.iter().enumerate() {
        assert!(picture(&run, 2 * i) != picture(&run, 2 * i + 1), "{sampler}");
        // Only the original's samplers leave noise in.
        assert!(i < 2 || output::Distance::new(&picture(&run, 2 * i + 1), &without_steps).psnr > 15., "{sampler}");
    }
}

#[test]
fn the_size_is_that_of_the_picture_in_multiples_of_32() {
    let run = TestRun::new().file("in.png", encoded(&square().thumbnail_exact(101, 70), ImageFormat::Png));
    let drawn = |flags: &[&str]| {
        let run_flags =
            ["--init-img", "in.png", "--ddim_steps", "2", "--n_samples", "1", "--n_iter", "1", "--skip_grid"];
        run.args([&run_flags, flags].concat()).ok();
        let n = run.files().iter().filter(|file| file.starts_with("samples/")).count();
        let Picture { width, height, .. } = picture(&run, n - 1);
        (width, height)
    };
    assert_eq!(drawn(&[]), (96, 64));
    assert_eq!(drawn(&["--W", "72"]), (72, 64));
    assert_eq!(drawn(&["--H", "128", "--W", "88"]), (88, 128));
    // In multiples of 8, with the proportions of the picture.
    assert_eq!(drawn(&["--fit"]), (104, 72));
    assert_eq!(drawn(&["--fit", "--W", "64"]), (64, 48));
    assert_eq!(drawn(&["--fit", "--W", "200", "--H", "96"]), (136, 96));
    assert_eq!(drawn(&["--fit", "--W", "64", "--outpaint", "8,0,8,0"]), (64, 32));
    run.args(["--init-img", "in.png", "--fit", "--W", "64", "--outpaint", "32,0,32,0"])
        .fails_with("'in.png' has 101×70 pixels: --outpaint 32,0,32,0 leaves no room for the picture in --W 64");
}

#[test]
fn each_line_of_a_prompts_file_has_its_own_picture() {
    let run = run().file("other.png", encoded(&square().rotate90().thumbnail_exact(64, 64), ImageFormat::Png)).file(
        "p.jsonl",
        "{\"prompt\": \"a\", \"init_img\": \"in.png\", \"strength\": 0.4}\n{\"prompt\": \"a\", \"init_img\": \"other.png\", \
         \"strength\": 0.4}\n{\"prompt\": \"a\"}\n",
    );
    let flags = ["--from-file", "p.jsonl", "--seed_mode", "per_image", "--skip_watermark", "--n_iter", "1"];
    run.args([&flags[..], &STEPS, &["--H", "64", "--W", "64", "--skip_grid"]].concat()).ok();
    let pictures = [0, 1, 2].map(|n| picture(&run, n));
    assert!(pictures[0] != pictures[1] && pictures[1] != pictures[2]);
    draw(&run, &["--prompt", "a", "--strength", "0.4", "--seed_mode", "per_image"]);
    assert!(picture(&run, 3) == pictures[0]);
}

#[test]
fn all_pictures_of_a_folder_are_drawn_and_their_names_kept() {
    let run = run();
    fs::create_dir(run.path("pictures")).unwrap();
    let other = encoded(&square().rotate90().thumbnail_exact(64, 64), ImageFormat::Png);
    for (name, content) in
        [("b.png", &other[..]), ("a.PNG", &fs::read(run.path("in.png")).unwrap()), ("notes.txt", b"")]
    {
        fs::write(run.path("pictures").join(name), content).unwrap();
    }
    let flags =
        ["--init-img", "pictures", "--skip_grid", "--skip_watermark", "--seed_mode", "per_image", "--prompt", "a"];
    run.quick([&flags[..], &["--n_samples", "2"]].concat()).ok();
    run.has_files(["samples/00000-a.png", "samples/00001-a.png", "samples/00002-b.png", "samples/00003-b.png"]);
    draw(&run, &["--seed_mode", "per_image", "--prompt", "a", "--ddim_steps", "2"]);
    assert!(picture(&run, 4) == read_png(&run.path("out/samples/00000-a.png")));
    fs::create_dir(run.path("empty")).unwrap();
    run.quick(["--init-img", "empty"]).fails_with("--init-img 'empty' is a folder without PNG, JPEG or WebP files");
}

#[test]
fn pictures_are_turned_upright_on_request() {
    // Taller than wide, and stored lying on its side, with the orientation 6 that undoes it.
    let upright = square().thumbnail_exact(64, 96);
    let lying = encoded(&upright.rotate270().to_rgb8().into(), ImageFormat::Jpeg);
    let tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let exif = [b"\xff\xe1\0\x22Exif\0\0", &tiff[..]].concat();
    let run = TestRun::new().file("in.jpg", [&lying[..2], &exif, &lying[2..]].concat());
    let flags = ["--init-img", "in.jpg", "--ddim_steps", "2", "--n_samples", "1", "--n_iter", "1", "--skip_grid"];
    run.args(flags).ok();
    run.args([&flags[..], &["--auto_orient"]].concat()).ok();
    let size = |n| (picture(&run, n).width, picture(&run, n).height);
    assert_eq!([size(0), size(1)], [(96, 64), (64, 96)]);
    let said = notes(&run.args(["--replay", "out/samples/00001.png"]).ok());
    assert!(said.contains("identical"), "{said}");
}

#[test]
fn a_sweep_over_strength_says_what_it_varies() {
    let run = run();
    run.quick(from(&["--sweep", "strength=0.2,0.8"])).ok();
    run.has_files(["samples/00000.png", "samples/00001.png", "sweep-0000.html", "sweep-0000.png"]);
    assert!(picture(&run, 0) != picture(&run, 1));
}

#[test]
fn a_picture_is_redrawn_from_its_metadata_and_the_same_input() {
    let run = run();
    draw(&run, &["--strength", "0.6"]);
    let replay = ["--replay", "out/samples/00000.png"];
    run.args(replay).ok();
    fs::rename(run.path("in.png"), run.path("moved.png")).unwrap();
    run.args(replay)
        .fails_with("'in.png' is missing or is not the picture that was used; give the original with --init-img");
    run.args([&replay[..], &["--init-img", "moved.png"]].concat()).ok();
    let text = fs::read(run.path("out/samples/00000.png")).unwrap();
    assert!(String::from_utf8_lossy(&text).contains("Denoising strength: 0.6"));
}

#[test]
fn a_run_with_another_input_is_not_resumed() {
    let run = run();
    draw(&run, &["--n_iter", "2"]);
    fs::write(run.path("in.png"), encoded(&square().rotate90().thumbnail_exact(64, 64), ImageFormat::Png)).unwrap();
    run.quick(from(&["--n_iter", "2", "--resume"])).fails_with("the input pictures");
    for flags in [["--strength", "1"], ["--W", "72"]] {
        let all = [&from(&["--n_iter", "2", "--resume"])[..], &flags].concat();
        run.quick(all).fails_with(flags[0]);
    }
}

#[test]
fn every_kind_of_picture_is_read() {
    let small = square().thumbnail_exact(64, 64);
    let kinds: [(&str, DynamicImage, ImageFormat); 8] = [
        ("rgb.png", small.to_rgb8().into(), ImageFormat::Png),
        ("alpha.png", small.to_rgba8().into(), ImageFormat::Png),
        ("grey.png", small.to_luma8().into(), ImageFormat::Png),
        ("deep.png", small.to_rgb16().into(), ImageFormat::Png),
        ("deep-grey.png", small.to_luma16().into(), ImageFormat::Png),
        ("rgb.jpg", small.to_rgb8().into(), ImageFormat::Jpeg),
        ("grey.jpg", small.to_luma8().into(), ImageFormat::Jpeg),
        ("rgb.webp", small.to_rgb8().into(), ImageFormat::WebP),
    ];
    let run = TestRun::new();
    for (name, image, format) in kinds {
        fs::write(run.path(name), encoded(&image, format)).unwrap();
        run.quick(["--init-img", name]).ok();
    }
}

#[test]
fn inputs_that_cannot_be_used_are_refused_before_anything_is_read() {
    let png = encoded(&square(), ImageFormat::Png);
    let run = TestRun::new()
        .file("in.png", &png)
        .file("short.png", &png[..png.len() / 2])
        .file("short.jpg", &encoded(&square().to_rgb8().into(), ImageFormat::Jpeg)[..500])
        .file("late.jpg", &fs::read(fixture("img2img/odd.jpg")).unwrap()[..6000])
        .file("p.jsonl", "{\"prompt\": \"a\", \"strength\": 0.5}\n")
        .file("text.png", "a cube")
        .file("tiny.png", encoded(&square().thumbnail_exact(16, 40), ImageFormat::Png))
        .file("bomb.png", bomb())
        .file("wide.png", encoded(&DynamicImage::new_luma8(9000, 32), ImageFormat::Png));
    for (code, flags, reason) in [
        (1, &["--init-img", "none.png"][..], "--init-img: 'none.png' cannot be read"),
        (1, &["--init-img", "."], "--init-img: './bomb.png' is too large"),
        (1, &["--init-img", "short.png"], "'short.png' is a damaged picture"),
        (1, &["--init-img", "short.jpg"], "'short.jpg' is a damaged picture"),
        (1, &["--init-img", "text.png"], "'text.png' is not a readable picture; give a PNG, JPEG or WebP file"),
        (1, &["--init-img", "bomb.png"], "'bomb.png' is too large"),
        (1, &["--init-img", "tiny.png"], "'tiny.png' has 16×40 pixels: fewer than 32 on a side; give the size"),
        (
            2,
            &["--init-img", "in.png", "--f", "4"],
            "--f 4 does not fit --init-img, as the model encodes 8 pixels per latent",
        ),
        (1, &["--init-img", "late.jpg"], "'late.jpg' is a damaged picture (it ends early)"),
        (1, &["--from-file", "p.jsonl"], "line 1: \"strength\" needs a picture to start from"),
        (1, &["--init-img", "wide.png"], "'wide.png' has 9000×32 pixels: --W 8992 is not between 8 and 8192"),
        (2, &["--init-img", "in.png", "--strength", "1.5"], "--strength 1.5 is not between 0 and 1"),
        (2, &["--init-img", "in.png", "--strength", "-0.1"], "--strength -0.1 is not between 0 and 1"),
    ] {
        run.alone([&["--outdir", "out", "--ckpt", "demo"][..], flags].concat()).fails(code, reason);
    }
    assert!(!run.path("out").exists());
    for flags in [["--strength", "0.5"], ["--sweep", "strength=0.5,1"]] {
        assert!(notes(&run.quick(flags).ok()).contains("--strength has no effect without --init-img"));
    }
}

/// The beginning of a PNG file of 100000×100000 pixels.
fn bomb() -> Vec<u8> {
    let size = [100_000u32, 100_000].into_iter().flat_map(u32::to_be_bytes);
    let header: Vec<u8> = size.chain([8, 2, 0, 0, 0]).collect();
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, content) in [(b"IHDR", &header[..]), (b"IDAT", b"\x78\x9c")] {
        png.extend((content.len() as u32).to_be_bytes());
        let chunk = [kind, content].concat();
        png.extend(&chunk);
        png.extend(crc32(&chunk).to_be_bytes());
    }
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

#[test]
fn img2img_has_the_originals_defaults() {
    let run = run().file("p.txt", "a cube\n");
    let flags = [&["--init-img", "in.png"], &STEPS[..]].concat();
    run.args_of(Program::Img2Img, &flags).ok();
    run.has_files(["grid-0000.png", "samples/00000.png", "samples/00001.png"]);
    draw(&run, &["--n_samples", "2", "--scale", "5"]);
    assert!((0..2).all(|n| picture(&run, n) == picture(&run, n + 2)));
    run.args_of(Program::Img2Img, [&flags[..], &["--watermark"]].concat()).ok();
    assert!(picture(&run, 4) == picture(&run, 0), "too small for a watermark");
    for (code, flags, reason) in [
        (2, &[][..], "img2img needs a picture to start from; give it with --init-img FILE"),
        (1, &["--from-file", "p.txt"], "prompts file 'p.txt', line 1: img2img needs a picture to start from"),
        (2, &["--init-img", "in.png", "--plms"], "img2img does not support --plms, as the original does not"),
    ] {
        run.args_of(Program::Img2Img, flags).fails(code, reason);
    }
    let output = run.args_of(Program::Img2Img, [&flags[..], &["--fixed_code", "--f", "4"]].concat()).ok();
    assert!(notes(&output).contains("--fixed_code and --f have no effect with img2img, as in the original"));
    // Abbreviations of both spellings are one flag.
    run.quick(["--init", "in.png", "--str", "0.5"]).ok();
}
