//! The parameters that a resumed run must share with the run that it resumes.

use super::{Images, Inputs, Requests};
use crate::args::{Args, SeedMode};
use crate::by_name::ByName;
use crate::config::ModelConfig;
use crate::files::sha256;
use crate::outdir::RunParams;
use crate::params::{PARAMS, SamplingParams};
use serde_json::{Value, json};

/// The parameter that stands for the requests of a prompts file.
const FROM_FILE: &str = "--from-file";

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
        caption,
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
        low_memory: _,
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
        // Not included: made or displayed at the end of any run.
        index: _,
        show: _,
        open: _,
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
        ("--caption", json!(caption)),
        ("--n_rows", json!(n_rows)),
        ("--grid_every", json!(grid_every)),
        ("--skip_watermark", json!(skip_watermark)),
        ("the input pictures and masks", json!(inputs.all_sha256())),
    ];
    let params = PARAMS.iter().map(|param| (format!("--{}", param.flag), json!(param.get(completed))));
    params.chain(others.map(|(name, value)| (name.to_owned(), value))).collect()
}

impl Images {
    /// Returns the parameters that would differ if the run had only so many `iterations` of its first `n_requests` requests;
    /// `None` if it has fewer, or its first pictures would be others.
    pub fn shortened(&self, iterations: usize, n_requests: usize) -> Option<RunParams> {
        let is_shorter = iterations <= self.iterations && (1..=self.requests.n_requests()).contains(&n_requests);
        if !is_shorter {
            return None;
        }
        let mut params = RunParams::from([("--n_iter".into(), json!(iterations))]);
        if n_requests < self.requests.n_requests() {
            // A second iteration begins after the last request, and the noise of `--fixed_code` is that of the longest batch.
            let are_first = self.iterations == 1 && self.fixed_code.is_none();
            if !are_first || !(self.requests.can_end_after(n_requests) || self.seed_mode == SeedMode::PerImage) {
                return None;
            }
            // Runs without a prompts file lack this parameter, and so are different ones.
            params.insert(FROM_FILE.into(), json!(self.requests.sha256(n_requests)));
        }
        Some(params)
    }
}

/// Returns the prompt; for several requests, the hash of all of them.
fn prompts(args: &Args, requests: &Requests) -> (&'static str, Value) {
    let requested = match (&args.swept, &args.from_file) {
        (Some(_), _) => "the sweep",
        (None, Some(_)) => FROM_FILE,
        (None, None) if requests.params().len() > 1 => "--prompt, the pictures of the folder or their sizes",
        (None, None) => return ("--prompt", json!(args.prompt)),
    };
    (requested, json!(requests.sha256(requests.n_requests())))
}
