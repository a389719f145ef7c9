//! Effects of flags on pictures and messages.

use crate::support::{TestCommand, TestRun, notes, read_png, stderr, stdout};
use txt2img::by_name::ByName;
use txt2img::diffusion::samplers::Kind;

/// Returns the width and height of a picture below `out`.
fn size(run: &TestRun, file: &str) -> (usize, usize) {
    let picture = read_png(&run.path("out").join(file));
    (picture.width, picture.height)
}

/// Returns the pixels of the picture that these flags draw.
fn picture(flags: &[&str]) -> Vec<u8> {
    let run = TestRun::new();
    run.quick(flags).ok();
    read_png(&run.path("out/samples/00000.png")).rgb
}

#[test]
fn the_closing_message_is_the_originals() {
    let run = TestRun::new();
    assert_eq!(stdout(&run.quick([] as [&str; 0]).ok()), "Your samples are ready and waiting for you here: \nout\n");
    run.has_files(["samples/00000.png", "grid-0000.png"]);
}

#[test]
fn without_a_terminal_there_are_no_progress_bars() {
    let message = stderr(&TestRun::new().quick(["--skip_watermark"]).ok());
    assert!(message.starts_with("1 picture saved in ") && message.ends_with(" s, and grid-0000.png.\n"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn timings_are_a_table_row_of_three_columns() {
    let message = stdout(&TestRun::new().quick(["--timings"]).ok());
    let rows: Vec<&str> = message.lines().take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows[0], "| Time to load the model | Processing time per image | Total time |");
    assert!(rows.len() == 3 && rows.iter().all(|row| row.matches('|').count() == 4), "{message}");
    assert!(message.ends_with("here: \nout\n"));
}

#[test]
fn a_second_run_continues_the_numbering() {
    let run = TestRun::new();
    run.quick(["--n_samples", "2"]).ok();
    run.quick(["--n_samples", "2"]).ok();
    run.has_files([
        "samples/00000.png",
        "samples/00001.png",
        "samples/00002.png",
        "samples/00003.png",
        "grid-0000.png",
        "grid-0001.png",
    ]);
}

#[test]
fn skip_grid_writes_only_single_pictures() {
    let run = TestRun::new();
    run.quick(["--skip_grid"]).ok();
    run.has_files(["samples/00000.png"]);
}

#[test]
fn skip_save_writes_only_the_grid() {
    let run = TestRun::new();
    run.quick(["--skip_save"]).ok();
    run.has_files(["grid-0000.png"]);
}

#[test]
fn n_rows_are_pictures_in_a_row() {
    for (n_rows, grid) in [("0", (200, 68)), ("1", (68, 200)), ("2", (134, 134)), ("9", (200, 68)), ("-1", (200, 68))] {
        let run = TestRun::new();
        run.quick(["--n_samples", "3", "--n_rows", n_rows, "--skip_save"]).ok();
        assert_eq!(size(&run, "grid-0000.png"), grid, "--n_rows {n_rows}");
    }
}

#[test]
fn every_sampler_draws() {
    for &(name, _) in Kind::ALL {
        let run = TestRun::new();
        run.quick(["--sampler", name]).ok();
        run.has_files(["samples/00000.png", "grid-0000.png"]);
    }
}

#[test]
fn sampler_and_the_old_spellings_draw_the_same() {
    assert_eq!(picture(&["--sampler", "ddim"]), picture(&[]));
    assert_eq!(picture(&["--sampler", "plms"]), picture(&["--plms"]));
    assert_eq!(picture(&["--sampler", "dpm_solver"]), picture(&["--plms", "--dpm_solver"]));
}

#[test]
fn every_generator_draws_a_different_picture() {
    let [cuda, a100, small, cpu] = ["cuda", "cuda:108x2048", "cuda:1x256", "cpu"].map(|rng| picture(&["--rng", rng]));
    assert_eq!(cuda, a100);
    assert_eq!(cuda, small, "256 numbers are too few to tell GPUs apart");
    assert_ne!(cuda, cpu);
}

#[test]
fn guidance_may_be_absent_zero_or_negative() {
    let pictures = ["7.5", "1", "0", "-7.5"].map(|scale| picture(&["--scale", scale]));
    assert!(pictures.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_random_seed_is_noted_and_redraws_the_same_picture() {
    let run = TestRun::new();
    let message = stderr(&run.quick(["--seed", "-1"]).ok());
    let (_, rest) = message.split_once("note: the random seed is ").unwrap();
    let seed = rest.lines().next().unwrap();
    assert_eq!(read_png(&run.path("out/samples/00000.png")).rgb, picture(&["--seed", seed]));
}

#[test]
fn every_multiple_of_8_is_a_size() {
    for (h, w) in [("72", "104"), ("8", "64"), ("200", "40")] {
        let run = TestRun::new();
        run.quick(["--H", h, "--W", w]).ok();
        assert_eq!(size(&run, "samples/00000.png"), (w.parse().unwrap(), h.parse().unwrap()));
    }
}

#[test]
fn a_smaller_factor_makes_larger_latents_and_pictures() {
    let run = TestRun::new();
    run.quick(["--f", "4"]).ok();
    assert_eq!(size(&run, "samples/00000.png"), (128, 128));
}

#[test]
fn a_picture_too_small_for_the_watermark_is_noted_once() {
    let message = notes(&TestRun::new().quick(["--n_samples", "2"]).ok());
    assert_eq!(
        message,
        "note: pictures under 256×256 pixels are too small for the invisible watermark; it is left out\n"
    );
}

#[test]
fn a_rounded_number_of_steps_is_noted() {
    let note = |steps: &str, sampler: &str| {
        notes(&TestRun::new().quick(["--skip_watermark", "--ddim_steps", steps, "--sampler", sampler]).ok())
    };
    assert_eq!(note("30", "ddim"), "note: --ddim_steps 30 means 31 steps with this sampler\n");
    assert_eq!(note("3", "plms"), "note: --ddim_steps 3 means 4 steps with this sampler\n");
    assert_eq!(note("3", "dpm_solver"), "");
}

#[test]
fn the_default_config_is_read_if_it_is_there() {
    let run = TestRun::new().with_nano("configs/stable-diffusion/v1-inference.yaml", "m.ckpt");
    run.small(["--ckpt", "m.ckpt", "--outdir", "out"]).ok();
    run.has_files(["samples/00000.png", "grid-0000.png"]);
}

#[test]
fn the_default_config_is_built_in_if_it_is_not() {
    let run = TestRun::new().with_nano("other.yaml", "models/ldm/stable-diffusion-v1/model.ckpt");
    // The built-in config is Stable Diffusion 1.x's, which does not fit the small model.
    run.small(["--outdir", "out"]).fails_with("768");
}

#[test]
fn the_articles_checkpoint_is_found() {
    let run = TestRun::new().with_nano("m.yaml", "stable-diffusion-v1-5-emaonly/v1-5-pruned-emaonly.ckpt");
    run.small(["--config", "m.yaml"]).ok();
    assert!(run.path("outputs/txt2img-samples/grid-0000.png").is_file());
}

#[test]
fn without_a_model_the_demo_model_is_used_with_a_note() {
    let run = TestRun::new();
    let cube = ["--prompt", "a pink cube", "--outdir", "out", "--skip_watermark"];
    let message = notes(&run.small(cube).ok());
    let lines: Vec<&str> = message.lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|note| note.starts_with("note: ")), "{message}");
    assert!(lines[0].contains("cubes, balls, pyramids, cones, cylinders and rings") && lines[1].contains("--ckpt"));
    run.has_files(["samples/00000.png", "grid-0000.png"]);

    let named = TestRun::new();
    let message = notes(&named.small([&["--ckpt", "demo"], &cube[..]].concat()).ok());
    assert_eq!(message, "");
    let picture = |run: &TestRun| read_png(&run.path("out/samples/00000.png"));
    assert!(picture(&run) == picture(&named));
}

#[test]
fn the_demo_model_draws_256_pixels_unless_a_size_is_given() {
    let size_of = |flags: &[&str]| {
        let run = TestRun::new();
        let quick = ["--outdir", "out", "--ckpt", "demo", "--ddim_steps", "1", "--n_samples", "1", "--n_iter", "1"];
        run.alone([&quick[..], flags].concat()).ok();
        size(&run, "samples/00000.png")
    };
    assert_eq!(size_of(&[]), (256, 256));
    assert_eq!(size_of(&["--W", "64"]), (64, 512));
    let run = TestRun::new();
    run.alone(["--outdir", "out", "--ckpt", "demo", "--ddim_steps", "1", "--sweep", "scale=1,2"]).ok();
    assert_eq!(size(&run, "samples/00001.png"), (256, 256));
}

#[test]
fn words_that_the_demo_model_has_never_seen_are_noted() {
    let run = TestRun::new();
    let said = |flags: &[&str]| notes(&run.small([&["--ckpt", "demo", "--outdir", "out"], flags].concat()).ok());
    let note = "the demo model knows only coloured solids, not: ";
    let astronaut = ["--prompt", "a photograph of an astronaut riding a horse"];
    assert!(said(&astronaut).contains(&format!("{note}astronaut, riding, horse\n")));
    assert!(!said(&["--prompt", "Two shiny red balls, next to a cone."]).contains("astronaut"));
    let many = said(&["--prompt", "one cube, two three four five six seven eight"]);
    assert!(many.contains(&format!("{note}two, three, four, five, six, …\n")), "{many}");
    // A LoRA may know more words.
    let lora = std::env::current_dir().unwrap().join("models/demo/striped.safetensors");
    assert!(!said(&[&astronaut[..], &["--lora", lora.to_str().unwrap()]].concat()).contains(note));
}

#[test]
fn a_file_called_demo_can_be_given_as_a_path() {
    let run = TestRun::new().with_nano("m.yaml", "demo");
    run.small(["--config", "m.yaml", "--ckpt", "./demo"]).ok();
    run.small(["--config", "m.yaml", "--ckpt", "demo"]).fails_with("does not fit the model's config");
}

#[test]
fn laion400m_is_refused_before_anything_is_opened() {
    let reason =
        "--laion400m selects the LAION-400M model, which is not Stable Diffusion 1.x and not supported; leave it out";
    let run = TestRun::new();
    run.small(["--laion400m", "--config", "x", "--ckpt", "x", "--outdir", "out"]).is_misuse(reason);
    run.alone(["--laion400m", "--dry_run"]).is_misuse(reason);
    run.has_files([]);
}

#[test]
fn threads_do_not_change_the_picture() {
    assert_eq!(picture(&["--threads", "1"]), picture(&["--threads", "3"]));
}

#[test]
fn a_config_and_model_may_have_any_name() {
    let run = TestRun::new().with_nano("a b\n.yaml", "é 😀");
    run.small(["--config", "a b\n.yaml", "--ckpt", "é 😀", "--outdir", "out"]).ok();
}

#[cfg(target_os = "linux")]
#[test]
fn outdir_may_be_invalid_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let run = TestRun::new();
    let TestCommand(mut command) = run.quick([OsStr::new("--outdir"), OsStr::from_bytes(b"\xff")]);
    assert!(command.output().unwrap().status.success());
    assert!(run.path("").join(OsStr::from_bytes(b"\xff")).join("grid-0000.png").is_file());
}
