//! `--fname`: names of pictures by a pattern of the user's.

use crate::diffusion::samplers::{Kind, SamplerConfig, Spacing};
use crate::params::{PARAMS, SamplingParams};
use anyhow::{Context, Result, bail, ensure};
use std::fmt;

/// Bytes in a name without its extension: 200 in all, less some for `-99999` and the extension itself.
const MOST: usize = 200 - 16;

const MOST_INDEX: usize = 9_999_999;

/// What Windows calls devices, whatever follows after a dot; COM and LPT with a digit are others.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// How names are made: text, and placeholders for what is known of a picture.
#[derive(Clone, PartialEq, Debug)]
pub struct Pattern(Vec<Part>);

/// What is known of one picture.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct NameFields<'a> {
    /// What its noise was made from.
    pub seed: u32,
    /// As it was drawn.
    pub prompt: &'a str,
    /// The sampling parameters.
    pub params: SamplingParams,
    /// The first ten digits of the model's hash.
    pub hash: &'a str,
}

#[derive(Clone, PartialEq, Debug)]
enum Part {
    Text(String),
    Value(Field),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Field {
    Seed,
    Index,
    Prompt,
    Hash,
    /// The sampling parameter in this row of [`PARAMS`].
    Param(usize),
}

/// Returns the placeholders, by their names.
fn fields() -> impl Iterator<Item = (&'static str, Field)> {
    let own = [("seed", Field::Seed), ("index", Field::Index), ("prompt", Field::Prompt), ("hash", Field::Hash)];
    own.into_iter().chain(PARAMS.iter().enumerate().map(|(row, param)| (param.name, Field::Param(row))))
}

/// Returns the end of error messages.
fn known() -> String {
    let names: Vec<String> = fields().map(|(name, _)| format!("{{{name}}}")).collect();
    format!("write a name with any of {}, and {{{{ or }}}} for a brace itself", names.join(" "))
}

/// Returns values that are as long as any, but for numbers with many digits. Prompts are shortened.
fn longest() -> NameFields<'static> {
    let sampler = SamplerConfig { kind: Kind::DpmSolver, steps: 1000, eta: -1. / 3., spacing: Spacing::Discrete };
    let params = SamplingParams { height: 8192, width: 8192, scale: -1. / 3., sampler, ..SamplingParams::default() };
    NameFields { seed: u32::MAX, prompt: "", params, hash: "0123456789" }
}

impl Pattern {
    /// Whether no two pictures of a folder have the same name.
    pub fn has_index(&self) -> bool {
        self.0.contains(&Part::Value(Field::Index))
    }

    /// Whether names say which model drew.
    pub fn has_hash(&self) -> bool {
        self.0.contains(&Part::Value(Field::Hash))
    }

    /// Reads a pattern such as `{index}-{prompt}`.
    ///
    /// # Errors
    /// When a placeholder is unknown, a brace is alone, a folder is named, all names would be empty, or the number that
    /// tells them apart would be cut off.
    pub fn parse(pattern: &str) -> Result<Self> {
        ensure!(!pattern.contains(['/', '\\']), "file names cannot contain / or \\; {}", known());
        let (mut parts, mut rest) = (vec![], pattern);
        while let Some(at) = rest.find(['{', '}']) {
            let (text, braced) = rest.split_at(at);
            parts.push(Part::Text(text.into()));
            let part;
            (part, rest) = first(braced)?;
            parts.push(part);
        }
        parts.push(Part::Text(rest.into()));
        let says_something = |part: &Part| match part {
            Part::Text(text) => !trimmed(text).is_empty(),
            Part::Value(_) => true,
        };
        ensure!(parts.iter().any(says_something), "it needs more than dots and spaces; {}", known());
        let pattern = Self(parts);
        let until_index = pattern.0.split_inclusive(|part| *part == Part::Value(Field::Index)).next();
        let longest = Self(until_index.unwrap_or(&[]).to_vec()).filled(MOST_INDEX, &longest(), "").len();
        let has_room = !pattern.has_index() || longest <= MOST;
        ensure!(has_room, "its {{index}} has no room in the {MOST} bytes of a name; {}", known());
        Ok(pattern)
    }

    /// The name of a picture, without an extension: good on every file system, and at most 185 bytes long, for which
    /// the prompt is shortened. index: its number in samples/, which is also the name if there is nothing else in it.
    pub fn name(&self, index: usize, of: &NameFields) -> String {
        let n_prompts = self.0.iter().filter(|part| **part == Part::Value(Field::Prompt)).count();
        let room = MOST.saturating_sub(self.filled(index, of, "").len()) / n_prompts.max(1);
        let prompt = words(of.prompt);
        let name = harmless(&self.filled(index, of, without_ends(shortened(&prompt, room))));
        match trimmed(shortened(&name, MOST)) {
            "" => format!("{index:05}"),
            device if is_device(device) => format!("_{device}"),
            name => name.to_owned(),
        }
    }

    /// With all values put in.
    fn filled(&self, index: usize, of: &NameFields, prompt: &str) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Value(Field::Seed) => of.seed.to_string(),
            Part::Value(Field::Index) => format!("{index:05}"),
            Part::Value(Field::Prompt) => prompt.to_owned(),
            Part::Value(Field::Hash) => of.hash.to_owned(),
            Part::Value(Field::Param(row)) => PARAMS[*row].get(&of.params).to_string(),
        };
        self.0.iter().map(text).collect()
    }
}

impl fmt::Display for Pattern {
    /// Writes the pattern as it was given.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Part::Value(value) => {
                    let name = fields().find(|(_, field)| field == value).map_or("", |(name, _)| name);
                    write!(f, "{{{name}}}")?;
                }
            }
        }
        Ok(())
    }
}

/// What a text starts with that starts with a brace, and the rest of it.
fn first(text: &str) -> Result<(Part, &str)> {
    for double in ["{{", "}}"] {
        if let Some(rest) = text.strip_prefix(double) {
            return Ok((Part::Text(double[1..].into()), rest));
        }
    }
    let Some(open) = text.strip_prefix('{') else { bail!("a '}}' has no '{{' before it; {}", known()) };
    let (name, rest) = open.split_once('}').with_context(|| format!("'{text}' is never closed; {}", known()))?;
    let field = fields().find(|(known, _)| *known == name);
    let (_, field) = field.with_context(|| format!("there is no {{{name}}}; {}", known()))?;
    Ok((Part::Value(field), rest))
}

/// The words of a prompt.
fn words(prompt: &str) -> String {
    let words: Vec<&str> = prompt.split_whitespace().collect();
    without_ends(&harmless(&words.join("_"))).to_owned()
}

/// Without dots, nor what stands for spaces, at its ends.
fn without_ends(words: &str) -> &str {
    words.trim_matches(['.', '_'])
}

/// Without dots and spaces at its ends, which hide files or that Windows drops.
fn trimmed(name: &str) -> &str {
    name.trim_matches(|c: char| c == '.' || c.is_whitespace())
}

/// The text without characters that some file system forbids.
fn harmless(text: &str) -> String {
    let is_forbidden = |c: char| c.is_control() || r#"<>:"/\|?*"#.contains(c);
    text.chars().map(|c| if is_forbidden(c) { '_' } else { c }).collect()
}

/// As many whole characters as fit into so many bytes.
fn shortened(text: &str, most: usize) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    &text[..ends.take_while(|end| *end <= most).last().unwrap_or(0)]
}

fn is_device(name: &str) -> bool {
    let start = name.split('.').next().unwrap_or(name).trim_end().to_uppercase();
    let is_port = |name: &str| {
        let number = name.strip_prefix("COM").or_else(|| name.strip_prefix("LPT"));
        number.is_some_and(|number| number.chars().count() == 1 && number.contains(is_digit))
    };
    DEVICES.contains(&&*start) || is_port(&start)
}

/// Windows takes raised digits for digits.
fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || ['¹', '²', '³'].contains(&c)
}
