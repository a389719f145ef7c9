//! Prompts, in the batches they are drawn in.

use anyhow::{Context, Result, bail, ensure};
use std::io::Read;
use std::path::Path;

/// What each iteration draws: one batch after the other.
pub type Batches = Vec<Vec<String>>;

/// One prompt, so many times.
pub fn copies(prompt: &str, n_samples: usize) -> Batches {
    vec![vec![prompt.to_owned(); n_samples]]
}

/// The lines of a file, `n_samples` different ones to a batch, the last batch as long as it comes; `-` is standard input.
///
/// # Errors
/// When the file cannot be read, is no UTF-8 text, or is empty.
pub fn from_file(path: &Path, n_samples: usize) -> Result<Batches> {
    let name = path.display();
    let text = read(path)?;
    let Ok(text) = String::from_utf8(text) else {
        bail!("prompts file '{name}' is not UTF-8 text; save it as UTF-8");
    };
    let lines = split_lines(&text);
    ensure!(!lines.is_empty(), "prompts file '{name}' is empty; write one prompt on each line");
    Ok(lines.chunks(n_samples).map(|lines| lines.iter().map(|&line| line.to_owned()).collect()).collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut text = vec![];
        std::io::stdin().lock().read_to_end(&mut text).context("reading prompts from standard input")?;
        return Ok(text);
    }
    ensure!(!path.is_dir(), "prompts file '{}' is a folder; name a text file in it", path.display());
    std::fs::read(path).with_context(|| format!("reading prompts file '{}'", path.display()))
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
