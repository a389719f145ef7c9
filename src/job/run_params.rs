//! The parameters that a resumed run must share with the run that it resumes.

use super::{Inputs, Requests};
use crate::args::Args;
use crate::by_name::ByName;
use crate::config::ModelConfig;
use crate::files::sha256;
use crate::outdir::RunParams;
use crate::params::{PARAMS, SamplingParams};
use serde_json::{Value, json};

/// Returns the parameters in `args` that determine the pictures and the files written. `seed`: the run's seed. `txt2img`
/// adds the parameters that depend on the opened model and safety checker.
///
/// The pattern names every flag, so that a new one does not compile until it is sorted in here.
pub fn run_params(
    args: &Args,
    params: &SamplingParams,
    seed: u32,
    requests: &Requests,
    inputs: &Inputs,
    config: &ModelConfig,
) -> RunParams {
    let Args {
        n_iter,
        n_samples,
        channels,
        fixed_code,
        seed_mode,
        rng,
        negative_prompt,
        emphasis,
        long_prompt,
        webui_prompts,
        wildcards,
        auto_orient,
        sweep,
        format,
        fname,
        no_metadata,
        save_intermediates,
        skip_save,
        skip_grid,
        n_rows,
        grid_every,
        skip_watermark,
        prediction,
        // Included by their results: the size, the prompts, the sampling parameters, the seed.
        fit: _,
        prompt: _,
        from_file: _,
        swept: _,
        sampling: _,
        seed: _,
        // Included by their results, here or in `txt2img`: the config, the weights, the checker and its action, the types
        // computed in.
        config: _,
        ckpt: _,
        lora_dir: _,
        vae: _,
        embedding: _,
        embedding_dir: _,
        laion400m: _,
        safety: _,
        safety_ckpt: _,
        precision: _,
        device: _,
        // Not included: the location of the run, the part of it that is drawn, its speed, and its messages.
        outdir: _,
        resume: _,
        shard: _,
        threads: _,
        progress: _,
        quiet: _,
        verbose: _,
        color: _,
        report: _,
        timings: _,
        compare_exact: _,
        // Included by their results, as these are defaults of other flags.
        program: _,
        watermark: _,
        // Not included: commands that are no run, or that cannot be resumed.
        replay: _,
        collect: _,
        dry_run: _,
        completions: _,
        man: _,
        verify_watermark: _,
        given: _,
    } = args;
    let config = ModelConfig { assumed_prediction: None, ..config.clone() };
    // Those of a single request include what follows from its input picture.
    let completed = match requests.params() {
        [only] if args.from_file.is_none() && args.swept.is_none() => only,
        _ => params,
    };
    let others = [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        prompts(args, requests),
        ("--n_iter", json!(n_iter)),
        ("--n_samples", json!(n_samples)),
        ("--f", json!(params.factor)),
        ("--C", json!(channels)),
        ("--fixed_code", json!(fixed_code)),
        ("--seed", json!(seed)),
        ("--seed_mode", json!(seed_mode.name())),
        ("--rng", json!(rng.to_string())),
        ("--negative_prompt", json!(negative_prompt)),
        ("--emphasis", json!(emphasis)),
        ("--long_prompt", json!(long_prompt)),
        ("--webui_prompts", json!(webui_prompts)),
        ("--wildcards", json!(wildcards)),
        ("--auto_orient", json!(auto_orient)),
        ("--sweep", json!(sweep)),
        ("--config", json!(sha256::of_bytes(format!("{config:?}").as_bytes()))),
        ("--prediction", json!(prediction.map(|prediction| prediction.name()))),
        ("--format", json!(format.name())),
        ("--fname", json!(fname.as_ref().map(ToString::to_string))),
        ("--no_metadata", json!(no_metadata)),
        ("--save_intermediates", json!(save_intermediates)),
        ("--skip_save", json!(skip_save)),
        ("--skip_grid", json!(skip_grid)),
        ("--n_rows", json!(n_rows)),
        ("--grid_every", json!(grid_every)),
        ("--skip_watermark", json!(skip_watermark)),
        ("the input pictures and masks", json!(inputs.all_sha256())),
    ];
    let params = PARAMS.iter().map(|param| (format!("--{}", param.flag), json!(param.get(completed))));
    params.chain(others.map(|(name, value)| (name.to_owned(), value))).collect()
}

/// Returns the prompt; for several requests, the hash of all of them.
fn prompts(args: &Args, requests: &Requests) -> (&'static str, Value) {
    let requested = match (&args.swept, &args.from_file) {
        (Some(_), _) => "the sweep",
        (None, Some(_)) => "--from-file",
        (None, None) if requests.params().len() > 1 => "--prompt, the pictures of the folder or their sizes",
        (None, None) => return ("--prompt", json!(args.prompt)),
    };
    (requested, json!(requests.sha256()))
}
