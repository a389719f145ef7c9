//! Abbreviated flags.

use super::{mean, misuse, parse};
use clap::error::ErrorKind;
use txt2img::args::Seed;
use txt2img::device::{DeviceSpec, DeviceSpecs};
use txt2img::diffusion::samplers::Kind;
use txt2img::diffusion::samplers::Spacing;

#[test]
fn unambiguous_prefixes_of_flags_are_accepted() {
    mean(&[
        ("--n_i 3", |a| a.n_iter = 3),
        ("--n_i=3", |a| a.n_iter = 3),
        ("--n_s 4", |a| a.n_samples = 4),
        ("--ck x", |a| a.ckpt = Some("x".into())),
        ("--se 7", |a| a.seed = Seed::Given(7)),
        ("--fr x", |a| a.from_file = Some("x".into())),
        ("--la", |a| a.laion400m = true),
        ("--pl", |a| (a.sampling.plms, a.sampling.sampler) = (true, Some(Kind::Plms))),
        ("--skip_g", |a| a.skip_grid = true),
    ]);
}

#[test]
fn additional_flags_do_not_change_the_originals_prefixes() {
    mean(&[
        ("--sc 3", |a| a.sampling.scale = 3.), // not --schedule
        ("--l", |a| a.laion400m = true),       // not --latent_channels
        ("--o x", |a| a.outdir = "x".into()),
    ]);
}

#[test]
fn additional_flags_can_be_abbreviated() {
    mean(&[
        ("--sch karras", |a| a.sampling.schedule = Spacing::Karras),
        ("--dev cpu", |a| a.device = DeviceSpecs(vec![DeviceSpec::Cpu])),
        ("--th 1", |a| a.threads = Some(1)),
        ("--ti", |a| a.timings = true),
        ("--sam lms", |a| a.sampling.sampler = Some(Kind::Lms)),
        ("--skip_w", |a| a.skip_watermark = true),
        ("--hei 64", |a| a.sampling.height = 64),
    ]);
}

#[test]
fn names_that_people_type_first_are_accepted() {
    mean(&[
        ("-p cube", |a| a.prompt = "cube".into()),
        ("-n 4", |a| a.n_samples = 4),
        ("-n4", |a| a.n_samples = 4),
        ("-s 20", |a| a.sampling.ddim_steps = 20),
        ("-S 7", |a| a.seed = Seed::Given(7)),
        ("-S -1", |a| a.seed = Seed::Random),
        ("-o x", |a| a.outdir = "x".into()),
        ("-q", |a| a.quiet = true),
        ("--steps 20", |a| a.sampling.ddim_steps = 20),
        ("--cfg_scale 3", |a| a.sampling.scale = 3.),
        ("--cfg-scale 3", |a| a.sampling.scale = 3.),
        ("--cfg 3", |a| a.sampling.scale = 3.),
        ("--batch-size 4", |a| a.n_samples = 4),
    ]);
}

#[test]
fn every_flag_may_have_hyphens_for_underscores() {
    mean(&[
        ("--ddim-steps 20", |a| a.sampling.ddim_steps = 20),
        ("--n-iter=3", |a| a.n_iter = 3),
        ("--skip-grid", |a| a.skip_grid = true),
        ("--ddim-eta -1", |a| a.sampling.ddim_eta = Some(-1.)),
        ("--negative-prompt blue", |a| a.negative_prompt = "blue".into()),
        ("--from-file x", |a| a.from_file = Some("x".into())),
    ]);
}

#[test]
fn ambiguous_prefixes_are_refused_with_the_candidates() {
    for (word, candidates) in [
        ("--n", "--n could be --n_iter, --n_samples, --n_rows"),
        ("--n=3", "--n could be --n_iter, --n_samples, --n_rows"),
        ("--d", "--d could be --ddim_steps, --dpm_solver, --ddim_eta"),
        ("--ddim", "--ddim could be --ddim_steps, --ddim_eta"),
        ("--skip_", "--skip_ could be --skip_grid, --skip_save"),
        ("--p", "--p could be --prompt, --plms, --precision"),
        ("--c", "--c could be --config, --ckpt"),
        ("--t", "--t could be --threads, --timings"),
    ] {
        assert!(misuse([word, "3"]).contains(&format!("ambiguous option: {candidates}\n")), "{word}");
    }
}

#[test]
fn h_is_help_and_large_h_is_the_height() {
    for word in ["--help", "--he", "--h", "-h"] {
        assert_eq!(parse([word]).unwrap_err().kind(), ErrorKind::DisplayHelp, "{word}");
    }
    mean(&[("--H 64", |a| a.sampling.height = 64)]);
}
