//! Repairs broken text as version 6 of ftfy's `fix_text` does: mojibake, HTML entities, terminal codes, curly quotes, ….
//!
//! Most of it is done by the crate plsfix, which differs from ftfy in HTML entities, terminal codes and full-width
//! characters. Those steps are implemented here, in ftfy's order.

mod entities;

use plsfix::{Normalization, TextFixerConfig};

/// The maximum number of rounds of repairs. Only text made for this purpose needs more.
const MAX_ROUNDS: usize = 100;

/// The configuration of plsfix without any step.
const NOTHING: TextFixerConfig = TextFixerConfig {
    unescape_html: Some(false),
    remove_terminal_escapes: false,
    fix_encoding: false,
    restore_byte_a0: true,
    replace_lossy_sequences: true,
    decode_inconsistent_utf8: true,
    fix_c1_controls: false,
    fix_latin_ligatures: false,
    fix_character_width: false,
    uncurl_quotes: false,
    fix_line_breaks: false,
    remove_control_chars: false,
    normalization: None,
    max_decode_length: i32::MAX,
};

/// The steps between HTML entities and terminal codes.
const CHARACTERS: TextFixerConfig = TextFixerConfig {
    fix_encoding: true,
    fix_c1_controls: true,
    fix_latin_ligatures: true,
    fix_character_width: true,
    uncurl_quotes: true,
    fix_line_breaks: true,
    ..NOTHING
};

/// The step after control characters.
const COMPOSITION: TextFixerConfig = TextFixerConfig { normalization: Some(Normalization::NFC), ..NOTHING };

/// Repairs each line of a text separately.
///
/// The text is treated as HTML from the first line with a `<` on, and its entities are kept.
pub fn repair(text: &str) -> String {
    let mut is_html = false;
    let repaired = text.split_inclusive('\n').map(|line| {
        is_html |= line.contains('<');
        repair_line(line, is_html)
    });
    repaired.collect()
}

fn repair_line(line: &str, is_html: bool) -> String {
    let mut text = line.to_owned();
    if line.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'&') {
        return text;
    }
    for _ in 0..MAX_ROUNDS {
        let before = text.clone();
        if !is_html {
            text = entities::unescape(&text);
        }
        text = fix(&with_narrow(&text), &CHARACTERS);
        text = without_terminal_codes(&text);
        text.retain(|c| !is_control(c));
        text = fix(&text, &COMPOSITION);
        if text == before {
            break;
        }
    }
    text
}

/// Replaces the full-width characters that plsfix replaces incorrectly. It keeps only the first character of the
/// macron's replacement, and would decode an entity after the ampersand in the same round.
fn with_narrow(text: &str) -> String {
    text.replace('\u{ffe3}', " \u{304}").replace('\u{ff06}', "&")
}

/// Applies plsfix, except to HTML entities, which it decodes in spite of the configuration unless a control character
/// hides them.
fn fix(text: &str, config: &TextFixerConfig) -> String {
    plsfix::fix_text(&text.replace('&', "&\u{1}"), Some(config)).replace("&\u{1}", "&")
}

/// Removes terminal codes such as `ESC [ 31 m`, which set the colour.
fn without_terminal_codes(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let mut stripped = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece.trim_start_matches(|c: char| c == ';' || c.is_numeric());
        match code.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(after) => stripped.push_str(after),
            None => stripped.extend(["\u{1b}[", piece]),
        }
    }
    stripped
}

/// Returns whether ftfy removes a control character.
fn is_control(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffc}'
        | '\u{feff}')
}
