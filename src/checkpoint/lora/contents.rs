//! The tensors of a LoRA file, assigned to the modules of a model.

use super::change::{Change, Parts};
use super::embeddings::{self, Embeddings};
use super::keys::Part;
use super::modules::{Modules, Naming};
use super::refusals::{self, ADVICE};
use super::summary::plain;
use super::{Metadata, alpha};
use crate::checkpoint::{Checkpoint, Tensors, ema, names::TEXT};
use anyhow::{Error, Result, anyhow, bail, ensure};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// The contents of a LoRA file, for a model.
#[derive(Default)]
pub(super) struct Contents {
    /// The changes, by LDM's names of the modules.
    pub changes: BTreeMap<String, Change>,
    /// The kinds of the changes.
    pub kinds: BTreeSet<&'static str>,
    /// The names in the file that the model lacks.
    pub unmatched: Vec<String>,
    pub embeddings: Embeddings,
}

/// The tensors of a module: its name in the file, and the parts of its change.
type Module = (String, Parts);

impl Contents {
    /// Assigns the tensors of a file to the modules of a model, and checks them.
    ///
    /// # Errors
    /// If none belongs to the model, or one is damaged, or does not fit the model or the others.
    pub fn new(tensors: Tensors, metadata: &Metadata, checkpoint: &Checkpoint, known: &Modules) -> Result<Self> {
        let mut contents = Self::default();
        let modules = contents.assign(by_module(tensors)?, checkpoint, known)?;
        let mut changes = vec![];
        for (name, (own_name, parts)) in modules {
            let change = Change::new(parts, |rank| alpha::stated(&name, &own_name, rank, metadata));
            let change = change.map_err(|error| unusable(&own_name, error))?;
            changes.push((name, own_name, change));
        }
        for (name, _, change) in &changes {
            refusals::refuse_width(name, change, shape(checkpoint, name, "weight"))?;
        }
        for (name, own_name, change) in &changes {
            let (weight, bias) = (shape(checkpoint, name, "weight"), shape(checkpoint, name, "bias"));
            let fit = change.check_fit(weight, bias);
            fit.map_err(|error| anyhow!("does not fit the model: module '{}' {error:#}; {ADVICE}", plain(own_name)))?;
            contents.kinds.insert(change.kind(weight));
        }
        check_finite(&changes)?;
        contents.changes = changes.into_iter().map(|(name, _, change)| (name, change)).collect();
        Ok(contents)
    }

    /// Assigns tensors to modules, by LDM's names, and keeps the names that the model lacks, and the embeddings.
    fn assign(
        &mut self,
        (by_name, others): (BTreeMap<String, Parts>, Tensors),
        checkpoint: &Checkpoint,
        known: &Modules,
    ) -> Result<BTreeMap<String, Module>> {
        let width = checkpoint.shape(&format!("{TEXT}.embeddings.token_embedding.weight")).and_then(|s| s.get(1));
        for (name, tensor) in others {
            match embeddings::parse(&name) {
                Some(word) => embeddings::add(&mut self.embeddings, word, &tensor, width.copied())?,
                None => self.unmatched.push(name),
            }
        }
        let naming = |name: &str| known.find(name).map(|module| module.naming);
        let has_diffusers = by_name.keys().any(|name| naming(name) == Some(Naming::Diffusers));
        let mut modules: BTreeMap<String, Module> = BTreeMap::new();
        for (own_name, parts) in by_name {
            match known.find(&own_name) {
                None => self.unmatched.push(own_name),
                // In a file with both, diffusers' names are the ones that count, as in diffusers.
                Some(module) if has_diffusers && module.naming == Naming::Ldm => (),
                Some(module) => {
                    if let Some((other, _)) = modules.insert(module.name.clone(), (own_name.clone(), parts)) {
                        let [one, other] = [&other, &own_name].map(|name| plain(name));
                        bail!("changes the same module twice, as '{one}' and as '{other}'; give another file");
                    }
                }
            }
        }
        let first = self.unmatched.first().map(|name| plain(name)).unwrap_or_default();
        ensure!(!modules.is_empty(), "changes nothing in the model, which has no '{first}'; {ADVICE}");
        Ok(modules)
    }
}

/// Divides tensors into the parts of modules, by the names of these in the file, and others.
fn by_module(tensors: Tensors) -> Result<(BTreeMap<String, Parts>, Tensors)> {
    let (mut by_name, mut others) = (BTreeMap::<String, Parts>::new(), Tensors::new());
    for (name, tensor) in tensors {
        // The shapes of others are not checked against the size of the file.
        let is_known = tensor.dtype.size().is_some();
        ensure!(is_known, "holds {} in '{}'; give another file", tensor.dtype, plain(&name));
        match Part::parse(&name) {
            Some((module, part)) => {
                let parts = by_name.entry(module.to_owned()).or_default();
                let is_new = parts.insert(part, tensor).is_none();
                ensure!(is_new, "has two '{}' of module '{}'; give another file", part.name(), plain(module));
            }
            None => _ = others.insert(name, tensor),
        }
    }
    Ok((by_name, others))
}

/// Checks that all numbers of changes are finite, in parallel. The error names the first module.
fn check_finite(changes: &[(String, String, Change)]) -> Result<()> {
    let error = |(_, own_name, change): &(String, String, Change)| {
        change.check_finite().err().map(|error| unusable(own_name, error))
    };
    changes.par_iter().find_map_first(error).map_or(Ok(()), Err)
}

/// Returns the error of a module. `error`: a clause about it.
fn unusable(own_name: &str, error: Error) -> Error {
    anyhow!("is unusable: module '{}' {error:#}", plain(own_name))
}

/// Returns the shape of a parameter (`kind`) of a module, or of its moving average.
fn shape<'a>(checkpoint: &'a Checkpoint, module: &str, kind: &str) -> Option<&'a [usize]> {
    let name = format!("{module}.{kind}");
    checkpoint.shape(&name).or_else(|| checkpoint.shape(&ema::name(&name)))
}
