//! Names of embeddings in prompts, emphasis, and the borders of chunks.

use super::{embeddings, made};
use txt2img::checkpoint::Embedding;
use txt2img::text::{Reading, Tokenizer, Tokens};

/// The ids of the fixtures' vectors.
const EASY_NEG: [u32; 4] = [49408, 49409, 49410, 49411];
const END: u32 = 49407;
const CUBE: u32 = 11353;
const BALL: u32 = 1069;
const COMMA: u32 = 267;

fn read(embeddings: &[Embedding], prompt: &str, reading: Reading) -> Tokens {
    Tokenizer::new().unwrap().with_embeddings(embeddings).unwrap().tokenize(prompt, reading).unwrap()
}

fn long(prompt: &str) -> Vec<Vec<u32>> {
    let tokens = read(&embeddings(), prompt, Reading { long: true, ..Reading::default() });
    tokens.ids.chunks(Tokens::LENGTH).map(|chunk| inner(chunk).to_vec()).collect()
}

/// Returns the tokens of a chunk without the start token and the end tokens.
fn inner(chunk: &[u32]) -> &[u32] {
    let end = chunk.iter().position(|&id| id == END).unwrap();
    &chunk[1..end]
}

fn cubes(n: usize) -> String {
    vec!["cube"; n].join(" ")
}

#[test]
fn a_weight_is_that_of_all_vectors() {
    let tokens = read(&embeddings(), "a (easyneg:1.5) cube", Reading { emphasis: true, ..Reading::default() });
    assert_eq!(inner(&tokens.ids), [&[320][..], &EASY_NEG, &[CUBE]].concat());
    assert_eq!(tokens.weights[..8], [1., 1., 1.5, 1.5, 1.5, 1.5, 1., 1.]);
}

#[test]
fn an_embedding_that_fits_exactly_ends_its_chunk() {
    assert_eq!(long(&format!("{} easyneg", cubes(71))), [[&[CUBE; 71][..], &EASY_NEG].concat()]);
}

#[test]
fn an_embedding_that_does_not_fit_begins_a_chunk() {
    for n in 72..=74 {
        // Not at the comma.
        let chunks = long(&format!("{}, {} easyneg ball", cubes(60), cubes(n - 61)));
        let first = [&[CUBE; 60][..], &[COMMA], &vec![CUBE; n - 61]].concat();
        assert_eq!(chunks, [first, [&EASY_NEG[..], &[BALL]].concat()], "{n}");
    }
}

#[test]
fn a_full_chunk_still_ends_at_its_last_comma() {
    let chunks = long(&format!("{}, {} easyneg", cubes(70), cubes(4)));
    assert_eq!(chunks[0], [&[CUBE; 70][..], &[COMMA]].concat());
    assert_eq!(chunks[1], [&[CUBE; 4][..], &EASY_NEG].concat());
}

#[test]
fn neighbours_are_not_one_embedding() {
    let names = vec!["easyneg"; 19].join(" ");
    let chunks = long(&names);
    assert_eq!(chunks, [EASY_NEG.repeat(18), EASY_NEG.to_vec()]);
}

#[test]
fn a_short_prompt_leaves_out_an_embedding_that_does_not_fit() {
    let tokens = read(&embeddings(), &format!("{} EasyNeg ball", cubes(73)), Reading::default());
    assert_eq!(inner(&tokens.ids), [CUBE; 73]);
    assert_eq!(tokens.cut, "easyneg ball");
}

#[test]
fn the_largest_embedding_fills_a_chunk() {
    let tokens = read(&[made("big", 75)], "a big cube", Reading { long: true, ..Reading::default() });
    let chunks: Vec<_> = tokens.ids.chunks(Tokens::LENGTH).map(inner).collect();
    assert_eq!(chunks, [&[320][..], &(49408..49483).collect::<Vec<_>>(), &[CUBE]]);
}

#[test]
fn the_longest_name_wins() {
    let embeddings = [made("bad", 1), made("bad hands", 2), made("hands", 3)];
    let tokens = read(&embeddings, "bad hands hands bad", Reading::default());
    assert_eq!(inner(&tokens.ids), [49409, 49410, 49411, 49412, 49413, 49408]);
}

#[test]
fn names_are_told_apart_by_their_tokens() {
    let refusal = |names: [&str; 2]| {
        let embeddings = names.map(|name| made(name, 1));
        Tokenizer::new().unwrap().with_embeddings(&embeddings).err().map(|error| error.to_string())
    };
    assert_eq!(refusal(["bad", "badder"]), None);
    assert!(refusal(["Bad Hands", "bad  hands"]).unwrap().contains("the name 'bad  hands' (the other: 'Bad Hands')"));
    assert!(refusal(["a", " "]).unwrap().contains("contains no word"));
}

#[test]
fn any_name_in_any_prompt_is_read() {
    for name in ["(x)", "a, b", "ü-🎲", "<|endoftext|>", "1.5", "ſ's", "__"] {
        let tokens = read(&[made(name, 2)], &format!("cube {name} cube"), Reading::default());
        assert_eq!(tokens.ids[1..5], [CUBE, 49408, 49409, CUBE], "{name}");
    }
}
