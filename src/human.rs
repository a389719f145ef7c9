//! Human-readable numbers with two significant digits, the precision of the estimates, counts of things, and shortened texts.

/// Formats a number of bytes: `3.4 GB`.
pub fn bytes(n: f64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut n = n;
    let mut unit = units.iter();
    let mut name = unit.next().unwrap_or(&"");
    for next in unit {
        if n < 995. {
            break;
        }
        (n, name) = (n / 1000., next);
    }
    format!("{} {name}", two_digits(n))
}

/// Formats a duration: `40 s`, `12 minutes`.
pub fn duration(seconds: f64) -> String {
    let units = [(100., 1., "s"), (6000., 60., "minutes"), (172_800., 3600., "hours"), (f64::INFINITY, 86400., "days")];
    let fits = units.iter().find(|(below, ..)| seconds < *below);
    let (_, length, name) = fits.unwrap_or(&units[3]);
    format!("{} {name}", two_digits(seconds / length))
}

/// Formats a number of things: `1 picture`, `2 pictures`.
pub fn counted(n: usize, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// Lists names: `a`, `a and b`, `a, b and c`.
pub fn listed(names: &[String]) -> String {
    match names {
        [others @ .., last] if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => names.concat(),
    }
}

/// Truncates a text to `max` characters.
pub fn truncated(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Formats a number: `0.083`, `3.4`, `340`.
fn two_digits(n: f64) -> String {
    if n <= 0. {
        return "0".into();
    }
    let unit = 10f64.powf(n.log10().floor() - 1.);
    let digits = (-unit.log10().round()).max(0.) as usize;
    let text = format!("{:.digits$}", (n / unit).round() * unit);
    if digits > 0 { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_have_two_digits() {
        let texts = [0., 7., 15.4, 999., 4_265_305_065., 8.5e8, 1e12, 999_900.].map(bytes);
        assert_eq!(texts, ["0 bytes", "7 bytes", "15 bytes", "1 kB", "4.3 GB", "850 MB", "1 TB", "1 MB"]);
        let texts = [0.0834, 3., 61.2, 99., 130., 7000., 3e5, 1e12].map(duration);
        assert_eq!(texts, ["0.083 s", "3 s", "61 s", "99 s", "2.2 minutes", "1.9 hours", "3.5 days", "12000000 days"]);
    }
}
