//! The contexts that images are drawn by, in the course of sampling.

use super::model::Phase;
use crate::diffusion::guidance::Guidance;
use crate::text::{PassSteps, Phases, Reading};
use anyhow::Result;
use candle_core::{Tensor, TensorId};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// The contexts that an image is drawn by.
#[derive(Clone)]
pub struct Conditions {
    /// (1, M, C), the context of the negative prompt.
    pub uncond: Tensor,
    /// (1, M, C) each, the contexts of the subprompts with their weights.
    pub conds: Vec<(Tensor, f64)>,
}

impl Conditions {
    /// Adds the weights of equal subprompts, and leaves out those of weight 0.
    fn new(uncond: Tensor, subprompts: Vec<(Tensor, f64)>) -> Self {
        let mut conds: Vec<(Tensor, f64)> = vec![];
        for (cond, weight) in subprompts {
            match conds.iter_mut().find(|(other, _)| other.id() == cond.id()) {
                Some((_, sum)) => *sum += weight,
                None => conds.push((cond, weight)),
            }
        }
        conds.retain(|(_, weight)| *weight != 0.);
        Self { uncond, conds }
    }

    /// A key for maps, equal for equal conditions.
    fn key(&self) -> (TensorId, Vec<(TensorId, u64)>) {
        (self.uncond.id(), self.conds.iter().map(|(cond, weight)| (cond.id(), weight.to_bits())).collect())
    }
}

/// The conditions of a batch in the course of sampling.
pub struct BatchConditions {
    /// The first evaluation of each phase, from 0, with the index of its conditions.
    phases: Vec<(usize, usize)>,
    /// The conditions of each image, all different.
    pub conditions: Vec<Vec<Conditions>>,
    /// All contexts, each once.
    pub contexts: Vec<Tensor>,
    /// The number of evaluations.
    evaluations: usize,
}

/// The steps of a sampler, by which prompts change.
#[derive(Clone, Copy)]
pub struct Steps {
    /// The steps of the pass, as prompts count them.
    pub steps: PassSteps,
    /// The number of evaluations of the model.
    pub evaluations: usize,
}

impl BatchConditions {
    /// Encodes the prompts and negative prompts of a batch. `encode` is called once with each text.
    ///
    /// # Errors
    /// If a prompt cannot be read or encoded.
    pub fn new(
        prompts: &[(&str, &str)],
        reading: Reading,
        steps: Steps,
        mut encode: impl FnMut(&str) -> Result<Tensor>,
    ) -> Result<Self> {
        let mut contexts: HashMap<String, Tensor> = HashMap::new();
        let mut context = |text: String| -> Result<Tensor> {
            if let Some(context) = contexts.get(&text) {
                return Ok(context.clone());
            }
            let context = encode(&text)?;
            contexts.insert(text, context.clone());
            Ok(context)
        };
        let mut timelines = |phases: Phases| {
            let phases = phases.iter().take_while(|phase| phase.first < steps.evaluations);
            let phases = phases.map(|phase| {
                let subprompts = phase.subprompts.into_iter().map(|(text, weight)| Ok((context(text)?, weight)));
                Ok((phase.first, subprompts.collect::<Result<Vec<_>>>()?))
            });
            phases.collect::<Result<Vec<_>>>()
        };
        let conds = prompts.iter().map(|(prompt, _)| timelines(Phases::of_prompt(prompt, reading, steps.steps)?));
        let conds = conds.collect::<Result<Vec<_>>>()?;
        let unconds =
            prompts.iter().map(|(_, negative)| timelines(Phases::of_negative(negative, reading, steps.steps)));
        let unconds = unconds.collect::<Result<Vec<_>>>()?;
        let contexts = contexts.into_values().collect();

        let firsts: BTreeSet<usize> = conds.iter().chain(&unconds).flatten().map(|(first, _)| *first).collect();
        let (mut phases, mut conditions, mut known) = (vec![], vec![], HashMap::new());
        for first in firsts {
            let images = conds.iter().zip(&unconds);
            let images: Vec<Conditions> = images
                .map(|(conds, unconds)| Conditions::new(at(unconds, first)[0].0.clone(), at(conds, first).clone()))
                .collect();
            let key: Vec<_> = images.iter().map(Conditions::key).collect();
            let number = *known.entry(key).or_insert_with(|| {
                conditions.push(images);
                conditions.len() - 1
            });
            phases.push((first, number));
        }
        Ok(Self { phases, conditions, contexts, evaluations: steps.evaluations })
    }

    /// Returns the phases with guidance in the evaluations `guided`; in the others there is none.
    pub fn guided_phases(&self, guidance: Guidance, guided: Range<usize>) -> Vec<Phase> {
        let none = Guidance { scale: 1., ..guidance };
        let firsts = self.phases.iter().map(|(first, _)| *first).chain([guided.start, guided.end]);
        let firsts: BTreeSet<usize> = firsts.filter(|first| *first < self.evaluations).collect();
        let phase = |first| Phase {
            first,
            conditions: *at(&self.phases, first),
            guidance: if guided.contains(&first) { guidance } else { none },
        };
        firsts.into_iter().map(phase).collect()
    }
}

/// Returns the contexts in evaluation `number`. `phases`: their first evaluations, the first at 0.
fn at<T>(phases: &[(usize, T)], number: usize) -> &T {
    &phases[phases.partition_point(|(first, _)| *first <= number) - 1].1
}
