//! Prompts files, and the wildcards in prompts.

mod json;
pub mod wildcards;

use crate::args::Seed;
use crate::diffusion::samplers::Kind;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, stdin};
use std::iter;
use std::path::{Path, PathBuf};

/// What a line of a prompts file asks for. What it leaves open is the command line's.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ask<'a> {
    /// What the picture shows.
    pub prompt: Cow<'a, str>,
    /// What it does not.
    pub negative_prompt: Option<Cow<'a, str>>,
    /// Where its own random numbers start.
    pub seed: Option<Seed>,
    /// In pixels.
    pub height: Option<i64>,
    /// In pixels.
    pub width: Option<i64>,
    /// Sampling steps.
    pub steps: Option<i64>,
    /// Guidance.
    pub scale: Option<f64>,
    /// How to sample.
    pub sampler: Option<Kind>,
}

/// A prompt longer than anybody writes: CLIP reads some 400 bytes of it.
const LONGEST: usize = 100_000;

/// Of all prompts together, in bytes; /dev/zero has no end.
const MOST_BYTES: u64 = 1 << 30;

/// A prompts file: each line a prompt; or each a JSON object, if the first that is not blank begins like one; or as a
/// whole a JSON array of objects.
pub struct Asks {
    path: PathBuf,
    text: String,
    content: Content,
}

/// What a prompts file consists of.
enum Content {
    Prompts,
    Objects,
    Array(Vec<Value>),
}

impl Asks {
    /// path: `-` is standard input.
    ///
    /// # Errors
    /// When the file cannot be read, is not UTF-8 text or the JSON that it begins as, is empty, or is larger than any list
    /// of prompts.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let Ok(text) = String::from_utf8(read(path)?) else {
            bail!("prompts file '{name}' is not UTF-8 text; save it as UTF-8");
        };
        let start = text.trim_start_matches(BOM);
        ensure!(!start.is_empty(), "prompts file '{name}' is empty; write one prompt on each line");
        let content = if json::is_array(start) {
            Content::Array(json::array(start).with_context(|| format!("prompts file '{name}'"))?)
        } else if json::is_lines(start) {
            Content::Objects
        } else {
            Content::Prompts
        };
        Ok(Self { path: path.to_owned(), text, content })
    }

    /// What each line comes to; an error says which line it is.
    ///
    /// # Errors
    /// On a line that is longer than any prompt, on one that is no JSON object where the first is one, and where `of`
    /// fails.
    pub fn map<'a, T: 'a>(
        &'a self,
        of: impl Fn(Ask<'a>) -> Result<T> + 'a,
    ) -> Box<dyn Iterator<Item = Result<T>> + 'a> {
        let text = self.text.trim_start_matches(BOM);
        let line = move |n| self.place("line", n);
        match &self.content {
            Content::Prompts => Box::new((1..).zip(split_lines(text)).map(move |(n, prompt)| {
                check_length(prompt)
                    .and_then(|()| of(Ask { prompt: prompt.into(), ..Ask::default() }))
                    .with_context(line(n))
            })),
            Content::Objects => {
                let lines = (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty());
                Box::new(lines.map(move |(n, text)| {
                    check_length(text).and_then(|()| of(json::line(text)?)).with_context(line(n))
                }))
            }
            Content::Array(items) => Box::new((1..).zip(items).map(move |(n, item)| {
                let ask = json::ask(item.clone()).and_then(|ask| check_length(&ask.prompt).map(|()| ask));
                ask.and_then(&of).with_context(self.place("item", n))
            })),
        }
    }

    /// For errors.
    fn place(&self, what: &'static str, n: usize) -> impl Fn() -> String + '_ {
        move || format!("prompts file '{}', {what} {n}", self.path.display())
    }
}

fn check_length(text: &str) -> Result<()> {
    ensure!(text.len() <= LONGEST, "it has more than {LONGEST} bytes; CLIP reads a few hundred of a prompt");
    Ok(())
}

/// What some editors put at the start of a file.
const BOM: char = '\u{feff}';

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
