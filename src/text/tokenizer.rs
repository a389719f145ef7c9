//! CLIP's byte-pair encoding (Radford et al. 2021), equal to Hugging Face's `CLIPTokenizer` with ftfy.

use super::embeddings::Triggers;
use super::emphasis::{self, Part};
use super::repair::repair;
use super::tokens::{Reading, Tokens, Words};
use crate::checkpoint::Embedding;
use anyhow::{Result, anyhow};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

/// CLIP's merges, most frequent first, after a header line.
const MERGES: &str = include_str!("../../models/clip/bpe_simple_vocab_16e6.txt");

/// The pattern of a word. Other characters are space. It ignores case although `clean` makes text lower case, since `ſ`
/// is an `s` in the original.
const WORD: &str = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";

/// The tokens before and after a prompt.
const SPECIAL: [&str; 2] = ["<|startoftext|>", "<|endoftext|>"];

/// Turns prompts into token ids.
pub struct Tokenizer {
    bpe: tokenizers::Tokenizer,
    triggers: Triggers,
}

impl Tokenizer {
    /// Creates a tokenizer with the bundled vocabulary.
    ///
    /// # Errors
    /// If the vocabulary is damaged.
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
        // They get the next two ids, which a prompt that contains their text also gets.
        let special = SPECIAL.map(|token| AddedToken::from(token, true));
        bpe.add_special_tokens(special).map_err(vocabulary)?;
        Ok(Self { bpe, triggers: Triggers::default() })
    }

    /// Adds embeddings, whose vectors take the places of their names in prompts.
    ///
    /// # Errors
    /// If a name has no tokens, or the same as another name.
    pub fn with_embeddings(mut self, embeddings: &[Embedding]) -> Result<Self> {
        embeddings.iter().try_for_each(|embedding| self.add_embedding(embedding))?;
        Ok(self)
    }

    /// Adds an embedding, whose vectors take the place of its name in prompts.
    ///
    /// # Errors
    /// If its name has no tokens, or is the same as another name; nothing is added then.
    pub fn add_embedding(&mut self, embedding: &Embedding) -> Result<()> {
        let ids = self.ids(&clean(embedding.name()))?.get_ids().to_vec();
        self.triggers.add(ids, embedding)
    }

    /// Returns the indices of the embeddings in a prompt, each once.
    pub fn embeddings_in(&self, tokens: &Tokens) -> Vec<usize> {
        self.triggers.found_in(&tokens.ids)
    }

    /// Returns the 77 tokens of a prompt, as in the original.
    ///
    /// # Errors
    /// If the tokenizer fails, which no prompt causes: every byte of it has an id.
    pub fn encode(&self, prompt: &str) -> Result<Tokens> {
        self.tokenize(prompt, Reading::default())
    }

    /// Returns the tokens of a prompt, according to `reading`.
    ///
    /// # Errors
    /// If emphasis is on and a weight is beyond ±1000.
    pub fn tokenize(&self, prompt: &str, reading: Reading) -> Result<Tokens> {
        let sections = match reading {
            Reading { web_ui: true, .. } => emphasis::sections(prompt)?,
            Reading { emphasis: true, .. } => vec![emphasis::parts(prompt)?],
            _ => vec![vec![Part { text: prompt.to_owned(), weight: 1. }]],
        };
        let mut words = Words::default();
        for (i, section) in sections.iter().enumerate() {
            if i > 0 {
                words.end_section();
            }
            section.iter().try_for_each(|part| self.append(part, &mut words))?;
        }
        Ok(words.chunked(reading.long))
    }

    /// Encodes a cleaned text.
    fn ids(&self, clean: &str) -> Result<tokenizers::Encoding> {
        self.bpe.encode(clean, false).map_err(|error| anyhow!("tokenizing '{clean}': {error}"))
    }

    /// Tokenizes a part of a prompt and appends it to `words`. A word ends where the weight changes.
    fn append(&self, Part { text, weight }: &Part, words: &mut Words) -> Result<()> {
        let clean = clean(text);
        let encoding = self.ids(&clean)?;
        if text.starts_with(char::is_whitespace) {
            words.space();
        }
        let base = words.text.len();
        for (at, ids) in self.triggers.replace(encoding.get_ids()) {
            words.ids.extend(&*ids);
            let start = base + encoding.get_offsets()[at].0;
            words.starts.resize(words.ids.len(), start);
        }
        words.weights.resize(words.ids.len(), *weight as f32);
        words.text += &clean;
        if text.ends_with(char::is_whitespace) {
            words.space();
        }
        Ok(())
    }
}

/// Cleans a text before it is tokenized: each piece between special tokens by itself.
fn clean(text: &str) -> String {
    let mut cleaned = String::new();
    let mut rest = text;
    while let Some((at, token)) = SPECIAL.iter().filter_map(|token| Some((rest.find(token)?, *token))).min() {
        cleaned.push_str(&clean_piece(&rest[..at]));
        cleaned.push_str(token);
        rest = &rest[at + token.len()..];
    }
    cleaned + &clean_piece(rest)
}

/// Repairs a text, collapses white space, and converts it to lower case.
fn clean_piece(text: &str) -> String {
    repair(text).split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
