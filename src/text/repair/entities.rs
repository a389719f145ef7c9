//! Decodes HTML entities, such as `&amp;`, `&#38;` and `&#x26;`.

use super::{NOTHING, TextFixerConfig, fix};

/// The names in capitals that are valid without a semicolon. Longer names that begin with one are ambiguous.
const WITHOUT_SEMICOLON: [&str; 8] = ["AMP", "COPY", "ETH", "GT", "LT", "QUOT", "REG", "THORN"];

/// The maximum number of letters and digits in an entity.
const MAX_LENGTH: usize = 24;

/// The configuration of plsfix that replaces C1 control characters by those of windows-1252.
const C1: TextFixerConfig = TextFixerConfig { fix_c1_controls: true, ..NOTHING };

/// Decodes the HTML entities that end in a semicolon.
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

/// Returns the length in bytes of the entity at the start of `text`, if there is one.
fn entity_length(text: &str) -> Option<usize> {
    let prefix = if text.starts_with("&#") { 2 } else { 1 };
    let end = text[prefix..].find(|c: char| !c.is_ascii_alphanumeric())?;
    ((1..=MAX_LENGTH).contains(&end) && text[prefix + end..].starts_with(';')).then_some(prefix + end + 1)
}

/// Decodes an entity. An unknown one is returned unchanged.
fn replacement(entity: &str) -> String {
    let name = entity.trim_start_matches('&').trim_end_matches(';');
    if let Some(number) = name.strip_prefix('#') {
        return numbered(number).filter(|text| text != ";").unwrap_or_else(|| entity.to_owned());
    }
    if WITHOUT_SEMICOLON.iter().any(|short| name != *short && name.starts_with(short)) {
        return entity.to_owned();
    }
    // The only name in capitals that stands for another character than the name in lower case.
    if name == "DD" {
        return "\u{2145}".to_owned();
    }
    plsfix::fix_text(entity, Some(&NOTHING))
}

/// Decodes a number such as `38` or `x26` as Python's `html.unescape` does; `None` if it is not a number.
fn numbered(number: &str) -> Option<String> {
    let (digits, radix) = match number.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    // A number too large for u32 is too large for a character.
    let code = u32::from_str_radix(digits, radix).unwrap_or(u32::MAX);
    Some(match code {
        0 => '\u{fffd}'.to_string(),
        0x80..=0x9f => fix(&char::from_u32(code)?.to_string(), &C1),
        0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef => String::new(),
        _ if code <= 0x0010_ffff && code & 0xfffe == 0xfffe => String::new(),
        _ => char::from_u32(code).unwrap_or('\u{fffd}').to_string(),
    })
}
