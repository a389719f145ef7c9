//! What a resumed run must have in common with the run that it resumes.

use super::{Request, Requests};
use crate::args::Args;
use crate::by_name::ByName;
use crate::config::ModelConfig;
use crate::files::sha256;
use crate::outdir::RunParams;
use crate::params::{PARAMS, SamplingParams};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Returns everything in `args` that determines how pictures come out and what is written of them. `seed` is the one
/// drawn with. What only the opened model and safety checker tell is added by `txt2img`.
///
/// Every flag is named: one that is added must be given a place.
pub fn terms(args: &Args, params: SamplingParams, seed: u32, lines: &Requests, config: &ModelConfig) -> RunParams {
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
        wildcards,
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
        // RunParams by what they come to: the prompts, the sampling parameters, the seed.
        prompt: _,
        from_file: _,
        swept: _,
        sampling: _,
        seed: _,
        // RunParams by what they lead to: the config, the weights, the checker and its action, the types multiplied.
        config: _,
        ckpt: _,
        vae: _,
        embedding: _,
        embedding_dir: _,
        laion400m: _,
        safety: _,
        safety_ckpt: _,
        precision: _,
        device: _,
        // No terms: where the run is, which part of it is drawn, how fast, and what is told of it.
        outdir: _,
        resume: _,
        shard: _,
        threads: _,
        progress: _,
        quiet: _,
        report: _,
        timings: _,
        // No terms: no run, or one that cannot be resumed.
        replay: _,
        collect: _,
        dry_run: _,
        verify_watermark: _,
        given: _,
    } = args;
    let terms = [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        prompts(args, lines),
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
        ("--wildcards", json!(wildcards)),
        ("--sweep", json!(sweep)),
        ("--config", json!(sha256::of_bytes(format!("{config:?}").as_bytes()))),
        ("--format", json!(format.name())),
        ("--fname", json!(fname.as_ref().map(ToString::to_string))),
        ("--no_metadata", json!(no_metadata)),
        ("--save_intermediates", json!(save_intermediates)),
        ("--skip_save", json!(skip_save)),
        ("--skip_grid", json!(skip_grid)),
        ("--n_rows", json!(n_rows)),
        ("--grid_every", json!(grid_every)),
        ("--skip_watermark", json!(skip_watermark)),
    ];
    let params = PARAMS.iter().map(|param| (format!("--{}", param.flag), json!(param.get(&params))));
    params.chain(terms.map(|(name, value)| (name.to_owned(), value))).collect()
}

/// Returns the prompt; for several, the hash of them and of everything their lines ask for.
fn prompts(args: &Args, lines: &Requests) -> (&'static str, Value) {
    if args.from_file.is_none() && args.swept.is_none() {
        return ("--prompt", json!(args.prompt));
    }
    let mut hash = Sha256::new();
    let mut last = None;
    for Request { prompt, negative, seed, params } in lines.lines() {
        hash.update(json!([prompt, negative, seed]).to_string());
        // Most lines have the parameters of the line before.
        if last != Some(params) {
            hash.update(params.key());
            last = Some(params);
        }
    }
    (if args.swept.is_some() { "what is swept" } else { "--from-file" }, json!(sha256::hex(hash)))
}
