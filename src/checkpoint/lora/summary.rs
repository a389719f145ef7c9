//! A summary of a LoRA file.

use super::super::names::TEXT;
use super::{LoraFile, refusals};
use crate::human::counted;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The most trigger words that are named.
const MAX_TRIGGERS: usize = 5;

/// The maximum number of characters of a text from the metadata.
const MAX_CHARS: usize = 100;

/// The contents of a LoRA file, in a sentence.
pub struct Summary<'a> {
    pub(super) file: &'a LoraFile,
}

impl Summary<'_> {
    /// The kinds of changes in the file: LoRA, LoHa and so on.
    pub fn kinds(&self) -> BTreeSet<&'static str> {
        self.file.kinds.clone()
    }

    /// The ranks, smallest and largest.
    pub fn ranks(&self) -> Option<(usize, usize)> {
        let ranks = || self.file.changes.values().filter_map(|change| change.rank);
        ranks().min().zip(ranks().max())
    }

    /// The number of changed modules in the text encoder, in attention layers and elsewhere in the UNet.
    pub fn matched(&self) -> [usize; 3] {
        let part = |name: &str| match () {
            () if name.starts_with(TEXT) => 0,
            () if name.contains("transformer_blocks") || name.contains(".proj_in") || name.contains(".proj_out") => 1,
            () => 2,
        };
        let mut counts = [0; 3];
        self.file.changes.keys().for_each(|name| counts[part(name)] += 1);
        counts
    }

    /// The number of modules in the file that the model lacks.
    pub fn n_unmatched(&self) -> usize {
        self.file.unmatched.len()
    }

    /// The base model that the metadata state.
    pub fn base_model(&self) -> Option<&str> {
        refusals::base_model(&self.file.metadata)
    }

    /// The words that most of the training pictures have in common, the most frequent first.
    pub fn triggers(&self) -> Vec<String> {
        let text = self.file.metadata.get("ss_tag_frequency");
        let Some(Value::Object(folders)) = text.and_then(|text| serde_json::from_str(text).ok()) else { return vec![] };
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for tags in folders.values().filter_map(Value::as_object) {
            for (tag, count) in tags {
                let total = counts.entry(plain(tag)).or_default();
                *total = total.saturating_add(count.as_u64().unwrap_or(0));
            }
        }
        let is_counted = |(tag, count): &(String, u64)| !tag.is_empty() && *count > 0;
        let mut tags: Vec<(String, u64)> = counts.into_iter().filter(is_counted).collect();
        tags.sort_by_key(|(_, count)| Reverse(*count));
        tags.into_iter().take(MAX_TRIGGERS).map(|(tag, _)| tag).collect()
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.kinds().into_iter().collect::<Vec<_>>().join(" and "))?;
        match self.ranks() {
            Some((least, most)) if least == most => write!(f, " of rank {least}")?,
            Some((least, most)) => write!(f, " of ranks {least} to {most}")?,
            None => (),
        }
        let alphas: BTreeSet<String> =
            self.file.changes.values().filter_map(|change| change.alpha).map(|alpha| alpha.to_string()).collect();
        if let (Some(alpha), 1) = (alphas.first(), alphas.len()) {
            write!(f, " and alpha {alpha}")?;
        }
        if let Some(base) = self.base_model() {
            write!(f, " for {}", plain(base))?;
        }
        let [text, attention, other] = self.matched();
        let parts = [(text, "in the text encoder"), (attention, "in attention"), (other, "elsewhere in the UNet")];
        let parts =
            parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, part)| format!("{} {part}", counted(n, "module")));
        write!(f, "; changes {}", parts.collect::<Vec<_>>().join(", "))?;
        if self.n_unmatched() > 0 {
            let first = self.file.unmatched.first().map(|name| plain(name)).unwrap_or_default();
            let more = if self.n_unmatched() > 1 { ", …" } else { "" };
            write!(f, "; ignores {} that the model lacks ({first}{more})", counted(self.n_unmatched(), "module"))?;
        }
        if !self.file.embeddings.is_empty() {
            let names: Vec<String> = self.file.embeddings.keys().map(|name| plain(name)).collect();
            write!(f, "; holds the embeddings {}", names.join(", "))?;
        }
        let triggers = self.triggers();
        if !triggers.is_empty() {
            write!(f, "; most frequent training tags: {}", triggers.join(", "))?;
        }
        Ok(())
    }
}

/// Returns a text from a file without control characters, and cut if it is long.
pub(super) fn plain(text: &str) -> String {
    text.chars().take(MAX_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}
