//! Prompts files, and the wildcards in prompts.

mod json;
pub mod wildcards;

use crate::args::Seed;
use crate::params::ParamValue;
use anyhow::{Context, Result, bail, ensure};
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{Read, stdin};
use std::iter;
use std::path::{Path, PathBuf};

/// A line of a prompts file. The command line supplies everything that it leaves out.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PromptLine<'a> {
    /// The prompt.
    pub prompt: Cow<'a, str>,
    /// The negative prompt.
    pub negative_prompt: Option<Cow<'a, str>>,
    /// The seed of its own random numbers.
    pub seed: Option<Seed>,
    /// The sampling parameters it sets, by their flags.
    pub params: Vec<(&'static str, ParamValue)>,
}

/// The most bytes of a prompt: CLIP reads some 400 of them.
const MAX_PROMPT: usize = 100_000;

/// The most bytes of a prompts file; /dev/zero has no end.
const MAX_BYTES: u64 = 1 << 30;

/// A prompts file: a prompt on each line, or prompts as JSON.
pub struct PromptsFile {
    path: PathBuf,
    text: String,
    content: Content,
}

/// What a prompts file consists of.
enum Content {
    /// A prompt on each line.
    Prompts,
    /// A JSON object on each line that is not blank.
    Objects,
    /// A JSON array of objects.
    Array(Vec<PromptLine<'static>>),
}

/// Where in a prompts file a prompt is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Position {
    /// On this line, from 1.
    Line(usize),
    /// In this object of an array, from 1.
    Object(usize),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Position::Line(n) => write!(f, "line {n}"),
            Position::Object(n) => write!(f, "object {n}"),
        }
    }
}

impl PromptsFile {
    /// Reads the file at `path`; `-` is standard input.
    ///
    /// # Errors
    /// If the file cannot be read, is not UTF-8 text, is empty, is larger than any list of prompts, or begins like a JSON
    /// array of objects and is not one.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let Ok(text) = String::from_utf8(read(path)?) else {
            bail!("prompts file '{name}' is not UTF-8 text; save it as UTF-8");
        };
        let start = without_bom(&text);
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

    /// Returns what `of` makes of each prompt, in order. An error says which prompt it is about.
    ///
    /// # Errors
    /// On a prompt that is too long, on a line that is not a JSON object like the first, and where `of` fails.
    pub fn map<'a, T>(
        &'a self,
        mut of: impl FnMut(Position, PromptLine<'a>) -> Result<T>,
    ) -> impl Iterator<Item = Result<T>> {
        self.asks().map(move |(at, ask)| {
            ask.and_then(|ask| of(at, ask)).with_context(|| format!("prompts file '{}', {at}", self.path.display()))
        })
    }

    fn asks(&self) -> Box<dyn Iterator<Item = (Position, Result<PromptLine<'_>>)> + '_> {
        let text = without_bom(&self.text);
        match &self.content {
            Content::Prompts => {
                let lines = (1..).map(Position::Line).zip(split_lines(text));
                Box::new(lines.map(|(at, line)| (at, prompt(line))))
            }
            Content::Objects => {
                let lines = (1..).map(Position::Line).zip(text.lines());
                let lines = lines.filter(|(_, line)| !line.trim().is_empty());
                Box::new(lines.map(|(at, line)| (at, check_length(line).and_then(|()| json::line(line)))))
            }
            Content::Array(asks) => Box::new((1..).map(Position::Object).zip(asks).map(|(at, ask)| (at, checked(ask)))),
        }
    }
}

fn prompt(line: &str) -> Result<PromptLine<'_>> {
    check_length(line)?;
    Ok(PromptLine { prompt: line.into(), ..PromptLine::default() })
}

/// Returns an object of an array, without a copy of its texts.
fn checked<'a>(ask: &'a PromptLine<'static>) -> Result<PromptLine<'a>> {
    let (prompt, negative) = (&*ask.prompt, ask.negative_prompt.as_deref());
    check_length(prompt)?;
    negative.map_or(Ok(()), check_length)?;
    Ok(PromptLine { prompt: prompt.into(), negative_prompt: negative.map(Into::into), ..ask.clone() })
}

fn check_length(text: &str) -> Result<()> {
    ensure!(text.len() <= MAX_PROMPT, "more than {MAX_PROMPT} bytes; CLIP reads a few hundred of a prompt");
    Ok(())
}

/// Returns a text without the byte order mark that some editors begin a file with.
fn without_bom(text: &str) -> &str {
    text.trim_start_matches('\u{feff}')
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
    from.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    ensure!(text.len() as u64 <= MAX_BYTES, "it has more than {MAX_BYTES} bytes; split it");
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
