//! Random numbers of pictures that are drawn together, and of one such picture drawn again alone.

use super::{Generator, Noise, Rng};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Where the noise of a picture comes from: enough to draw it again without those it was drawn with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The generator's.
    pub seed: u32,
    /// What the picture starts from.
    pub start: Place,
    /// What its steps add, where that does not just go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Place>,
    /// Which picture of its batch it is, from 0.
    pub index: usize,
}

/// A place in the numbers of a seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    /// As the generator counts.
    pub position: u64,
    /// Pictures that share each draw.
    pub of: usize,
}

/// Further than any run gets, and with room for what is drawn from there before positions overflow.
const FURTHEST: u64 = 1 << 62;

/// More than any batch has.
const MOST_TOGETHER: usize = 1 << 20;

impl Origin {
    /// Of a picture that is drawn alone from this seed.
    pub fn alone(seed: u32) -> Self {
        Self { seed, start: Place { position: 0, of: 1 }, steps: None, index: 0 }
    }

    /// # Errors
    /// When no run of this program draws from there.
    pub fn check(&self) -> Result<()> {
        let is_real = |place: &Place| place.position <= FURTHEST && place.of <= MOST_TOGETHER && self.index < place.of;
        ensure!(
            is_real(&self.start) && self.steps.as_ref().is_none_or(is_real),
            "the place of its noise among the random numbers cannot be"
        );
        Ok(())
    }
}

/// The noise of a batch whose pictures have generators of their own: to every picture what it would draw alone.
pub struct Each(Vec<Part>);

impl Each {
    /// For pictures of these origins, at their start.
    pub fn new(rng: Rng, origins: &[Origin]) -> Self {
        Self(origins.iter().map(|origin| Part::new(rng, origin)).collect())
    }

    /// Goes on to what the steps add.
    pub fn go_to_steps(&mut self, origins: &[Origin]) {
        for (part, origin) in self.0.iter_mut().zip(origins) {
            origin.steps.into_iter().for_each(|place| part.go_to(place));
        }
    }
}

impl Noise for Each {
    /// n: for all pictures together, an equal share for each.
    fn randn(&mut self, n: usize) -> Vec<f32> {
        let share = n / self.0.len().max(1);
        self.0.iter_mut().flat_map(|part| part.randn(share)).collect()
    }

    fn skip(&mut self, n: usize) {
        let share = n / self.0.len().max(1);
        self.0.iter_mut().for_each(|part| part.skip(share));
    }
}

/// The noise of one picture out of a batch that shares a generator.
struct Part {
    noise: Box<dyn Generator>,
    of: usize,
    index: usize,
}

impl Part {
    fn new(rng: Rng, origin: &Origin) -> Self {
        let mut part = Self { noise: rng.noise(u64::from(origin.seed)), of: 1, index: origin.index };
        part.go_to(origin.start);
        part
    }

    fn go_to(&mut self, place: Place) {
        self.noise.seek(place.position);
        self.of = place.of;
    }

    fn randn(&mut self, n: usize) -> Vec<f32> {
        let mut numbers = self.noise.randn(n * self.of);
        numbers.drain(..n * self.index);
        numbers.truncate(n);
        numbers
    }

    fn skip(&mut self, n: usize) {
        self.noise.skip(n * self.of);
    }
}
