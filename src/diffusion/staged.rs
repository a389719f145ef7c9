//! A model that changes during sampling, as prompts do.

use super::EpsModel;
use candle_core::{Result, Tensor};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// The largest number of models kept, so that those of words that alternate are not made again in each step.
const CAPACITY: usize = 8;

/// A function that makes the model of this number.
type Make<'a> = Box<dyn Fn(usize) -> Result<Box<dyn EpsModel + 'a>> + 'a>;

/// Models for one part of the evaluations each. It counts the evaluations, so it can be sampled from once.
pub struct Staged<'a> {
    /// The first evaluation of each part, from 0, with the number of its model; in order, the first at 0.
    parts: Vec<(usize, usize)>,
    make: Make<'a>,
    /// The most recent models, the last one first, with their numbers.
    models: RefCell<VecDeque<(usize, Box<dyn EpsModel + 'a>)>>,
    evaluations: Cell<usize>,
}

impl<'a> Staged<'a> {
    /// `parts`: the first evaluation of each part, from 0, with the number of its model, in order. `make` is called with
    /// a number when its model is needed.
    pub fn new(parts: Vec<(usize, usize)>, make: impl Fn(usize) -> Result<Box<dyn EpsModel + 'a>> + 'a) -> Self {
        Self { parts, make: Box::new(make), models: RefCell::default(), evaluations: Cell::new(0) }
    }
}

impl EpsModel for Staged<'_> {
    fn eps(&self, x: &Tensor, t: f64, a: f64) -> Result<Tensor> {
        let evaluation = self.evaluations.replace(self.evaluations.get() + 1);
        let number = self.parts.iter().rev().find(|(first, _)| *first <= evaluation).map_or(0, |(_, number)| *number);
        let mut models = self.models.borrow_mut();
        let kept = models.iter().position(|(other, _)| *other == number).and_then(|at| models.remove(at));
        let (_, model) = match kept {
            Some(kept) => kept,
            None => {
                // Before the next one takes memory.
                models.truncate(CAPACITY - 1);
                (number, (self.make)(number)?)
            }
        };
        models.push_front((number, model));
        models[0].1.eps(x, t, a)
    }
}
