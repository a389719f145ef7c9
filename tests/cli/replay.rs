//! `--replay`, `--format`, `--fname`, `--report` and other flags about files and their metadata.

use crate::support::{TestRun, read_png, stderr};
use serde_json::Value;
use std::fs::{read, write};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use txt2img::output;

fn sample(i: usize) -> String {
    format!("out/samples/{i:05}.png")
}

#[track_caller]
fn comes_out_equal(run: &TestRun, file: &str) {
    for more in [&[][..], &["--skip_save"], &["--no_metadata"]] {
        let message = stderr(&run.args([&["--replay", file, "--outdir", "again"], more].concat()).ok());
        assert!(message.contains(&format!("note: '{file}' redrawn: identical")), "{message}");
        assert!(!message.contains("different model file"), "{message}");
    }
}

#[test]
fn every_picture_of_a_run_can_be_replayed() {
    for flags in [
        &["--n_samples", "2", "--n_iter", "2"][..],
        &["--n_samples", "2", "--n_iter", "2", "--fixed_code", "--ddim_eta", "1"],
        &["--n_samples", "2", "--n_iter", "2", "--seed_mode", "per_image", "--precision", "full"],
        &["--n_samples", "2", "--n_iter", "2", "--rng", "cpu", "--plms", "--H", "72", "--skip_watermark"],
        &["--n_samples", "2", "--n_iter", "2", "--wildcards", "--prompt", "{a|b|c} cube", "--negative_prompt", "ball"],
        &["--n_iter", "2", "--sampler", "euler_a", "--schedule", "karras", "--scale", "3.25", "--emphasis"],
        &["--n_samples", "2", "--webui_prompts", "--prompt", "a [cube|ball] AND (fog:1.2) :0.5"],
        &["--sweep", "scale=1,2", "--sweep", "seed=3,4"],
    ] {
        let run = TestRun::new();
        run.quick(flags).ok();
        for i in [0, 1, 3].into_iter().filter(|i| run.path(&sample(*i)).exists()) {
            comes_out_equal(&run, &sample(i));
        }
    }
}

#[test]
fn a_picture_with_altered_metadata_differs_when_replayed() {
    let run = TestRun::new();
    run.quick(["--seed", "7"]).ok();
    let record = output::record(&run.path(&sample(0))).unwrap();
    let other = output::Record { prompt: "another".into(), ..record };
    let picture = read_png(&run.path(&sample(0)));
    write(run.path("other.png"), output::Format::Png.encode(&picture, Some(&other)).unwrap()).unwrap();
    run.args(["--replay", "other.png"]).fails_with("'other.png' redrawn: ");
}

#[test]
fn jpg_and_webp_can_be_replayed() {
    for format in ["jpg", "webp"] {
        let run = TestRun::new();
        run.quick(["--format", format, "--prompt", "ein Würfel 🎲, (x:1.2)", "--skip_grid"]).ok();
        let file = format!("out/samples/00000.{format}");
        assert_eq!(output::record(&run.path(&file)).unwrap().prompt, "ein Würfel 🎲, (x:1.2)");
        comes_out_equal(&run, &file);
    }
}

#[test]
fn png_files_have_the_parameters_text() {
    let run = TestRun::new();
    run.quick(["--prompt", "a cube", "--negative_prompt", "a ball", "--sampler", "dpmpp_2m", "--schedule", "karras"])
        .ok();
    let file = std::io::BufReader::new(std::fs::File::open(run.path(&sample(0))).unwrap());
    let reader = png::Decoder::new(file).read_info().unwrap();
    let chunk = &reader.info().uncompressed_latin1_text[0];
    assert_eq!(chunk.keyword, "parameters");
    let (prompts, settings) = chunk.text.split_once("\nSteps: ").unwrap();
    assert_eq!(prompts, "a cube\nNegative prompt: a ball");
    assert!(settings.starts_with("2, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 42, Size: 64x64, "), "{settings}");
}

#[test]
fn without_metadata_the_file_contains_none() {
    let run = TestRun::new();
    run.quick(["--no_metadata", "--prompt", "a secret"]).ok();
    let bytes = read(run.path(&sample(0))).unwrap();
    assert!(!bytes.windows(8).any(|window| window == b"a secret"));
    run.args(["--replay", &sample(0)]).fails_with("contains no metadata");
}

#[test]
fn pictures_without_usable_metadata_are_refused() {
    let run = TestRun::new();
    run.quick(["--skip_grid"]).ok();
    let record = serde_json::to_value(output::record(&run.path(&sample(0))).unwrap()).unwrap();
    let picture = read_png(&run.path(&sample(0)));
    let with = |name: &str, value: Value| {
        let mut record = record.clone();
        *record.pointer_mut(name).unwrap() = value;
        record.to_string()
    };
    for (json, complaint) in [
        ("{}".to_owned(), "has metadata that this version cannot read"),
        ("[".to_owned(), "has metadata that this version cannot read"),
        (with("/sampler", "best".into()), "'best' is not one of ddim, plms,"),
        (with("/steps", 0.into()), "--ddim_steps 0"),
        (with("/vae", "someone/model".into()), "its autoencoder 'someone/model' was not found; give it with --vae"),
        (with("/origin/index", 7.into()), "its position in the random number stream is invalid"),
        (with("/origin/start/position", u64::MAX.into()), "its position in the random number stream is invalid"),
        (with("/width", 100_000.into()), "its size is not that of its latents"),
        (with("/latent_width", 0.into()), "its size is not that of its latents"),
        (with("/rng", "dice".into()), "'dice' is not a random generator"),
        (with("/scale", Value::Null), "has metadata that this version cannot read"),
    ] {
        let mut bytes = vec![];
        let mut encoder = png::Encoder::new(&mut bytes, 64, 64);
        encoder.set_color(png::ColorType::Rgb);
        encoder.add_text_chunk("txt2img".into(), json).unwrap();
        encoder.write_header().unwrap().write_image_data(&picture.rgb).unwrap();
        write(run.path("bad.png"), bytes).unwrap();
        run.args(["--replay", "bad.png"]).fails_with(complaint);
    }
    let whole = read(run.path(&sample(0))).unwrap();
    for (bytes, complaint) in [(&whole[..100], "'bad.png'"), (b"hello", "'bad.png'"), (b"", "'bad.png'")] {
        write(run.path("bad.png"), bytes).unwrap();
        run.args(["--replay", "bad.png"]).fails_with(complaint);
    }
    run.args(["--replay", "out"]).fails_with("'out' is not a file");
    run.args(["--replay", "nowhere.png"]).fails_with("opening 'nowhere.png'");
}

/// Draws a picture with the small model in `tests/fixtures`, in a folder without it.
fn drawn() -> TestRun {
    let run = TestRun::new();
    run.quick(["--skip_grid", "--vae", crate::support::fixture("nano.ckpt").to_str().unwrap()]).ok();
    run
}

#[test]
fn metadata_do_not_contain_the_folder_of_the_model() {
    let run = drawn();
    let record = output::record(&run.path(&sample(0))).unwrap();
    assert_eq!((&*record.model, record.vae.as_deref(), record.config.as_deref()), ("nano", Some("nano"), Some("nano")));
    let bytes = read(run.path(&sample(0))).unwrap();
    assert!(!bytes.windows(8).any(|window| window == b"fixtures"));
}

#[test]
fn a_model_is_found_by_its_name_and_hash() {
    let config = crate::support::fixture("nano.yaml");
    let vae = crate::support::fixture("nano.ckpt");
    let run = drawn();
    let again = ["--replay", &sample(0), "--config", config.to_str().unwrap(), "--vae", vae.to_str().unwrap()];
    let not_here = "its model 'nano' was not found in this folder or in models/ldm/stable-diffusion-v1/; give it \
                    with --ckpt (its SHA-256 begins with 55f914f8d5)";
    run.alone(again).fails_with(not_here);
    run.alone(["--replay", &sample(0), "--ckpt", "demo"])
        .fails_with("its config 'nano' was not found; give it with --config");
    write(run.path("nano.ckpt"), "another").unwrap();
    run.alone(again).fails_with(not_here);
    for place in ["nano.ckpt", "models/ldm/stable-diffusion-v1/nano.ckpt", "models/ldm/stable-diffusion-v1/model.ckpt"]
    {
        let there = TestRun::new().with_nano("m.yaml", place);
        write(there.path("a.png"), read(run.path(&sample(0))).unwrap()).unwrap();
        let message = stderr(&there.alone([&["--replay", "a.png"], &again[2..]].concat()).ok());
        assert!(message.contains("identical"), "{message}");
    }
}

#[test]
fn a_picture_with_the_path_of_its_model_is_replayed() {
    let run = drawn();
    let record = output::record(&run.path(&sample(0))).unwrap();
    let name = |name| crate::support::fixture(name).to_str().unwrap().to_owned();
    let (model, config) = (name("nano.ckpt"), Some(name("nano.yaml")));
    let old = output::Record { vae: Some(model.clone()), model, config, ..record };
    let picture = read_png(&run.path(&sample(0)));
    write(run.path("old.png"), output::Format::Png.encode(&picture, Some(&old)).unwrap()).unwrap();
    let message = stderr(&run.alone(["--replay", "old.png"]).ok());
    assert!(message.contains("'old.png' redrawn: identical"), "{message}");
}

#[test]
fn the_demo_model_is_known_under_any_name() {
    let run = TestRun::new();
    run.small(["--skip_grid", "--outdir", "out"]).ok();
    let message = stderr(&run.alone(["--replay", &sample(0)]).ok());
    assert!(message.contains("identical") && !message.contains("different model file"), "{message}");
}

#[test]
fn a_replay_notes_the_flags_it_ignores() {
    let run = TestRun::new();
    run.quick(["--skip_grid"]).ok();
    let message = stderr(&run.quick(["--replay", &sample(0), "--plms"]).ok());
    let ignored = "--replay redraws one picture from its metadata and ignores --plms, --H, --W, --ddim_steps, --n_iter, \
                   --n_samples\n";
    assert!(message.contains(ignored), "{message}");
    let message = stderr(&run.args(["--replay", &sample(0)]).ok());
    assert!(!message.contains("ignores"), "{message}");
}

#[test]
fn a_replay_of_a_jpeg_notes_that_the_format_is_lossy() {
    let run = TestRun::new();
    run.quick(["--skip_grid", "--format", "jpg"]).ok();
    let message = stderr(&run.args(["--replay", "out/samples/00000.jpg"]).ok());
    assert!(message.contains("redrawn: identical (compared as JPEG, which is lossy)"), "{message}");
}

#[test]
fn a_text_too_long_for_jpegs_exif_is_left_out_with_a_note() {
    for (length, is_noted) in [(30_000, false), (40_000, true)] {
        let run = TestRun::new().file("p.txt", "x".repeat(length));
        let message = stderr(&run.quick(["--skip_grid", "--format", "jpg", "--from-file", "p.txt"]).ok());
        assert_eq!(message.contains("too long for the EXIF data of a JPEG"), is_noted, "{message}");
        assert_eq!(output::record(&run.path("out/samples/00000.jpg")).unwrap().prompt.len(), length);
    }
}

#[test]
fn the_report_has_a_record_for_each_picture() {
    let run = TestRun::new();
    run.quick(["--n_samples", "2", "--n_iter", "2", "--report", "report.json", "--seed", "7"]).ok();
    let report: Value = serde_json::from_slice(&read(run.path("report.json")).unwrap()).unwrap();
    let pictures = report["pictures"].as_array().unwrap();
    assert_eq!(pictures.len(), 4);
    for (i, picture) in pictures.iter().enumerate() {
        assert_eq!((&picture["number"], &picture["file"]), (&i.into(), &sample(i).into()));
        assert_eq!(picture["record"]["origin"]["seed"], 7);
        assert!(picture["seconds"]["decoding"].as_f64().unwrap() > 0.);
        assert!(picture["safety"].is_null() && picture["not_numbers_from"].is_null());
    }
    assert_eq!(report["finished"], true);
    run.quick(["--report", "nowhere/report.json"]).fails_with(
        "cannot write the report 'nowhere/report.json': the folder 'nowhere' is missing; create it, or name another file",
    );
    run.quick(["--report", "report.json/report.json"]).fails_with(
        "cannot write the report 'report.json/report.json': 'report.json' is a file, not a folder; name another",
    );
    run.quick(["--outdir", "new/out", "--report", "./new/report.json"]).ok();
    run.quick(["--outdir", "out", "--report", "new/.."]).fails_with("cannot write the report 'new/..': ");
    let before = read(run.path("report.json")).unwrap();
    for there in ["report.json", "out", &sample(0)] {
        run.quick(["--report", there]).fails_with("it exists already; name another");
        run.quick(["--report", there, "--dry_run"]).fails_with("it exists already; name another");
    }
    assert_eq!(read(run.path("report.json")).unwrap(), before);
}

#[test]
fn a_report_whose_name_is_taken_meanwhile_gets_another() {
    let run = TestRun::new();
    let mut drawn = run.quick(["--n_iter", "40", "--progress", "json", "--report", "report.json"]);
    let mut child = drawn.0.stderr(Stdio::piped()).spawn().unwrap();
    let mut message = BufReader::new(child.stderr.take().unwrap()).lines();
    message.find(|line| line.as_ref().unwrap().contains(r#""event":"picture""#)).unwrap().unwrap();
    write(run.path("report.json"), "mine").unwrap();
    // A new run does not delete the unfinished report as a leftover.
    run.quick(["--outdir", "."]).ok();
    let message: Vec<String> = message.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success());
    let note = "'report.json' was created meanwhile; the report was written to 'report-2.json'";
    assert!(message.iter().any(|line| line.contains(note)), "{message:?}");
    assert_eq!(read(run.path("report.json")).unwrap(), b"mine");
    let report: Value = serde_json::from_slice(&read(run.path("report-2.json")).unwrap()).unwrap();
    assert_eq!(report["pictures"].as_array().unwrap().len(), 40);
}

#[test]
fn watermarks_are_verified() {
    let run = TestRun::new();
    run.quick(["--H", "256", "--W", "256"]).ok();
    run.quick(["--H", "256", "--W", "256", "--skip_watermark"]).ok();
    let output = run.alone(["--verify_watermark", &sample(0), &sample(1)]).ok();
    let message = crate::support::stdout(&output);
    let expected = format!("{}: StableDiffusionV1 (100% certain)\n{}: no watermark\n", sample(0), sample(1));
    assert_eq!(message, expected);
    run.alone(["--verify_watermark", "nowhere.png"]).fails_with("nowhere.png");
}

#[test]
fn names_are_made_by_the_pattern() {
    let run = TestRun::new();
    let flags =
        ["--prompt", "a red/blue cube", "--fname", "{seed}-{prompt}-{sampler}{steps}-{scale}", "--n_samples", "2"];
    run.quick([&flags[..], &["--skip_grid"]].concat()).ok();
    run.has_files(["samples/42-a_red_blue_cube-ddim2-7.5-2.png", "samples/42-a_red_blue_cube-ddim2-7.5.png"]);
    run.misuse(["--fname", "{colour}"]);
    run.misuse(["--fname", "a/{seed}"]);
}

#[test]
fn the_models_hash_is_that_of_its_file() {
    let run = TestRun::new();
    run.quick(["--fname", "{hash}", "--n_samples", "2", "--skip_grid"]).ok();
    let hash = txt2img::files::sha256::of_file(&crate::support::fixture("nano.ckpt"), &|| true).unwrap().unwrap();
    for end in ["", "-2"] {
        let record = output::record(&run.path(&format!("out/samples/{}{end}.png", &hash[..10]))).unwrap();
        assert_eq!(record.model_hash, Some(hash.clone()));
    }
    run.small(["--ckpt", "demo", "--skip_grid", "--outdir", "demo"]).ok();
    let record = output::record(&run.path("demo/samples/00000.png")).unwrap();
    assert_eq!(record.model_hash, Some(txt2img::files::sha256::of_bytes(txt2img::demo::WEIGHTS)));
}

#[test]
fn previews_are_written_every_n_steps() {
    let run = TestRun::new();
    run.quick(["--save_intermediates", "2", "--ddim_steps", "5", "--n_samples", "2", "--skip_grid"]).ok();
    let previews = ["00000-002", "00000-004", "00001-002", "00001-004"].map(|name| format!("intermediates/{name}.png"));
    let files = run.files();
    assert_eq!(files[..4], previews);
    assert_eq!(read_png(&run.path(&format!("out/{}", previews[0]))).width, 64);
    run.quick([] as [&str; 0]).ok();
    assert!(run.path("out/grid-0000.png").exists());
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let run = TestRun::new();
    let message = crate::support::stdout(&run.quick(["--dry_run", "--n_iter", "3", "--ddim_steps", "30"]).ok());
    for row in ["last file", "out/samples/00002.png", "31 instead of 30", "sha256"] {
        assert!(message.contains(row), "{row}: {message}");
    }
    assert!(!run.path("out").exists());
    let named =
        ["--dry_run", "--n_iter", "2", "--seed_mode", "per_image", "--fname", "{seed}-{prompt}", "--prompt", "a b"];
    let message = crate::support::stdout(&run.quick(named).ok());
    assert!(message.contains("out/samples/42-a_b.png") && message.contains("out/samples/43-a_b.png"), "{message}");
    run.alone(["--dry_run", "--ckpt", "someone/model"]).fails_with("'someone/model' is not in the cache");
}
