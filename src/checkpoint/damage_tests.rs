//! Tests with truncated and randomly damaged files: opening them must not panic.

use super::legacy_tests;
use super::pickle::Pickle;
use super::torch_tests::{open, small_file};
use std::fs;

fn nano() -> Vec<u8> {
    fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nano.ckpt")).unwrap()
}

fn nano_pickle() -> Vec<u8> {
    let file = nano();
    let range = super::archive::Archive::read(&file).unwrap().entry("data.pkl").unwrap();
    file[range].to_vec()
}

/// A pseudorandom generator (xorshift) with a fixed seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    /// Returns the bytes with a few of them changed.
    fn damaged(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut damaged = bytes.to_vec();
        for _ in 0..=self.below(3) {
            damaged[self.below(bytes.len())] = self.below(256) as u8;
        }
        damaged
    }
}

/// Opens a checkpoint and reads all its tensors.
fn survives(bytes: &[u8]) {
    if let Ok(checkpoint) = open(bytes) {
        let read = |name: &str| checkpoint.read_f32(name).map_or(0, |numbers| numbers.len());
        assert!(checkpoint.names().all(|name| read(name) <= bytes.len()));
    }
}

#[test]
fn a_small_file_survives_every_damage() {
    let whole = small_file();
    (0..whole.len()).for_each(|n| survives(&whole[..n]));
    let mut dice = Dice(1);
    (0..5000).for_each(|_| survives(&dice.damaged(&whole)));
}

#[test]
fn a_file_without_an_archive_survives_every_damage() {
    let whole = legacy_tests::small_file();
    (0..whole.len()).for_each(|n| survives(&whole[..n]));
    let mut dice = Dice(5);
    (0..5000).for_each(|_| survives(&dice.damaged(&whole)));
}

#[test]
fn a_safetensors_file_survives_every_damage() {
    let header = r#"{"a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
                     "b": {"dtype": "F32", "shape": [1], "data_offsets": [12, 16]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    let whole = [&length[..], header.as_bytes(), &[1; 16]].concat();
    assert!(open(&whole).is_ok());
    (0..whole.len()).for_each(|n| survives(&whole[..n]));
    let mut dice = Dice(2);
    (0..5000).for_each(|_| survives(&dice.damaged(&whole)));
}

#[test]
fn the_pickle_of_a_real_file_survives_every_damage() {
    let whole = nano_pickle();
    for n in (0..2000).chain((2000..whole.len()).step_by(499)) {
        assert!(Pickle::parse(&whole[..n]).is_err(), "{n}");
    }
    let mut dice = Dice(3);
    (0..300).for_each(|_| drop(Pickle::parse(&dice.damaged(&whole))));
}

#[test]
fn a_real_file_survives_damage_to_its_pickle() {
    let pickle = nano_pickle();
    let mut file = nano();
    let start = file.windows(pickle.len()).position(|bytes| bytes == pickle).unwrap();
    let mut dice = Dice(4);
    for _ in 0..100 {
        file[start..start + pickle.len()].copy_from_slice(&dice.damaged(&pickle));
        drop(open(&file));
    }
}
