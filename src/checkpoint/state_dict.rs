//! The dictionary of tensors within what `torch.save` was given.

use anyhow::{Context, Result, bail};

use super::other_models::{self, HYPERNETWORK, TEXTUAL_INVERSION};
use super::pickle::{Pickle, Value};
use super::rebuild::description;

/// Keys under which trainers save a model beside what else they save.
const WRAPPERS: [&str; 4] = ["state_dict", "model", "module", "model_state_dict"];

/// Dictionaries within dictionaries, at most: the time it takes grows by `WRAPPERS` with each.
const MAX_DEPTH: usize = 2;

/// Entries among which a dictionary under an unusual key is looked for; a file may repeat a large one at no cost.
const MAX_SEARCHED: usize = 64;

/// Names in an error.
const MAX_NAMED: usize = 3;

type Entries<'p, 'a> = &'p [[Value<'a>; 2]];

/// Returns the entries of the model's dictionary: the whole, or what lies under one of the usual keys and holds more
/// tensors, or else under whatever key alone holds any.
///
/// # Errors
/// When there is no dictionary, several could be meant, or the file is known to be something else.
pub(super) fn find<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<Entries<'p, 'a>> {
    let whole = pickle
        .entries(pickle.root)
        .context("holds a Python object, not a dictionary of tensors; save its state_dict() with torch.save")?;
    refuse_others(whole)?;
    match fullest(pickle, whole, MAX_DEPTH) {
        (0, _) => only_inner(pickle, whole),
        (_, found) => Ok(found),
    }
}

/// The dictionary with the most tensors, and their number: this one, or one under the usual keys.
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

fn refuse_others(whole: Entries) -> Result<()> {
    if whole.iter().any(|[key, _]| *key == Value::Str("string_to_param")) {
        return Err(other_models::refusal(TEXTUAL_INVERSION));
    }
    // A pair of networks for each width of the attention layers.
    if whole.iter().any(|entry| matches!(entry, [Value::Int(320 | 640 | 768 | 1280), Value::Tuple(_)])) {
        return Err(other_models::refusal(HYPERNETWORK));
    }
    Ok(())
}

/// The last wins if there are several, as in Python.
fn under<'p, 'a>(pickle: &'p Pickle<'a>, entries: Entries<'p, 'a>, wanted: &str) -> Option<Entries<'p, 'a>> {
    let (_, value) =
        entries.iter().rev().map(|[key, value]| (key, value)).find(|(key, _)| **key == Value::Str(wanted))?;
    pickle.entries(*value)
}

fn n_tensors(pickle: &Pickle, entries: Entries) -> usize {
    entries.iter().filter(|[_, value]| description(pickle, *value).is_some()).count()
}

/// The one dictionary in a dictionary without tensors that has some; the dictionary without, if none has.
fn only_inner<'p, 'a>(pickle: &'p Pickle<'a>, entries: Entries<'p, 'a>) -> Result<Entries<'p, 'a>> {
    let mut filled = entries.iter().take(MAX_SEARCHED).filter_map(|[key, value]| {
        let inner = pickle.entries(*value).filter(|inner| n_tensors(pickle, inner) > 0)?;
        Some((super::torch::name(*key).unwrap_or("?"), inner))
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
