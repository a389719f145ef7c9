//! Each flag, its default and its values.

use super::{args, defaults, mean, misuse};
use txt2img::args::{Seed, SeedMode};
use txt2img::device::Precision;
use txt2img::device::{DeviceSpec, DeviceSpecs};
use txt2img::diffusion::samplers::Kind;
use txt2img::diffusion::samplers::Spacing;
use txt2img::output::{Format, Pattern};
use txt2img::progress::ProgressFormat;
use txt2img::rng::Rng;
use txt2img::safety::Action;
use txt2img::shard::Shard;

#[test]
fn without_arguments_the_originals_defaults_apply() {
    assert_eq!(args(""), defaults());
}

#[test]
fn every_flag_of_the_original_is_read() {
    mean(&[
        ("--prompt x", |a| a.prompt = "x".into()),
        ("--outdir x", |a| a.outdir = "x".into()),
        ("--skip_grid", |a| a.skip_grid = true),
        ("--skip_save", |a| a.skip_save = true),
        ("--ddim_steps 7", |a| a.sampling.ddim_steps = 7),
        ("--plms", |a| (a.sampling.plms, a.sampling.sampler) = (true, Some(Kind::Plms))),
        ("--dpm_solver", |a| (a.sampling.dpm_solver, a.sampling.sampler) = (true, Some(Kind::DpmSolver))),
        ("--laion400m", |a| a.laion400m = true),
        ("--fixed_code", |a| a.fixed_code = true),
        ("--ddim_eta 0.5", |a| a.sampling.ddim_eta = Some(0.5)),
        ("--n_iter 7", |a| a.n_iter = 7),
        ("--H 64", |a| a.sampling.height = 64),
        ("--W 64", |a| a.sampling.width = 64),
        ("--C 3", |a| a.channels = 3),
        ("--f 4", |a| a.sampling.factor = 4),
        ("--n_samples 7", |a| a.n_samples = 7),
        ("--n_rows 7", |a| a.n_rows = 7),
        ("--scale 1e1", |a| a.sampling.scale = 10.),
        ("--from-file x", |a| a.from_file = Some("x".into())),
        ("--config x", |a| a.config = Some("x".into())),
        ("--ckpt x", |a| a.ckpt = Some("x".into())),
        ("--seed 7", |a| a.seed = Seed::Given(7)),
        ("--precision full", |a| a.precision = Precision::Full),
        ("--precision autocast", |_| ()),
    ]);
}

#[test]
fn every_additional_flag_is_read() {
    mean(&[
        ("--negative_prompt x", |a| a.negative_prompt = "x".into()),
        ("--seed_mode per_image", |a| a.seed_mode = SeedMode::PerImage),
        ("--emphasis", |a| a.emphasis = true),
        ("--long_prompt", |a| a.long_prompt = true),
        ("--webui_prompts", |a| a.webui_prompts = true),
        ("--wildcards", |a| a.wildcards = true),
        ("--sampler ddim", |a| a.sampling.sampler = Some(Kind::Ddim)),
        ("--schedule karras", |a| a.sampling.schedule = Spacing::Karras),
        ("--rng cpu", |a| a.rng = Rng::Cpu),
        ("--rng cuda", |_| ()),
        ("--rng cuda:82x1536", |a| a.rng = Rng::Cuda { sms: 82, threads_per_sm: 1536 }),
        ("--vae x", |a| a.vae = Some("x".into())),
        ("--device cpu", |a| a.device = DeviceSpecs(vec![DeviceSpec::Cpu])),
        ("--device cuda", |a| a.device = DeviceSpecs(vec![DeviceSpec::Cuda(0)])),
        ("--device cpu:0-3,cpu:4", |a| a.device = DeviceSpecs(vec![DeviceSpec::Cores(0, 3), DeviceSpec::Cores(4, 4)])),
        ("--device cuda:0,cuda:1", |a| a.device = DeviceSpecs(vec![DeviceSpec::Cuda(0), DeviceSpec::Cuda(1)])),
        ("--grid_every 9", |a| a.grid_every = Some(9)),
        ("--resume", |a| a.resume = true),
        ("--shard 3/8", |a| a.shard = Some(Shard { index: 3, of: 8 })),
        ("--collect", |a| a.collect = true),
        ("--device cuda:3", |a| a.device = DeviceSpecs(vec![DeviceSpec::Cuda(3)])),
        ("--low_memory", |a| a.low_memory = true),
        ("--threads 2", |a| a.threads = Some(2)),
        ("--safety blur", |a| a.safety = Some(Action::Blur)),
        ("--safety_ckpt x", |a| a.safety_ckpt = Some("x".into())),
        ("--format webp", |a| a.format = Format::WebP),
        ("--fname {seed}", |a| a.fname = Some(Pattern::parse("{seed}").unwrap())),
        ("--save_intermediates 5", |a| a.save_intermediates = Some(5)),
        ("--dry_run", |a| a.dry_run = true),
        ("--no_metadata", |a| a.no_metadata = true),
        ("--replay x", |a| a.replay = Some("x".into())),
        ("--verify_watermark x y", |a| a.verify_watermark = vec!["x".into(), "y".into()]),
        ("--progress json", |a| a.progress = ProgressFormat::Json),
        ("--quiet", |a| a.quiet = true),
        ("--report x", |a| a.report = Some("x".into())),
        ("--skip_watermark", |a| a.skip_watermark = true),
        ("--timings", |a| a.timings = true),
    ]);
}

#[test]
fn the_forks_spellings_are_read_too() {
    mean(&[
        ("--height 64", |a| a.sampling.height = 64),
        ("--width 64", |a| a.sampling.width = 64),
        ("--latent_channels 3", |a| a.channels = 3),
        ("--downsampling_factor 4", |a| a.sampling.factor = 4),
        ("--from_file x", |a| a.from_file = Some("x".into())),
    ]);
}

#[test]
fn the_last_of_a_repeated_option_wins() {
    mean(&[
        ("--n_iter 3 --n_iter 4", |a| a.n_iter = 4),
        ("--H 64 --height=72", |a| a.sampling.height = 72),
        ("--skip_grid --skip_grid", |a| a.skip_grid = true),
    ]);
}

#[test]
fn numbers_may_be_negative() {
    mean(&[
        ("--scale -7.5", |a| a.sampling.scale = -7.5),
        ("--scale=-7.5", |a| a.sampling.scale = -7.5),
        ("--scale 0", |a| a.sampling.scale = 0.),
        ("--n_rows -1", |a| a.n_rows = -1),
        ("--ddim_eta -1e-3", |a| a.sampling.ddim_eta = Some(-1e-3)),
    ]);
}

#[test]
fn seeds_outside_32_bits_are_random() {
    mean(&[
        ("--seed 0", |a| a.seed = Seed::Given(0)),
        ("--seed 4294967295", |a| a.seed = Seed::Given(u32::MAX)),
        ("--seed 4294967296", |a| a.seed = Seed::Random),
        ("--seed -1", |a| a.seed = Seed::Random),
        ("--seed 123456789012345678901234567890", |a| a.seed = Seed::Random),
    ]);
}

#[test]
fn invalid_values_are_refused_with_the_reason() {
    for (line, reason) in [
        ("--n_iter three", "'three' for '--n_iter <N>': not a whole number"),
        ("--n_iter 1.5", "not a whole number"),
        ("--H 99999999999999999999", "the number has too many digits"),
        ("--H=", "not a whole number"),
        ("--scale nan", "not a finite number"),
        ("--scale -inf", "not a finite number"),
        ("--scale high", "not a number"),
        ("--seed 1e3", "not a whole number"),
        ("--seed -", "not a whole number"),
        ("--precision half", "[possible values: full, autocast]"),
        (
            "--sampler k",
            "[possible values: ddim, plms, dpm_solver, lms, euler, euler_a, heun, dpm2, dpmpp_2m, uni_pc, lcm, tcd]",
        ),
        ("--schedule linear", "[possible values: discrete, karras, trailing]"),
        ("--rng mps", "use cuda, cpu or cuda:SMSxTHREADS"),
        ("--rng cuda:82", "use cuda, cpu or cuda:SMSxTHREADS"),
        ("--rng cuda:0x1", "not the size of a GPU"),
        ("--device gpu", "expected auto, cpu, cuda or cuda:N"),
        ("--device cuda:-1", "expected auto, cpu, cuda or cuda:N"),
        ("--threads 0", "must be 1 to 1024"),
        ("--threads 99999999999999999999", "must be 1 to 1024"),
        ("--save_intermediates -1", "must be 1 to 1000"),
        ("--grid_every 0", "must be 1 to 4294967295"),
        ("--grid_every two", "not a whole number"),
        ("--skip_grid=1", "unexpected value '1'"),
    ] {
        let message = misuse(line.split_whitespace());
        assert!(message.contains(reason), "{line}: {message}");
    }
}

#[test]
fn dpm_solver_wins_over_plms() {
    assert_eq!(args("--plms --dpm_solver").sampling.sampler, Some(Kind::DpmSolver));
    assert_eq!(args("--plms --sampler plms").sampling.sampler, Some(Kind::Plms));
}

#[test]
fn two_different_samplers_are_refused() {
    for line in ["--plms --sampler ddim", "--dpm_solver --sampler plms", "--plms --dpm_solver --sampler plms"] {
        assert!(
            misuse(line.split_whitespace()).contains("--sampler cannot be combined with --plms or --dpm_solver"),
            "{line}"
        );
    }
}
