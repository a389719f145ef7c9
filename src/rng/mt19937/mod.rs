//! `torch.randn` on the CPU: the Mersenne Twister (Matsumoto & Nishimura 1998), and torch's two transformations of its
//! words to normal numbers.

mod jump;

use super::{Generator, Noise};
use std::f32::consts::TAU;
use std::f64;

/// The number of words of the state.
const N: usize = 624;
/// The offset of the word that the recurrence combines with the current one.
const M: usize = 397;
/// The last row of the twist matrix A.
const MATRIX: u32 = 0x9908_b0df;
/// The number of elements that torch transforms at a time. In shorter calls it transforms them one by one.
const BLOCK: usize = 16;
/// The number of words from which on a jump is faster than drawing them.
const MIN_JUMP: u64 = 1 << 18;

/// The Mersenne Twister as torch uses it.
pub struct Mt19937 {
    seed: u64,
    state: [u32; N],
    index: usize,
    /// The number of words drawn.
    words: u64,
    /// The second normal of a pair, kept for the next short call even if long calls come between.
    spare: Option<f64>,
}

impl Mt19937 {
    /// Seeds the generator with the low 32 bits of `seed`, as torch does.
    pub fn new(seed: u64) -> Self {
        let mut state = [seed as u32; N];
        for i in 1..N {
            let last = state[i - 1];
            state[i] = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { seed, state, index: N, words: 0, spare: None }
    }

    /// Draws a word.
    fn word(&mut self) -> u32 {
        if self.index == N {
            twist(&mut self.state);
            self.index = 0;
        }
        let mut word = self.state[self.index];
        self.index += 1;
        self.words += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// Skips `words` words.
    fn advance(&mut self, words: u64) {
        if words < MIN_JUMP {
            (0..words).for_each(|_| _ = self.word());
        } else {
            self.state = jump::ahead(&self.state, words);
            self.words += words;
        }
    }

    /// A uniform number in [0, 1) with 24 bits.
    fn uniform(&mut self) -> f32 {
        (self.word() & 0x00ff_ffff) as f32 / (1 << 24) as f32
    }

    /// A uniform number in [0, 1) with 53 bits.
    fn uniform_f64(&mut self) -> f64 {
        let word = u64::from(self.word()) << 32 | u64::from(self.word());
        (word & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }

    /// A normal number of a short call.
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let theta = f64::consts::TAU * self.uniform_f64();
        let radius = (-2.0 * (-self.uniform_f64()).ln_1p()).sqrt();
        self.spare = Some(radius * theta.sin());
        radius * theta.cos()
    }
}

impl Noise for Mt19937 {
    fn randn(&mut self, n: usize) -> Vec<f32> {
        if n < BLOCK {
            return (0..n).map(|_| self.normal() as f32).collect();
        }
        let mut numbers: Vec<f32> = (0..n).map(|_| self.uniform()).collect();
        let (blocks, rest) = numbers.as_chunks_mut();
        blocks.iter_mut().for_each(box_muller);
        // The last block overlaps the one before, and is drawn anew.
        if !rest.is_empty()
            && let Some(last) = numbers.last_chunk_mut()
        {
            last.fill_with(|| self.uniform());
            box_muller(last);
        }
        numbers
    }
}

impl Generator for Mt19937 {
    /// Twice the number of words drawn, plus one if there is a spare normal.
    fn position(&self) -> u64 {
        2 * self.words + u64::from(self.spare.is_some())
    }

    fn seek(&mut self, position: u64) {
        // The spare is the second normal made of the last four words.
        let (mut words, has_spare) = (position / 2, position % 2 == 1);
        if has_spare {
            words = words.saturating_sub(4);
        }
        if words < self.words {
            *self = Self::new(self.seed);
        }
        self.spare = None;
        self.advance(words - self.words);
        if has_spare {
            self.normal();
        }
    }
}

/// Replaces the state by the next `N` words of the sequence.
fn twist(state: &mut [u32; N]) {
    for i in 0..N {
        let pair = state[i] & 0x8000_0000 | state[(i + 1) % N] & 0x7fff_ffff;
        let odd = (pair & 1) * MATRIX;
        state[i] = state[(i + M) % N] ^ (pair >> 1) ^ odd;
    }
}

/// Returns the position after `calls` calls of `randn(n)` from `position`.
pub fn after(position: u64, n: usize, calls: usize) -> u64 {
    let calls = calls as u64;
    if n < BLOCK {
        return after_normals(position, calls.saturating_mul(n as u64));
    }
    let overlap = if n.is_multiple_of(BLOCK) { 0 } else { BLOCK };
    let words = (n as u64).wrapping_add(overlap as u64);
    position.wrapping_add(words.wrapping_mul(2).wrapping_mul(calls))
}

/// Returns the position after `n` normals drawn one by one: four words for each pair, of which the first normal may be
/// the spare.
fn after_normals(position: u64, n: u64) -> u64 {
    let (words, spare) = (position - position % 2, position % 2);
    let pairs = (n - n.min(spare)).div_ceil(2);
    words.wrapping_add(pairs.wrapping_mul(8)) + ((n ^ spare) % 2)
}

/// Transforms uniform to normal numbers. The first half of the block gives the radii, the second the angles.
fn box_muller(block: &mut [f32; BLOCK]) {
    let (u1, u2) = block.split_at_mut(BLOCK / 2);
    for (a, b) in u1.iter_mut().zip(u2) {
        let radius = (-2.0 * (1.0 - *a).ln()).sqrt();
        let theta = TAU * *b;
        (*a, *b) = (radius * theta.cos(), radius * theta.sin());
    }
}
