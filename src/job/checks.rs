//! Checks of flags against each other and against the requests.

use super::Requests;
use super::seeds::Seeds;
use crate::args::{Args, Seed};
use crate::config::ModelConfig;
use crate::diffusion::samplers::CountCache;
use crate::output::Pattern;
use crate::params::SamplingParams;
use crate::shard::Shard;
use anyhow::{Result, ensure};
use std::collections::HashSet;

/// The most pixels of the pictures of a batch together: those of 1024 pictures of 512×512, which few memories hold.
const MAX_BATCH_PIXELS: usize = 1 << 28;

/// Checks that `--C` fits the model.
pub fn channels(args: &Args, config: &ModelConfig) -> Result<()> {
    let (given, wanted) = (args.channels, config.unet.in_channels);
    ensure!(
        usize::try_from(given) == Ok(wanted),
        "--C {given} does not fit the config, whose latents have {wanted} channels; leave out --C"
    );
    Ok(())
}

/// Checks that batches are not too large for any memory.
pub fn batch_sizes(args: &Args, requests: &Requests) -> Result<()> {
    for number in 0..requests.n_batches() {
        let SamplingParams { height, width, .. } = requests.params_of(number);
        let most = MAX_BATCH_PIXELS / (height * width);
        ensure!(
            requests.len_of(number) <= most,
            "--n_samples {} is more than the {most} pictures of this size that a batch can have; raise --n_iter instead",
            args.n_samples
        );
    }
    Ok(())
}

/// Returns whether all pictures have the same size.
pub fn is_one_size(requests: &Requests) -> bool {
    let size = |params: &SamplingParams| (params.height, params.width);
    requests.params().windows(2).all(|two| size(&two[0]) == size(&two[1]))
}

/// Checks that pictures can share their start noise, if `--fixed_code` asks for it.
pub fn fixed_code(args: &Args, requests: &Requests) -> Result<()> {
    ensure!(
        !args.fixed_code || args.swept.is_some() || is_one_size(requests),
        "--fixed_code starts every batch from the same noise, which pictures of several sizes cannot share; leave it out"
    );
    Ok(())
}

/// Checks that all shards draw with the same seeds.
pub fn seeds_of_shards(args: &Args, shard: Option<Shard>, seeds: &Seeds) -> Result<()> {
    ensure!(
        shard.is_none() || args.seed != Seed::Random && seeds.of_file.is_empty(),
        "every shard would pick another random seed; give seeds from 0 to 4294967295, the same to all shards"
    );
    Ok(())
}

/// Checks that file names do not depend on the order in which pictures are saved. `has_no_order`: whether that order
/// varies.
pub fn names(args: &Args, has_no_order: bool) -> Result<()> {
    ensure!(
        !has_no_order || args.fname.as_ref().is_none_or(Pattern::has_index),
        "--fname needs {{index}} with several devices or shards, because the order in which they save is not fixed"
    );
    Ok(())
}

/// Adds a note for each number of steps that a sampler rounds.
pub fn note_steps(requests: &Requests, config: &ModelConfig, notes: &mut Vec<String>) {
    let mut counts = CountCache::new(&config.noise);
    let mut noted = HashSet::new();
    for sampler in requests.params().iter().map(|params| params.sampler) {
        let (asked, real) = (sampler.steps, counts.of(sampler).steps);
        if real != asked && noted.insert(sampler.key()) {
            notes.push(format!("--ddim_steps {asked} means {real} steps with this sampler"));
        }
    }
}
