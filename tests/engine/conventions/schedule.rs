//! Noise schedules.

use super::{Model, Weights, changed_config, marked, weights};
use crate::support::{assert_close, tensors};
use candle_core::{Device, Tensor};
use txt2img::config::{Ends, NoiseConfig};
use txt2img::diffusion::schedule::Schedule;

/// The value that replaces an ᾱ of 0.
const ZERO: f64 = 4.8973451890853435e-08;

#[track_caller]
fn is_as_computed_by_diffusers(name: &str, schedule: &Schedule) {
    let ours: Vec<f32> = schedule.alphas_cumprod().iter().map(|&a| a as f32).collect();
    let expected = &tensors("conventions.safetensors")[&format!("schedule.{name}")];
    for (t, (a, b)) in ours.iter().zip(expected.to_vec1::<f32>().unwrap()).enumerate() {
        assert!((a - b).abs() <= 1e-6 + 1e-3 * b.abs(), "{name} at {t}: {a} instead of {b}");
    }
    assert_close(name, &Tensor::new(ours, &Device::Cpu).unwrap(), expected, 1e-6);
}

#[test]
fn schedules_are_those_of_diffusers_and_ldm() {
    for (name, noise) in [
        ("linear", NoiseConfig::Linear(Ends { start: 1e-4, end: 2e-2 })),
        ("squaredcos_cap_v2", NoiseConfig::Cosine { s: 0.008 }),
        ("sqrt", NoiseConfig::Sqrt(Ends { start: 1e-8, end: 1e-4 })),
    ] {
        is_as_computed_by_diffusers(name, &Schedule::new(&noise));
    }
    is_as_computed_by_diffusers("zero_terminal_snr", &Schedule::new(&NoiseConfig::V1).with_zero_terminal_snr());
}

#[test]
fn a_config_names_its_schedule_as_ldm_does() {
    let ends = Ends { start: 0.00085, end: 0.012 };
    for (name, noise) in [
        ("linear", NoiseConfig::ScaledLinear(ends)),
        ("sqrt_linear", NoiseConfig::Linear(ends)),
        ("cosine", NoiseConfig::Cosine { s: 0.008 }),
    ] {
        assert_eq!(changed_config("use_ema", &format!("beta_schedule: {name}\n    use_ema")).noise, noise);
    }
    let betas: Vec<String> = (0..1000).map(|t| format!("{}", 0.001 + 1e-6 * t as f64)).collect();
    let given = changed_config("use_ema", &format!("given_betas: [{}]\n    use_ema", betas.join(", ")));
    assert!(matches!(given.noise, NoiseConfig::Betas(betas) if betas.len() == 1000 && betas[1] == 0.001001));
}

#[test]
fn the_ends_of_a_schedule_have_ldms_defaults() {
    let yaml = super::nano_yaml("linear_start: 0.00085", "").replace("linear_end: 0.0120", "");
    let config = txt2img::config::ModelConfig::parse(&yaml).unwrap();
    assert_eq!(config.noise, NoiseConfig::ScaledLinear(Ends { start: 1e-4, end: 2e-2 }));
}

/// Returns the small model's weights with these values as the noise schedule, or without one.
fn with_buffer(values: Option<Vec<f32>>) -> Weights {
    let mut weights = weights();
    weights.remove("alphas_cumprod");
    weights.extend(values.map(|values| ("alphas_cumprod".into(), (vec![values.len()], values))));
    weights
}

#[test]
fn the_checkpoints_own_schedule_decides_before_the_config() {
    let config = changed_config("linear_start: 0.00085", "linear_start: 0.001");
    let falling: Vec<f32> = (0..1000).map(|t| 1. - (t as f32 + 1.) / 1001.).collect();
    let schedule = Model::file(&with_buffer(Some(falling.clone()))).conventions_with(&config).schedule;
    assert_eq!(schedule.alpha_cumprod(500) as f32, falling[500]);
    let schedule = Model::file(&with_buffer(None)).conventions_with(&config).schedule;
    assert!(schedule == Schedule::new(&config.noise));
}

#[test]
fn a_schedule_of_its_own_may_end_in_zero() {
    let mut values: Vec<f32> = (0..1000).map(|t| 1. - (t as f32 + 1.) / 1001.).collect();
    values[999] = 0.;
    let conventions = Model::file(&with_buffer(Some(values.clone()))).conventions();
    assert_eq!(conventions.schedule.alpha_cumprod(998) as f32, values[998]);
    assert_eq!(conventions.schedule.alpha_cumprod(999), ZERO);
    assert_eq!(conventions.noise.value, "stored in the checkpoint, zero terminal SNR");
}

#[test]
fn a_rounded_schedule_that_ends_in_zero_is_computed_to_end_so() {
    let zero = Schedule::new(&NoiseConfig::V1).with_zero_terminal_snr();
    let mut values: Vec<f32> = zero.alphas_cumprod().iter().map(|&a| a as f32).collect();
    values[999] = 0.;
    let conventions = Model::half(&with_buffer(Some(values))).conventions();
    assert!(conventions.schedule == zero);
    assert!(conventions.noise.by.ends_with("zero terminal SNR: tensor 'alphas_cumprod'"), "{}", conventions.noise.by);
}

#[test]
fn a_marker_moves_the_end_of_any_schedule_to_zero() {
    let plain = Model::file(&weights()).conventions().schedule;
    let conventions = Model::file(&marked(&["ztsnr"])).conventions();
    assert!(conventions.schedule == plain.with_zero_terminal_snr());
    assert_eq!(conventions.schedule.alpha_cumprod(999), ZERO);
    assert!(conventions.noise.by.ends_with("zero terminal SNR: tensor 'ztsnr'"), "{}", conventions.noise.by);
}
