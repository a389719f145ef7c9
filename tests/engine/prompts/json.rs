//! Prompts as JSON.

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
        let lines = job(text, &[]).unwrap().lines;
        let lines: Vec<_> = lines.lines().map(|line| (line.prompt.into_owned(), line.seed)).collect();
        assert_eq!(lines, [("a".to_owned(), None), ("b".to_owned(), Some(3))]);
    }
}

#[test]
fn prompts_that_begin_with_a_bracket_are_no_array() {
    let lines = job("[bokeh] a cube\n[{soft}] a ball\n", &[]).unwrap().lines;
    assert_eq!(
        lines.lines().map(|line| line.prompt.into_owned()).collect::<Vec<_>>(),
        ["[bokeh] a cube", "[{soft}] a ball"]
    );
}

#[test]
fn whole_numbers_may_be_written_with_a_point() {
    let lines =
        job("{\"prompt\": \"a\", \"seed\": 7.0, \"H\": 64.0, \"steps\": 3e0, \"scale\": 5}", &[]).unwrap().lines;
    let line = lines.lines().next().unwrap();
    assert_eq!((line.seed, line.settings.latent_height, line.settings.plan.steps), (Some(7), 8, 3));
}

#[test]
fn seeds_beyond_torchs_are_random_and_a_note_says_so() {
    let text = "{\"prompt\": \"a\", \"seed\": -1}\n{\"prompt\": \"a\", \"seed\": 1e30}\n{\"prompt\": \"a\"}";
    let [one, other] = [job(text, &[]).unwrap(), job(text, &[]).unwrap()];
    let seeds = |job: &Job| job.lines.lines().map(|line| line.seed).collect::<Vec<_>>();
    assert!(seeds(&one)[..2] != seeds(&other)[..2] && seeds(&one)[0] != seeds(&one)[1]);
    assert_eq!(seeds(&one)[2], None);
    assert!(one.notes.iter().any(|note| note.contains("a random seed is taken for 2 prompts of '")), "{:?}", one.notes);
    let refusal = job(text, &["--shard", "0/2"]).unwrap_err().to_string();
    assert!(refusal.contains("give a seed from 0 on"), "{refusal}");
}

#[test]
fn errors_say_where_in_the_file_and_what() {
    let good = "{\"prompt\": \"a\"}";
    for (bad, reason) in [
        ("{\"prompt\": 3}", "\"prompt\" must be a text, not 3"),
        ("{\"prompt\": \"a\", \"seed\": \"x\"}", "\"seed\" must be a whole number, not \"x\""),
        ("{\"prompt\": \"a\", \"seed\": 3.5}", "\"seed\" must be a whole number, not 3.5"),
        ("{\"prompt\": \"a\", \"steps\": 7.5}", "\"steps\" must be a whole number, not 7.5"),
        ("{\"prompt\": \"a\", \"scale\": []}", "\"scale\" must be a number, not []"),
        (
            "{\"prompt\": \"a\", \"sampler\": \"best\"}",
            "\"sampler\" must be one of ddim, plms, dpm_solver, lms, euler, euler_a, heun, dpm2, dpmpp_2m, not \"best\"",
        ),
        ("{\"seed\": 3}", "\"prompt\" is missing"),
        ("{\"prompt\": \"a\", \"H\": 64, \"height\": 64}", "\"H\" and \"height\" are the same; give one of them"),
        (
            "{\"promt\": \"a\"}",
            "\"promt\" is not known; use prompt, negative_prompt, seed, H (height), W (width), ddim_steps (steps), scale and \
             sampler",
        ),
        ("[1]", "[1] is not a JSON object with a \"prompt\""),
    ] {
        refused(&format!("{good}\n\n{bad}\n"), &format!(", line 3: {reason}"));
        refused(&format!("[{good},\n{bad}]"), &format!(", item 2: {reason}"));
    }
    refused(
        &format!("{good}\n{{\"prompt\": \n"),
        ", line 2: column 11: this is not valid JSON (EOF while parsing a value)",
    );
    refused(&format!("{good}\nhello\n"), ", line 2: column 1: this is not valid JSON (expected value)");
    refused(&format!("[{good},\n\n {{,}}]"), ": line 3, column 3: this is not valid JSON (key must be a string)");
}
