//! The LoRAs of a model, and their addition to its weights.

use super::super::names::TEXT;
use super::super::tensor::Elements;
use super::super::{Checkpoint, Embedding, ema};
use super::LoraFile;
use super::change::{Change, Parameter};
use crate::ops::{add_products, all_finite};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Shape, Tensor as Candle};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// The weights of a LoRA: factors of its changes. 1 is the strength that it was trained with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LoraWeights {
    /// The factor of the changes to the text encoder.
    pub text: f64,
    /// The factor of the changes to the UNet.
    pub unet: f64,
}

/// The LoRAs that are added to a model, each with other contents, and none with weights of 0.
#[derive(Clone, Default)]
pub struct Loras(Vec<(Arc<LoraFile>, LoraWeights)>);

/// A change of a tensor: its file, the changes of the module, the parameter that the tensor is, and the weight.
type ChangeOf<'a> = (&'a LoraFile, &'a Change, Parameter, f64);

impl PartialEq for Loras {
    /// Compares the contents of the files, and the weights.
    fn eq(&self, other: &Self) -> bool {
        let is_same = |((file, weights), (other, others)): (&(Arc<_>, _), &(Arc<_>, _))| {
            weights == others && are_same(file, other)
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(is_same)
    }
}

impl Loras {
    /// Combines LoRAs. The weights of files with the same contents are added up, so that opposite ones leave the model
    /// unchanged to the bit.
    pub fn new(loras: impl IntoIterator<Item = (Arc<LoraFile>, LoraWeights)>) -> Self {
        let mut all: Vec<(Arc<LoraFile>, Vec<LoraWeights>)> = vec![];
        for (file, weights) in loras {
            match all.iter_mut().find(|(other, _)| are_same(&file, other)) {
                Some((_, list)) => list.push(weights),
                None => all.push((file, vec![weights])),
            }
        }
        let total = |list: &[LoraWeights]| LoraWeights {
            text: sum(list.iter().map(|weights| weights.text)),
            unet: sum(list.iter().map(|weights| weights.unet)),
        };
        let sums = all.into_iter().map(|(file, list)| (file, total(&list)));
        Self(sums.filter(|(_, weights)| *weights != LoraWeights { text: 0., unet: 0. }).collect())
    }

    /// Returns the LoRAs that change the tensor `name`, with the changed parameters and the weights. `name` is LDM's.
    fn changes_of(&self, name: &str) -> impl Iterator<Item = ChangeOf<'_>> {
        let target = name.rsplit_once('.').and_then(|(module, kind)| Some((module, Parameter::from_name(kind)?)));
        self.0.iter().filter_map(move |(file, weights)| {
            let (module, parameter) = target?;
            let change = file.changes.get(module)?;
            let weight = if module.starts_with(TEXT) { weights.text } else { weights.unet };
            (weight != 0. && change.changes(parameter)).then_some((&**file, change, parameter, weight))
        })
    }

    /// Returns whether a LoRA changes the tensor `name`, by LDM's name.
    pub fn changes(&self, name: &str) -> bool {
        self.changes_of(name).next().is_some()
    }

    /// Reads a tensor of a checkpoint, and adds the changes to the tensor `name`, by LDM's name. `own_name`: its name in the
    /// checkpoint, which differs for moving averages. `shape`: the model's.
    ///
    /// # Errors
    /// If the tensor cannot be read, the result is infinite or NaN, or memory does not suffice.
    pub fn read(&self, checkpoint: &Checkpoint, own_name: &str, name: &str, shape: &Shape) -> Result<Candle> {
        let mut changes: Vec<_> = self.changes_of(name).collect();
        let size = match shape.dims() {
            [rows, others @ ..] => (*rows, others.iter().product()),
            [] => (1, 1),
        };
        let product = |(_, change, parameter, weight): &ChangeOf| match change.size() {
            Some(fit) if fit == size => change.product(*parameter, *weight).transpose(),
            _ => None,
        };
        let products = changes.iter().map_while(product).collect::<Result<Vec<_>>>()?;
        let read = |elements: &Elements| add_products(size, |start, out| elements.read(start, out), &products);
        let sum = if products.is_empty() { None } else { checkpoint.with_elements(own_name, read)? };
        let x = match sum {
            Some(sum) => {
                changes.drain(..products.len());
                sum
            }
            None => checkpoint.read_f32(own_name)?,
        };
        let x = Candle::from_vec(x, shape, &Device::Cpu)?;
        changes.into_iter().try_fold(x, |x, change| add(change, name, &x))
    }

    /// Returns the textual inversions in the files.
    ///
    /// # Errors
    /// If memory does not suffice.
    pub fn embeddings(&self) -> Result<Vec<Embedding>> {
        let all = self.0.iter().flat_map(|(file, _)| file.embeddings().map(move |embedding| (file, embedding)));
        let embedding = |(file, (name, vectors)): (&Arc<LoraFile>, (&str, &Candle))| {
            Ok(Embedding::new(name, vectors.flatten_all()?.to_vec1()?, vectors.dim(0)?, file.content_hash()))
        };
        all.map(embedding).collect()
    }

    /// The names of the tensors of moving averages that the LoRAs change, with LDM's names of the tensors themselves, for
    /// checkpoints that are drawn with these.
    pub fn names_of_averages(&self) -> HashMap<String, String> {
        let modules = self.0.iter().flat_map(|(file, _)| file.changes.keys());
        let tensors = modules.flat_map(|module| ["weight", "bias"].map(|kind| format!("{module}.{kind}")));
        tensors.map(|name| (ema::name(&name), name)).collect()
    }
}

/// Returns the tensor `name` with a change added.
///
/// # Errors
/// If the result is infinite or NaN, though `x` is not, or memory does not suffice.
fn add((file, change, parameter, weight): ChangeOf, name: &str, x: &Candle) -> Result<Candle> {
    let path = file.path.display();
    let changed = change.apply(parameter, x, weight);
    let changed = changed.with_context(|| format!("'{path}' cannot be added to '{name}'"))?;
    // The model's own weights may be infinite or NaN before.
    let is_fine = is_finite(&changed)? || !is_finite(x)?;
    ensure!(is_fine, "'{path}' makes '{name}' infinite or NaN; give it a smaller weight");
    Ok(changed)
}

/// Returns whether two files make the same changes, byte for byte.
fn are_same(file: &Arc<LoraFile>, other: &Arc<LoraFile>) -> bool {
    let is_same = |((name, change), (other_name, other)): ((&String, &Change), (&String, &Change))| {
        name == other_name && change.equals(other)
    };
    let (changes, others) = (&file.changes, &other.changes);
    Arc::ptr_eq(file, other) || (changes.len() == others.len() && changes.iter().zip(others).all(is_same))
}

/// Adds weights up. A sum that is 0 but for rounding is 0: 0.1 + 0.2 − 0.3 in f64 is not.
fn sum(weights: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let rounding = weights.len() as f64 * f64::EPSILON * weights.clone().map(f64::abs).sum::<f64>();
    let sum: f64 = weights.sum();
    if sum.abs() < rounding { 0. } else { sum }
}

/// Returns whether all numbers of a tensor are finite.
fn is_finite(x: &Candle) -> Result<bool> {
    let (storage, layout) = x.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else { return Ok(true) };
    let numbers = &storage.as_slice::<f32>()?[layout.start_offset()..][..x.elem_count()];
    Ok(numbers.par_chunks(1 << 14).all(all_finite))
}
