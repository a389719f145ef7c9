//! Prompts of more than 75 tokens, chunk by chunk.

use super::{BOTH, END, LONG, START, read, words};
use txt2img::text::{Reading, Tokenizer, Tokens};

/// Asserts that the token ids of each chunk are those of `chunks` alone.
#[track_caller]
fn reads_as(prompt: &str, chunks: &[&str]) {
    let (tokens, tokenizer) = (read(prompt, LONG), Tokenizer::new().unwrap());
    assert_eq!(tokens.chunks(), chunks.len(), "{prompt}");
    for (ids, chunk) in tokens.ids.chunks(Tokens::LENGTH).zip(chunks) {
        let alone = tokenizer.encode(chunk).unwrap();
        assert_eq!((ids, alone.cut.as_str()), (&alone.ids[..], ""), "{prompt}");
    }
    assert_eq!((tokens.weights, tokens.cut.as_str()), (vec![1.; tokens.ids.len()], ""));
}

#[test]
fn up_to_75_tokens_are_one_chunk() {
    for prompt in ["", "a cube", "one, two", &words(75)] {
        assert_eq!(read(prompt, LONG), read(prompt, Reading::default()), "{prompt}");
    }
}

#[test]
fn the_76th_token_begins_a_second_chunk() {
    reads_as(&words(76), &[&words(75), "cube"]);
    reads_as(&words(151), &[&words(75), &words(75), "cube"]);
    let ids = read(&words(76), LONG).ids;
    assert_eq!([ids[0], ids[76], ids[77], ids[79], ids[153]], [START, END, START, END, END]);
}

#[test]
fn a_chunk_breaks_after_the_last_comma_of_its_last_20_tokens() {
    // The comma is the 56th token, the first of the last 20.
    let early = format!("{},", words(55));
    reads_as(&format!("{early} {}", words(20)), &[&early, &words(20)]);
    let late = format!("{}, {},", words(60), words(10));
    reads_as(&format!("{late} {}", words(10)), &[&late, &words(10)]);
    let last = format!("{},", words(74));
    reads_as(&format!("{last} cube"), &[&last, "cube"]);
}

#[test]
fn a_comma_further_away_is_no_place_to_break() {
    let far = format!("{}, ", words(54));
    reads_as(&format!("{far}{}", words(21)), &[&format!("{far}{}", words(20)), "cube"]);
}

#[test]
fn a_comma_that_finds_no_room_begins_the_next_chunk() {
    let first = format!("{}, {}", words(60), words(14));
    reads_as(&format!("{first}, ball"), &[&first, ", ball"]);
}

#[test]
fn all_that_fits_is_not_broken_at_a_comma() {
    let full = format!("{}, {}", words(60), words(14));
    reads_as(&full, &[&full]);
}

#[test]
fn words_beyond_twenty_chunks_are_named() {
    let room = Tokens::MAX_CHUNKS * Tokens::ROOM;
    let full = read(&words(room), LONG);
    assert_eq!((full.chunks(), full.cut.as_str()), (20, ""));
    let over = read(&format!("{} and a Ball", words(room)), LONG);
    assert_eq!((over.ids, over.cut.as_str()), (full.ids, "and a ball"));
}

#[test]
fn a_chunk_takes_its_weights_along() {
    let tokens = read(&format!("{} (cube cube:1.5) [cube]", words(74)), BOTH);
    let divided = (1. / 1.1) as f32;
    assert_eq!(tokens.ids, read(&words(77), LONG).ids);
    assert_eq!(tokens.weights[73..81], [1., 1., 1.5, 1., 1., 1.5, divided, 1.]);
}

#[test]
fn any_text_at_all_is_read_in_whole_chunks() {
    let long = "ﬁ😀\u{301} ((:".repeat(5_000);
    for text in ["", " ", "\0", "(", ")", "\\", "<|endoftext|>", ",", &",".repeat(5_000), &"a, ".repeat(5_000)] {
        let tokens = read(text, BOTH);
        assert_eq!(tokens.ids.len(), tokens.chunks() * Tokens::LENGTH, "{text:?}");
        assert_eq!(tokens.weights.len(), tokens.ids.len(), "{text:?}");
        assert!((1..=Tokens::MAX_CHUNKS).contains(&tokens.chunks()), "{text:?}");
    }
    assert_eq!(read(&long, LONG).chunks(), Tokens::MAX_CHUNKS);
}
