//! The web UI's syntax of prompts, against tables made with it.

use super::{START, read, words};
use crate::support::{cpu_time, fixture};
use serde::Deserialize;
use std::time::Duration;
use txt2img::text::composition::subprompts;
use txt2img::text::timeline::Timeline;
use txt2img::text::{Reading, Tokens};

/// The texts of a prompt with their last steps.
type Texts = Vec<(usize, String)>;

/// The token ids and weights of a chunk.
type Chunk = (Vec<u32>, Vec<f64>);

#[derive(Deserialize)]
struct Tables {
    /// Prompt, steps, and the texts with their last steps.
    schedules: Vec<(String, usize, Texts)>,
    /// Prompt, and its subprompts with their weights.
    compositions: Vec<(String, Vec<(String, f64)>)>,
    /// Prompt, and the token ids and weights of its chunks.
    chunks: Vec<(String, Vec<Chunk>)>,
}

fn tables() -> Tables {
    serde_json::from_slice(&std::fs::read(fixture("prompts/web_ui.json")).unwrap()).unwrap()
}

fn schedule(prompt: &str, steps: usize) -> Vec<(usize, String)> {
    let timeline = Timeline::new(prompt, steps);
    timeline.ends().into_iter().map(|end| (end, timeline.text_at(end))).collect()
}

#[test]
fn words_change_at_the_steps_of_the_web_ui() {
    let cases = tables().schedules;
    assert!(cases.len() > 900);
    let differs = |(prompt, steps, expected): &(String, usize, Vec<_>)| {
        let ours = schedule(prompt, *steps);
        (ours != *expected).then(|| format!("{prompt:?}, {steps} steps:\n  {ours:?}\n  instead of {expected:?}"))
    };
    let wrong: Vec<String> = cases.iter().filter_map(differs).collect();
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn complete_brackets_count_even_beside_unbalanced_ones() {
    // The web UI reads these in either way, at random.
    for (prompt, first) in [("[a:b:0.5]:", "a:"), ("[a:b:0.5][", "a["), ("[a:b:2](", "a("), ("[x|y]0.5])[", "x0.5])[")]
    {
        assert_eq!(Timeline::new(prompt, 4).text_at(1), first, "{prompt}");
    }
}

#[test]
fn a_number_beyond_all_steps_is_never_reached() {
    for number in ["5", "1.5", "1e300", "1e400", "99999999999999999999", "7.e300"] {
        assert_eq!(schedule(&format!("[a:b:{number}]"), 4), [(4, "a".into())], "{number}");
    }
    for number in ["0", "-1", "-1e400", "-99999999999999999999", "0.1"] {
        assert_eq!(schedule(&format!("[a:b:{number}]"), 4), [(4, "b".into())], "{number}");
    }
}

#[test]
fn prompts_are_composed_as_in_the_web_ui() {
    for (prompt, expected) in tables().compositions {
        let ours = subprompts(&prompt).unwrap();
        let ours: Vec<(&str, f64)> = ours.iter().map(|subprompt| (subprompt.text, subprompt.weight)).collect();
        let expected: Vec<(&str, f64)> = expected.iter().map(|(text, weight)| (text.trim(), *weight)).collect();
        assert_eq!(ours, expected, "{prompt:?}");
    }
}

#[test]
fn subprompts_of_extreme_weight_are_refused() {
    for weight in ["1001", "-1000.5", &"9".repeat(400)] {
        let error = subprompts(&format!("a AND b :{weight}")).unwrap_err().to_string();
        assert!(error.starts_with("the subprompt 'b' has a weight of "), "{error}");
    }
    assert_eq!(subprompts("a :1000").unwrap()[0].weight, 1000.);
}

#[test]
fn chunks_are_those_of_the_web_ui() {
    for (prompt, expected) in tables().chunks {
        let tokens = read(&prompt, Reading::WEB_UI);
        let (ids, weights): (Vec<_>, Vec<_>) = expected.into_iter().unzip();
        let weights: Vec<f32> = weights.concat().into_iter().map(|weight| weight as f32).collect();
        assert_eq!(tokens.ids, ids.concat(), "{prompt}");
        let near = tokens.weights.iter().zip(&weights).all(|(ours, expected)| (ours - expected).abs() < 1e-6);
        assert!(near, "{prompt}: {:?} instead of {weights:?}", tokens.weights);
        assert_eq!(tokens.cut, "", "{prompt}");
    }
}

#[test]
fn break_is_a_word_without_the_flag() {
    let tokens = read("a BREAK b", Reading { web_ui: false, ..Reading::WEB_UI });
    assert_eq!((tokens.chunks(), tokens.ids), (1, read("a break b", Reading::default()).ids));
}

#[test]
fn chunks_beyond_the_twentieth_are_cut() {
    let tokens = read(&format!("{}a Ball", "cube BREAK ".repeat(20)), Reading::WEB_UI);
    assert_eq!((tokens.chunks(), tokens.cut.as_str()), (Tokens::MAX_CHUNKS, "a ball"));
    let empty = read(&"BREAK ".repeat(10_000), Reading::WEB_UI);
    assert_eq!((empty.chunks(), empty.cut.as_str()), (Tokens::MAX_CHUNKS, ""));
    assert!(
        empty.ids.chunks(Tokens::LENGTH).all(|chunk| chunk[0] == START && chunk[1..].iter().all(|&id| id == 49407))
    );
}

#[test]
fn any_prompt_is_read_in_linear_time() {
    let start = cpu_time();
    let n = 100_000;
    for piece in [
        "[", "]", "(", "[a|", "[a:", "[|", "[:", "|", ":", "\\", "[a:b:1]", "[a|b]", "([", "[(", "[a:b:1", "BREAK ",
        "AND ",
    ] {
        let prompt = piece.repeat(n / piece.len());
        for prompt in [prompt.clone(), format!("{prompt}\\"), format!("{prompt}{}", "]".repeat(n))] {
            schedule(&prompt, 3);
            assert_eq!(subprompts(&prompt).is_err(), piece == "AND ");
            let _ = txt2img::text::emphasis::sections(&prompt);
        }
    }
    let deep = n / 8;
    for (open, close) in [("[a:", ":2]"), ("[", ":b:2]"), ("[a|", "]"), ("[", "|b]"), ("(", ":1.)"), ("([a|b]", ")")] {
        let prompt = format!("{}x{}", open.repeat(deep), close.repeat(deep));
        assert!(schedule(&prompt, 3).iter().all(|(_, text)| text.len() <= prompt.len()));
    }
    let time = cpu_time() - start;
    assert!(time < Duration::from_secs(60), "it took {time:?}");
}

#[test]
fn more_than_a_hundred_subprompts_are_refused() {
    assert_eq!(subprompts(&"a AND ".repeat(99)).unwrap().len(), 100);
    let error = subprompts(&"a AND ".repeat(100)).unwrap_err().to_string();
    assert_eq!(error, "the prompt has 101 subprompts joined by AND; the most is 100");
}

#[test]
fn alternations_of_many_alternatives_have_one_text_a_step() {
    let prompt = (2..20).map(|n| format!("[{}]", vec![words(1); n].join("|"))).collect::<String>();
    assert_eq!(schedule(&prompt, 50).len(), 50);
}
