//! Prompts files, and the wildcards in prompts.

pub mod wildcards;

use crate::args::Args;
use crate::diffusion::samplers::Kind;
use anyhow::{Context, Result, bail, ensure};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;

/// What a line of a prompts file asks for. What it leaves open is the command line's.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// What the picture shows.
    pub prompt: String,
    /// What it does not.
    pub negative_prompt: Option<String>,
    /// Where its own random numbers start.
    pub seed: Option<u32>,
    /// In pixels.
    #[serde(rename = "H", alias = "height")]
    pub height: Option<i64>,
    /// In pixels.
    #[serde(rename = "W", alias = "width")]
    pub width: Option<i64>,
    /// Sampling steps.
    #[serde(rename = "ddim_steps", alias = "steps")]
    pub steps: Option<i64>,
    /// Guidance.
    pub scale: Option<f64>,
    /// How to sample.
    #[serde(default, deserialize_with = "sampler")]
    pub sampler: Option<Kind>,
}

fn sampler<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Kind>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let names = || Kind::ALL.map(|(name, _)| name).join(", ");
    Kind::from_name(&name)
        .map(Some)
        .ok_or_else(|| D::Error::custom(format!("'{name}' is not a sampler: use {}", names())))
}

impl Ask {
    /// The command line with what this line says instead.
    pub fn over(&self, args: &Args) -> Args {
        Args {
            prompt: self.prompt.clone(),
            negative_prompt: self.negative_prompt.clone().unwrap_or_else(|| args.negative_prompt.clone()),
            height: self.height.unwrap_or(args.height),
            width: self.width.unwrap_or(args.width),
            ddim_steps: self.steps.unwrap_or(args.ddim_steps),
            scale: self.scale.unwrap_or(args.scale),
            sampler: self.sampler.or(args.sampler),
            ..args.clone()
        }
    }
}

/// More lines than anybody draws, and few enough to hold.
const MOST_LINES: usize = 1_000_000;

/// A prompt longer than anybody writes: CLIP reads some 400 bytes of it.
const LONGEST: usize = 100_000;

/// Of all prompts together, in bytes; /dev/zero has no end.
const MOST_BYTES: u64 = 256 << 20;

/// The lines of a file, each a prompt; or each a JSON object, if the first that is not blank begins like one. `-` is
/// standard input.
///
/// # Errors
/// When the file cannot be read, is no UTF-8 text, is empty, or is larger than any list of prompts; and on a line that is
/// no JSON object where the first is one.
pub fn from_file(path: &Path) -> Result<Vec<Ask>> {
    let name = path.display();
    let text = read(path)?;
    let Ok(text) = String::from_utf8(text) else {
        bail!("prompts file '{name}' is not UTF-8 text; save it as UTF-8");
    };
    let lines = split_lines(&text);
    ensure!(!lines.is_empty(), "prompts file '{name}' is empty; write one prompt on each line");
    ensure!(lines.len() <= MOST_LINES, "prompts file '{name}' has more than {MOST_LINES} lines; split it");
    if let Some(i) = lines.iter().position(|line| line.len() > LONGEST) {
        bail!(
            "prompts file '{name}' has more than {LONGEST} bytes on line {}; CLIP reads a few hundred of a prompt",
            i + 1
        );
    }
    if is_json(&text) {
        return asks(&text, path);
    }
    Ok(lines.into_iter().map(|line| Ask { prompt: line.to_owned(), ..Ask::default() }).collect())
}

/// Whether it begins as JSON objects do: `{"`, with or without a byte order mark, is how no prompt begins.
fn is_json(text: &str) -> bool {
    let start = text.trim_start_matches(|c: char| c == BOM || c.is_whitespace());
    start.strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'))
}

/// What some editors put at the start of a file.
const BOM: char = '\u{feff}';

/// JSON objects, one on each line.
fn asks(text: &str, path: &Path) -> Result<Vec<Ask>> {
    let lines = text.trim_start_matches(BOM).lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let ask = |(i, line): (usize, &str)| {
        let ask: Ask =
            serde_json::from_str(line).with_context(|| format!("prompts file '{}', line {}", path.display(), i + 1))?;
        ensure!(
            ask.scale.is_none_or(f64::is_finite),
            "prompts file '{}', line {}: the scale is not finite",
            path.display(),
            i + 1
        );
        Ok(ask)
    };
    lines.map(ask).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        return read_all(stdin().lock()).context("reading prompts from standard input");
    }
    ensure!(!path.is_dir(), "prompts file '{}' is a folder; name a text file in it", path.display());
    let text = File::open(path).map_err(Into::into).and_then(read_all);
    text.with_context(|| format!("reading prompts file '{}'", path.display()))
}

fn read_all(from: impl Read) -> Result<Vec<u8>> {
    let mut text = vec![];
    from.take(MOST_BYTES + 1).read_to_end(&mut text)?;
    ensure!(text.len() as u64 <= MOST_BYTES, "it has more than {MOST_BYTES} bytes; split it");
    Ok(text)
}

/// Lines as Python's `str.splitlines` sees them.
fn split_lines(text: &str) -> Vec<&str> {
    let mut lines = vec![];
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(ends_line).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        lines.push(line);
        let ending = if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(0, char::len_utf8) };
        rest = &after[ending..];
    }
    lines
}

fn ends_line(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_python_ends_them() {
        let text = "a\nb\r\nc\rd\x0be\x0cf\x1cg\x1dh\x1ei\u{85}j\u{2028}k\u{2029}\n\nl\n";
        let lines = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "", "", "l"];
        assert_eq!(split_lines(text), lines);
    }

    #[test]
    fn a_file_without_lines_has_none() {
        assert_eq!(split_lines(""), Vec::<&str>::new());
        assert_eq!(split_lines("\n"), [""]);
    }
}
