//! The JSON files of diffusers folders.

use super::{Model, changed_config, weights};
use crate::support::nano_config;
use serde_json::{Value, json};
use txt2img::config::{Ends, NoiseConfig, Prediction};
use txt2img::diffusion::schedule::Schedule;

const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// Returns Stable Diffusion 1.5's scheduler config.
fn v1() -> Value {
    json!({
        "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0",
        "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
        "num_train_timesteps": 1000, "set_alpha_to_one": false, "skip_prk_steps": true,
        "steps_offset": 1, "trained_betas": null, "clip_sample": false
    })
}

/// Returns Stable Diffusion 1.5's scheduler config with changes.
fn with(changes: Value) -> Value {
    let mut config = v1();
    let Value::Object(changes) = changes else { panic!("not an object") };
    config.as_object_mut().unwrap().extend(changes);
    config
}

fn folder() -> Model {
    Model::folder(&weights())
}

fn scheduled(changes: Value) -> Model {
    folder().with_json(SCHEDULER, with(changes))
}

#[test]
fn the_scheduler_of_stable_diffusion_1_5_changes_nothing() {
    let (with, without) = (scheduled(json!({})).conventions(), folder().conventions());
    assert_eq!((with.schedule, with.prediction.value), (without.schedule, without.prediction.value));
    assert_eq!((&*with.noise.by, &*without.noise.by), (SCHEDULER, "config"));
}

#[test]
fn the_scheduler_states_the_prediction_and_the_config_overrides_it() {
    let model = scheduled(json!({"prediction_type": "v_prediction"}));
    let stated = model.conventions().prediction;
    assert_eq!((stated.value, &*stated.by), (Prediction::V, SCHEDULER));
    let config = changed_config("use_ema", "parameterization: eps\n    use_ema");
    assert_eq!(model.conventions_with(&config).prediction.value, Prediction::Eps);
}

#[test]
fn the_scheduler_states_the_noise() {
    let betas: Vec<f64> = (0..1000).map(|t| 0.001 + 1e-6 * t as f64).collect();
    for (changes, noise) in [
        (
            json!({"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}),
            NoiseConfig::Linear(Ends { start: 1e-4, end: 2e-2 }),
        ),
        (json!({"beta_start": 0.001}), NoiseConfig::ScaledLinear(Ends { start: 0.001, end: 0.012 })),
        (json!({"beta_schedule": "squaredcos_cap_v2"}), NoiseConfig::Cosine { s: 0.008 }),
        (json!({"trained_betas": betas}), NoiseConfig::Betas(betas)),
    ] {
        let conventions = scheduled(changes.clone()).conventions();
        assert_eq!(conventions.schedule, Schedule::new(&noise), "{changes}");
        assert_eq!(conventions.noise.by, SCHEDULER);
    }
    let zero = scheduled(json!({"rescale_betas_zero_snr": true})).conventions();
    assert_eq!(zero.schedule, Schedule::new(&NoiseConfig::V1).with_zero_terminal_snr());
}

#[test]
fn schedulers_of_other_models_are_refused() {
    for (changes, reason) in [
        (json!({"prediction_type": "sample"}), "has prediction_type 'sample', which is not supported"),
        (json!({"prediction_type": "flow_prediction"}), "has prediction_type 'flow_prediction'"),
        (json!({"_class_name": "FlowMatchEulerDiscreteScheduler"}), "names the scheduler 'FlowMatchEuler"),
        (json!({"beta_schedule": "sigmoid"}), "has beta_schedule 'sigmoid', which is not supported"),
        (json!({"beta_schedule": null}), "must give all of beta_start, beta_end and beta_schedule"),
        (json!({"beta_start": 0.5, "beta_end": 0.1}), "has beta_start 0.5 and beta_end 0.1"),
        (json!({"beta_start": 0.9, "beta_end": 0.99}), "has betas that leave no signal"),
        (json!({"num_train_timesteps": 50}), "has num_train_timesteps 50"),
        (json!({"trained_betas": [0.1, 0.2]}), "there are 2 betas, not 1000"),
        (json!({"beta_start": "a"}), "invalid type"),
    ] {
        scheduled(changes).is_refused(reason);
    }
    for text in ["", "[1", "{\"beta_start\": 1e999}", "\u{0}"] {
        folder().with_text(SCHEDULER, text).is_refused("scheduler_config.json");
    }
}

#[test]
fn the_autoencoder_states_the_scale_factor() {
    let model = folder().with_json("vae/config.json", json!({"act_fn": "silu", "scaling_factor": 0.13}));
    let stated = model.conventions().scale_factor;
    assert_eq!((stated.value, &*stated.by), (0.13, "vae/config.json"));
    assert_eq!(folder().conventions().scale_factor.value, 0.18215);
    folder()
        .with_json("vae/config.json", json!({"scaling_factor": 0}))
        .is_refused("gives a scaling_factor that is not");
    folder().with_json("vae/config.json", json!({"shift_factor": 0.1})).is_refused("has shift_factor 0.1");
}

#[test]
fn another_autoencoder_brings_its_own_scale_factor() {
    let model = folder().with_json("vae/config.json", json!({"scaling_factor": 0.13}));
    let other = folder().with_json("vae/config.json", json!({"scaling_factor": 0.5}));
    for (vae, scale) in [(&other.path, 0.5), (&other.path.join("vae/diffusion_pytorch_model.safetensors"), 0.18215)] {
        let checkpoint = model.checkpoint().with_vae(vae).unwrap();
        let conventions = txt2img::conventions::Conventions::new(&checkpoint, &nano_config()).unwrap();
        assert_eq!(conventions.scale_factor.value, scale, "{}", vae.display());
    }
    let alone = folder().with_text("vae/config.json", "{\"scaling_factor\": 0.25}");
    let checkpoint = model.checkpoint().with_vae(&alone.path.join("vae")).unwrap();
    assert_eq!(checkpoint.declared().scale_factor.as_ref().unwrap().value, 0.25);
}

#[test]
fn what_no_tensor_shows_of_the_networks_is_compared() {
    let unet = |config| folder().with_json("unet/config.json", config);
    let text = |config| folder().with_json("text_encoder/config.json", config);
    // The values for Stable Diffusion 1.5, except sizes.
    let usual = json!({
        "act_fn": "silu", "center_input_sample": false, "downsample_padding": 1, "flip_sin_to_cos": true,
        "freq_shift": 0, "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32,
        "only_cross_attention": [false, false], "attention_head_dim": 4, "time_cond_proj_dim": null
    });
    unet(usual).conventions();
    unet(json!({"attention_head_dim": [4, 4, 4]})).conventions();
    text(json!({"hidden_act": "quick_gelu", "layer_norm_eps": 1e-05, "num_attention_heads": 1})).conventions();

    unet(json!({"attention_head_dim": 8}))
        .is_refused("has 8 attention heads at level 0 of the UNet, but the config has 4");
    unet(json!({"attention_head_dim": [4, 2, 4]})).is_refused("has 2 attention heads at level 1 of the UNet");
    unet(json!({"act_fn": "gelu"})).is_refused("has act_fn \"gelu\"; only \"silu\" is supported");
    unet(json!({"freq_shift": 1})).is_refused("has freq_shift 1");
    unet(json!({"class_embed_type": "timestep"})).is_refused("has class_embed_type \"timestep\"");
    text(json!({"hidden_act": "gelu"})).is_refused("has hidden_act \"gelu\"; only \"quick_gelu\" is supported");
    text(json!({"num_attention_heads": 4})).is_refused("has num_attention_heads 4");
    text(json!({"text_config": {"hidden_act": "gelu"}})).is_refused("hidden_act \"gelu\"");
}

#[test]
fn a_folder_is_another_model_once_its_scheduler_is() {
    let fingerprints = [json!({}), json!({"prediction_type": "v_prediction"}), json!({"beta_start": 0.001})]
        .map(|changes| scheduled(changes).checkpoint().fingerprint());
    assert_ne!(fingerprints[0], fingerprints[1]);
    assert_ne!(fingerprints[0], fingerprints[2]);
}
