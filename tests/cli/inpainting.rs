//! Regions of pictures that are drawn anew: `--mask` and `--outpaint`.

use crate::support::{TestRun, fixture, notes, read_png};
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgba};
use std::fs;
use std::io::Cursor;
use txt2img::output::{self, Distance, Picture};

const SIDE: u32 = 64;

fn encoded(image: &DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Whether a pixel is in the region of the tests, whose edges are not those of latents.
fn is_in_region(x: u32, y: u32) -> bool {
    (19..45).contains(&x) && (10..40).contains(&y)
}

fn mask() -> DynamicImage {
    GrayImage::from_fn(SIDE, SIDE, |x, y| Luma([if is_in_region(x, y) { 255 } else { 0 }])).into()
}

/// A run with the picture `in.png`, a mask of it, and the same picture with a transparent region.
fn run() -> TestRun {
    let picture = image::open(fixture("inpaint/image.png")).unwrap();
    let mut holed = picture.to_rgba8();
    for (x, y, pixel) in holed.enumerate_pixels_mut() {
        let Rgba([red, green, blue, _]) = *pixel;
        *pixel = Rgba([red, green, blue, if is_in_region(x, y) { 0 } else { 255 }]);
    }
    TestRun::new()
        .file("in.png", encoded(&picture))
        .file("mask.png", encoded(&mask()))
        .file("holed.png", encoded(&holed.into()))
}

fn picture(run: &TestRun, n: usize) -> Picture {
    read_png(&run.path(&format!("out/samples/{n:05}.png")))
}

const FLAGS: [&str; 6] = ["--ddim_steps", "10", "--skip_watermark", "--skip_grid", "--prompt", "a cube"];

fn draw(run: &TestRun, flags: &[&str]) -> String {
    notes(&run.quick([&FLAGS[..], flags].concat()).ok())
}

/// Returns the number of pixels that differ inside and outside of the region.
fn changed(ours: &Picture, old: &Picture) -> (usize, usize) {
    let mut changed = (0, 0);
    for (i, (new, old)) in ours.rgb.chunks_exact(3).zip(old.rgb.chunks_exact(3)).enumerate() {
        let is_inside = is_in_region(i as u32 % SIDE, i as u32 / SIDE);
        let count = if is_inside { &mut changed.0 } else { &mut changed.1 };
        *count += usize::from(new != old);
    }
    changed
}

#[test]
fn only_the_region_is_drawn_and_the_rest_is_kept_to_the_bit() {
    let run = run();
    let old = read_png(&run.path("in.png"));
    for sampler in
        ["ddim", "plms", "dpm_solver", "lms", "euler", "euler_a", "heun", "dpm2", "dpmpp_2m", "uni_pc", "lcm", "tcd"]
    {
        draw(&run, &["--init-img", "in.png", "--mask", "mask.png", "--sampler", sampler]);
    }
    for n in 0..12 {
        let (inside, outside) = changed(&picture(&run, n), &old);
        assert!(inside > 26 * 30 / 2 && outside == 0, "{n}: {inside} pixels inside and {outside} outside");
    }
}

#[test]
fn transparency_can_be_the_mask() {
    let run = run();
    draw(&run, &["--init-img", "in.png", "--mask", "mask.png"]);
    draw(&run, &["--init-img", "holed.png", "--mask", "alpha"]);
    assert!(picture(&run, 0) == picture(&run, 1));
    run.quick(["--init-img", "in.png", "--mask", "alpha"]).fails_with("--mask alpha: 'in.png' has no alpha channel");
}

#[test]
fn the_fill_counts_below_strength_1() {
    let run = run();
    let masked = ["--init-img", "in.png", "--mask", "mask.png"];
    for strength in ["0.5", "1"] {
        for fill in ["original", "noise"] {
            draw(&run, &[&masked[..], &["--strength", strength, "--mask_fill", fill]].concat());
        }
    }
    assert!(picture(&run, 0) != picture(&run, 1));
    assert!(picture(&run, 2) == picture(&run, 3));
}

#[test]
fn a_blurred_mask_has_soft_edges() {
    let run = run();
    let old = read_png(&run.path("in.png"));
    draw(&run, &["--init-img", "in.png", "--mask", "mask.png", "--mask_blur", "3"]);
    let (_, outside) = changed(&picture(&run, 0), &old);
    assert!((50..2000).contains(&outside), "{outside}");
    // Far from the region, nothing changes.
    assert_eq!(picture(&run, 0).rgb[..3 * SIDE as usize], old.rgb[..3 * SIDE as usize]);
    let text = fs::read(run.path("out/samples/00000.png")).unwrap();
    assert!(String::from_utf8_lossy(&text).contains("Mask blur: 3"));
}

#[test]
fn a_picture_grows_by_its_borders() {
    let run = run();
    let old = read_png(&run.path("in.png"));
    let flags = ["--init-img", "in.png", "--outpaint", "8,16,24,0", "--n_samples", "1", "--n_iter", "1"];
    run.args([&FLAGS[..], &flags].concat()).ok();
    let grown = picture(&run, 0);
    assert_eq!((grown.width, grown.height), (96, 80));
    for y in 0..64 {
        let row = &grown.rgb[3 * (96 * (y + 16) + 8)..][..3 * 64];
        assert_eq!(row, &old.rgb[3 * 64 * y..][..3 * 64], "row {y}");
    }
    // With a size, the picture is what the borders leave of it; a mask is that of the picture.
    let sized = [&flags[..], &["--H", "96", "--W", "64", "--mask", "mask.png"]].concat();
    run.args([&FLAGS[..], &sized].concat()).ok();
    assert_eq!((picture(&run, 1).width, picture(&run, 1).height), (64, 96));
    let said = notes(&run.args(["--replay", "out/samples/00000.png"]).ok());
    assert!(said.contains("identical"), "{said}");
}

#[test]
fn each_line_of_a_prompts_file_has_its_own_mask() {
    let mut other = mask();
    other.invert();
    let run = run().file("other.png", encoded(&other)).file(
        "p.jsonl",
        "{\"prompt\": \"a cube\", \"init_img\": \"in.png\", \"mask\": \"mask.png\"}\n\
         {\"prompt\": \"a cube\", \"init_img\": \"in.png\", \"mask\": \"other.png\"}\n",
    );
    let old = read_png(&run.path("in.png"));
    run.quick([&FLAGS[..4], &["--from-file", "p.jsonl"]].concat()).ok();
    assert_eq!(changed(&picture(&run, 0), &old).1, 0);
    assert_eq!(changed(&picture(&run, 1), &old).0, 0);
}

#[test]
fn a_masked_picture_is_redrawn_from_its_metadata() {
    let run = run();
    draw(&run, &["--init-img", "in.png", "--mask", "mask.png"]);
    let replay = ["--replay", "out/samples/00000.png"];
    assert!(notes(&run.args(replay).ok()).contains("identical"));
    fs::rename(run.path("mask.png"), run.path("moved.png")).unwrap();
    run.args(replay)
        .fails_with("'mask.png' is missing or is not the picture that was used; give the original with --mask");
    assert!(notes(&run.args([&replay[..], &["--mask", "moved.png"]].concat()).ok()).contains("identical"));
}

#[test]
fn a_run_with_another_mask_is_not_resumed() {
    let run = run();
    let flags = ["--init-img", "in.png", "--mask", "mask.png", "--n_iter", "2"];
    draw(&run, &flags);
    let mut other = mask();
    other.invert();
    fs::write(run.path("mask.png"), encoded(&other)).unwrap();
    run.quick([&FLAGS[..], &flags, &["--resume"]].concat()).fails_with("the input pictures");
}

#[test]
fn masks_that_cannot_be_used_are_refused() {
    let black = GrayImage::new(SIDE, SIDE);
    let run = run()
        .file("black.png", encoded(&black.into()))
        .file("text.png", "a cube")
        .file("small.png", encoded(&mask().thumbnail_exact(32, 64)));
    let all_opaque = image::open(run.path("in.png")).unwrap().to_rgba8();
    fs::write(run.path("opaque.png"), encoded(&all_opaque.into())).unwrap();
    for (code, flags, reason) in [
        (2, &["--mask", "mask.png"][..], "--mask needs a picture to inpaint; give --init-img FILE, or"),
        (2, &["--outpaint", "8,8,8,8"], "--outpaint needs a picture to extend; give --init-img FILE, or"),
        (1, &["--init-img", "in.png", "--mask", "none.png"], "--mask: 'none.png' cannot be read"),
        (1, &["--init-img", "in.png", "--mask", "text.png"], "--mask: 'text.png' is not a readable picture"),
        (
            1,
            &["--init-img", "in.png", "--mask", "black.png"],
            "--mask 'black.png' is nowhere white, so nothing would be redrawn",
        ),
        (
            1,
            &["--init-img", "opaque.png", "--mask", "alpha"],
            "'opaque.png' is nowhere more than half transparent, so nothing would be redrawn",
        ),
        (
            1,
            &["--init-img", "in.png", "--mask", "small.png"],
            "--mask 'small.png' has 32×64 pixels, but 'in.png' has 64×64; they must have the same size",
        ),
        (
            2,
            &["--init-img", "in.png", "--mask", "mask.png", "--mask_blur", "-1"],
            "--mask_blur -1 is not between 0 and 1000",
        ),
        (2, &["--init-img", "in.png", "--outpaint", "4,0,4,0"], "--outpaint 4,0,4,0 is not in multiples of 8"),
        (
            1,
            &["--init-img", "in.png", "--mask", "mask.png", "--mask_blur", "500"],
            "--mask_blur 500 blurs away the whole region of --mask 'mask.png'; use a smaller value",
        ),
        (
            2,
            &["--init-img", "in.png", "--mask", "mask.png", "--mask_fill", "noise", "--strength", "0.01"],
            "--mask_fill noise needs at least one step, but --strength 0.01 takes none of 50; use a higher --strength",
        ),
        (
            1,
            &["--init-img", "in.png", "--outpaint", "8192,0,0,0"],
            "'in.png' has 64×64 pixels: with --outpaint 8192,0,0,0: --W 8256 is not between 8 and 8192",
        ),
        (
            1,
            &["--init-img", "in.png", "--outpaint", "32,0,32,0", "--W", "64"],
            "'in.png' has 64×64 pixels: --outpaint 32,0,32,0 leaves no room for the picture in --W 64",
        ),
    ] {
        run.alone([&["--outdir", "out", "--ckpt", "demo"][..], flags].concat()).fails(code, reason);
    }
    run.misuse(["--init-img", "in.png", "--outpaint", "8"]);
    assert!(!run.path("out").exists());
    assert!(
        draw(&run, &["--init-img", "in.png", "--mask_blur", "2"])
            .contains("--mask_blur has no effect without --mask or --outpaint")
    );
}

#[test]
fn the_region_covers_every_white_pixel_at_any_size() {
    // A thin line, and a square whose edges are those of latents and of pixels at half the size.
    let side = 2 * SIDE;
    let line = GrayImage::from_fn(side, side, |x, _| Luma([if x == 41 { 255 } else { 0 }]));
    let square = GrayImage::from_fn(side, side, |x, y| {
        Luma([if (32..80).contains(&x.max(y)) && x.min(y) >= 32 { 255 } else { 0 }])
    });
    let large = image::open(fixture("inpaint/image.png")).unwrap().resize_exact(side, side, FilterType::Triangle);
    let run = run()
        .file("large.png", encoded(&large))
        .file("line.png", encoded(&line.into()))
        .file("square.png", encoded(&square.into()));
    for mask in ["line.png", "square.png"] {
        draw(&run, &["--init-img", "large.png", "--mask", mask, "--strength", "1"]);
    }
    let old = &output::resized(&output::open(&run.path("large.png")).unwrap(), 64, 64).into_owned();
    let is_new = |n: usize| {
        let drawn = picture(&run, n);
        move |x: usize, y: usize| drawn.rgb[3 * (64 * y + x)..][..3] != old.rgb[3 * (64 * y + x)..][..3]
    };
    let changed_line = is_new(0);
    let on_line = (0..64).filter(|y| changed_line(20, *y)).count();
    let beside = (0..64 * 64).filter(|at| at % 64 != 20 && changed_line(at % 64, at / 64)).count();
    assert!(on_line > 48 && beside == 0, "{on_line} {beside}");
    let changed_square = is_new(1);
    let is_inside = |x: usize, y: usize| (16..40).contains(&x) && (16..40).contains(&y);
    let outside = (0..64 * 64).filter(|at| !is_inside(at % 64, at / 64) && changed_square(at % 64, at / 64)).count();
    assert_eq!(outside, 0);
}

#[test]
fn the_demo_model_draws_another_solid_in_the_region() {
    let run = TestRun::new();
    let cube = output::open("models/demo/pink-cube.png".as_ref()).unwrap();
    // The lower half.
    let mask = GrayImage::from_fn(cube.width as u32, cube.height as u32, |_, y| {
        Luma([if 2 * y >= cube.height as u32 { 255 } else { 0 }])
    });
    fs::write(run.path("mask.png"), encoded(&mask.into())).unwrap();
    let path = std::env::current_dir().unwrap().join("models/demo/pink-cube.png");
    let flags = ["--outdir", "out", "--safety", "off", "--ckpt", "demo", "--n_samples", "1", "--n_iter", "1"];
    let flags = [&flags[..], &["--ddim_steps", "20", "--skip_watermark", "--skip_grid", "--mask", "mask.png"]].concat();
    let prompt = ["--prompt", "a photo of a blue cube, white background", "--init-img", path.to_str().unwrap()];
    run.alone([&flags[..], &prompt, &["--strength", "1"]].concat()).ok();
    let drawn = picture(&run, 0);
    let half = drawn.rgb.len() / 2;
    assert_eq!(drawn.rgb[..half], cube.rgb[..half]);
    assert!(Distance::new(&drawn, &cube).psnr < 30., "nothing was drawn");
}
