//! Fewer evaluations of the UNet or of its layers: DeepCache, and guidance in part of the steps.

use crate::support::{assert_close, channels_last, nano, sample, tensors};
use candle_core::{IndexOp, Tensor};
use txt2img::diffusion::deep_cache::DeepCache;
use txt2img::diffusion::guidance::{Guidance, Interval};
use txt2img::diffusion::samplers::{Kind, SamplerConfig, Spacing};
use txt2img::engine::{Conditions, Evaluation, Phase};
use txt2img::rng::Rng;

const SAMPLER: SamplerConfig =
    SamplerConfig { kind: Kind::Ddim, steps: 5, eta: 0., spacing: Spacing::Discrete, strength: None };
const SCALE: f64 = 5.;

/// Samples the latents of `shortcuts.py` from the noise of `images` images, all the same.
fn sampled(interval: Interval, deepcache: DeepCache, images: usize) -> Tensor {
    let model = nano();
    let contexts = &tensors("modules/modules.safetensors")["context"];
    let [cond, uncond] = [0, 1].map(|i| contexts.narrow(0, i, 1).unwrap());
    let conditions = vec![Conditions { uncond: Some(uncond), conds: vec![(cond, 1.)] }; images];
    let guided = SAMPLER.evaluations(model.schedule(), interval.steps(SAMPLER.steps));
    let phases = [(0, 1.), (guided.start, SCALE), (guided.end, 1.)];
    let phases = phases.map(|(first, scale)| Phase { first, conditions: 0, guidance: Guidance::from(scale) });
    let evaluation = Evaluation { deepcache, ..Evaluation::default() };
    let denoiser = model.denoiser_in_phases(phases.to_vec(), vec![conditions], evaluation).unwrap();
    let x = channels_last(&tensors("shortcuts.safetensors")["x"]).repeat((images, 1, 1, 1)).unwrap();
    sample(SAMPLER, model.schedule(), &*denoiser, x, &mut *Rng::default().noise(1)).unwrap()
}

fn expected(name: &str) -> Tensor {
    channels_last(&tensors("shortcuts.safetensors")[name])
}

#[test]
fn deep_cache_gives_the_latents_of_diffusers_unet_with_cached_layers() {
    for name in ["2", "3,1", "3,4", "4,5"] {
        let deepcache: DeepCache = name.parse().unwrap();
        let name = format!("deepcache.{},{}", deepcache.every, deepcache.branch);
        let latents = sampled(Interval::default(), deepcache, 1);
        assert_close(&name, &latents, &expected(&name), 1e-4);
    }
}

#[test]
fn guidance_in_an_interval_gives_the_latents_of_diffusers_unet_with_guidance_in_these_steps() {
    for name in ["0,0.5", "0.34,0.84", "0.5,1"] {
        let latents = sampled(name.parse().unwrap(), DeepCache::default(), 1);
        assert_close(name, &latents, &expected(&format!("interval.{name}")), 1e-4);
    }
}

#[test]
fn images_of_a_batch_have_caches_of_their_own() {
    let deepcache = DeepCache { every: 3, branch: 1 };
    let alone = sampled(Interval::default(), deepcache, 1);
    let two = sampled(Interval::default(), deepcache, 2);
    for i in 0..2 {
        assert_close("image", &two.i(i..=i).unwrap(), &alone, 1e-6);
    }
}

#[test]
fn an_interval_has_the_steps_that_begin_in_it() {
    for (interval, steps, expected) in [
        ("0,1", 50, 0..50),
        ("0,0.4", 50, 0..20),
        ("0.07,0.57", 100, 7..57),
        ("0.5,1", 5, 3..5),
        ("0.51,0.55", 10, 6..6),
    ] {
        assert_eq!(interval.parse::<Interval>().unwrap().steps(steps), expected, "{interval} of {steps}");
    }
}
