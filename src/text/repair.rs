//! Repairs broken text as version 6 of ftfy's `fix_text` does: mojibake, HTML entities, terminal codes, curly quotes, ….
//!
//! plsfix does most of it. It deviates from ftfy in HTML entities, terminal codes and the full-width macron; those steps
//! are done here, each at ftfy's place in the order.

mod entities;

use plsfix::{Normalization, TextFixerConfig};

/// Text that repairs go on changing for longer than this was made to do so.
const MAX_ROUNDS: usize = 100;

/// No step of plsfix at all.
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

/// Repairs every line by itself.
///
/// From the first line with a `<` on, text is taken for HTML, and entities stay as they are.
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

/// Replaces the full-width characters that plsfix would replace wrongly: of the macron's replacement it keeps only the
/// first character, and it takes the ampersand for an entity's before the next round.
fn with_narrow(text: &str) -> String {
    text.replace('\u{ffe3}', " \u{304}").replace('\u{ff06}', "&")
}

/// Applies plsfix, except for HTML entities: it replaces those whatever its configuration says, unless a control
/// character hides them.
fn fix(text: &str, config: &TextFixerConfig) -> String {
    plsfix::fix_text(&text.replace('&', "&\u{1}"), Some(config)).replace("&\u{1}", "&")
}

/// Removes codes such as `ESC [ 31 m`, which colour text in a terminal.
fn without_terminal_codes(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let mut kept = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece.trim_start_matches(|c: char| c == ';' || c.is_numeric());
        match code.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(after) => kept.push_str(after),
            None => kept.extend(["\u{1b}[", piece]),
        }
    }
    kept
}

/// Whether the character is a control character that ftfy removes.
fn is_control(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffc}'
        | '\u{feff}')
}
