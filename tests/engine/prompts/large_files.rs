//! Prompts files of a million lines.

use crate::support::{TestRun, cpu_time};
use anyhow::Result;
use std::fmt::Write;
use std::time::Duration;
use txt2img::args::Args;
use txt2img::job::Job;

const MILLION: usize = 1_000_000;

/// Returns a million lines, each written by `write`.
fn lines(write: impl Fn(usize, &mut String)) -> String {
    let mut text = String::new();
    (0..MILLION).for_each(|i| write(i, &mut text));
    text
}

fn plain() -> String {
    lines(|i, text| writeln!(text, "a photo of {i} pink cubes on grass, black background").unwrap())
}

/// JSON lines with many settings, different for neighbours.
fn json() -> String {
    lines(|i, text| {
        let (scale, steps) = (i % 1009, i % 50 + 1);
        writeln!(
            text,
            r#"{{"prompt": "{i} cubes", "seed": {i}, "scale": {scale}, "steps": {steps}, "negative_prompt": "{scale}"}}"#
        )
        .unwrap();
    })
}

/// Parses a prompts file, and asserts that it takes seconds of a core; quadratic time would take minutes.
#[track_caller]
fn job(text: String, flags: &[&str]) -> Result<Job> {
    let run = TestRun::new().file("p.txt", text);
    let path = run.path("p.txt");
    let words = ["txt2img", "--ckpt", "demo", "--skip_grid", "--from-file", path.to_str().unwrap()];
    let args = Args::try_from_words(words.iter().chain(flags).map(Into::into)).unwrap();
    let start = cpu_time();
    let job = Job::from_args(&args);
    let (time, limit) = (cpu_time() - start, Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 5 }));
    assert!(time < limit, "it took {time:?}");
    job
}

#[test]
fn a_million_prompts_are_decided_at_once() {
    let job = job(plain(), &["--n_samples", "4", "--n_iter", "1000000", "--wildcards", "--emphasis"]).unwrap();
    assert_eq!((job.images.n_pictures(), job.images.n_batches()), (MILLION * MILLION, MILLION / 4 * MILLION));
    assert_eq!((job.images.requests.len_of(0), job.images.requests.params().len()), (4, 1));
    let last = job.images.requests.batch(job.images.n_batches() - 1, None);
    assert_eq!(last.images[3].prompt, "a photo of 999999 pink cubes on grass, black background");
    assert_eq!(last.images[3].number, MILLION * MILLION - 1);
}

#[test]
fn a_million_json_lines_are_decided_at_once() {
    let job = job(json(), &[]).unwrap();
    assert_eq!((job.images.n_batches(), job.images.requests.params().len()), (2 * MILLION, 1009 * 50));
    let batch = job.images.requests.batch(2 * MILLION - 1, None);
    let image = &batch.images[0];
    assert_eq!((&*image.prompt, image.negative, batch.params.scale), ("999999 cubes", "80", 80.));
    assert_eq!(image.origin.unwrap().seed, 1_000_000);
}

#[test]
fn one_bad_line_among_a_million_is_named() {
    let mut text = lines(|i, text| writeln!(text, "{}", if i == 777_776 { "a {cube" } else { "a cube" }).unwrap());
    let said = |text, flags| format!("{:#}", job(text, flags).unwrap_err());
    assert!(said(text.clone(), &["--wildcards"]).contains("p.txt', line 777777: the brace at character 3"));
    text.push_str(&"x".repeat(100_001));
    assert!(said(text, &[]).contains("p.txt', line 1000001: longer than 100000 bytes"));
}

#[test]
fn a_bad_json_line_after_blank_ones_is_named_by_its_place_in_the_file() {
    for bad in [r#"{"prompt": 3}"#, r#"{"prompt": "a", "H": 63}"#] {
        let said = format!("{:#}", job(format!("\n\n{{\"prompt\": \"a\"}}\n\n{bad}\n"), &[]).unwrap_err());
        assert!(said.contains("p.txt', line 5: "), "{said}");
    }
}

#[test]
fn escapes_in_json_are_the_characters_they_stand_for() {
    let line = r#"{"prompt": "a \"pink\" c\u00fcbe\n", "negative_prompt": "\ud83d\ude00 \\"}"#;
    let job = job(line.into(), &[]).unwrap();
    let image = &job.images.requests.batch(0, None).images[0];
    assert_eq!((&*image.prompt, image.negative), ("a \"pink\" cübe\n", "😀 \\"));
}
