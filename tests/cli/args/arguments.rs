//! Values that look like flags, and unexpected arguments.

use super::{defaults, misuse, parse};
use crate::support::TestRun;

fn prompt(words: &[&str]) -> String {
    parse(words.iter().copied()).unwrap().prompt
}

#[test]
fn a_prompt_may_begin_with_a_dash() {
    assert_eq!(prompt(&["--prompt=-foo"]), "-foo");
    assert_eq!(prompt(&["--prompt=--n"]), "--n");
    assert_eq!(prompt(&["--prompt", "--with spaces"]), "--with spaces");
    assert_eq!(prompt(&["--prompt", "-1"]), "-1");
    assert_eq!(prompt(&["--prompt", "-"]), "-");
    assert_eq!(prompt(&["--prompt", "--n 5 = x"]), "--n 5 = x");
}

#[test]
fn a_prompt_may_be_empty_or_contain_anything() {
    for text in ["", " ", "a=b", "\n", "\u{202e}😀\u{1b}[31m", "--=-- --"] {
        assert_eq!(prompt(&["--prompt", text]), text);
    }
}

#[test]
fn a_prompt_needs_a_value() {
    for words in [&["--prompt"][..], &["--prompt", "--plms"], &["--prompt", "--"]] {
        let message = misuse(words.iter().copied());
        assert!(message.contains("a value is required for '--prompt <TEXT>'"), "{words:?}: {message}");
    }
}

#[test]
fn unexpected_arguments_are_refused_and_named() {
    for (words, named) in [
        (&["x"][..], "'x'"),
        (&["a", "b"], "'a'"),
        (&["--prompt", "red", "cube"], "'cube'"),
        (&["--bogus"], "'--bogus'"),
        (&["--bogus=1"], "'--bogus'"),
        (&["-x"], "'-x'"),
        (&["--prompt", "-foo"], "'-f'"),
        (&["-1"], "'-1'"),
        (&["--plms", "-1"], "'-1'"),
        (&["--", "x"], "'x'"),
        (&[""], "''"),
    ] {
        let message = misuse(words.iter().copied());
        assert!(message.contains(named), "{words:?}: {message}");
    }
}

#[test]
fn two_dashes_alone_end_the_flags() {
    assert_eq!(parse(["--"]).unwrap(), defaults());
}

#[test]
fn misuse_exits_with_2_and_needs_no_model() {
    let run = TestRun::new();
    for words in [&["--n", "3"][..], &["--prompt"], &["surplus"], &["--scale", "nan"], &["--plms", "--sampler", "lms"]]
    {
        run.misuse(words);
    }
}

#[cfg(unix)]
#[test]
fn arguments_that_are_not_utf8_are_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    for words in [&[&b"a\xff"[..]][..], &[b"--\xff"], &[b"--prompt", b"\xff"], &[b"--seed", b"\xff"]] {
        TestRun::new().misuse(words.iter().map(|word| OsStr::from_bytes(word)));
    }
}

#[test]
fn a_value_with_a_dash_needs_a_flag_before_it() {
    for words in
        [&["--outdir", "out", "-1"][..], &["--prompt", "a", "-x y"], &["--prompt=a", "-1"], &["--plms", "-1"], &["-1"]]
    {
        TestRun::new().quick(words).is_misuse("unexpected argument");
    }
}

#[test]
fn an_unknown_flag_gets_the_right_suggestion_or_none() {
    for (flag, suggested) in [
        ("--heigth", "--height"),
        ("--seeds", "--seed"),
        ("--stepss", "--steps"),
        ("--negativ_prompt", "--negative_prompt"),
        ("--guidance-scale=3", "--scale"),
        ("--num_inference_steps", "--steps"),
        ("--output", "--outdir"),
        ("--model", "--ckpt"),
        ("--denoising-strength", "--strength"),
    ] {
        let message = misuse([flag, "1"]);
        assert!(message.contains(&format!("tip: a similar argument exists: '{suggested}'")), "{flag}: {message}");
    }
    for flag in ["--foo", "--cgf", "--size", "-x"] {
        assert!(!misuse([flag, "1"]).contains("similar"), "{flag}");
    }
    assert!(misuse(["--prompt", "a", "red", "ball"]).contains("texts that contain spaces need quotes"));
    assert!(misuse(["\u{2014}seed", "1"]).contains("flags begin with two hyphens"));
}

#[test]
fn errors_end_with_the_usage_of_their_flag() {
    let message = misuse(["--H", "5x"]);
    assert!(
        message
            .starts_with("error: invalid value '5x' for '--H <N>': not a whole number\n\nUsage: --H <N>\n  Height of")
    );
    assert!(misuse(["--heigth", "5"]).contains("\n\nUsage: --H <N>\n"));
    for words in [&["--foo"][..], &["--n"], &["--sweep", "scale"], &["--plms", "--sampler", "ddim"], &["--H"]] {
        assert!(!misuse(words.iter().copied()).contains("[OPTIONS]"), "{words:?}");
    }
}
