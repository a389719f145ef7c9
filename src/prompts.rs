//! Prompts files, and the wildcards in prompts.

pub mod wildcards;

use crate::by_name::ByName;
use crate::diffusion::samplers::Kind;
use anyhow::{Context, Result, bail, ensure};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, stdin};
use std::iter;
use std::path::{Path, PathBuf};

/// What a line of a prompts file asks for. What it leaves open is the command line's.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask<'a> {
    /// What the picture shows.
    #[serde(borrow)]
    pub prompt: Cow<'a, str>,
    /// What it does not.
    pub negative_prompt: Option<Cow<'a, str>>,
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
    let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    Kind::from_name(&name)
        .map(Some)
        .ok_or_else(|| D::Error::custom(format!("'{name}' is not a sampler: use {}", Kind::names())))
}

/// A prompt longer than anybody writes: CLIP reads some 400 bytes of it.
const LONGEST: usize = 100_000;

/// Of all prompts together, in bytes; /dev/zero has no end.
const MOST_BYTES: u64 = 1 << 30;

/// A prompts file: each line a prompt; or each a JSON object, if the first that is not blank begins like one.
pub struct Asks {
    path: PathBuf,
    text: String,
}

impl Asks {
    /// path: `-` is standard input.
    ///
    /// # Errors
    /// When the file cannot be read, is no UTF-8 text, is empty, or is larger than any list of prompts.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let Ok(text) = String::from_utf8(read(path)?) else {
            bail!("prompts file '{name}' is not UTF-8 text; save it as UTF-8");
        };
        ensure!(!text.is_empty(), "prompts file '{name}' is empty; write one prompt on each line");
        Ok(Self { path: path.to_owned(), text })
    }

    /// What each line comes to; an error says which line it is.
    ///
    /// # Errors
    /// On a line that is longer than any prompt, on one that is no JSON object where the first is one, and where `of`
    /// fails.
    pub fn map<'a, T>(&'a self, of: impl Fn(Ask<'a>) -> Result<T>) -> impl Iterator<Item = Result<T>> {
        let name = self.path.display();
        let text = self.text.trim_start_matches(BOM);
        let is_json = is_json(text);
        let lines = if is_json { json_lines(text) } else { Box::new((1..).zip(split_lines(text))) };
        lines.map(move |(n, line)| {
            ensure!(
                line.len() <= LONGEST,
                "prompts file '{name}' has more than {LONGEST} bytes on line {n}; CLIP reads a few hundred of a prompt"
            );
            let ask = if is_json { ask(line) } else { Ok(Ask { prompt: line.into(), ..Ask::default() }) };
            ask.and_then(&of).with_context(|| format!("prompts file '{name}', line {n}"))
        })
    }
}

/// Whether it begins as JSON objects do: `{"` is how no prompt begins.
fn is_json(text: &str) -> bool {
    text.trim_start().strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'))
}

/// What some editors put at the start of a file.
const BOM: char = '\u{feff}';

/// Those that are not blank, each with its number from 1.
fn json_lines(text: &str) -> Box<dyn Iterator<Item = (usize, &str)> + '_> {
    let lines = (1..).zip(text.lines());
    Box::new(lines.filter(|(_, line)| !line.trim().is_empty()))
}

fn ask(line: &str) -> Result<Ask<'_>> {
    let ask: Ask = serde_json::from_str(line)?;
    ensure!(ask.scale.is_none_or(f64::is_finite), "the scale is not finite");
    Ok(ask)
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
fn split_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (line, after) = rest.split_at(rest.find(ends_line).unwrap_or(rest.len()));
        let ending = if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(0, char::len_utf8) };
        rest = &after[ending..];
        Some(line)
    })
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
        assert_eq!(split_lines(text).collect::<Vec<_>>(), lines);
    }

    #[test]
    fn a_file_without_lines_has_none() {
        assert_eq!(split_lines("").next(), None);
        assert_eq!(split_lines("\n").collect::<Vec<_>>(), [""]);
    }
}
