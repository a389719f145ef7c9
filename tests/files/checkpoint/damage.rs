//! Randomly truncated and modified files of every kind cause neither a panic nor allocations larger than the file.
//!
//! `DAMAGE_SEED` and `DAMAGE_ROUNDS` set the seed and the number of copies of each file; a failure prints the seed.

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

const SEED: u64 = 1;
/// The number of damaged copies of each file.
const ROUNDS: usize = 200;

fn from_env<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A pseudo-random number generator (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ x >> 31) % n as u64) as usize
    }

    /// Damages bytes in one of several typical ways.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let end = at + self.below(bytes.len() - at).min(16);
        match self.below(6) {
            0 => bytes.truncate(at + 1),
            1 => bytes[at] = self.below(256) as u8,
            2 => bytes[at] ^= 1 << self.below(8),
            3 => bytes[at..end].fill([0, 0x7f, 0x80, 0xff][self.below(4)]),
            4 => drop(bytes.drain(at..end)),
            _ => {
                let copy = bytes[at..end].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, copy);
            }
        }
    }
}

/// Opens a checkpoint and reads all of its tensors.
fn survives(path: &Path, bytes: usize) {
    let Ok(checkpoint) = Checkpoint::open(path) else { return };
    for name in checkpoint.names() {
        let read = checkpoint.read_f32(name).map_or(0, |numbers| numbers.len());
        assert!(read <= bytes, "{name}: {read} numbers");
        let shape = checkpoint.shape(name).unwrap();
        drop(checkpoint.read_to(name, shape, &candle_core::Device::Cpu));
    }
    checkpoint.fingerprint();
    drop(checkpoint.check_complete());
}

/// Opens `opened` repeatedly while `file`, which is the same or within it, is damaged.
fn survives_every_damage(what: &str, file: &Path, opened: &Path) {
    let seed = from_env("DAMAGE_SEED", SEED);
    let whole = fs::read(file).unwrap();
    for round in 0..from_env("DAMAGE_ROUNDS", ROUNDS) {
        let mut dice = Dice(seed.wrapping_mul(1 << 32).wrapping_add(round as u64));
        let mut bytes = whole.clone();
        for _ in 0..=dice.below(3) {
            dice.damage(&mut bytes);
        }
        fs::write(file, &bytes).unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| survives(opened, bytes.len() + whole.len())));
        assert!(outcome.is_ok(), "{what}: DAMAGE_SEED={seed}, round {round}");
    }
    println!("{what}: DAMAGE_SEED={seed}");
}

#[test]
fn files_by_torch_survive_every_damage() {
    let folder = Folder::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/checkpoints")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end != "py") {
            let name = path.file_name().unwrap().to_str().unwrap();
            let file = folder.write(name, &fs::read(&path).unwrap());
            survives_every_damage(name, &file, &file);
        }
    }
}

#[test]
fn safetensors_survive_every_damage() {
    let folder = Folder::new();
    let positions = "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight";
    let ids = positions.replace("position_embedding.weight", "position_ids");
    let tensors = [(positions, (vec![3, 2], vec![1.; 6])), (&*ids, (vec![3], vec![2., 1., 0.]))];
    let tensors = tensors.map(|(name, tensor)| (name.to_string(), tensor)).into();
    for dtype in [Stored::F16, Stored::F32] {
        let file = folder.write("model.safetensors", &safetensors(&tensors, dtype));
        survives_every_damage("safetensors", &file, &file);
    }
}

#[test]
fn folders_survive_every_damage_to_an_index() {
    let folder = Folder::new();
    let file = named(&["conv_in.weight"]);
    for part in ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"] {
        folder.write(&format!("{part}-00001-of-00001.safetensors"), &file);
        let (_, stem) = part.split_once('/').unwrap();
        let index = format!(r#"{{"weight_map": {{"conv_in.weight": "{stem}-00001-of-00001.safetensors"}}}}"#);
        folder.write(&format!("{part}.safetensors.index.json"), index.as_bytes());
    }
    let index = folder.path().join("unet/diffusion_pytorch_model.safetensors.index.json");
    survives_every_damage("index", &index, folder.path());
}
