//! `--fname`: file names of pictures by a pattern that the user gives.

use super::Borders;
use crate::diffusion::samplers::{Kind, SamplerConfig};
use crate::params::{self, Hires, HiresSize, LoraChoice, PARAMS, ParamValue, SamplingParams, Upscaler};
use anyhow::{Context, Result, bail, ensure};
use std::fmt;
use std::path::Path;

/// The most bytes of a name without its extension: 200 in all, less 16 for `-99999` and the extension.
const MAX_BYTES: usize = 200 - 16;

/// The most bytes of a list in a name.
const MAX_LIST_BYTES: usize = 60;

/// The largest index that a pattern must have room for.
const MAX_INDEX: usize = 9_999_999;

/// The names of devices on Windows, besides COM and LPT with a digit. They are reserved with any extension.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// A pattern of names: text, and placeholders for values of a picture.
#[derive(Clone, PartialEq, Debug)]
pub struct Pattern(Vec<Part>);

/// The values of a picture that its name can contain.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct NameFields<'a> {
    /// The seed of its noise.
    pub seed: u32,
    /// The prompt, with its wildcards replaced.
    pub prompt: &'a str,
    /// The sampling parameters.
    pub params: SamplingParams,
    /// The first ten digits of the model's hash.
    pub hash: &'a str,
}

/// A part of a pattern.
#[derive(Clone, PartialEq, Debug)]
enum Part {
    Text(String),
    Value(Field),
}

/// A placeholder.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Field {
    Seed,
    Index,
    Prompt,
    Hash,
    /// The sampling parameter in this row of [`PARAMS`].
    Param(usize),
}

/// Returns the placeholders with their names.
fn fields() -> impl Iterator<Item = (&'static str, Field)> {
    let own = [("seed", Field::Seed), ("index", Field::Index), ("prompt", Field::Prompt), ("hash", Field::Hash)];
    own.into_iter().chain(PARAMS.iter().enumerate().map(|(row, param)| (param.name, Field::Param(row))))
}

/// Returns the end of error messages, which lists the placeholders.
fn known_fields() -> String {
    let names: Vec<String> = fields().map(|(name, _)| format!("{{{name}}}")).collect();
    format!("write a name with any of {}, and {{{{ or }}}} for a brace itself", names.join(" "))
}

/// Returns the longest values, except for numbers with many digits. The prompt is empty, because prompts are truncated.
fn longest() -> NameFields<'static> {
    let sampler = SamplerConfig { kind: Kind::DpmSolver, steps: 1000, eta: -1. / 3., ..SamplerConfig::default() };
    let lora = LoraChoice { name: "x".repeat(MAX_LIST_BYTES), text: 1., unet: 1. };
    let longest_hires = Hires { sampler: Some(Kind::DpmSolver), upscaler: Upscaler::LatentNearest, ..Hires::default() };
    let params = SamplingParams {
        height: 8192,
        width: 8192,
        scale: -1. / 3.,
        sampler,
        loras: vec![lora],
        init_img: Some("x".repeat(MAX_LIST_BYTES)),
        mask: Some("x".repeat(MAX_LIST_BYTES)),
        hires: Hires {
            size: HiresSize::Pixels { width: 8192, height: 8192 },
            strength: -1. / 3.,
            steps: 1000,
            ..longest_hires
        },
        outpaint: Borders { left: 8192, top: 8192, right: 8192, bottom: 8192 },
        lora_weight: -1. / 3.,
        ..SamplingParams::default()
    };
    NameFields { seed: u32::MAX, prompt: "", params, hash: "0123456789" }
}

impl Pattern {
    /// Whether names contain the index, which makes them unique in a folder.
    pub fn has_index(&self) -> bool {
        self.0.contains(&Part::Value(Field::Index))
    }

    /// Whether names contain the model's hash.
    pub fn has_hash(&self) -> bool {
        self.0.contains(&Part::Value(Field::Hash))
    }

    /// Parses a pattern such as `{index}-{prompt}`.
    ///
    /// # Errors
    /// If a placeholder is unknown, a brace is unmatched, the pattern contains a path separator, all names would be empty,
    /// or there is no room for the index.
    pub fn parse(pattern: &str) -> Result<Self> {
        ensure!(!pattern.contains(['/', '\\']), "file names cannot contain / or \\; {}", known_fields());
        let (mut parts, mut rest) = (vec![], pattern);
        while let Some(at) = rest.find(['{', '}']) {
            let (text, braced) = rest.split_at(at);
            parts.push(Part::Text(text.into()));
            let part;
            (part, rest) = parse_brace(braced)?;
            parts.push(part);
        }
        parts.push(Part::Text(rest.into()));
        let is_visible = |part: &Part| match part {
            Part::Text(text) => !trim_ends(text).is_empty(),
            Part::Value(_) => true,
        };
        ensure!(parts.iter().any(is_visible), "it needs more than dots and spaces; {}", known_fields());
        let pattern = Self(parts);
        let until_index = pattern.0.split_inclusive(|part| *part == Part::Value(Field::Index)).next();
        let longest = Self(until_index.unwrap_or(&[]).to_vec()).filled(MAX_INDEX, &longest(), "").len();
        let has_room = !pattern.has_index() || longest <= MAX_BYTES;
        ensure!(has_room, "its {{index}} has no room in the {MAX_BYTES} bytes of a name; {}", known_fields());
        Ok(pattern)
    }

    /// Returns the name of a picture, without an extension. It is valid on every file system and at most 185 bytes long;
    /// the prompt is truncated for that. `index`: the number of the picture in samples/, which is also the name if it would
    /// be empty otherwise.
    pub fn name(&self, index: usize, fields: &NameFields) -> String {
        let n_prompts = self.0.iter().filter(|part| **part == Part::Value(Field::Prompt)).count();
        let room = MAX_BYTES.saturating_sub(self.filled(index, fields, "").len()) / n_prompts.max(1);
        let prompt = words(fields.prompt);
        let name = sanitized(&self.filled(index, fields, trim_separators(truncated(&prompt, room))));
        match trim_ends(truncated(&name, MAX_BYTES)) {
            "" => format!("{index:05}"),
            device if is_device(device) => format!("_{device}"),
            name => name.to_owned(),
        }
    }

    /// Returns the pattern with all placeholders replaced.
    fn filled(&self, index: usize, fields: &NameFields, prompt: &str) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Value(Field::Seed) => fields.seed.to_string(),
            Part::Value(Field::Index) => format!("{index:05}"),
            Part::Value(Field::Prompt) => prompt.to_owned(),
            Part::Value(Field::Hash) => fields.hash.to_owned(),
            Part::Value(Field::Param(row)) => match (PARAMS[*row].field, PARAMS[*row].get(&fields.params)) {
                (_, ParamValue::List(items)) => truncated(&short_list(&items), MAX_LIST_BYTES).to_owned(),
                (params::Field::Path { .. }, ParamValue::Text(path)) => {
                    let stem = Path::new(&path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
                    truncated(&stem.unwrap_or_default(), MAX_LIST_BYTES).to_owned()
                }
                (_, value) => value.to_string(),
            },
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

/// Parses the placeholder or doubled brace at the start of a text. Returns the rest of the text too.
fn parse_brace(text: &str) -> Result<(Part, &str)> {
    for double in ["{{", "}}"] {
        if let Some(rest) = text.strip_prefix(double) {
            return Ok((Part::Text(double[1..].into()), rest));
        }
    }
    let Some(open) = text.strip_prefix('{') else { bail!("a '}}' has no '{{' before it; {}", known_fields()) };
    let (name, rest) = open.split_once('}').with_context(|| format!("'{text}' is never closed; {}", known_fields()))?;
    let field = fields().find(|(known, _)| *known == name);
    let (_, field) = field.with_context(|| format!("there is no {{{name}}}; {}", known_fields()))?;
    Ok((Part::Value(field), rest))
}

/// Returns the items of a list without the folders of paths.
fn short_list(items: &[String]) -> String {
    let names: Vec<&str> = items.iter().map(|item| item.rsplit(['/', '\\']).next().unwrap_or(item)).collect();
    names.join("+")
}

/// Returns the words of a prompt, joined by underscores.
fn words(prompt: &str) -> String {
    let words: Vec<&str> = prompt.split_whitespace().collect();
    trim_separators(&sanitized(&words.join("_"))).to_owned()
}

/// Removes dots and underscores at the ends of a text.
fn trim_separators(words: &str) -> &str {
    words.trim_matches(['.', '_'])
}

/// Removes dots and spaces at the ends of a name: a dot at the start hides a file, and Windows drops both at the end.
fn trim_ends(name: &str) -> &str {
    name.trim_matches(|c: char| c == '.' || c.is_whitespace())
}

/// Replaces the characters that some file system forbids by underscores.
fn sanitized(text: &str) -> String {
    let is_forbidden = |c: char| c.is_control() || r#"<>:"/\|?*"#.contains(c);
    text.chars().map(|c| if is_forbidden(c) { '_' } else { c }).collect()
}

/// Truncates a text to whole characters of at most `max_bytes`.
fn truncated(text: &str, max_bytes: usize) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    &text[..ends.take_while(|end| *end <= max_bytes).last().unwrap_or(0)]
}

/// Whether Windows reserves the name for a device.
fn is_device(name: &str) -> bool {
    let start = name.split('.').next().unwrap_or(name).trim_end().to_uppercase();
    let is_port = |name: &str| {
        let number = name.strip_prefix("COM").or_else(|| name.strip_prefix("LPT"));
        number.is_some_and(|number| number.chars().count() == 1 && number.contains(is_digit))
    };
    DEVICES.contains(&&*start) || is_port(&start)
}

/// Whether Windows accepts `c` as the digit of a port: superscript digits count too.
fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || ['¹', '²', '³'].contains(&c)
}
