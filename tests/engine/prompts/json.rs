//! JSON prompts files: an object per line, or an array.

use crate::support::TestRun;
use anyhow::Result;
use txt2img::args::Args;
use txt2img::job::Job;

fn job(text: &str, flags: &[&str]) -> Result<Job> {
    let run = TestRun::new().file("p.json", text);
    let path = run.path("p.json");
    let words = ["txt2img", "--ckpt", "demo", "--skip_grid", "--from-file", path.to_str().unwrap()];
    Job::from_args(&Args::try_from_words(words.iter().chain(flags).map(Into::into)).unwrap())
}

/// Returns the prompts of a file with their seeds.
fn prompts(text: &str) -> Vec<(String, Option<u32>)> {
    let job = job(text, &[]).unwrap();
    job.images.requests.iter().map(|line| (line.prompt.into_owned(), line.seed)).collect()
}

#[track_caller]
fn refused(text: &str, reason: &str) {
    let said = format!("{:#}", job(text, &[]).unwrap_err());
    let (_, said) = said.split_once("p.json'").unwrap();
    assert_eq!(said, reason);
}

#[test]
fn a_file_may_be_one_array() {
    for text in [
        "[{\"prompt\": \"a\"}, {\"prompt\": \"b\", \"seed\": 3}]",
        "\u{feff}\n[\n {\"prompt\":\n\"a\"}\n,{\"prompt\": \"b\", \"seed\": 3}\n]\n",
    ] {
        assert_eq!(prompts(text), [("a".to_owned(), None), ("b".to_owned(), Some(3))]);
    }
}

#[test]
fn prompts_that_begin_with_a_bracket_are_not_an_array() {
    for prompt in ["[bokeh] a cube", "[{soft}] a ball", "[] a cone"] {
        assert_eq!(prompts(prompt), [(prompt.to_owned(), None)]);
    }
}

#[test]
fn whole_numbers_may_be_written_with_a_point() {
    let job = job("{\"prompt\": \"a\", \"seed\": 7.0, \"H\": 64.0, \"steps\": 3e0, \"scale\": 5}", &[]).unwrap();
    let line = job.images.requests.iter().next().unwrap();
    assert_eq!((line.seed, line.params.height, line.params.sampler.steps), (Some(7), 64, 3));
}

/// Returns the seeds of a file's prompts, and the note on random ones.
fn seeds(text: &str) -> (Vec<Option<u32>>, String) {
    let job = job(text, &[]).unwrap();
    let note = job.run.notes.iter().find(|note| note.starts_with("random seeds for prompts file '")).unwrap();
    let (_, note) = note.split_once("p.json': ").unwrap();
    (job.images.requests.iter().map(|line| line.seed).collect(), note.to_owned())
}

#[test]
fn seeds_that_torch_does_not_take_are_random_and_named_in_a_note() {
    let text = "{\"prompt\": \"a\", \"seed\": -1}\n\n{\"prompt\": \"a\", \"seed\": 1e30}\n{\"prompt\": \"a\"}\n";
    let (taken, note) = seeds(text);
    let [Some(one), Some(other), None] = taken[..] else { panic!("{taken:?}") };
    assert_ne!(one, other);
    assert_eq!(note, format!("{one} (line 1), {other} (line 3)"));
    assert_ne!(seeds(text).0, taken);
    let (taken, note) = seeds("[{\"prompt\": \"a\"},\n{\"prompt\": \"a\", \"seed\": 4294967296}]");
    assert_eq!(note, format!("{} (object 2)", taken[1].unwrap()));
}

#[test]
fn a_note_names_the_first_of_many_random_seeds() {
    let (_, note) = seeds(&"{\"prompt\": \"a\", \"seed\": -1}\n".repeat(25));
    assert!(note.ends_with(" (line 20) and 5 more, which are in the pictures' metadata and in --report"), "{note}");
}

#[test]
fn shards_cannot_take_random_seeds() {
    for (text, flags) in [
        ("{\"prompt\": \"a\", \"seed\": -1}", &["--shard", "0/2"][..]),
        ("{\"prompt\": \"a\"}", &["--shard", "0/2", "--seed", "-1"]),
    ] {
        let refusal = job(text, flags).unwrap_err().to_string();
        assert!(refusal.starts_with("each shard would pick a different random seed; give all shards"), "{refusal}");
    }
}

#[test]
fn errors_name_the_line_or_the_object_the_key_and_what_is_expected() {
    for (bad, reason) in [
        ("{\"prompt\": 3}", "\"prompt\" must be text in quotes, not 3"),
        ("{\"prompt\": null}", "\"prompt\" must be text in quotes, not null"),
        ("{\"prompt\": \"a\", \"seed\": \"x\"}", "\"seed\" must be a whole number, not \"x\""),
        ("{\"prompt\": \"a\", \"seed\": 3.5}", "\"seed\" must be a whole number, not 3.5"),
        ("{\"prompt\": \"a\", \"steps\": 7.5}", "\"steps\" must be a whole number, not 7.5"),
        ("{\"prompt\": \"a\", \"H\": 1e30}", "\"H\" must be a whole number of at most 18 digits, not 1e+30"),
        ("{\"prompt\": \"a\", \"scale\": []}", "\"scale\" must be a number, not []"),
        ("{\"prompt\": \"a\", \"scale\": 1e999}", "\"scale\": number out of range"),
        (
            "{\"prompt\": \"a\", \"sampler\": \"best\"}",
            "\"sampler\" must be one of ddim, plms, dpm_solver, lms, euler, euler_a, heun, dpm2, dpmpp_2m, \
             uni_pc, lcm, tcd, not \"best\"",
        ),
        ("{\"seed\": 3}", "\"prompt\" is missing"),
        ("{\"prompt\": \"a\", \"prompt\": \"b\"}", "\"prompt\" is given twice"),
        ("{\"prompt\": \"a\", \"H\": 64, \"height\": 64}", "\"H\" and \"height\" mean the same; give one of them"),
        (
            "{\"promt\": \"a\"}",
            "\"promt\" is not a known key; use prompt, negative_prompt, seed, H (or height), W (or width), ddim_steps (or \
             steps), scale, guidance_rescale, guidance_interval, deepcache, clip_skip, init-img (or \
             init_img), strength, mask, mask_blur, mask_fill, outpaint, sampler, ddim_eta (or eta), \
             schedule, hires, hires_strength, hires_steps, hires_sampler, hires_upscaler, lora (or loras), lora_weight",
        ),
    ] {
        let good = "{\"prompt\": \"a\"}";
        refused(&format!("{good}\n\n{bad}\n"), &format!(", line 3: {reason}"));
        refused(&format!("[{good},\n\n{bad}]"), &format!(": object 2 (line 3): {reason}"));
    }
    refused(
        "[{\"prompt\": \"a\"},\n{\"prompt\": \"a\", \"H\": 63}]",
        ", object 2: --H 63 is not a multiple of 8; the nearest are 56 and 64",
    );
    refused(
        "[{\"prompt\": \"a\"}, 1]",
        ": object 2 (line 1): invalid type: integer `1`, expected an object with a \"prompt\"",
    );
}

#[test]
fn long_values_are_cut_in_errors() {
    let bad = format!("{{\"prompt\": \"a\", \"seed\": \"{}\"}}", "ü".repeat(1000));
    refused(&bad, &format!(", line 1: \"seed\" must be a whole number, not \"{}…", "ü".repeat(39)));
}

#[test]
fn text_that_is_not_json_is_refused_with_its_place() {
    let good = "{\"prompt\": \"a\"}";
    refused(
        &format!("{good}\nhello\n"),
        ", line 2: not a JSON object, though the first line is one; write {\"prompt\": \"…\"}",
    );
    refused(&format!("{good}\n{good},\n"), ", line 2: column 16: not valid JSON: trailing characters");
    refused(
        "{\n\"prompt\": \"a\"\n}\n",
        ", line 1: the JSON object does not end on this line; write each object on one line, or all of them as an array, in \
         [ ] and with commas between them",
    );
    refused(&format!("[{good},\n\n {{,}}]"), ": line 3, column 3: not valid JSON: key must be a string");
    refused(&format!("[{good}\n{good}]"), ": line 2, column 1: not valid JSON: expected `,` or `]`");
    refused(&format!("[{good}] {good}"), ": line 1, column 19: not valid JSON: trailing characters");
    refused(&format!("[{good},\n"), ": the JSON array does not end; close it with ']'");
    refused("[\n]\n", ": the JSON array is empty; write an object with a \"prompt\" in it");
}

#[test]
fn texts_in_an_array_may_not_be_longer_than_any_prompt() {
    let long = "x".repeat(100_001);
    for key in ["prompt", "negative_prompt"] {
        let text = format!(
            "[{{\"{key}\": \"{long}\", \"{}\": \"a\"}}]",
            if key == "prompt" { "negative_prompt" } else { "prompt" }
        );
        refused(&text, ", object 1: longer than 100000 bytes, while CLIP reads a few thousand at most; shorten it");
    }
}
