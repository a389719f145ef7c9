//! Prompts, in the batches they are drawn in.

pub mod wildcards;

use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;

/// What each iteration draws: one batch after the other.
pub type Batches = Vec<Vec<String>>;

/// More lines than anybody draws, and few enough to hold.
const MOST_LINES: usize = 1_000_000;

/// A prompt longer than anybody writes: CLIP reads some 400 bytes of it.
const LONGEST: usize = 100_000;

/// Of all prompts together, in bytes; /dev/zero has no end.
const MOST_BYTES: u64 = 256 << 20;

/// One prompt, so many times.
pub fn copies(prompt: &str, n_samples: usize) -> Batches {
    vec![vec![prompt.to_owned(); n_samples]]
}

/// The lines of a file, `n_samples` different ones to a batch, the last batch as long as it comes; `-` is standard input.
///
/// # Errors
/// When the file cannot be read, is no UTF-8 text, is empty, or is larger than any list of prompts.
pub fn from_file(path: &Path, n_samples: usize) -> Result<Batches> {
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
            "prompts file '{name}' has more than {LONGEST} bytes on line {}; CLIP reads 75 tokens of a prompt",
            i + 1
        );
    }
    Ok(lines.chunks(n_samples).map(|lines| lines.iter().map(|&line| line.to_owned()).collect()).collect())
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
