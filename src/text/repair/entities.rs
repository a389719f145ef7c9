//! HTML entities: `&amp;`, `&#38;`, `&#x26;`.

use super::{NOTHING, TextFixerConfig, fix};

/// Names that HTML knows without a semicolon. Longer names in capitals that begin like one are ambiguous.
const WITHOUT_SEMICOLON: [&str; 8] = ["AMP", "COPY", "ETH", "GT", "LT", "QUOT", "REG", "THORN"];

/// The most letters and digits in an entity.
const MAX_LENGTH: usize = 24;

/// What windows-1252 has in place of a control character.
const C1: TextFixerConfig = TextFixerConfig { fix_c1_controls: true, ..NOTHING };

/// Replaces HTML entities that end in a semicolon by the characters they stand for.
pub fn unescape(text: &str) -> String {
    let mut unescaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        unescaped.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = entity_length(rest);
        match length {
            Some(length) => unescaped.push_str(&replacement(&rest[..length])),
            None => unescaped.push('&'),
        }
        rest = &rest[length.unwrap_or(1)..];
    }
    unescaped + rest
}

/// Returns how many bytes the entity at the start of `text` takes, if there is one.
fn entity_length(text: &str) -> Option<usize> {
    let prefix = if text.starts_with("&#") { 2 } else { 1 };
    let end = text[prefix..].find(|c: char| !c.is_ascii_alphanumeric())?;
    ((1..=MAX_LENGTH).contains(&end) && text[prefix + end..].starts_with(';')).then_some(prefix + end + 1)
}

/// Returns what an entity stands for; one that stands for nothing stays as it is.
fn replacement(entity: &str) -> String {
    let name = entity.trim_start_matches('&').trim_end_matches(';');
    if let Some(number) = name.strip_prefix('#') {
        return numbered(number).filter(|text| text != ";").unwrap_or_else(|| entity.to_owned());
    }
    if WITHOUT_SEMICOLON.iter().any(|short| name != *short && name.starts_with(short)) {
        return entity.to_owned();
    }
    // The only name in capitals that is another character than the same name in lower case.
    if name == "DD" {
        return "\u{2145}".to_owned();
    }
    plsfix::fix_text(entity, Some(&NOTHING))
}

/// Returns what Python's `html.unescape` makes of `38` or `x26`, if it is a number.
fn numbered(number: &str) -> Option<String> {
    let (digits, radix) = match number.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    // What is too large for a u32 is too large for a character.
    let code = u32::from_str_radix(digits, radix).unwrap_or(u32::MAX);
    Some(match code {
        0 => '\u{fffd}'.to_string(),
        0x80..=0x9f => fix(&char::from_u32(code)?.to_string(), &C1),
        0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef => String::new(),
        _ if code <= 0x0010_ffff && code & 0xfffe == 0xfffe => String::new(),
        _ => char::from_u32(code).unwrap_or('\u{fffd}').to_string(),
    })
}
