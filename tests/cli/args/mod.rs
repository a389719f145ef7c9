//! Parsing of the command line, and the effects of its flags.

mod arguments;
mod flags;
mod help;
mod notes;
mod pictures;
mod prefixes;
mod prompts;

use clap::ColorChoice;
use txt2img::args::{Args, Program, SamplingFlags, Seed, SeedMode};
use txt2img::device::Precision;
use txt2img::device::{DeviceSpec, DeviceSpecs};
use txt2img::diffusion::deep_cache::DeepCache;
use txt2img::diffusion::guidance::Interval;
use txt2img::diffusion::samplers::Spacing;
use txt2img::output::{Borders, Format};
use txt2img::params::{HiresSize, MaskFill, Upscaler};
use txt2img::progress::ProgressFormat;
use txt2img::rng::Rng;

/// Parses arguments.
fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Args, clap::Error> {
    Args::try_from_words(["txt2img"].into_iter().chain(words).map(Into::into))
}

/// Parses a line of arguments separated by spaces.
#[track_caller]
fn args(line: &str) -> Args {
    parse(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// Returns the message of a usage error.
#[track_caller]
fn misuse<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let error = parse(words).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

/// The arguments of an empty command line.
fn defaults() -> Args {
    Args {
        prompt: "a painting of a virus monster playing guitar".into(),
        outdir: "outputs/txt2img-samples".into(),
        skip_grid: false,
        skip_save: false,
        caption: false,
        index: false,
        show: false,
        open: false,
        sampling: SamplingFlags {
            ddim_steps: 50,
            plms: false,
            dpm_solver: false,
            ddim_eta: None,
            height: 512,
            width: 512,
            factor: 8,
            scale: 7.5,
            guidance_rescale: 0.,
            guidance_interval: Interval { from: 0., to: 1. },
            deepcache: DeepCache { every: 1, branch: 0 },
            clip_skip: 1,
            init_img: None,
            strength: None,
            mask: None,
            mask_blur: 0.,
            mask_fill: MaskFill::Original,
            outpaint: Borders::default(),
            hires: HiresSize::Factor(1.),
            hires_strength: 0.75,
            hires_steps: 0,
            hires_sampler: None,
            hires_upscaler: Upscaler::Latent,
            sampler: None,
            schedule: Spacing::Discrete,
            fast: None,
            lora: vec![],
            lora_weight: 1.,
        },
        laion400m: false,
        fixed_code: false,
        n_iter: 2,
        channels: 4,
        n_samples: 3,
        n_rows: 0,
        from_file: None,
        config: None,
        ckpt: None,
        seed: Seed::Given(42),
        precision: Precision::Autocast,
        negative_prompt: String::new(),
        emphasis: false,
        long_prompt: false,
        webui_prompts: false,
        auto_orient: false,
        fit: false,
        wildcards: false,
        rng: Rng::Cuda { sms: 108, threads_per_sm: 2048 },
        seed_mode: SeedMode::Stream,
        vae: None,
        prediction: None,
        embedding: vec![],
        embedding_dir: None,
        lora_dir: None,
        device: DeviceSpecs(vec![DeviceSpec::Auto]),
        low_memory: false,
        threads: None,
        sweep: vec![],
        swept: None,
        safety: None,
        safety_ckpt: None,
        format: Format::Png,
        fname: None,
        save_intermediates: None,
        no_metadata: false,
        replay: None,
        grid_every: None,
        resume: false,
        shard: None,
        collect: false,
        dry_run: false,
        verify_watermark: vec![],
        progress: ProgressFormat::Bar,
        quiet: false,
        verbose: false,
        color: ColorChoice::Auto,
        completions: None,
        man: false,
        report: None,
        compare_exact: false,
        watermark: false,
        skip_watermark: false,
        program: Program::Txt2Img,
        timings: false,
        given: vec![],
    }
}

/// A change to the default arguments.
type Change = fn(&mut Args);

/// Asserts that each line means the defaults with its change.
#[track_caller]
fn mean(lines: &[(&str, Change)]) {
    for (line, change) in lines {
        let mut expected = defaults();
        change(&mut expected);
        let args = args(line);
        expected.given.clone_from(&args.given);
        assert_eq!(args, expected, "{line}");
    }
}
