//! Messages on standard error: coloured and wrapped between words on a terminal, one line each elsewhere. Results on standard output.

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};
use std::io::{IsTerminal, Write, stderr, stdout};
use terminal_size::{Width, terminal_size_of};
use textwrap::{Options, WordSeparator, WordSplitter};

/// The kind of a message, which begins it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Label {
    /// The reason why the program fails.
    Error,
    /// Something that the user should know.
    Note,
    /// A result or a detail, without a label.
    None,
}

impl Label {
    fn text(self) -> &'static str {
        match self {
            Label::Error => "error: ",
            Label::Note => "note: ",
            Label::None => "",
        }
    }

    fn style(self) -> Style {
        match self {
            Label::Error => AnsiColor::Red.on_default().bold(),
            Label::Note => AnsiColor::Cyan.on_default().bold(),
            Label::None => Style::new(),
        }
    }
}

/// Applies `--color` to everything printed from here on. `Auto` colours on terminals, unless `NO_COLOR` is set.
pub fn set_color(choice: ColorChoice) {
    choice.write_global();
}

/// Prints a message. Control characters, which names of files may contain, become spaces. A closed standard error does not
/// stop the program.
pub fn print(label: Label, sentence: &str) {
    let has_color = AutoStream::choice(&stderr()) != ColorChoice::Never;
    let width = stderr().is_terminal().then(|| terminal_size_of(stderr())).flatten();
    let text = layout(label, sentence, width.map(|(Width(columns), _)| columns.into()), has_color);
    // One write, as other processes may write to the same file.
    let _ = match has_color {
        true => anstream::stderr().write_all(text.as_bytes()),
        false => stderr().write_all(text.as_bytes()),
    };
}

/// Writes results to standard output.
///
/// # Errors
/// If it is closed or full.
pub fn write_results(results: &[u8]) -> Result<()> {
    stdout().write_all(results).context("writing to standard output")
}

/// Returns the lines of a message. `width`: the number of columns to wrap at; `None` is one line.
fn layout(label: Label, sentence: &str, width: Option<usize>, has_color: bool) -> String {
    let sentence = sentence.replace(char::is_control, " ");
    let text = label.text().to_owned() + &sentence;
    let indent = " ".repeat(label.text().len());
    let wrapped = match width {
        Some(width) => {
            let options = Options::new(width)
                .subsequent_indent(&indent)
                // Paths and commands are copied from messages.
                .break_words(false)
                .word_separator(WordSeparator::AsciiSpace)
                .word_splitter(WordSplitter::NoHyphenation);
            textwrap::fill(&text, options)
        }
        None => text,
    };
    let style = if has_color { label.style() } else { Style::new() };
    let (label, rest) = wrapped.split_at(label.text().trim_end().len());
    format!("{style}{label}{style:#}{rest}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_without_a_terminal() {
        let sentence = "a\nlong ".repeat(50);
        let text = layout(Label::Note, sentence.trim(), None, false);
        assert_eq!(text, format!("note: {}\n", "a long ".repeat(50).trim()));
    }

    #[test]
    fn messages_wrap_between_words_below_the_first_word() {
        let text = layout(Label::Note, "one two a-long-word/that-stays-whole", Some(14), false);
        assert_eq!(text, "note: one two\n      a-long-word/that-stays-whole\n");
        assert_eq!(layout(Label::None, "one two three", Some(8), false), "one two\nthree\n");
    }

    #[test]
    fn the_label_alone_is_coloured() {
        let text = layout(Label::Error, "no", None, true);
        assert!(text.starts_with("\x1b[") && text.ends_with(" no\n") && text.contains("error:"), "{text:?}");
    }
}
