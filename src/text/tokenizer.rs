//! CLIP's byte-pair encoding (Radford et al. 2021), as Hugging Face's `CLIPTokenizer` with ftfy does it.

use anyhow::{Result, anyhow};
use std::iter::{once, repeat};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

/// The merges CLIP learnt, most frequent first, below a line that names the file.
const MERGES: &str = include_str!("../../models/clip/bpe_simple_vocab_16e6.txt");

/// A word is one of these; everything else is space.
const WORD: &str = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";

const START: u32 = 49406;
const END: u32 = 49407;

/// Turns prompts into token ids.
pub struct Tokenizer {
    bpe: tokenizers::Tokenizer,
}

/// A prompt as CLIP reads it.
#[derive(Clone, PartialEq, Debug)]
pub struct Tokens {
    /// Start, at most 75 tokens, end, and the end again up to 77.
    pub ids: Vec<u32>,
    /// The words that found no room, as the tokenizer cleaned them; empty if all did.
    pub cut: String,
}

impl Tokens {
    /// How many ids CLIP reads.
    pub const LENGTH: usize = 77;

    /// How many of them are the prompt's.
    pub const ROOM: usize = Self::LENGTH - 2;
}

impl Tokenizer {
    /// From the vocabulary inside the program.
    ///
    /// # Errors
    /// Only if that vocabulary is broken.
    pub fn new() -> Result<Self> {
        let vocabulary = |error| anyhow!("the vocabulary in models/clip: {error}");
        let merges: Vec<(String, String)> = MERGES
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(' '))
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .collect();
        let mut bytes: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
        bytes.sort();
        let word_ends = bytes.iter().map(|byte| format!("{byte}</w>"));
        let merged = merges.iter().map(|(a, b)| format!("{a}{b}"));
        let ids: tokenizers::models::bpe::Vocab =
            bytes.iter().cloned().chain(word_ends).chain(merged).zip(0..).collect();
        let bpe = BPE::builder()
            .vocab_and_merges(ids, merges)
            .end_of_word_suffix("</w>".into())
            .build()
            .map_err(vocabulary)?;
        let mut bpe = tokenizers::Tokenizer::new(bpe);
        let pattern = SplitPattern::Regex(WORD.into());
        let words = Split::new(pattern, SplitDelimiterBehavior::Removed, true).map_err(vocabulary)?;
        let bytes = ByteLevel::new(false, true, false);
        bpe.with_pre_tokenizer(Some(Sequence::new(vec![words.into(), bytes.into()])));
        // They take the next two ids, START and END, also where a prompt spells them out.
        let special = ["<|startoftext|>", "<|endoftext|>"].map(|token| AddedToken::from(token, true));
        bpe.add_special_tokens(special).map_err(vocabulary)?;
        Ok(Self { bpe })
    }

    /// A prompt's 77 ids.
    ///
    /// # Errors
    /// None that a prompt can cause: every character is some bytes, and every byte has an id.
    pub fn encode(&self, prompt: &str) -> Result<Tokens> {
        let text = clean(prompt);
        let encoding =
            self.bpe.encode(text.as_str(), false).map_err(|error| anyhow!("tokenizing '{text}': {error}"))?;
        let room = encoding.get_ids().iter().copied().take(Tokens::ROOM);
        let ids = once(START).chain(room).chain(repeat(END)).take(Tokens::LENGTH).collect();
        let cut = encoding.get_offsets().get(Tokens::ROOM).map_or("", |&(start, _)| words_from(&text, start));
        Ok(Tokens { ids, cut: cut.to_owned() })
    }
}

/// Text repaired, runs of white space made one space, lower case.
fn clean(prompt: &str) -> String {
    let repaired = plsfix::fix_text(prompt, None);
    repaired.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The text from the start of the word that byte `at` is in.
fn words_from(text: &str, at: usize) -> &str {
    let start = text.as_bytes()[..at].iter().rposition(|&byte| byte == b' ').map_or(0, |space| space + 1);
    &text[start..]
}
