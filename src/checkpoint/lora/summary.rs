//! A summary of a LoRA file.

use super::super::names::TEXT;
use super::LoraFile;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The most trigger words that are named.
const MAX_TRIGGERS: usize = 5;

/// The contents of a LoRA file, in a sentence.
pub struct Summary<'a> {
    pub(super) file: &'a LoraFile,
}

impl Summary<'_> {
    /// The kinds of changes in the file: LoRA, LoHa and so on.
    pub fn kinds(&self) -> BTreeSet<&'static str> {
        let changes = self.file.changes.values();
        changes.map(|change| if change.is_dora { "DoRA" } else { change.kind().name() }).collect()
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
        let metadata = &self.file.metadata;
        let stated = ["ss_base_model_version", "modelspec.architecture"].iter().find_map(|key| metadata.get(*key));
        stated.map(String::as_str)
    }

    /// The words that most of the training pictures have in common, the most frequent first.
    pub fn triggers(&self) -> Vec<String> {
        let text = self.file.metadata.get("ss_tag_frequency");
        let Some(Value::Object(folders)) = text.and_then(|text| serde_json::from_str(text).ok()) else { return vec![] };
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for tags in folders.values().filter_map(Value::as_object) {
            for (tag, count) in tags {
                *counts.entry(tag.trim().to_owned()).or_default() += count.as_u64().unwrap_or(0);
            }
        }
        let mut tags: Vec<(String, u64)> = counts.into_iter().collect();
        tags.sort_by(|(_, one), (_, other)| other.cmp(one));
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
            write!(f, " for {}", base.replace(char::is_control, " "))?;
        }
        let [text, attention, other] = self.matched();
        write!(f, "; changes {text} modules of the text encoder, {attention} of attention and {other} others")?;
        if self.n_unmatched() > 0 {
            let first = self.file.unmatched.first().map_or("", String::as_str);
            write!(f, "; {} modules are not in the model ({first}, …)", self.n_unmatched())?;
        }
        let triggers = self.triggers();
        if !triggers.is_empty() {
            write!(f, "; trained with: {}", triggers.join(", ").replace(char::is_control, " "))?;
        }
        Ok(())
    }
}
