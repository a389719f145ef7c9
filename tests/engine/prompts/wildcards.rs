//! Alternatives in braces (`--wildcards`).

use std::collections::HashSet;
use txt2img::prompts::wildcards::expand;
use txt2img::rng::choices;

/// Asserts that `text` expands with exactly these picks.
#[track_caller]
fn expands(text: &str, picks: &[usize], expected: &str) {
    let mut picks = picks.iter();
    let mut pick =
        |below: usize| *picks.next().filter(|pick| **pick < below).expect("a pick below the number of options");
    assert_eq!(expand(text, &mut pick).unwrap(), expected, "{text}");
    assert_eq!(picks.next(), None, "{text}");
}

#[track_caller]
fn fails(text: &str, reason: &str) {
    let error = expand(text, &mut |_| 0).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn one_option_of_a_group_is_taken() {
    for (i, colour) in ["red", "green", "blue"].into_iter().enumerate() {
        expands("a {red|green|blue} cube", &[i], &format!("a {colour} cube"));
    }
    expands("{a|b}{c|d} {e|f}", &[0, 1, 1], "ad f");
    expands("{a}", &[0], "a");
}

#[test]
fn options_may_be_empty() {
    expands("a{ pink|} cube", &[1], "a cube");
    expands("a{| pink} cube", &[0], "a cube");
    expands("a{} {||}", &[0, 1], "a ");
}

#[test]
fn groups_within_groups_pick_first_and_all() {
    expands("{a {b|c}|d {e|f} g}", &[1, 0, 1], "d e g");
    expands("{a {b|c}|d {e|f} g}", &[1, 0, 0], "a c");
    expands("{{{a|b}|c}|d}", &[1, 0, 0], "b");
}

#[test]
fn a_backslash_makes_a_brace_or_a_bar_text() {
    expands(r"\{a\|b\}", &[], "{a|b}");
    expands(r"{a\|b\}|c}", &[0], "a|b}");
    expands(r"\(a\) \\ \", &[], r"\(a\) \\ \");
}

#[test]
fn text_without_braces_stays() {
    for text in ["", "a pink cube", "a | b", "(a:1.2) [b] ü 红"] {
        expands(text, &[], text);
    }
}

#[test]
fn a_brace_without_a_partner_is_an_error_that_says_where() {
    fails("a {b|c", "character 3 of the prompt, '{b|c', is never closed");
    fails("ü {a} {b {c} d", "character 7 of the prompt, '{b {c} d', is never closed");
    fails("a} b", "character 2 of the prompt, '} b', closes nothing");
    fails("ü {a|b}} c", "character 8 of the prompt, '} c', closes nothing");
    fails(r"{a\}", "character 1 of the prompt");
}

#[test]
fn a_hundred_thousand_braces_are_expanded() {
    let n = 50_000;
    expands(&format!("{}a{}", "{".repeat(n), "}".repeat(n)), &vec![0; n], "a");
    expands(&format!("{}a{}", "{|".repeat(n), "}".repeat(n)), &vec![1; n], "a");
    expands(&"{a|b}".repeat(n), &vec![1; n], &"b".repeat(n));
    fails(&"{".repeat(2 * n), "character 100000 of the prompt");
    fails(&"}".repeat(2 * n), "character 1 of the prompt");
}

#[test]
fn a_pick_out_of_range_is_no_panic() {
    assert_eq!(expand("{a|b|c}", &mut |_| usize::MAX).unwrap().len(), 1);
}

#[test]
fn a_seed_and_a_picture_always_choose_the_same() {
    let first = |seed, picture| [10; 12].map(choices(seed, picture));
    assert_eq!(first(42, 0), first(42, 0));
    assert_eq!(first(42, 0), GOLDEN);
    let all: HashSet<_> = (0..10).flat_map(|seed| (0..10).map(move |picture| first(seed, picture))).collect();
    assert_eq!(all.len(), 100);
}

/// The choices for picture 0 with seed 42, which must not change.
const GOLDEN: [usize; 12] = [1, 7, 6, 5, 7, 3, 2, 7, 5, 8, 9, 2];

#[test]
fn every_option_has_its_turn() {
    let mut counts = [0; 3];
    for picture in 0..3000 {
        counts[choices(42, picture)(3)] += 1;
    }
    assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    assert_eq!(choices(42, 0)(1), 0);
}
