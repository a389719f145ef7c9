//! `--sweep`: one command line for every value of a flag, or for every combination of two.

use super::{Args, misuse, range};
use crate::output::Axis;
use crate::params::{Field, PARAMS};
use clap::Command;
use clap::error::{Error, ErrorKind};
use std::ffi::OsString;

/// Returns the names of the flags that `--sweep` can vary: the sampling parameters, the seed, the prompts and the
/// model.
fn axes() -> impl Iterator<Item = &'static str> {
    PARAMS.iter().map(|param| param.flag).chain(["seed", "prompt", NEGATIVE_PROMPT, "ckpt", "vae"])
}

/// The name of the only axis whose values may be empty.
const NEGATIVE_PROMPT: &str = "negative_prompt";

/// Returns whether the values of an axis are numbers, which may be given as ranges.
fn is_numeric(name: &str) -> bool {
    let is_numeric = |field: &Field| matches!(field, Field::Whole { .. } | Field::Number { .. });
    name == "seed" || PARAMS.iter().any(|param| param.flag == name && is_numeric(&param.field))
}

/// The largest number of pictures in a sweep.
const MAX_CELLS: usize = 10_000;

/// A sweep: one picture for every combination of the values of one or two axes.
#[derive(Clone, PartialEq, Debug)]
pub struct Sweep {
    /// The axis from left to right.
    pub columns: Axis,
    /// The axis from top to bottom, if there are two.
    pub rows: Option<Axis>,
    /// The command line of each picture, row by row.
    pub cells: Vec<Args>,
}

/// Returns the sweep requested by `args`, which were parsed from `words`.
///
/// # Errors
/// If an axis is invalid or given twice, or there are too many axes or pictures.
pub fn sweep(command: &mut Command, words: &[OsString], args: &Args) -> Result<Option<Sweep>, Error> {
    let mut axes = vec![];
    for text in &args.sweep {
        axes.push(axis(text, &args.prompt).map_err(|reason| misuse::error(command, ErrorKind::InvalidValue, reason))?);
    }
    let (columns, rows) = match <[Axis; 2]>::try_from(axes) {
        Ok([columns, rows]) if columns.name != rows.name => (columns, Some(rows)),
        Ok([columns, _]) => {
            let reason = format!("--sweep {} is given twice", columns.name);
            return Err(misuse::error(command, ErrorKind::ArgumentConflict, reason));
        }
        Err(axes) if axes.len() > 2 => {
            let reason = "--sweep can be given at most twice, for the columns and the rows";
            return Err(misuse::error(command, ErrorKind::TooManyValues, reason));
        }
        Err(axes) => match axes.into_iter().next() {
            Some(columns) => (columns, None),
            None => return Ok(None),
        },
    };
    let n_rows = rows.as_ref().map_or(1, |rows| rows.values.len());
    if columns.values.len().saturating_mul(n_rows) > MAX_CELLS {
        let reason = format!("--sweep asks for more than {MAX_CELLS} pictures; give fewer values");
        return Err(misuse::error(command, ErrorKind::TooManyValues, reason));
    }
    let mut sweep = Sweep { columns, rows, cells: vec![] };
    for i in 0..sweep.columns.values.len() * n_rows {
        sweep.cells.push(sweep.cell(i, command, words, &args.prompt)?);
    }
    Ok(Some(sweep))
}

/// Splits values at commas. A value that begins with a double quote ends with one, and may contain commas, and doubled quotes
/// for quotes. Returns `None` if its last quote is missing or not followed by a comma.
fn split(text: &str) -> Option<Vec<String>> {
    let (mut values, mut rest) = (vec![], Some(text));
    while let Some(text) = rest {
        let value;
        (value, rest) = match text.trim_start().strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = unquoted(quoted)?;
                let after = after.trim_start();
                (value, if after.is_empty() { None } else { Some(after.strip_prefix(',')?) })
            }
            None => match text.split_once(',') {
                Some((value, after)) => (value.trim().to_owned(), Some(after)),
                None => (text.trim().to_owned(), None),
            },
        };
        values.push(value);
    }
    Some(values)
}

/// Returns a quoted value, whose first quote has been removed, and the text after it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut rest) = (String::new(), text);
    loop {
        let (part, after) = rest.split_once('"')?;
        value += part;
        match after.strip_prefix('"') {
            Some(after) => {
                value.push('"');
                rest = after;
            }
            None => return Some((value, after)),
        }
    }
}

/// Parses an axis.
fn axis(text: &str, prompt: &str) -> Result<Axis, String> {
    let known = || format!("NAME can be {}", axes().collect::<Vec<_>>().join(", "));
    let (name, values) =
        text.split_once('=').ok_or_else(|| format!("--sweep '{text}' is not NAME=VALUE,VALUE,…; {}", known()))?;
    let name = name.trim();
    // As in prompts files, parameters have two names.
    let name = PARAMS.iter().find(|param| param.name == name).map_or(name, |param| param.flag);
    if !axes().any(|axis| axis == name) {
        return Err(format!("--sweep {name}=… is not supported; {}", known()));
    }
    let values = split(values).ok_or_else(|| {
        format!("--sweep {text} has an unmatched quote, or no comma after one; write NAME=\"V\",\"V\",…")
    })?;
    if name != NEGATIVE_PROMPT && values.iter().any(String::is_empty) {
        return Err(format!("--sweep {text} has an empty value; write NAME=VALUE,VALUE,…"));
    }
    let values = if is_numeric(name) { expanded(values)? } else { values };
    if name == "prompt" && !prompt.contains(&values[0]) {
        return Err(format!("--sweep prompt: the first value, '{}', must occur in the prompt", values[0]));
    }
    Ok(Axis { name: name.to_owned(), values })
}

/// Replaces ranges by their values.
fn expanded(values: Vec<String>) -> Result<Vec<String>, String> {
    let mut all = vec![];
    for value in values {
        match range::values(&value, MAX_CELLS) {
            Some(range) => all.extend(range.map_err(|clause| format!("--sweep: the range {value} {clause}"))?),
            None => all.push(value),
        }
    }
    Ok(all)
}

impl Sweep {
    /// Returns each axis and its value at picture `i`.
    fn values(&self, i: usize) -> impl Iterator<Item = (&Axis, &str)> {
        let n_columns = self.columns.values.len();
        let indices = [(Some(&self.columns), i % n_columns), (self.rows.as_ref(), i / n_columns)];
        indices.into_iter().filter_map(|(axis, i)| axis.map(|axis| (axis, &*axis.values[i])))
    }

    /// Returns the values at picture `i` as text, such as `scale=7.5 seed=1`.
    pub fn label(&self, i: usize) -> String {
        let values: Vec<String> = self.values(i).map(|(axis, value)| format!("{}={value}", axis.name)).collect();
        values.join(" ")
    }

    /// Returns the command line of picture `i`.
    fn cell(&self, i: usize, command: &mut Command, words: &[OsString], prompt: &str) -> Result<Args, Error> {
        let mut words = words.to_vec();
        words.extend(["--n_iter=1".into(), "--n_samples=1".into()]);
        for (Axis { name, values }, value) in self.values(i) {
            let value = if name == "prompt" { &prompt.replace(&values[0], value) } else { value };
            words.push(format!("--{name}={value}").into());
        }
        Args::parse_expanded(command, &words).map_err(|error| {
            let message = error.to_string();
            // Includes the lines with the possible values, up to the blank line before the usage.
            let lines: Vec<&str> = message.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
            let reason = lines.join(" ");
            let reason = reason.trim_start_matches("error: ");
            misuse::error(command, error.kind(), format!("--sweep {}: {reason}", self.label(i)))
        })
    }
}
