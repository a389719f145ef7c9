//! Finds the dictionary of tensors in a pickled object.

use super::foreign::{self, HYPERNETWORK, TEXTUAL_INVERSION};
use super::pickle::{Pickle, STATE, Value};
use super::rebuild::description;
use anyhow::{Context, Result, bail};

/// The keys under which trainers save a model among other data.
const WRAPPERS: [&str; 4] = ["state_dict", "model", "module", "model_state_dict"];

/// The key of the vectors in AUTOMATIC1111's textual inversions.
const PARAMS: &str = "string_to_param";

/// The maximum depth of wrappers. Each level multiplies the time of the search by the number of `WRAPPERS`.
const MAX_DEPTH: usize = 2;

/// The maximum number of entries to search for a dictionary under an unusual key. A hostile file may refer to a large
/// dictionary many times.
const MAX_SEARCHED: usize = 64;

/// The maximum number of names in an error.
const MAX_NAMED: usize = 3;

type Entries<'p, 'a> = &'p [[Value<'a>; 2]];

/// Returns the entries of the model's dictionary: the dictionary with the most tensors among the pickled one and those
/// under the usual keys, or else the only one with tensors under any key.
///
/// # Errors
/// If the object is not a dictionary, several dictionaries qualify, or the file is a textual inversion or a
/// hypernetwork.
pub(super) fn find<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<Entries<'p, 'a>> {
    let whole = root(pickle)?;
    refuse_others(whole)?;
    match fullest(pickle, whole, MAX_DEPTH) {
        (0, _) => only_inner(pickle, whole),
        (_, found) => Ok(found),
    }
}

/// Returns the entries of a textual inversion's dictionary of vectors, which AUTOMATIC1111 keeps among other data. In other
/// files, returns the dictionary with the most tensors.
///
/// # Errors
/// If the object is not a dictionary.
pub(super) fn find_embedding<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<Entries<'p, 'a>> {
    let whole = root(pickle)?;
    let Some(params) = under(pickle, whole, PARAMS) else { return Ok(fullest(pickle, whole, MAX_DEPTH).1) };
    // A ParameterDict is a module, whose parameters are part of its state.
    let inner = under(pickle, params, STATE).and_then(|state| under(pickle, state, "_parameters"));
    Ok(inner.unwrap_or(params))
}

/// Returns the entries of the pickled object.
fn root<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<Entries<'p, 'a>> {
    pickle
        .entries(pickle.root)
        .context("holds a Python object, not a dictionary of tensors; save its state_dict() with torch.save")
}

/// Returns the dictionary with the most tensors, among `entries` and those under the usual keys, and their number.
fn fullest<'p, 'a>(pickle: &'p Pickle<'a>, entries: Entries<'p, 'a>, depth: usize) -> (usize, Entries<'p, 'a>) {
    let mut found = (n_tensors(pickle, entries), entries);
    if depth > 0 {
        for inner in WRAPPERS.iter().filter_map(|key| under(pickle, entries, key)) {
            let inner = fullest(pickle, inner, depth - 1);
            if inner.0 > found.0 {
                found = inner;
            }
        }
    }
    found
}

/// Returns an error for a textual inversion or a hypernetwork.
fn refuse_others(whole: Entries) -> Result<()> {
    if whole.iter().any(|[key, _]| *key == Value::Str(PARAMS)) {
        return Err(foreign::refusal(TEXTUAL_INVERSION));
    }
    // A hypernetwork has a pair of networks for each width of the attention layers.
    if whole.iter().any(|entry| matches!(entry, [Value::Int(320 | 640 | 768 | 1280), Value::Tuple(_)])) {
        return Err(foreign::refusal(HYPERNETWORK));
    }
    Ok(())
}

/// Returns the dictionary under a key. The last one counts if the key is repeated, as in Python.
fn under<'p, 'a>(pickle: &'p Pickle<'a>, entries: Entries<'p, 'a>, wanted: &str) -> Option<Entries<'p, 'a>> {
    let (_, value) =
        entries.iter().rev().map(|[key, value]| (key, value)).find(|(key, _)| **key == Value::Str(wanted))?;
    pickle.entries(*value)
}

fn n_tensors(pickle: &Pickle, entries: Entries) -> usize {
    entries.iter().filter(|[_, value]| description(pickle, *value).is_some()).count()
}

/// Returns the only dictionary among the values that has tensors, or `entries` itself if none has.
///
/// # Errors
/// If several have tensors.
fn only_inner<'p, 'a>(pickle: &'p Pickle<'a>, entries: Entries<'p, 'a>) -> Result<Entries<'p, 'a>> {
    let mut filled = entries.iter().take(MAX_SEARCHED).filter_map(|[key, value]| {
        let inner = pickle.entries(*value).filter(|inner| n_tensors(pickle, inner) > 0)?;
        Some((super::torch::as_name(*key).unwrap_or("?"), inner))
    });
    let Some((first, inner)) = filled.next() else { return Ok(entries) };
    let others: Vec<&str> = filled.take(MAX_NAMED - 1).map(|(key, _)| key).collect();
    if !others.is_empty() {
        bail!(
            "holds several dictionaries of tensors (under '{first}', '{}'); save that of a Stable Diffusion 1.x checkpoint alone",
            others.join("', '")
        );
    }
    Ok(inner)
}
