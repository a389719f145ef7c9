//! Numbers in a sentence.

use std::ops::RangeInclusive;

/// So many ranges are named.
const MOST_NAMED: usize = 20;

/// Of so many numbers; there may be more than can be counted.
const MOST_LOOKED_AT: usize = 1_000_000;

/// `1-3, 7, …`: ascending numbers, in ranges where they follow each other.
pub fn ranges(mut numbers: impl Iterator<Item = usize>) -> String {
    let (mut ranges, mut more): (Vec<RangeInclusive<usize>>, bool) = (vec![], false);
    for n in numbers.by_ref().take(MOST_LOOKED_AT) {
        match ranges.pop() {
            Some(last) if last.end() + 1 == n => ranges.push(*last.start()..=n),
            last => {
                ranges.extend(last);
                if ranges.len() == MOST_NAMED {
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
