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
    /// (1, M, C), the context of the negative prompt; `None` if guidance does not need it.
    pub uncond: Option<Tensor>,
    /// (1, M, C) each, the contexts of the subprompts with their weights.
    pub conds: Vec<(Tensor, f64)>,
}

impl Conditions {
    /// A key for maps, equal for equal conditions.
    fn key(&self) -> (Option<TensorId>, Vec<(TensorId, u64)>) {
        let conds = self.conds.iter().map(|(cond, weight)| (cond.id(), weight.to_bits()));
        (self.uncond.as_ref().map(Tensor::id), conds.collect())
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
    /// Encodes the prompts of a batch, and the negative prompts if any image needs them: `needs_uncond` tells whether
    /// they matter beside conditions with these weights. `encode` is called once with each text.
    ///
    /// # Errors
    /// If a prompt cannot be read or encoded.
    pub fn new(
        prompts: &[(&str, &str)],
        reading: Reading,
        steps: Steps,
        needs_uncond: impl Fn(&[f64]) -> bool,
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
        let mut conds = conds.collect::<Result<Vec<_>>>()?;
        conds.iter_mut().flatten().for_each(|(_, conds)| *conds = merged(conds));
        let weights = |conds: &[(Tensor, f64)]| conds.iter().map(|(_, weight)| *weight).collect::<Vec<_>>();
        let needs_uncond = conds.iter().flatten().any(|(_, conds)| needs_uncond(&weights(conds)));
        let negatives = prompts.iter().filter(|_| needs_uncond).map(|(_, negative)| negative);
        let unconds = negatives.map(|negative| timelines(Phases::of_negative(negative, reading, steps.steps)));
        let unconds = unconds.collect::<Result<Vec<_>>>()?; // none if they are not needed
        let contexts = contexts.into_values().collect();

        let firsts: BTreeSet<usize> = conds.iter().chain(&unconds).flatten().map(|(first, _)| *first).collect();
        let (mut phases, mut conditions, mut known) = (vec![], vec![], HashMap::new());
        for first in firsts {
            let images = conds.iter().enumerate().map(|(i, conds)| Conditions {
                uncond: unconds.get(i).map(|unconds| at(unconds, first)[0].0.clone()),
                conds: at(conds, first).clone(),
            });
            let images: Vec<Conditions> = images.collect();
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
        let firsts = self.phases.iter().map(|(first, _)| *first).chain([guided.start, guided.end]);
        let firsts: BTreeSet<usize> = firsts.filter(|first| *first < self.evaluations).collect();
        let phase = |first| Phase {
            first,
            conditions: *at(&self.phases, first),
            guidance: if guided.contains(&first) { guidance } else { Guidance::NONE },
        };
        firsts.into_iter().map(phase).collect()
    }
}

/// Adds the weights of equal subprompts, and leaves out those of weight 0.
fn merged(subprompts: &[(Tensor, f64)]) -> Vec<(Tensor, f64)> {
    let mut conds: Vec<(Tensor, f64)> = vec![];
    for (cond, weight) in subprompts {
        match conds.iter_mut().find(|(other, _)| other.id() == cond.id()) {
            Some((_, sum)) => *sum += weight,
            None => conds.push((cond.clone(), *weight)),
        }
    }
    conds.retain(|(_, weight)| *weight != 0.);
    conds
}

/// Returns the contexts in evaluation `number`. `phases`: their first evaluations, the first at 0.
fn at<T>(phases: &[(usize, T)], number: usize) -> &T {
    &phases[phases.partition_point(|(first, _)| *first <= number) - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    /// Returns the texts that are encoded for a batch of one prompt with a negative prompt, at this guidance scale.
    fn encoded(prompt: &str, scale: f64) -> Vec<String> {
        let steps = Steps { steps: PassSteps { steps: 10, before: None }, evaluations: 10 };
        let mut texts = vec![];
        let encode = |text: &str| {
            texts.push(text.to_owned());
            Ok(Tensor::zeros((1, 77, 4), DType::F32, &Device::Cpu)?)
        };
        let needs_uncond = |weights: &[f64]| Guidance::from(scale).needs_uncond(weights);
        BatchConditions::new(&[(prompt, "blurry")], Reading::WEB_UI, steps, needs_uncond, encode).unwrap();
        texts
    }

    #[test]
    fn negative_prompts_are_encoded_only_if_guidance_needs_them() {
        assert_eq!(encoded("a cube", 7.5), ["a cube", "blurry"]);
        assert_eq!(encoded("a cube", 1.), ["a cube"]);
        assert_eq!(encoded("a [cube:ball:0.5]", 1.), ["a cube", "a ball"]);
        assert_eq!(encoded("a cube :0.5", 1.), ["a cube", "blurry"]);
        assert_eq!(encoded("a cube :0.5 AND a cube :0.5", 1.), ["a cube"]);
    }
}
