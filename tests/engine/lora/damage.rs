//! Randomly damaged LoRA files: opening and merging them must not panic.

use super::{Lora, both, merged_into, nano_checkpoint};
use crate::support::{fixture, nano_config};
use txt2img::checkpoint::Checkpoint;
use txt2img::checkpoint::lora::{LoraFile, Loras};

/// A pseudorandom generator (xorshift) with a fixed seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// A LoRA with every kind.
fn every_kind() -> Lora {
    let module = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_";
    let conv = "lora_unet_down_blocks_1_resnets_0_conv1";
    [
        (format!("{module}q.lora_down.weight"), &[2, 64][..]),
        (format!("{module}q.lora_up.weight"), &[64, 2]),
        (format!("{module}q.alpha"), &[]),
        (format!("{module}q.dora_scale"), &[64, 1]),
        (format!("{module}k.hada_w1_a"), &[64, 2]),
        (format!("{module}k.hada_w1_b"), &[2, 64]),
        (format!("{module}k.hada_w2_a"), &[64, 2]),
        (format!("{module}k.hada_w2_b"), &[2, 64]),
        (format!("{module}v.lokr_w1"), &[4, 4]),
        (format!("{module}v.lokr_w2_a"), &[16, 2]),
        (format!("{module}v.lokr_w2_b"), &[2, 16]),
        (format!("{module}out_0.diff"), &[64, 64]),
        (format!("{module}out_0.diff_b"), &[64]),
        (format!("{conv}.lora_down.weight"), &[2, 32, 1, 1]),
        (format!("{conv}.lora_mid.weight"), &[2, 2, 3, 3]),
        (format!("{conv}.lora_up.weight"), &[64, 2, 1, 1]),
    ]
    .into_iter()
    .fold(Lora::default(), |lora, (name, shape)| lora.with(name, shape))
}

/// Opens a file and merges it into all weights of its modules. Returns whether it is one.
fn survives(path: &std::path::Path, nano: &Checkpoint) -> bool {
    let file = match LoraFile::open(path, nano, &nano_config().unet) {
        Ok(file) => file,
        Err(error) => {
            let error = format!("{error:#}");
            assert!(!error.contains('\n') && !error.ends_with('.') && error.starts_with('\''), "{error}");
            return false;
        }
    };
    assert!(!file.summary().to_string().contains('\n') && file.hash().len() == 12);
    let loras = Loras::new([(file.into(), both(1.))]);
    let survives = |name: &str| match merged_into(nano, &loras, name) {
        Ok(merged) => assert_eq!(merged.dims(), nano.shape(name).unwrap()),
        // The numbers are finite, but their products may not be.
        Err(error) => assert!(error.to_string().ends_with("infinite or NaN; give it a smaller weight"), "{error:#}"),
    };
    for name in ["q", "k", "v", "out.0"].map(|layer| format!("input_blocks.3.1.transformer_blocks.0.attn1.to_{layer}"))
    {
        survives(&super::weight(&name));
    }
    survives("model.diffusion_model.input_blocks.3.0.in_layers.2.weight");
    true
}

/// Damages the first `header` bytes of a file, `n` times in different ways.
fn survives_damage(bytes: &[u8], header: usize, seed: u64, n: usize) {
    let (nano, folder) = (nano_checkpoint(), tempfile::TempDir::new().unwrap());
    let path = folder.path().join("damaged");
    let mut dice = Dice(seed);
    let mut opened = 0;
    for _ in 0..n {
        let mut damaged = bytes.to_vec();
        for _ in 0..=dice.below(3) {
            damaged[dice.below(header)] =
                if dice.below(2) == 0 { dice.below(256) as u8 } else { b'0' + dice.below(10) as u8 };
        }
        std::fs::write(&path, &damaged).unwrap();
        opened += usize::from(survives(&path, &nano));
    }
    assert!((1..n).contains(&opened), "{opened} of {n}");
}

#[test]
fn a_safetensors_file_survives_every_damage_to_its_header() {
    let bytes = every_kind().bytes();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    survives_damage(&bytes, header, 1, 1500);
}

#[test]
fn a_safetensors_file_survives_every_damage_to_its_tensors() {
    let bytes = every_kind().bytes();
    survives_damage(&bytes, bytes.len(), 2, 500);
}

#[test]
fn a_file_written_by_torch_survives_every_damage() {
    let bytes = std::fs::read(fixture("lora/small.pt")).unwrap();
    survives_damage(&bytes, bytes.len().min(3000), 3, 1000);
}

#[test]
fn a_truncated_file_is_never_opened() {
    let (bytes, nano, folder) = (every_kind().bytes(), nano_checkpoint(), tempfile::TempDir::new().unwrap());
    let path = folder.path().join("short");
    for length in (0..bytes.len()).step_by(97) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(!survives(&path, &nano), "{length}");
    }
}
