//! Wildcards: `{a|b|c}` in a prompt stands for one of several alternatives, chosen for each image.
//!
//! Alternatives may be empty and may contain further braces. `\{`, `\|` and `\}` stand for the characters themselves;
//! any other backslash, and a `|` outside braces, is text.

use anyhow::{Result, bail};

/// Replaces each group of braces in a prompt by one of its alternatives. `pick` maps a number n to an index below n. It
/// is called at every closing brace, even within an alternative that is dropped, so that no choice affects another.
///
/// ```
/// use txt2img::{prompts::wildcards, rng};
///
/// # fn main() -> anyhow::Result<()> {
/// let (seed, picture) = (42, 0);
/// let prompt = wildcards::expand("a {red|blue} cube", &mut rng::choices(seed, picture))?;
/// assert!(prompt == "a red cube" || prompt == "a blue cube");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If a brace has no partner; the error says which.
pub fn expand(text: &str, pick: &mut dyn FnMut(usize) -> usize) -> Result<String> {
    let mut expanded = String::with_capacity(text.len());
    let mut open: Vec<Group> = vec![];
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (c, open.last_mut()) {
            ('\\', _) if chars.peek().is_some_and(|(_, next)| "{|}".contains(*next)) => {
                expanded.extend(chars.next().map(|(_, next)| next));
            }
            ('{', _) => open.push(Group { at, options: vec![expanded.len()] }),
            ('|', Some(group)) => group.options.push(expanded.len()),
            ('}', _) => match open.pop() {
                Some(group) => group.choose(&mut expanded, pick),
                None => bail!("{} closes nothing; write '{{' before it, or '\\}}' for a brace itself", brace(text, at)),
            },
            _ => expanded.push(c),
        }
    }
    if let Some(Group { at, .. }) = open.last() {
        bail!("{} is never closed; write '}}' after it, or '\\{{' for a brace itself", brace(text, *at));
    }
    Ok(expanded)
}

/// An open group of braces.
struct Group {
    /// The byte offset of the opening brace in the prompt.
    at: usize,
    /// The byte offset of each alternative in the expanded text, which ends with the last one.
    options: Vec<usize>,
}

impl Group {
    /// Removes all alternatives but one from the end of `expanded`.
    fn choose(self, expanded: &mut String, pick: &mut dyn FnMut(usize) -> usize) {
        let Self { options, .. } = self;
        let taken = pick(options.len()) % options.len();
        if let Some(&end) = options.get(taken + 1) {
            expanded.truncate(end);
        }
        expanded.drain(options[0]..options[taken]);
    }
}

/// Describes the brace at byte `at` for an error, with its position in characters from 1.
fn brace(text: &str, at: usize) -> String {
    let (before, after) = text.split_at(at);
    let start: String = after.chars().take(20).collect();
    format!("the brace at character {} of the prompt, '{start}',", before.chars().count() + 1)
}
