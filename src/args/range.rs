//! Ranges of values in `--sweep`.

/// Decimals of a value, beyond which steps that add up are rounded.
const PRECISION: f64 = 1e9;

/// Returns the values of a range: `1-5` or `1..5` are 1 to 5, and `1..10:1.5` goes in steps of 1.5. Returns `None` if the text is
/// not a range.
///
/// # Errors
/// If the range has more than `max` values, or steps of 0 or less. The error is a clause.
pub fn values(text: &str, max: usize) -> Option<Result<Vec<String>, String>> {
    let (range, step) = text.split_once(':').unwrap_or((text, "1"));
    let ends = range.split_once("..").or_else(|| {
        // The dash of a negative number is no range.
        let (first, last) = text.get(1..)?.split_once('-').map(|(rest, _)| text.split_at(1 + rest.len()))?;
        let is_whole = |end: &str| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit());
        Some((first, &last[1..])).filter(|(first, last)| is_whole(first) && is_whole(last))
    });
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    let (first, last) = ends?;
    let (first, last, step) = (number(first)?, number(last)?, number(step)?);
    if step <= 0. || last < first {
        return Some(Err("does not increase; write FIRST..LAST:STEP".into()));
    }
    let steps = ((last - first) / step + 1. / PRECISION).floor();
    if steps >= max as f64 {
        return Some(Err(format!("has more than {max} values")));
    }
    let value = |i: usize| ((first + i as f64 * step) * PRECISION).round() / PRECISION;
    Some(Ok((0..=steps as usize).map(|i| value(i).to_string()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Option<String> {
        values(text, 100).map(|values| values.map_or_else(|clause| clause, |values| values.join(" ")))
    }

    #[test]
    fn ranges_are_expanded() {
        for (range, values) in [
            ("1-5", "1 2 3 4 5"),
            ("0..3", "0 1 2 3"),
            ("1..10:1.5", "1 2.5 4 5.5 7 8.5 10"),
            ("0..1:0.1", "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1"),
            ("-1..1", "-1 0 1"),
            ("256..512:64", "256 320 384 448 512"),
            ("7-7", "7"),
            ("1..1.9", "1"),
            ("5-1", "does not increase; write FIRST..LAST:STEP"),
            ("1..5:0", "does not increase; write FIRST..LAST:STEP"),
            ("1-1000", "has more than 100 values"),
            ("1..1e300", "has more than 100 values"),
        ] {
            assert_eq!(all(range).as_deref(), Some(values), "{range}");
        }
    }

    #[test]
    fn other_values_are_no_ranges() {
        for text in ["5", "-5", "1e-5", "", "-", "a-b", "1-", "..", "1..", "x..y", "1..2:x", "1.5-2", "ä-5", "--5"] {
            assert_eq!(all(text), None, "{text}");
        }
    }
}
