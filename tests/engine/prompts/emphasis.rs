//! Weights by brackets (`--emphasis`).

use super::{EMPHASIS, END, START, read, words};
use txt2img::text::emphasis::{Part, parts};
use txt2img::text::{Reading, Tokenizer};

/// Asserts the parts of a prompt, with weights to eight digits.
#[track_caller]
fn weighs(prompt: &str, expected: &[(&str, f64)]) {
    let parts = parts(prompt).unwrap();
    let near = |(part, (text, weight)): (&Part, &(&str, f64))| {
        part.text == *text && (part.weight - weight).abs() < 1e-8 * weight.abs().max(1.)
    };
    let alike = parts.len() == expected.len() && parts.iter().zip(expected).all(near);
    assert!(alike, "{prompt}: {parts:?} instead of {expected:?}");
}

#[test]
fn text_without_brackets_weighs_1() {
    weighs("", &[]);
    weighs("a cube: pink, 1.2", &[("a cube: pink, 1.2", 1.)]);
    weighs("ein Würfel, 红色", &[("ein Würfel, 红色", 1.)]);
}

#[test]
fn round_brackets_multiply_by_1_1() {
    weighs("a (pink) cube", &[("a ", 1.), ("pink", 1.1), (" cube", 1.)]);
    weighs("((cube))", &[("cube", 1.21)]);
    weighs("(((cube)))", &[("cube", 1.331)]);
}

#[test]
fn square_brackets_divide_by_1_1() {
    weighs("a [pink] cube", &[("a ", 1.), ("pink", 1. / 1.1), (" cube", 1.)]);
    weighs("[[cube]]", &[("cube", 1. / 1.21)]);
}

#[test]
fn a_number_after_a_colon_is_the_weight() {
    weighs("(cube:1.2)", &[("cube", 1.2)]);
    weighs("(cube: .5 )", &[("cube", 0.5)]);
    weighs("(cube:2.)", &[("cube", 2.)]);
    weighs("(cube:+3)", &[("cube", 3.)]);
    weighs("(cube:-1)", &[("cube", -1.)]);
    weighs("(cube:0)", &[("cube", 0.)]);
    weighs("(at 12:30:1.2)", &[("at 12:30", 1.2)]);
}

#[test]
fn brackets_within_brackets_multiply() {
    weighs("(a (b:2) c:1.5)", &[("a ", 1.5), ("b", 3.), (" c", 1.5)]);
    weighs("(a [b])", &[("a ", 1.1), ("b", 1.)]);
    weighs("((a:1.2):2)", &[("a", 2.4)]);
    weighs(
        "a (((b:1.3)) [on] a (c:0.5), ((d)).",
        &[
            ("a ", 1.),
            ("b", 1.573),
            (" ", 1.1),
            ("on", 1.),
            (" a ", 1.1),
            ("c", 0.55),
            (", ", 1.1),
            ("d", 1.331),
            (".", 1.1),
        ],
    );
}

#[test]
fn each_closing_bracket_closes_the_last_of_its_kind() {
    weighs("(a [b) c]", &[("a ", 1.1), ("b", 1.), (" c", 1. / 1.1)]);
}

#[test]
fn a_backslash_makes_a_bracket_text() {
    weighs(r"a \(b\) \[c\] \\", &[(r"a (b) [c] \", 1.)]);
    weighs(r"(\(a\):1.2)", &[("(a)", 1.2)]);
    weighs(r"\\(a)", &[(r"\", 1.), ("a", 1.1)]);
    weighs(r"\a \", &[("a ", 1.)]);
}

#[test]
fn what_is_not_closed_weighs_to_the_end() {
    weighs("a (b c", &[("a ", 1.), ("b c", 1.1)]);
    weighs("a [b (c", &[("a ", 1.), ("b ", 1. / 1.1), ("c", 1.)]);
    weighs("(a:1.2", &[("a:1.2", 1.1)]);
}

#[test]
fn a_closing_bracket_too_many_is_text() {
    weighs("a) b]", &[("a) b]", 1.)]);
    weighs("(a)) b", &[("a", 1.1), (") b", 1.)]);
    weighs("a:1.2) b", &[("a:1.2) b", 1.)]);
}

#[test]
fn what_is_no_weight_is_text() {
    weighs("(a:b)", &[("a:b", 1.1)]);
    weighs("(a:)", &[("a:", 1.1)]);
    weighs("[a:1.2]", &[("a:1.2", 1. / 1.1)]);
    for number in ["inf", "NaN", "-inf", "1e3", "1.2.3", ".", "+-1", "1 2", "0x10", "١"] {
        weighs(&format!("(a:{number})"), &[(&format!("a:{number}"), 1.1)]);
    }
}

#[test]
fn neighbours_of_one_weight_are_one_part() {
    weighs("(a)(b) (c:1)", &[("ab", 1.1), (" c", 1.)]);
    weighs("()[](:1.2)", &[]);
}

#[test]
fn a_weight_beyond_measure_is_an_error() {
    weighs("(a:1000)", &[("a", 1000.)]);
    let huge = format!("b (cube:{})", "9".repeat(400));
    let nan = format!("((cube:0):{})", "9".repeat(400));
    for prompt in ["(cube:1001)", "(cube:-1001)", "((cube:100):100)", &"(cube".repeat(99), &huge, &nan] {
        let error = parts(prompt).unwrap_err().to_string();
        assert!(error.contains("around 'cube'") && error.ends_with("the largest is 1000"), "{error}");
    }
}

#[test]
fn a_hundred_thousand_brackets_are_read() {
    let n = 50_000;
    weighs(&format!("{}a{}", "[".repeat(n), "]".repeat(n)), &[("a", 0.)]);
    weighs(&format!("{}a{}", "([".repeat(n), ")]".repeat(n)), &[("a", 1.)]);
    assert!(parts(&"(".repeat(2 * n)).unwrap().is_empty());
    weighs(&":".repeat(2 * n), &[(&":".repeat(2 * n), 1.)]);
}

#[test]
fn every_token_has_the_weight_of_its_part() {
    let tokens = read("a (pink:1.5) [cube]", EMPHASIS);
    let plain = read("a pink cube", EMPHASIS);
    assert_eq!(tokens.ids, plain.ids);
    assert_eq!(tokens.ids[..5], [START, 320, plain.ids[2], plain.ids[3], END]);
    assert_eq!(tokens.weights[..5], [1., 1., 1.5, (1. / 1.1) as f32, 1.]);
    assert!(tokens.weights[5..].iter().all(|&weight| weight == 1.));
    assert!(plain.weights.iter().all(|&weight| weight == 1.));
}

#[test]
fn without_the_wish_brackets_are_tokens() {
    let tokenizer = Tokenizer::new().unwrap();
    let prompt = r"a (pink:1.5) [cube] \(";
    let tokens = tokenizer.tokenize(prompt, Reading::default()).unwrap();
    assert_eq!(tokens, tokenizer.encode(prompt).unwrap());
    assert!(tokens.weights.iter().all(|&weight| weight == 1.));
    assert_ne!(tokens.ids, read(prompt, EMPHASIS).ids);
}

#[test]
fn without_brackets_the_tokens_are_the_plain_ones() {
    for prompt in ["", "a photo of a pink cube", " &amp; ﬁne  “quotes” ", &words(100)] {
        assert_eq!(read(prompt, EMPHASIS), read(prompt, Reading::default()), "{prompt}");
    }
}

#[test]
fn words_that_are_left_out_are_named_without_their_brackets() {
    let cut = |rest: &str| read(&format!("{} {rest}", words(74)), EMPHASIS).cut;
    assert_eq!(cut("ball"), "");
    assert_eq!(cut("ball (and a [Cone]),  then (more:1.2)"), "and a cone, then more");
    assert_eq!(cut("(donaudampf)schifffahrt (schön"), "donaudampfschifffahrt schön");
    assert_eq!(cut("ball ( ) (cone) "), "cone");
}
