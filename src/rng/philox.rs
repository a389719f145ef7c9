//! `torch.randn(..., device="cuda")`: Philox4x32-10 (Salmon et al. 2011), distributed over the threads of a GPU as by
//! cuRAND and torch.

use super::{Generator, Noise};
use std::f32::consts::TAU;

/// The number of threads in a block of torch's kernel.
const BLOCK: usize = 256;
/// The spacing of uniform numbers, 2⁻³².
const UNIT: f32 = 1.0 / 4294967296.0;

/// The Philox generators of all threads of a GPU.
pub struct Philox {
    seed: u64,
    /// The maximum number of resident blocks.
    max_blocks: usize,
    /// The number of draws of four words by each thread.
    offset: u64,
}

impl Philox {
    /// Creates the generators of a GPU with `sms` multiprocessors of `threads_per_sm` resident threads each.
    pub fn new(seed: u64, sms: u32, threads_per_sm: u32) -> Self {
        let max_blocks = sms as usize * (threads_per_sm as usize / BLOCK);
        Self { seed, max_blocks, offset: 0 }
    }

    /// The number of threads of a call of `randn(n)`.
    fn threads(&self, n: usize) -> usize {
        BLOCK * self.max_blocks.min(n.div_ceil(BLOCK)).max(1)
    }

    /// Returns the position after `calls` calls of `randn(n)` from `position`.
    pub fn after(&self, position: u64, n: usize, calls: usize) -> u64 {
        let rounds = n.div_ceil(self.threads(n).saturating_mul(4)) as u64;
        position.wrapping_add(rounds.wrapping_mul(calls as u64))
    }
}

impl Noise for Philox {
    fn randn(&mut self, n: usize) -> Vec<f32> {
        let threads = self.threads(n);
        let mut numbers = vec![0.0; n];
        for (round, numbers) in numbers.chunks_mut(4 * threads).enumerate() {
            let offset = self.offset.wrapping_add(round as u64);
            for thread in 0..threads.min(numbers.len()) {
                let [x, y, z, w] = words(self.seed, offset, thread as u64);
                // Lazy, since in short calls a thread needs one of its four normals.
                let normals = [(x, y), (z, w)].into_iter().flat_map(box_muller);
                let outputs = numbers[thread..].iter_mut().step_by(threads);
                outputs.zip(normals).for_each(|(output, normal)| *output = normal);
            }
        }
        self.skip(n);
        numbers
    }

    fn skip(&mut self, n: usize) {
        self.offset = self.after(self.offset, n, 1);
    }
}

impl Generator for Philox {
    /// The number of draws of four words by each thread.
    fn position(&self) -> u64 {
        self.offset
    }

    fn seek(&mut self, position: u64) {
        self.offset = position;
    }
}

/// Returns a function that maps n to a random index below n, for prompts with alternatives. It draws from offsets that
/// no noise uses, and each `stream` of a seed has its own sequence.
pub fn choices(seed: u64, stream: u64) -> impl FnMut(usize) -> usize {
    let mut offset = 1 << 63;
    move |below| {
        let [word, ..] = words(seed, offset, stream);
        offset += 1;
        ((u128::from(word) * below as u128) >> 32) as usize
    }
}

/// Returns the four words at the counter (`offset`, `thread`), with `seed` as the key.
fn words(seed: u64, offset: u64, thread: u64) -> [u32; 4] {
    let (mut key0, mut key1) = halves(seed);
    let ((mut x, mut y), (mut z, mut w)) = (halves(offset), halves(thread));
    for _ in 0..10 {
        let (low0, high0) = halves(0xD251_1F53 * u64::from(x));
        let (low1, high1) = halves(0xCD9E_8D57 * u64::from(z));
        (x, y, z, w) = (high1 ^ y ^ key0, low1, high0 ^ w ^ key1, low0);
        key0 = key0.wrapping_add(0x9E37_79B9);
        key1 = key1.wrapping_add(0xBB67_AE85);
    }
    [x, y, z, w]
}

/// Returns the low and the high word of `number`.
fn halves(number: u64) -> (u32, u32) {
    (number as u32, (number >> 32) as u32)
}

/// Transforms two words to two normal numbers, sine first, as cuRAND does.
fn box_muller((x, y): (u32, u32)) -> [f32; 2] {
    let u = x as f32 * UNIT + UNIT / 2.0;
    let v = y as f32 * (TAU * UNIT) + TAU * UNIT / 2.0;
    let radius = (-2.0 * u.ln()).sqrt();
    let (sin, cos) = v.sin_cos();
    [radius * sin, radius * cos]
}
