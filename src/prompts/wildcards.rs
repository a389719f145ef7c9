//! `{a|b|c}`: one of several wordings, another for every picture.
//!
//! Options may be empty and may hold further braces. `\{`, `\|` and `\}` are the characters themselves; any other
//! backslash, and a `|` outside of braces, is text.

use anyhow::{Result, bail};

/// A prompt with one option of each group of braces. `pick` is asked for a number below the one it is given, by every
/// group at its closing brace, also by one within an option that is not taken: how one falls out changes no other.
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
/// When a brace has no partner; the error says which.
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
                None => bail!("{} closes nothing; write '{{' before it, or '\\}}' for a brace itself", place(text, at)),
            },
            _ => expanded.push(c),
        }
    }
    if let Some(Group { at, .. }) = open.last() {
        bail!("{} is never closed; write '}}' after it, or '\\{{' for a brace itself", place(text, *at));
    }
    Ok(expanded)
}

/// Braces that are open.
struct Group {
    /// Where in the prompt, in bytes.
    at: usize,
    /// Where each option begins in what is expanded so far, which ends with the last of them.
    options: Vec<usize>,
}

impl Group {
    /// Leaves one option of all at the end of `expanded`.
    fn choose(self, expanded: &mut String, pick: &mut dyn FnMut(usize) -> usize) {
        let Self { options, .. } = self;
        let taken = pick(options.len()) % options.len();
        if let Some(&end) = options.get(taken + 1) {
            expanded.truncate(end);
        }
        expanded.drain(options[0]..options[taken]);
    }
}

/// For errors: the brace at a byte, its place counted in characters from 1.
fn place(text: &str, at: usize) -> String {
    let (before, after) = text.split_at(at);
    let start: String = after.chars().take(20).collect();
    format!("the brace at character {} of the prompt, '{start}',", before.chars().count() + 1)
}
