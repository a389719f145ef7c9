//! Files of prompts (`--from-file`), and the wildcards in prompts.

mod json;
pub mod wildcards;

use crate::args::Seed;
use crate::params::{Param, ParamValue};
use anyhow::{Context, Result, bail, ensure};
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{Read, stdin};
use std::iter;
use std::path::{Path, PathBuf};

/// A line of a prompts file. The command line supplies everything that it leaves out.
#[derive(Clone, Default)]
pub struct PromptLine<'a> {
    /// The prompt.
    pub prompt: Cow<'a, str>,
    /// The negative prompt.
    pub negative_prompt: Option<Cow<'a, str>>,
    /// The seed.
    pub seed: Option<Seed>,
    /// The sampling parameters it sets, by their flags.
    pub params: Vec<(&'static Param, ParamValue)>,
}

/// The maximum length of a prompt in bytes, of which CLIP uses about 400.
const MAX_PROMPT: usize = 100_000;

/// The maximum size of a prompts file in bytes, which protects from endless files such as /dev/zero.
const MAX_BYTES: u64 = 1 << 30;

/// A prompts file: a prompt on each line, or prompts as JSON.
pub struct PromptsFile {
    path: PathBuf,
    text: String,
    content: Content,
}

/// The format of a prompts file, with the prompts of an array.
enum Content {
    /// A prompt on each line.
    Prompts,
    /// A JSON object on each line that is not blank.
    Objects,
    /// A JSON array of objects.
    Array(Vec<PromptLine<'static>>),
}

/// The position of a prompt in a prompts file.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Position {
    /// The number of a line, from 1.
    Line(usize),
    /// The number of an object in an array, from 1.
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
    /// If the file cannot be read, is not UTF-8 text, is empty, is larger than 1 GiB, or begins like a JSON array of
    /// objects but is not one.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let Ok(text) = String::from_utf8(read_bytes(path)?) else {
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

    /// Applies `convert` to each prompt, in order.
    ///
    /// # Errors
    /// If a prompt is too long, a line is not a JSON object although the first one is, or `convert` fails. The error
    /// names the prompt's position.
    pub fn map<'a, T>(
        &'a self,
        mut convert: impl FnMut(Position, PromptLine<'a>) -> Result<T>,
    ) -> impl Iterator<Item = Result<T>> {
        self.lines().map(move |(at, line)| {
            line.and_then(|line| convert(at, line))
                .with_context(|| format!("prompts file '{}', {at}", self.path.display()))
        })
    }

    /// Parses each prompt, in order.
    fn lines(&self) -> Box<dyn Iterator<Item = (Position, Result<PromptLine<'_>>)> + '_> {
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
            Content::Array(objects) => {
                Box::new((1..).map(Position::Object).zip(objects).map(|(at, object)| (at, checked(object))))
            }
        }
    }
}

/// Returns a line that is a prompt.
fn prompt(line: &str) -> Result<PromptLine<'_>> {
    check_length(line)?;
    Ok(PromptLine { prompt: line.into(), ..PromptLine::default() })
}

/// Checks an object of an array. Returns it without copying its texts.
fn checked<'a>(object: &'a PromptLine<'static>) -> Result<PromptLine<'a>> {
    let (prompt, negative) = (&*object.prompt, object.negative_prompt.as_deref());
    check_length(prompt)?;
    negative.map_or(Ok(()), check_length)?;
    Ok(PromptLine { prompt: prompt.into(), negative_prompt: negative.map(Into::into), ..object.clone() })
}

fn check_length(text: &str) -> Result<()> {
    ensure!(
        text.len() <= MAX_PROMPT,
        "longer than {MAX_PROMPT} bytes, while CLIP reads a few thousand at most; shorten it"
    );
    Ok(())
}

/// Returns a text without byte order marks, which some editors put at the start of a file.
fn without_bom(text: &str) -> &str {
    text.trim_start_matches('\u{feff}')
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
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

/// Splits a text into lines as Python's `str.splitlines` does.
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
