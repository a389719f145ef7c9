//! The prediction type of the UNet: ε or v.

use super::{Model, changed_config, marked, weights};
use crate::support::{assert_close, channels_last, device, nano_config, sample, tensors};
use candle_core::{DType, Device, Tensor};
use txt2img::by_name::ByName;
use txt2img::checkpoint::Checkpoint;
use txt2img::config::{ModelConfig, Prediction};
use txt2img::diffusion::guidance::Guidance;
use txt2img::diffusion::samplers::{Kind, SamplerConfig, Spacing};
use txt2img::diffusion::schedule::Schedule;
use txt2img::diffusion::{EpsModel, VPrediction};
use txt2img::engine::Evaluation;
use txt2img::rng::Rng;

/// Samples the latents of `conventions.py`.
fn sampled(checkpoint: &Checkpoint, config: &ModelConfig, kind: Kind, steps: usize) -> Tensor {
    let plan = SamplerConfig { kind, steps, ..SamplerConfig::default() };
    sampled_with(checkpoint, config, plan, Guidance::from(5.))
}

fn sampled_with(checkpoint: &Checkpoint, config: &ModelConfig, plan: SamplerConfig, guidance: Guidance) -> Tensor {
    let model =
        txt2img::engine::Model::load(checkpoint, config, &Default::default(), &device(), DType::F32, &|| ()).unwrap();
    let contexts = &tensors("modules/modules.safetensors")["context"];
    let [cond, uncond] = [0, 1].map(|i| contexts.narrow(0, i, 1).unwrap());
    let denoiser = model.denoiser_of_each(&[uncond], &[cond], guidance, Evaluation::default()).unwrap();
    let x = channels_last(&tensors("conventions.safetensors")["x"]);
    sample(plan, model.schedule(), &*denoiser, x, &mut *Rng::default().noise(1)).unwrap()
}

fn is_close(name: &str, latents: &Tensor, limit: f64) {
    assert_close(name, latents, &channels_last(&tensors("conventions.safetensors")[name]), limit);
}

#[test]
fn v_prediction_gives_the_latents_of_diffusers_ddim() {
    let model = Model::file(&marked(&["v_pred"]));
    is_close("v.ddim", &sampled(&model.checkpoint(), &nano_config(), Kind::Ddim, 4), 1e-4);
}

#[test]
fn v_prediction_gives_the_latents_of_k_diffusion_between_timesteps() {
    let config = changed_config("use_ema", "parameterization: v\n    use_ema");
    let model = Model::file(&weights());
    is_close("v.euler_between_timesteps", &sampled(&model.checkpoint(), &config, Kind::Euler, 5), 1e-4);
}

#[test]
fn zero_terminal_snr_gives_the_latents_of_diffusers_euler() {
    let model = Model::file(&marked(&["v_pred", "ztsnr"]));
    // Sigma starts at 4519; the precision of f32 at latents that large is 3e-4.
    is_close("v.euler_zero_terminal_snr", &sampled(&model.checkpoint(), &nano_config(), Kind::Euler, 4), 3e-4);
}

#[test]
fn rescaled_guidance_and_trailing_steps_of_zero_terminal_snr_give_the_latents_of_diffusers_ddim() {
    let model = Model::file(&marked(&["v_pred", "ztsnr"]));
    let plan = SamplerConfig { kind: Kind::Ddim, steps: 4, spacing: Spacing::Trailing, ..SamplerConfig::default() };
    let guidance = Guidance { scale: 5., rescale: 0.7 };
    let latents = sampled_with(&model.checkpoint(), &nano_config(), plan, guidance);
    // The signal of the first step is 2e-4 of its noise, which rounding in f32 leaves 3e-4 of the precision of.
    is_close("v.ddim_zero_terminal_snr_trailing_rescaled", &latents, 3e-4);
}

/// A v-prediction model whose clean latents are constant.
struct Constant(f64);

impl EpsModel for Constant {
    fn eps(&self, x: &Tensor, _: f64, a: f64) -> candle_core::Result<Tensor> {
        (x * (a / (1. - a)).sqrt())? - self.0 / (1. - a).sqrt()
    }
}

#[test]
fn every_sampler_tells_a_v_model_the_noise_level_it_has_in_mind() {
    let x = Rng::default().noise(5).randn_latents((1, 8, 8, 4), &Device::Cpu).unwrap();
    let schedule = Schedule::new(&ModelConfig::v1().noise);
    for (name, kind) in Kind::ALL {
        let plan = SamplerConfig { kind: *kind, steps: 7, ..SamplerConfig::default() };
        let model = VPrediction(Box::new(Constant(0.5)));
        let mut noise = Rng::default().noise(6);
        let latents = sample(plan, &schedule, &model, x.clone(), &mut *noise).unwrap();
        // LDM's samplers and TCD stop at the first timestep, where some noise is left.
        let left = match kind {
            Kind::Ddim | Kind::Plms | Kind::DpmSolver | Kind::Tcd => 0.2,
            _ => 1e-3,
        };
        let worst = latents.affine(1., -0.5).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(worst < left, "{name}: {worst}");
    }
}

#[test]
fn the_config_decides_before_a_marker_and_a_marker_before_the_default() {
    let (plain, marked) = (Model::file(&weights()), Model::file(&marked(&["v_pred"])));
    let [v, eps] =
        ["v", "eps"].map(|name| changed_config("use_ema", &format!("parameterization: {name}\n    use_ema")));
    for (model, config, prediction, by) in [
        (&plain, &nano_config(), Prediction::Eps, "the default"),
        (&plain, &v, Prediction::V, "config"),
        (&marked, &nano_config(), Prediction::V, "tensor 'v_pred'"),
        (&marked, &eps, Prediction::Eps, "config"),
    ] {
        let stated = model.conventions_with(config).prediction;
        assert_eq!((stated.value, &*stated.by), (prediction, by));
    }
}

#[test]
fn the_metadata_of_a_file_states_the_prediction() {
    for (name, prediction) in [("v", Prediction::V), ("epsilon", Prediction::Eps)] {
        let model = Model::with_metadata(&weights(), "modelspec.prediction_type", name);
        let stated = model.conventions().prediction;
        assert_eq!((stated.value, &*stated.by), (prediction, "metadata 'modelspec.prediction_type'"));
    }
    Model::with_metadata(&weights(), "modelspec.prediction_type", "rf").is_refused("predicts 'rf'");
}

#[test]
fn models_that_predict_something_else_are_refused() {
    let weights = marked(&["edm_mean"]);
    Model::file(&weights).is_refused("is an EDM model (it has the tensor 'edm_mean')");
}
