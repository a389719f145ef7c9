//! Runs that cannot be resumed, and files that are not journals.

use super::{RICH, content, into, kill, resume, start, wait_for};
use crate::support::{TestRun, fixture, stderr};
use std::fs;

/// Asserts that resuming with additional flags is refused and changes nothing.
#[track_caller]
fn is_refused(run: &TestRun, more: &[&str], reason: &str) {
    let before = content(run, "out");
    let flags = [&RICH[..], more].concat();
    resume(run, "out", &flags).fails_with(reason);
    assert_eq!(content(run, "out"), before);
}

#[test]
fn a_different_run_is_refused_and_the_difference_named() {
    let run = TestRun::new().with_nano("other.yaml", "other.safetensors");
    into(&run, "out", &RICH).ok();
    is_refused(
        &run,
        &["--seed", "43"],
        "--resume: 'out' holds a different run (--seed was 42, is now 43); use the same flags or another --outdir",
    );
    is_refused(&run, &["--n_iter", "5", "--scale", "3"], "--n_iter was 4, is now 5; --scale was 7.5, is now 3.0");
    is_refused(&run, &["--prompt", "a cat"], "--prompt was \"a {red|blue|green} {ball|cube}\", is now \"a cat\"");
    is_refused(&run, &["--precision", "full", "--sampler", "plms", "--skip_watermark"], "--skip_watermark was false");
    for (more, reason) in [
        (["--format", "webp"], "--format was \"png\", is now \"webp\""),
        (["--fname", "{index}"], "--fname"),
        (["--rng", "cpu"], "--rng was \"cuda\", is now \"cpu\""),
        (["--n_rows", "2"], "--n_rows was 0, is now 2"),
        (["--negative_prompt", "dull"], "--negative_prompt was \"\", is now \"dull\""),
    ] {
        is_refused(&run, &more, reason);
    }
}

#[test]
fn a_pattern_of_names_is_recorded_as_given() {
    let run = TestRun::new();
    let named = ["--fname", "{index}-{{x}}-{prompt}"];
    into(&run, "out", &[&RICH[..], &named].concat()).ok();
    let journal = fs::read_to_string(run.path("out/run.jsonl")).unwrap();
    assert!(journal.contains(r#""--fname":"{index}-{{x}}-{prompt}""#), "{journal}");
    resume(&run, "out", &[&RICH[..], &named].concat()).ok();
    let reason = r#"--fname was "{index}-{{x}}-{prompt}", is now "{index}""#;
    is_refused(&run, &["--fname", "{index}"], reason);
}

#[test]
fn a_run_of_a_version_that_recorded_less_is_refused() {
    let run = TestRun::new();
    into(&run, "out", &RICH).ok();
    let journal = fs::read_to_string(run.path("out/run.jsonl")).unwrap();
    fs::write(run.path("out/run.jsonl"), journal.replacen(r#""edition":2,"#, "", 1)).unwrap();
    is_refused(
        &run,
        &[],
        "'out' holds a different run (it was started by another version of txt2img; finish it with that version)",
    );
    into(&run, "out", &["--collect"]).ok();
    into(&run, "out", &RICH).ok();
}

#[test]
fn another_prompts_file_is_refused() {
    let run = TestRun::new().file("lines.txt", "a ball\na cube\n");
    into(&run, "out", &["--from-file", "lines.txt"]).ok();
    fs::write(run.path("lines.txt"), "a ball\na cone\n").unwrap();
    into(&run, "out", &["--from-file", "lines.txt", "--resume"])
        .fails_with("holds a different run (--from-file changed)");
    fs::write(run.path("lines.txt"), "a ball\na cube\n").unwrap();
    into(&run, "out", &["--from-file", "lines.txt", "--resume"]).ok();
}

#[test]
fn a_different_model_is_refused_and_a_moved_one_if_metadata_name_it() {
    let run = TestRun::new().with_nano("nano.yaml", "moved/nano.ckpt");
    into(&run, "out", &RICH).ok();
    is_refused(&run, &["--ckpt", "moved/nano.ckpt"], "'out' holds a different run (--ckpt");
    fs::remove_dir_all(run.path("out")).unwrap();
    into(&run, "out", &[&RICH[..], &["--no_metadata"]].concat()).ok();
    let moved = ["--no_metadata", "--ckpt", "moved/nano.ckpt"];
    into(&run, "out", &[&RICH[..], &moved, &["--resume"]].concat()).ok();
    let mut bytes = fs::read(fixture("nano.ckpt")).unwrap();
    // As after further training, weights all over the file differ.
    let (start, end) = (bytes.len() / 4, bytes.len() / 4 * 3);
    bytes[start..end].iter_mut().step_by(64).for_each(|byte| *byte ^= 16);
    fs::write(run.path("moved/nano.ckpt"), bytes).unwrap();
    is_refused(&run, &moved, "the model changed");
}

#[test]
fn a_second_process_is_refused() {
    let run = TestRun::new();
    let child = start(into(&run, "out", &["--n_iter", "100000"]));
    wait_for(&run, "out/samples/00000.png");
    for more in [&[][..], &["--resume"], &["--shard", "1/2"], &["--collect"]] {
        into(&run, "out", more).fails_with("another txt2img is drawing into 'out'; wait for it");
    }
    kill(child);
    let message = stderr(&into(&run, "out", &[]).ok());
    assert!(
        message.contains("note: the previous run in 'out' did not finish; repeat its command with --resume"),
        "{message}"
    );
    let message = stderr(&into(&run, "out", &[]).ok());
    assert!(!message.contains("did not finish"), "{message}");
}

#[test]
fn a_file_that_is_not_a_journal_is_refused() {
    for text in ["not json\n", "{}\n", "{\"done\":{\"picture\":3}}\n", "{\"of\":7}\n", "\u{0}\u{0}\n", "[]\n"] {
        let run = TestRun::new();
        fs::create_dir(run.path("out")).unwrap();
        fs::write(run.path("out/run.jsonl"), text).unwrap();
        into(&run, "out", &[]).fails_with("'out/run.jsonl' is not a run journal of txt2img; move it away");
        assert_eq!(fs::read_to_string(run.path("out/run.jsonl")).unwrap(), text);
    }
}

#[test]
fn a_forged_journal_does_no_harm() {
    let run = TestRun::new();
    into(&run, "out", &RICH).ok();
    let text = fs::read_to_string(run.path("out/run.jsonl")).unwrap();
    fs::write(run.path("precious"), "precious").unwrap();
    let partial = |file: &str| {
        let sha256 = txt2img::files::sha256::of_bytes(b"precious");
        let promise = format!(r#"{{"what":{{"grid":0}},"file":"{file}","sha256":"{sha256}","partial":true}}"#);
        format!(
            "{}{{\"promised\":{promise}}}\n{{\"done\":{{\"grid\":0}}}}\n",
            text.lines().next().unwrap().to_owned() + "\n"
        )
    };
    let precious = run.path("precious");
    let huge = text.replacen("\"pictures\":12", "\"pictures\":18446744073709551615", 1);
    for text in [
        partial("../precious"),
        partial(precious.to_str().unwrap()),
        text.replacen("\"every\":12", "\"every\":0", 1),
        text.replacen("\"columns\":3", "\"columns\":0", 1),
        text.replacen("\"shards\":1", "\"shards\":0", 1),
        text.replacen("\"shards\":1", "\"shards\":18446744073709551615", 1),
        text.replacen("\"first\":0,\"taken\":[]", "\"first\":18446744073709551615,\"taken\":[0]", 1),
        text.replacen("\"id\":\"", "\"id\":\"../", 1),
    ] {
        fs::write(run.path("out/run.jsonl"), text).unwrap();
        into(&run, "out", &["--collect"]).fails_with("'out/run.jsonl' is not a run journal of txt2img");
        resume(&run, "out", &RICH).fails_with("'out/run.jsonl' is not a run journal of txt2img");
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
    }
    fs::write(run.path("out/run.jsonl"), huge).unwrap();
    into(&run, "out", &["--collect"])
        .fails_with("18446744073709551603 of 18446744073709551615 pictures are missing (12-");
}

#[test]
fn files_of_others_are_left_alone() {
    let run = TestRun::new();
    fs::create_dir(run.path("out")).unwrap();
    for text in ["precious, no newline", "{\"foreign\":1}\n{\"foreign\":2}", "{\"x", "x\n{\"done"] {
        fs::write(run.path("out/run.jsonl"), text).unwrap();
        into(&run, "out", &[]).fails_with("'out/run.jsonl' is not a run journal of txt2img");
        into(&run, "out", &["--shard", "0/2"]).fails_with("'out/run.jsonl' is not a run journal of txt2img");
        assert_eq!(fs::read_to_string(run.path("out/run.jsonl")).unwrap(), text);
    }
    fs::remove_file(run.path("out/run.jsonl")).unwrap();
    for target in ["precious", "nothing"] {
        fs::write(run.path("precious"), "").unwrap();
        std::os::unix::fs::symlink(run.path(target), run.path("out/run.jsonl")).unwrap();
        into(&run, "out", &[]).fails_with("'out/run.jsonl' is not a file; move it away");
        assert_eq!(fs::read(run.path("precious")).unwrap(), b"");
        assert!(!run.path("nothing").exists());
        fs::remove_file(run.path("out/run.jsonl")).unwrap();
    }
    assert!(std::process::Command::new("mkfifo").arg(run.path("out/run.jsonl")).status().unwrap().success());
    into(&run, "out", &[]).fails_with("'out/run.jsonl' is not a file; move it away");
}

#[test]
fn a_torn_last_line_is_truncated() {
    let run = TestRun::new();
    into(&run, "out", &RICH).ok();
    let mut text = fs::read(run.path("out/run.jsonl")).unwrap();
    text.extend(br#"{"done":{"pic"#);
    fs::write(run.path("out/run.jsonl"), &text).unwrap();
    resume(&run, "out", &RICH).ok();
    into(&run, "out", &["--collect"]).ok();
}

#[test]
fn an_earlier_run_is_resumed_after_another() {
    let run = TestRun::new();
    into(&run, "out", &["--seed", "1"]).ok();
    into(&run, "out", &["--seed", "2"]).ok();
    let before = content(&run, "out");
    into(&run, "out", &["--seed", "1", "--resume"]).ok();
    assert_eq!(content(&run, "out"), before);
    fs::remove_file(run.path("out/samples/00000.png")).unwrap();
    into(&run, "out", &["--seed", "1", "--resume"]).ok();
    assert_eq!(content(&run, "out"), before);
}

#[test]
fn collect_without_a_run_is_refused() {
    let run = TestRun::new();
    into(&run, "out", &["--collect"]).fails_with("no run found in 'out' (no run.jsonl); give the --outdir of a run");
    let run = TestRun::new().file("file", "");
    run.alone(["--collect", "--outdir", "file"]).fails_with("'file' is not a folder; give the --outdir of a run");
}
