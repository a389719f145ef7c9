//! Removes prefixes that training and conversion tools leave on tensors' names.

use super::Tensors;
use super::names::new_text_name;

/// The prefixes of LDM's names.
const ROOTS: [&str; 3] = ["model.diffusion_model.", "cond_stage_model.", "first_stage_model."];

/// The part of a name that `torch.compile` inserts.
const COMPILED: &str = "_orig_mod.";

/// Renames tensors to LDM's names, if they differ only by prefixes: an additional one such as `module.` on all names,
/// `diffusion_model.` without `model.`, and a text encoder without `text_model.`.
pub(super) fn ldm_names(tensors: Tensors) -> Tensors {
    let tensors = renamed(tensors, |name| name.replace(COMPILED, ""));
    let prefix = prefix(&tensors);
    let tensors = renamed(tensors, |name| name.strip_prefix(&*prefix).unwrap_or(name).to_string());
    let is_bare = !tensors.keys().any(|name| name.starts_with(ROOTS[0]));
    renamed(tensors, |name| match name.starts_with("diffusion_model.") && is_bare {
        true => format!("model.{name}"),
        false => new_text_name(name),
    })
}

/// Returns the shortest prefix before a name of LDM's.
fn prefix(tensors: &Tensors) -> String {
    let before = |name: &str| {
        let starts = ROOTS.iter().filter_map(|root| name.find(root));
        starts.filter(|&at| at == 0 || name[..at].ends_with('.')).min().map(|at| name[..at].to_string())
    };
    tensors.keys().filter_map(|name| before(name)).min_by_key(String::len).unwrap_or_default()
}

/// Renames tensors. If several get the same name, the one that had it before takes precedence.
fn renamed(tensors: Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    let (same, others): (Vec<_>, Vec<_>) =
        tensors.into_iter().map(|(name, tensor)| (rename(&name), name, tensor)).partition(|(new, old, _)| new == old);
    let entries = others.into_iter().chain(same);
    entries.map(|(new, _, tensor)| (new, tensor)).collect()
}
