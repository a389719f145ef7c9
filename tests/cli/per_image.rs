//! `--seed_mode per_image` and JSON prompts files: a picture does not depend on the others of its run.

use crate::support::{TestRun, notes, read_png, stderr};
use txt2img::output::Picture;

fn picture(run: &TestRun, i: usize) -> Picture {
    read_png(&run.path(&format!("out/samples/{i:05}.png")))
}

/// Returns the first picture of a run with these flags.
#[track_caller]
fn single(flags: &[&str]) -> Picture {
    let run = TestRun::new();
    run.quick(flags).ok();
    picture(&run, 0)
}

#[track_caller]
fn is_picture(run: &TestRun, i: usize, flags: &[&str]) {
    assert!(picture(run, i) == single(flags), "picture {i} is not what {flags:?} draw");
}

#[test]
fn with_seeds_per_image_each_picture_equals_a_run_with_its_seed() {
    for rng in ["cuda", "cpu"] {
        let run = TestRun::new();
        let flags = ["--seed_mode", "per_image", "--seed", "7", "--n_samples", "3", "--n_iter", "2"];
        run.quick([&flags[..], &["--ddim_eta", "1", "--rng", rng]].concat()).ok();
        for (i, seed) in ["7", "8", "9", "10", "11", "12"].into_iter().enumerate() {
            is_picture(&run, i, &["--seed", seed, "--n_samples", "1", "--ddim_eta", "1", "--rng", rng]);
        }
    }
}

#[test]
fn seeds_per_image_wrap_around() {
    let run = TestRun::new();
    run.quick(["--seed_mode", "per_image", "--seed", "4294967295", "--n_iter", "2"]).ok();
    is_picture(&run, 1, &["--seed", "0"]);
}

#[test]
fn json_lines_override_the_command_line() {
    let lines = r#"{"prompt": "a", "seed": 5}
        {"prompt": "b", "seed": 6, "H": 72, "W": 64}

        {"prompt": "c", "seed": 7, "ddim_steps": 3, "scale": 2, "sampler": "euler_a"}
        {"prompt": "d", "seed": 8}
        {"prompt": "e"}"#;
    let run = TestRun::new().file("p.jsonl", lines);
    run.quick(["--from-file", "p.jsonl", "--n_samples", "9", "--skip_grid", "--seed", "1"]).ok();
    is_picture(&run, 0, &["--prompt", "a", "--seed", "5"]);
    is_picture(&run, 1, &["--prompt", "b", "--seed", "6", "--H", "72"]);
    is_picture(&run, 2, &["--prompt", "c", "--seed", "7", "--ddim_steps", "3", "--scale", "2", "--sampler", "euler_a"]);
    is_picture(&run, 3, &["--prompt", "d", "--seed", "8"]);
    is_picture(&run, 4, &["--prompt", "e", "--seed", "1"]);
    assert_eq!(run.files().len(), 5);
    let message = notes(&run.quick(["--from-file", "p.jsonl", "--skip_watermark"]).ok());
    assert_eq!(message, "note: no grid is written, because the pictures differ in size\n");
    assert_eq!(run.files().len(), 10);
}

#[test]
fn with_seeds_per_image_a_line_does_not_depend_on_the_rest_of_the_file() {
    let run = TestRun::new().file("p.txt", "a\nb\nc").file("q.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}");
    run.quick(["--from-file", "p.txt", "--n_samples", "2", "--seed_mode", "per_image"]).ok();
    run.quick(["--from-file", "q.jsonl", "--n_samples", "2", "--seed_mode", "per_image"]).ok();
    for (i, prompt, seed) in [(0, "a", "42"), (1, "b", "43"), (2, "c", "44"), (3, "a", "42"), (4, "b", "43")] {
        is_picture(&run, i, &["--prompt", prompt, "--seed", seed]);
    }
}

#[test]
fn errors_in_json_lines_are_reported_before_loading() {
    for (line, complaint) in [
        ("not json", "not a JSON object, though the first line is one; write {\"prompt\": \"…\"}"),
        (r#"{"prompt": "a",}"#, "column 16: not valid JSON: trailing comma"),
        (
            r#"{"prompt": "a", "sead": 1}"#,
            "\"sead\" is not a known key; use prompt, negative_prompt, seed, H (or height), ",
        ),
        (r#"{"prompt": 3}"#, "\"prompt\" must be text in quotes, not 3"),
        (r#"{"seed": 3}"#, "\"prompt\" is missing"),
        (r#"{"prompt": "a", "seed": 1.5}"#, "\"seed\" must be a whole number, not 1.5"),
        (r#"{"prompt": "a", "H": 63}"#, "--H 63 is not a multiple of 8"),
        (r#"{"prompt": "a", "ddim_steps": 0}"#, "--ddim_steps 0 draws nothing"),
        (r#"{"prompt": "a", "sampler": "best"}"#, "\"sampler\" must be one of ddim, plms,"),
        (r#"{"prompt": "a", "scale": 1e999}"#, "\"scale\": number out of range\n"),
    ] {
        let run = TestRun::new().file("p.jsonl", format!("{{\"prompt\": \"a\"}}\n{line}\n"));
        let message = run.quick(["--from-file", "p.jsonl"]).fails_with(complaint);
        assert!(message.starts_with("error: prompts file 'p.jsonl', line 2: "), "{line}: {message}");
    }
}

#[test]
fn the_random_seed_of_a_json_line_is_noted_and_repeats_the_run() {
    let run = TestRun::new().file("p.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"seed\": -1}\n");
    let flags = ["--from-file", "p.jsonl", "--skip_watermark"];
    let message = stderr(&run.quick(flags).ok());
    let (_, seed) = message.split_once("note: random seeds for prompts file 'p.jsonl': ").unwrap();
    let (seed, _) = seed.split_once(" (line 2)\n").unwrap();
    is_picture(&run, 1, &["--prompt", "b", "--seed", seed]);
    run.args(["--replay", "out/samples/00001.png", "--outdir", "again"]).ok();
    let run = run.file("p.jsonl", format!("{{\"prompt\": \"a\"}}\n{{\"prompt\": \"b\", \"seed\": {seed}}}\n"));
    run.quick([&flags[..], &["--resume"]].concat()).ok();
    run.has_files(["samples/00000.png", "samples/00001.png", "grid-0000.png"]);
}

#[test]
fn pictures_of_several_sizes_do_not_start_from_the_same_noise() {
    let run = TestRun::new().file("p.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"a\", \"H\": 72}");
    run.quick(["--from-file", "p.jsonl", "--fixed_code"])
        .is_misuse("which is impossible for pictures of different sizes");
}

#[test]
fn prompts_files_may_begin_with_a_byte_order_mark() {
    let run = TestRun::new().file("p.txt", "\u{feff}a\n");
    run.quick(["--from-file", "p.txt", "--n_samples", "1", "--n_iter", "1", "--fname", "{prompt}"]).ok();
    assert!(run.path("out/samples/a.png").exists());
}

#[test]
fn json_lines_may_have_blank_ones_between_them_and_nothing_for_a_value() {
    let line = "\u{feff}\n\r\n{ \"prompt\": \"a\", \"seed\": 5, \"sampler\": null, \"H\": null}\r\n";
    let run = TestRun::new().file("p.jsonl", line);
    run.quick(["--from-file", "p.jsonl"]).ok();
    is_picture(&run, 0, &["--prompt", "a", "--seed", "5"]);
    let run = TestRun::new().file("p.jsonl", "{\"prompt\": 5}\n");
    run.quick(["--from-file", "p.jsonl"]).fails_with("line 1: \"prompt\" must be text in quotes, not 5");
}

#[test]
fn a_plain_prompt_in_braces_is_not_json() {
    let run = TestRun::new().file("p.txt", "{a|b} cat\n{\"seed\": 3}\n");
    run.quick(["--from-file", "p.txt", "--skip_grid"]).ok();
    assert_eq!(run.files().len(), 2);
}
