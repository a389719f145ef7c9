//! The names of embeddings in prompts, which their vectors replace.

use super::TextConfig;
use crate::checkpoint::Embedding;
use anyhow::{Result, bail, ensure};
use std::borrow::Cow;
use std::ops::Range;

/// The names of embeddings as tokens, so that letter case and spaces make no difference.
#[derive(Default)]
pub struct Triggers {
    /// Longest name first.
    triggers: Vec<Trigger>,
    /// The ids of each embedding's vectors, which follow CLIP's vocabulary.
    vectors: Vec<Range<u32>>,
}

/// The name of an embedding.
struct Trigger {
    ids: Vec<u32>,
    name: String,
    /// The index of the embedding.
    embedding: usize,
}

impl Triggers {
    /// Adds an embedding, whose name has the tokens `ids`.
    ///
    /// # Errors
    /// If the name has no tokens, or those of another name.
    pub fn add(&mut self, ids: Vec<u32>, embedding: &Embedding) -> Result<()> {
        let name = embedding.name();
        ensure!(!ids.is_empty(), "the name '{name}' of an embedding contains no word; give one with FILE=NAME");
        if let Some(other) = self.triggers.iter().find(|trigger| trigger.ids == ids) {
            let other = if other.name == name { String::new() } else { format!(" (the other: '{}')", other.name) };
            bail!("two embeddings have the name '{name}'{other}; give one another name with FILE=NAME");
        }
        let start = self.vectors.last().map_or(TextConfig::VOCABULARY as u32, |range| range.end);
        let place = self.triggers.partition_point(|trigger| trigger.ids.len() >= ids.len());
        self.triggers.insert(place, Trigger { ids, name: name.to_owned(), embedding: self.vectors.len() });
        self.vectors.push(start..start + embedding.count() as u32);
        Ok(())
    }

    /// Replaces names by the ids of vectors. Returns pieces of the new ids, each with the index in `ids` that it begins at.
    pub fn replace<'a>(&self, ids: &'a [u32]) -> Vec<(usize, Cow<'a, [u32]>)> {
        let mut pieces = vec![];
        let mut at = 0;
        while at < ids.len() {
            let found = self.triggers.iter().find(|trigger| ids[at..].starts_with(&trigger.ids));
            let (length, piece) = match found {
                Some(trigger) => (trigger.ids.len(), self.vectors[trigger.embedding].clone().collect()),
                None => (1, Cow::Borrowed(&ids[at..=at])),
            };
            pieces.push((at, piece));
            at += length;
        }
        pieces
    }

    /// Returns the indices of the embeddings that `ids` contain vectors of.
    pub fn found_in(&self, ids: &[u32]) -> Vec<usize> {
        let is_there = |range: &Range<u32>| ids.contains(&range.start);
        self.vectors.iter().enumerate().filter(|(_, range)| is_there(range)).map(|(i, _)| i).collect()
    }
}
