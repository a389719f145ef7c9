//! Lists of numbers in messages.

use std::ops::RangeInclusive;

/// The largest number of ranges that are printed.
const MAX_RANGES: usize = 20;

/// The largest number of items that are taken from the iterator, which may be practically endless.
const MAX_NUMBERS: usize = 1_000_000;

/// Formats ascending numbers as ranges, such as `1-3, 7`. A list that is cut off ends in `…`.
pub fn ranges(mut numbers: impl Iterator<Item = usize>) -> String {
    let (mut ranges, mut more): (Vec<RangeInclusive<usize>>, bool) = (vec![], false);
    for n in numbers.by_ref().take(MAX_NUMBERS) {
        match ranges.pop() {
            Some(last) if last.end() + 1 == n => ranges.push(*last.start()..=n),
            last => {
                ranges.extend(last);
                if ranges.len() == MAX_RANGES {
                    more = true;
                    break;
                }
                ranges.push(n..=n);
            }
        }
    }
    let name = |range: &RangeInclusive<usize>| match (range.start(), range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    let named = ranges.iter().map(name).collect::<Vec<_>>().join(", ");
    if more || numbers.next().is_some() { named + ", …" } else { named }
}
