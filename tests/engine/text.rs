//! Token ids, against Hugging Face's `CLIPTokenizer` with ftfy.

use crate::support::fixture;
use serde::Deserialize;
use txt2img::text::{Tokenizer, Tokens};

#[derive(Deserialize)]
struct Case {
    prompt: String,
    ids: Vec<u32>,
}

#[test]
fn awkward_prompts_have_the_original_ids() {
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(fixture("modules/tokens.json")).unwrap()).unwrap();
    assert_eq!(cases.len(), 28);
    let tokenizer = Tokenizer::new().unwrap();
    for Case { prompt, ids } in cases {
        assert_eq!(tokenizer.encode(&prompt).unwrap().ids, ids, "{prompt}");
    }
}

#[test]
fn generated_awkward_prompts_have_the_original_ids() {
    let text = std::fs::read_to_string(fixture("modules/awkward_prompts.jsonl")).unwrap();
    let tokenizer = Tokenizer::new().unwrap();
    let mut wrong = vec![];
    for (number, line) in (1..).zip(text.lines()) {
        let (prompt, expected): (String, Vec<u32>) = serde_json::from_str(line).unwrap();
        let ids = tokenizer.encode(&prompt).unwrap().ids;
        let (start, end) = ids.split_at(expected.len());
        if start != expected || end.iter().any(|&id| id != 49407) {
            wrong.push(format!("line {number}: {prompt:?}\n  is {start:?}\n  not {expected:?}"));
        }
    }
    assert!(text.lines().count() > 500);
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn words_beyond_75_tokens_are_named() {
    let tokenizer = Tokenizer::new().unwrap();
    let fits = vec!["cube"; Tokens::ROOM].join(" ");
    assert_eq!(tokenizer.encode(&fits).unwrap().cut, "");
    let Tokens { ids, cut, .. } = tokenizer.encode(&format!("{fits} and  a Ball")).unwrap();
    assert_eq!(cut, "and a ball");
    assert_eq!((ids.len(), ids[76]), (Tokens::LENGTH, 49407));
}

#[test]
fn a_word_of_which_only_the_start_fits_is_named_whole() {
    let almost = vec!["cube"; Tokens::ROOM - 1].join(" ");
    let tokens = Tokenizer::new().unwrap().encode(&format!("{almost} donaudampfschifffahrt schön")).unwrap();
    assert_eq!(tokens.cut, "donaudampfschifffahrt schön");
}

#[test]
fn any_text_at_all_has_77_ids() {
    let tokenizer = Tokenizer::new().unwrap();
    let long = "ﬁ😀\u{301} ".repeat(10_000);
    for text in ["", " ", "\0", "\u{feff}", "\u{1b}[31m", "<|endoftext|>", "&amp;&lt;", "\u{10ffff}\u{200d}", &long] {
        assert_eq!(tokenizer.encode(text).unwrap().ids.len(), Tokens::LENGTH, "{text:?}");
    }
}
