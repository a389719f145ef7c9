//! Rewrites for clap what only Python's argparse accepts: abbreviated flags, and values that begin with a dash.

use super::{Program, misuse};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use std::ffi::OsString;

/// The flags that every program has, whose abbreviations take precedence like those of the original.
const BUILT_IN: [&str; 2] = ["help", "version"];

/// Completes abbreviated flags, and joins values that begin with a dash to their flags as `--flag=value`.
///
/// # Errors
/// If an abbreviation is ambiguous.
pub fn expand(command: &Command, words: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    let mut expanded: Vec<OsString> = vec![];
    let mut awaits_value = false; // whether the last word is a flag without its value
    for word in words {
        let follows_flag = std::mem::take(&mut awaits_value);
        let text = word.to_str().unwrap_or_default();
        let (name, value) = text.split_at(text.find('=').unwrap_or(text.len()));
        let flags = name.strip_prefix("--").map_or(vec![], |name| matching_flags(command, name));
        if let Some(letter) = short_flag(text) {
            awaits_value =
                command.get_arguments().any(|arg| arg.get_short() == Some(letter) && arg.get_action().takes_values());
        }
        match flags.as_slice() {
            [] if is_dashed_value(text) && follows_flag => {
                let flag = expanded.last_mut().expect("follows_flag implies a flag");
                flag.push("=");
                flag.push(word);
            }
            [] => expanded.push(word), // a plain value, or an unknown flag, which clap reports
            [flag] => {
                expanded.push(format!("--{flag}{value}").into());
                awaits_value = value.is_empty() && takes_value(command, flag);
            }
            several => {
                let reason = format!("ambiguous option: {name} could be --{}", several.join(", --"));
                return Err(misuse::error(command, ErrorKind::UnknownArgument, reason));
            }
        }
    }
    Ok(expanded)
}

/// Returns the letter of a short flag such as `-n`.
fn short_flag(word: &str) -> Option<char> {
    let mut letters = word.strip_prefix('-')?.chars();
    letters.next().filter(|letter| *letter != '-' && letters.next().is_none())
}

/// Whether `flag` takes a value.
fn takes_value(command: &Command, flag: &str) -> bool {
    find(command, flag).is_some_and(|arg| arg.get_action().takes_values())
}

/// Returns the argument of a flag, in any of its spellings, without dashes.
pub(super) fn find<'a>(command: &'a Command, flag: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| names(arg).any(|name| name == flag))
}

/// Returns every spelling of a flag, without dashes.
pub(super) fn names(arg: &Arg) -> impl Iterator<Item = &str> {
    arg.get_long().into_iter().chain(arg.get_visible_aliases().unwrap_or_default())
}

/// Whether a word beginning with a dash is a value, as argparse decides: `-1` and `-foo bar` are, `-foo` is not.
fn is_dashed_value(word: &str) -> bool {
    // Also numbers with commas, which argparse takes for a flag, but which are values of ours.
    let is_numeric = || word.split(',').all(|number| number.parse::<f64>().is_ok());
    word.starts_with('-') && (word.contains(' ') || is_numeric())
}

/// Returns the flags that `name` may abbreviate: an exact match, also with hyphens for underscores, or else the original's flags
/// that begin with it, or else any. The original's take precedence so that its abbreviations keep their meaning.
fn matching_flags<'a>(command: &'a Command, name: &str) -> Vec<&'a str> {
    if name.is_empty() {
        return vec![]; // a bare -- ends the flags
    }
    let find = |is_it: &dyn Fn(&str) -> bool| command.get_arguments().flat_map(names).find(|flag| is_it(flag));
    if let Some(exact) = find(&|flag| flag == name).or_else(|| find(&|flag| flag.replace('_', "-") == name)) {
        return vec![exact];
    }
    let originals = Program::of(command).originals().iter().chain(&BUILT_IN);
    let originals: Vec<&str> = originals.copied().filter(|flag| flag.starts_with(name)).collect();
    if !originals.is_empty() {
        return originals;
    }
    // One spelling of each flag.
    command.get_arguments().filter_map(|arg| names(arg).find(|flag| flag.starts_with(name))).collect()
}
