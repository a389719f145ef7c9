//! Words that change during sampling, in the syntax of AUTOMATIC1111's web UI.
//!
//! `[a:b:when]` is `a` up to step `when` and `b` after it, `[b:when]` is nothing at first, and `[a::when]` is nothing
//! afterwards. A number with a point is a fraction of all steps, and one without is a step. `[a|b|c]` is another
//! alternative in each step, in turn; alternatives may be empty. All of these nest. A backslash takes the meaning from the
//! character after it, and stays in the text. Other brackets, `(a)`, `(a:b)` and `[a]`, stay in the text too, and so do
//! those that are not closed or in which something is not as described here.
//!
//! A bar outside of an alternation, a backslash at the end, and one before a line break make the whole prompt text, as in
//! the web UI. That resolves a few ambiguous prompts at random, in which brackets are unbalanced; here it is always the
//! outermost complete brackets that count.

use std::collections::BTreeSet;
use std::iter::once;
use std::ops::Range;

/// The steps of a pass of sampling, as prompts count them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PassSteps {
    /// The number of steps.
    pub steps: usize,
    /// For the second pass, the number of steps of the first. Steps in prompts count on from there, and fractions from 1 on.
    pub before: Option<usize>,
}

impl From<usize> for PassSteps {
    /// Returns the steps of the first pass.
    fn from(steps: usize) -> Self {
        Self { steps, before: None }
    }
}

/// A prompt whose words change during sampling.
#[derive(Debug)]
pub struct Timeline<'a> {
    prompt: &'a str,
    /// The number of steps.
    steps: usize,
    /// The brackets of which one part at a time is in the text, in the order of the prompt.
    choices: Vec<Choice>,
}

/// Brackets of which one part at a time is in the text.
#[derive(Debug)]
struct Choice {
    /// The place of the brackets in the prompt, in bytes.
    place: Range<usize>,
    /// The places of the parts.
    parts: Vec<Range<usize>>,
    rule: Rule,
}

/// The rule that selects a part in each step.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// The first of two parts up to this step, then the second.
    Until(i64),
    /// One part after the other.
    InTurn,
}

impl<'a> Timeline<'a> {
    /// Parses a prompt for the steps of a pass.
    pub fn new(prompt: &'a str, steps: impl Into<PassSteps>) -> Self {
        let steps = steps.into();
        let mut choices = choices(prompt, steps).unwrap_or_default();
        choices.sort_unstable_by_key(|choice| choice.place.start);
        Self { prompt, steps: steps.steps, choices }
    }

    /// Returns a prompt of which nothing changes.
    pub fn unchanging(prompt: &'a str, steps: usize) -> Self {
        Self { prompt, steps, choices: vec![] }
    }

    /// Returns the steps up to which the text may stay the same, in order: the last is the number of steps.
    pub fn ends(&self) -> BTreeSet<usize> {
        let mut ends = BTreeSet::from([self.steps]);
        for choice in &self.choices {
            match choice.rule {
                Rule::Until(step) => ends.extend(usize::try_from(step).ok().filter(|&step| step > 0)),
                Rule::InTurn => return (1..=self.steps).collect(),
            }
        }
        ends
    }

    /// Returns the text in a step, counted from 1.
    pub fn text_at(&self, step: usize) -> String {
        let mut text = String::new();
        // The places that are still to be read, the next one last. Without recursion, since brackets may nest deeply.
        let whole = 0..self.prompt.len();
        let mut rest = Vec::from([whole]);
        while let Some(place) = rest.pop() {
            let next = self.choices.partition_point(|choice| choice.place.start < place.start);
            let next = self.choices.get(next).filter(|choice| choice.place.start < place.end);
            text += &self.prompt[place.start..next.map_or(place.end, |choice| choice.place.start)];
            if let Some(choice) = next {
                rest.extend([choice.place.end..place.end, choice.part_at(step)]);
            }
        }
        text
    }
}

impl Choice {
    /// Returns the place of the part that is in the text in a step, counted from 1.
    fn part_at(&self, step: usize) -> Range<usize> {
        let part = match self.rule {
            Rule::Until(last) => usize::from(step as i64 > last),
            Rule::InTurn => (step - 1) % self.parts.len(),
        };
        self.parts[part].clone()
    }
}

/// An open bracket.
struct Open {
    at: usize,
    is_square: bool,
    /// The places of the colons or bars in it, except those in further brackets.
    separators: Vec<usize>,
    has_bars: bool,
}

impl Open {
    /// Whether a colon may follow. One with bars is not text either.
    fn takes_colon(&self) -> bool {
        self.separators.len() < if self.is_square { 2 } else { 1 }
    }

    fn takes_bar(&self) -> bool {
        self.is_square && (self.has_bars || self.separators.is_empty())
    }

    /// Returns the places of the parts up to `end`.
    fn parts(&self, end: usize) -> Vec<Range<usize>> {
        let starts = once(self.at).chain(self.separators.iter().copied()).map(|at| at + 1);
        let ends = self.separators.iter().copied().chain([end]);
        starts.zip(ends).map(|(start, end)| start..end).collect()
    }

    /// Returns the choice that a square bracket at `end` completes, `Ok(None)` if it completes emphasis.
    ///
    /// # Errors
    /// If what is in the brackets is text, and so are the brackets around it.
    fn closed(&self, prompt: &str, end: usize, steps: PassSteps) -> Result<Option<Choice>, ()> {
        let place = self.at..end + 1;
        let mut parts = self.parts(end);
        if self.has_bars {
            return Ok(Some(Choice { place, parts, rule: Rule::InTurn }));
        }
        if parts.len() == 1 {
            return Ok(None);
        }
        let last = parts.pop().and_then(|part| when(&prompt[part], steps)).ok_or(())?;
        if parts.len() == 1 {
            parts.insert(0, self.at..self.at);
        }
        Ok(Some(Choice { place, parts, rule: Rule::Until(last) }))
    }
}

/// Returns the choices in a prompt, or `None` if all of it is text. Takes linear time: when brackets prove to be text, so
/// are all those around them, and none of them is looked at again.
fn choices(prompt: &str, steps: PassSteps) -> Option<Vec<Choice>> {
    let mut choices = vec![];
    let mut open: Vec<Open> = vec![];
    let mut bytes = prompt.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        let is_text = match (byte, open.last_mut()) {
            (b'\\', _) => {
                bytes.next().filter(|&(_, escaped)| escaped != b'\n')?;
                false
            }
            (b'(' | b'[', _) => {
                open.push(Open { at, is_square: byte == b'[', separators: vec![], has_bars: false });
                false
            }
            (b'|', Some(last)) if last.takes_bar() => {
                last.has_bars = true;
                last.separators.push(at);
                false
            }
            (b'|', _) => return None,
            (b':', Some(last)) if !last.has_bars && last.takes_colon() => {
                last.separators.push(at);
                false
            }
            (b')', Some(last)) if !last.is_square => {
                open.pop();
                false
            }
            (b']', Some(last)) if last.is_square => match last.closed(prompt, at, steps) {
                Ok(choice) => {
                    choices.extend(choice);
                    open.pop();
                    false
                }
                Err(()) => true,
            },
            (b':' | b')' | b']', Some(_)) => true,
            _ => false,
        };
        if is_text {
            close_all(&mut open)?;
        }
    }
    close_all(&mut open)?;
    Some(choices)
}

/// Makes open brackets text. Returns `None` if they have bars, which cannot be text.
fn close_all(open: &mut Vec<Open>) -> Option<()> {
    let has_bars = open.drain(..).any(|open| open.has_bars);
    (!has_bars).then_some(())
}

/// Parses the number of the last step before a change, which may be negative, and is at most the number of steps.
fn when(number: &str, PassSteps { steps, before }: PassSteps) -> Option<i64> {
    let number = number.trim();
    // Not `inf` and the like, which `parse` takes.
    let is_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    let value = number.parse::<f64>().ok().filter(|_| number.chars().all(is_number))?;
    let step = match (number.contains('.'), before) {
        (true, None) => value * steps as f64,
        (true, Some(_)) => (value - 1.) * steps as f64,
        (false, None) => value,
        (false, Some(before)) => value - before as f64,
    };
    Some((step as i64).min(steps as i64))
}
