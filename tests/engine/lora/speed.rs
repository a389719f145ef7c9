//! The time that a LoRA adds, with files of full size.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use txt2img::checkpoint::Checkpoint;
use txt2img::checkpoint::lora::{LoraFile, LoraWeights, Loras};
use txt2img::config::ModelConfig;
use txt2img::ops;

/// Opens and loads a model with and without a LoRA, alternately. The variables `TXT2IMG_MODEL` and `TXT2IMG_LORA` hold the
/// paths of a checkpoint of Stable Diffusion 1.5 and of a LoRA.
#[test]
#[ignore = "needs files of full size"]
fn a_lora_adds_little_time_to_loading() {
    ops::keep_memory(); // as the program does
    let path = |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set"));
    let (model, lora) = (path("TXT2IMG_MODEL"), path("TXT2IMG_LORA"));
    let config = ModelConfig::v1();
    let checkpoint = Checkpoint::open(Path::new(&model)).unwrap();
    let device = crate::support::compute_device();
    let dtype =
        if std::env::var_os("TXT2IMG_HALF").is_some() { candle_core::DType::BF16 } else { candle_core::DType::F32 };
    let load = |loras: &Loras| {
        let start = Instant::now();
        txt2img::engine::Model::load(&checkpoint, &config, loras, &device.device, dtype, &|| ()).unwrap();
        start.elapsed().as_secs_f64()
    };
    let (mut plain, mut changed, mut opened) = (vec![], vec![], vec![]);
    for _ in 0..5 {
        plain.push(load(&Loras::default()));
        let start = Instant::now();
        let file = Arc::new(LoraFile::open(Path::new(&lora), &checkpoint, &config.unet).unwrap());
        opened.push(start.elapsed().as_secs_f64());
        assert_eq!(file.summary().n_unmatched(), 0);
        changed.push(load(&Loras::new([(file, LoraWeights { text: 1., unet: 1. })])));
    }
    let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
    println!("plain {plain:.2?}\nwith LoRA {changed:.2?}\nopening {opened:.3?}\n{peak}");
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    assert!(median(&mut changed) - median(&mut plain) <= 1.);
}
