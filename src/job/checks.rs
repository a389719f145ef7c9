//! Checks of flags against each other and against the requests.

use super::seeds::Seeds;
use super::{Requests, loras};
use crate::args::{Args, Program, Seed};
use crate::config::ModelConfig;
use crate::diffusion::samplers::CountCache;
use crate::output::Pattern;
use crate::params::{MaskFill, SamplingParams};
use crate::prompts::PromptLine;
use crate::shard::Shard;
use anyhow::{Result, ensure};
use std::collections::HashSet;

/// The most pixels in a batch: those of 1024 pictures of 512×512, more than most machines have memory for.
const MAX_BATCH_PIXELS: usize = 1 << 28;

/// Checks that the program supports what the flags ask for, as far as they alone show it.
pub fn supported(args: &Args) -> Result<()> {
    ensure!(
        !args.laion400m,
        "--laion400m selects the LAION-400M model, which is not Stable Diffusion 1.x and not supported; leave it out"
    );
    ensure!(
        args.program == Program::Txt2Img || !args.sampling.plms,
        "img2img does not support --plms, as the original does not; give --sampler plms, or leave it out"
    );
    Ok(())
}

/// Checks that `--C` fits the model.
pub fn channels(args: &Args, config: &ModelConfig) -> Result<()> {
    let (given, needed) = (args.channels, config.unet.out_channels);
    ensure!(
        usize::try_from(given) == Ok(needed),
        "--C {given} does not fit the config, whose latents have {needed} channels; leave out --C"
    );
    Ok(())
}

/// Checks that input pictures have as many pixels per latent as the model's autoencoder encodes.
pub fn input_factor(requests: &Requests, config: &ModelConfig) -> Result<()> {
    let encoded = config.vae.side_factor();
    for SamplingParams { factor, init_img, .. } in requests.params() {
        ensure!(
            init_img.is_none() || *factor == encoded,
            "--f {factor} does not fit --init-img, as the model encodes {encoded} pixels per latent; give --f {encoded}"
        );
    }
    Ok(())
}

/// Checks that the model has the skip connections of `--deepcache`.
pub fn branches(requests: &Requests, config: &ModelConfig) -> Result<()> {
    let n = config.unet.n_skips();
    for SamplingParams { deepcache, .. } in requests.params() {
        ensure!(
            deepcache.branch < n,
            "--deepcache {deepcache} asks for skip connection {}, but the model has only 0 to {}",
            deepcache.branch,
            n - 1
        );
    }
    Ok(())
}

/// Checks that no batch has more than [`MAX_BATCH_PIXELS`].
pub fn batch_sizes(args: &Args, requests: &Requests) -> Result<()> {
    for number in 0..requests.n_batches() {
        let params = requests.params_of(number);
        let max = MAX_BATCH_PIXELS / (params.n_final_latents() * params.factor.pow(2));
        ensure!(
            requests.len_of(number) <= max,
            "--n_samples {} is more than the {max} pictures of this size that a batch can have; raise --n_iter instead",
            args.n_samples
        );
    }
    Ok(())
}

/// Whether all pictures have the same size.
pub fn is_one_size(requests: &Requests) -> bool {
    let sizes = |params: &SamplingParams| (params.height, params.width, params.final_latent_size());
    requests.params().windows(2).all(|two| sizes(&two[0]) == sizes(&two[1]))
}

/// Checks that a request has a picture to start from if something in its line or its parameters needs one.
pub fn input(args: &Args, line: &PromptLine, params: &SamplingParams) -> Result<()> {
    if params.init_img.is_some() {
        return Ok(());
    }
    ensure!(
        args.program == Program::Txt2Img,
        "img2img needs a picture to start from; give it with --init-img FILE, or as \"init_img\" in a prompts file"
    );
    let has_strength = line.params.iter().any(|(param, _)| param.flag == "strength");
    ensure!(!has_strength, "\"strength\" needs a picture to start from; give \"init_img\", too");
    ensure!(
        params.mask.is_none(),
        "--mask needs a picture to inpaint; give --init-img FILE, or \"init_img\" in a prompts file"
    );
    ensure!(
        params.outpaint.is_empty(),
        "--outpaint needs a picture to extend; give --init-img FILE, or \"init_img\" in a prompts file"
    );
    Ok(())
}

/// Checks that `--wildcards` does not have to choose between tags of LoRAs.
pub fn tags(args: &Args, prompt: &str) -> Result<()> {
    ensure!(
        !(args.wildcards && loras::has_tag_in_braces(prompt)),
        "a <lora:…> tag in braces does not work with --wildcards; move it out of the braces"
    );
    Ok(())
}

/// Checks that all pictures can share their start noise with `--fixed_code`.
pub fn fixed_code(args: &Args, requests: &Requests) -> Result<()> {
    ensure!(
        !args.fixed_code || args.swept.is_some() || is_one_size(requests),
        "--fixed_code starts every batch from the same noise, which is impossible for pictures of different sizes; leave it out"
    );
    Ok(())
}

/// Checks that all shards draw with the same seeds.
pub fn seeds_of_shards(args: &Args, shard: Option<Shard>, seeds: &Seeds) -> Result<()> {
    ensure!(
        shard.is_none() || args.seed != Seed::Random && seeds.of_file.is_empty(),
        "each shard would pick a different random seed; give all shards the same seeds, from 0 to 4294967295"
    );
    Ok(())
}

/// Checks that file names do not depend on the order in which pictures are saved, if that order varies.
pub fn names(args: &Args, order_varies: bool) -> Result<()> {
    ensure!(
        !order_varies || args.fname.as_ref().is_none_or(Pattern::has_index),
        "--fname needs {{index}} with several devices or shards, because the order in which they save is not fixed"
    );
    Ok(())
}

/// Checks that `--threads` is not given for ranges of cores.
pub fn threads(args: &Args) -> Result<()> {
    ensure!(
        args.threads.is_none() || !args.device.names_cores(),
        "--threads cannot be combined with a --device that names cores, which get one thread each; leave out one of them"
    );
    Ok(())
}

/// Checks that noise does not remain in a region, and adds a note for each sampler that takes another number of steps than
/// requested, for each interval that contains no step, and if `--deepcache` has no second evaluation of the UNet.
pub fn steps(requests: &Requests, config: &ModelConfig, notes: &mut Vec<String>) -> Result<()> {
    let mut counts = CountCache::new(&config.noise);
    let (mut noted, mut noted_intervals, mut noted_deepcache) = (HashSet::new(), HashSet::new(), false);
    for params in requests.params() {
        let SamplingParams { sampler, guidance_interval: interval, mask_fill, deepcache, .. } = params;
        let (requested, actual) = (sampler.steps, counts.of(*sampler).steps);
        ensure!(
            actual > 0 || *mask_fill == MaskFill::Original,
            "--mask_fill noise needs at least one step, but --strength {} takes none of {requested}; use a higher --strength",
            sampler.strength.unwrap_or_default()
        );
        if actual != requested && noted.insert(sampler.key()) {
            notes.push(match sampler.strength {
                Some(strength) if actual == 0 => {
                    format!("--strength {strength} takes none of {requested} steps, so nothing is redrawn")
                }
                Some(strength) => format!("--strength {strength} takes {actual} of {requested} steps"),
                None => format!("--ddim_steps {requested} means {actual} steps with this sampler"),
            });
        }
        if actual > 0 && interval.steps(actual).is_empty() && noted_intervals.insert((actual, interval.to_string())) {
            notes.push(format!(
                "--guidance_interval {interval} contains none of the {actual} steps, so the scale is 1 in all of them"
            ));
        }
        // Some samplers evaluate the UNet twice in a step.
        let mut evaluates_once = || params.passes().all(|pass| counts.of(pass.sampler).model_calls == 1);
        if deepcache.every > 1 && !noted_deepcache && evaluates_once() {
            notes.push("--deepcache has no effect with a single step, which runs the whole UNet".into());
            noted_deepcache = true;
        }
    }
    Ok(())
}
