//! `--fast`: the sampling parameters for models and LoRAs of few steps.

use crate::support::fixture;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;
use tempfile::TempDir;
use txt2img::args::Args;
use txt2img::job::Job;
use txt2img::params::SamplingParams;

fn job(flags: &[&str]) -> anyhow::Result<Job> {
    let words = ["txt2img", "--ckpt", "demo"].iter().chain(flags).map(OsString::from);
    Job::from_args(&Args::try_from_words(words).unwrap())
}

/// Returns the sampler, its spacing, the steps, the scale and eta.
fn settings(params: &SamplingParams) -> String {
    let param = |flag: &str| txt2img::params::PARAMS.iter().find(|param| param.flag == flag).unwrap().get(params);
    ["sampler", "schedule", "ddim_steps", "scale", "ddim_eta"].map(|flag| param(flag).to_string()).join(" ")
}

#[track_caller]
fn assert_settings(flags: &[&str], expected: &str) {
    let job = job(flags).unwrap();
    let [params] = job.images.requests.params() else { panic!("several parameters") };
    assert_eq!(settings(params), expected, "{flags:?}");
}

fn notes(flags: &[&str]) -> String {
    job(flags).unwrap().run.notes.join("\n")
}

/// Copies the small model's LoRA to a folder, under a name and with metadata.
fn lora(folder: &Path, name: &str, metadata: &[(&str, &str)]) -> String {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let bytes = fs::read(fixture("lora/small.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let metadata: HashMap<String, String> = metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    fs::write(&path, safetensors::serialize(tensors.tensors(), Some(metadata)).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn each_method_has_its_settings() {
    assert_settings(&["--fast", "lcm"], "lcm discrete 4 1 0");
    assert_settings(&["--fast", "tcd"], "tcd discrete 4 1 0.3");
    assert_settings(&["--fast", "hyper"], "ddim trailing 8 1 0");
}

#[test]
fn a_note_names_the_flags_that_are_set() {
    assert!(notes(&["--fast", "lcm"]).contains("--fast lcm sets --sampler lcm --ddim_steps 4 --scale 1"));
    let all = ["--fast", "lcm", "--sampler", "lcm", "--ddim_steps", "2", "--scale", "1.5"];
    assert!(notes(&all).contains("--fast lcm sets nothing, as everything is given"));
}

#[test]
fn given_flags_override_it() {
    assert_settings(&["--fast", "lcm", "--ddim_steps", "8", "--scale", "1.5"], "lcm discrete 8 1.5 0");
    assert_settings(&["--fast", "hyper", "--sampler", "euler"], "euler discrete 8 1 0");
    assert_settings(&["--fast", "hyper", "--plms", "--scale", "7.5"], "plms discrete 8 7.5 0");
    assert_settings(&["--fast", "tcd", "--ddim_eta", "0"], "tcd discrete 4 1 0");
}

#[test]
fn sweeps_and_prompts_files_override_it() {
    let sweep = job(&["--fast", "lcm", "--sweep", "ddim_steps=2,8"]).unwrap();
    let cells: Vec<_> = sweep.images.requests.params().iter().map(settings).collect();
    assert_eq!(cells, ["lcm discrete 2 1 0", "lcm discrete 8 1 0"]);
    assert!(sweep.run.notes.join("\n").contains("--fast lcm sets --sampler lcm --scale 1"), "{:?}", sweep.run.notes);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("p.json");
    fs::write(&file, "{\"prompt\": \"a\", \"scale\": 2}\n{\"prompt\": \"a\", \"sampler\": \"tcd\"}").unwrap();
    let lines = job(&["--fast", "lcm", "--from-file", file.to_str().unwrap()]).unwrap();
    let lines: Vec<_> = lines.images.requests.params().iter().map(settings).collect();
    assert_eq!(lines, ["lcm discrete 4 2 0", "tcd discrete 4 1 0.3"]);
}

#[test]
fn auto_recognises_a_lora_by_its_name() {
    for (name, expected) in [
        ("latent-consistency/lcm-lora-sdv1-5", "lcm discrete 4 1 0"),
        ("h1t/TCD-SD15-LoRA", "tcd discrete 4 1 0.3"),
        ("ByteDance/Hyper-SD:Hyper-SD15-4steps-lora.safetensors", "ddim trailing 4 1 0"),
        ("ByteDance/Hyper-SD:Hyper-SD15-1step-lora.safetensors", "tcd discrete 1 1 1"),
        ("ByteDance/Hyper-SD:Hyper-SD15-12steps-CFG-lora.safetensors", "ddim trailing 12 5 0"),
    ] {
        assert_settings(&["--lora", name, "--fast", "auto"], expected);
    }
    let folder = TempDir::new().unwrap();
    let of_peft = lora(folder.path(), "lcm-lora-sdv1-5/pytorch_lora_weights.safetensors", &[]);
    assert_settings(&["--lora", &of_peft, "--fast", "auto"], "lcm discrete 4 1 0");
    assert!(notes(&["--lora", &of_peft, "--fast", "auto"]).contains("as LCM by its name, and sets --sampler lcm"));
}

#[test]
fn auto_recognises_a_lora_by_its_metadata_or_its_size() {
    let folder = TempDir::new().unwrap();
    let titled = lora(folder.path(), "a.safetensors", &[("modelspec.title", "My TCD LoRA")]);
    assert_settings(&["--lora", &titled, "--fast", "auto"], "tcd discrete 4 1 0.3");
    let sized = folder.path().join("b.safetensors");
    File::create(&sized).unwrap().set_len(134_621_556).unwrap();
    assert_settings(&["--lora", sized.to_str().unwrap(), "--fast", "auto"], "lcm discrete 4 1 0");
}

#[test]
fn auto_looks_at_words_of_the_file_name_alone() {
    let folder = TempDir::new().unwrap();
    for name in ["lcmiller/tcd/style.safetensors", "alcmene.safetensors", "hyperreal.safetensors"] {
        let path = lora(folder.path(), name, &[("modelspec.title", "calcmaster")]);
        let error = job(&["--lora", &path, "--fast", "auto"]).unwrap_err().to_string();
        assert!(error.starts_with("--fast auto recognises neither a few-step LoRA"), "{name}: {error}");
    }
    for name in ["SD15_LCM_LoRA.safetensors", "x-lcmlora.safetensors"] {
        let path = lora(folder.path(), name, &[]);
        assert_settings(&["--lora", &path, "--fast", "auto"], "lcm discrete 4 1 0");
    }
}

#[test]
fn the_steps_of_hyper_sd_may_stand_in_the_metadata() {
    let folder = TempDir::new().unwrap();
    let titled = lora(folder.path(), "a.safetensors", &[("ss_output_name", "Hyper-SD15-4steps-lora")]);
    assert_settings(&["--lora", &titled, "--fast", "auto"], "ddim trailing 4 1 0");
    let named = lora(folder.path(), "Hyper-SD15-2steps-lora.safetensors", &[]);
    assert_settings(&["--lora", &named, "--fast", "hyper"], "ddim trailing 2 1 0");
}

#[test]
fn auto_looks_at_all_loras_and_in_the_folder_of_loras() {
    let folder = TempDir::new().unwrap();
    lora(folder.path(), "style.safetensors", &[]);
    lora(folder.path(), "fast/x.safetensors", &[("ss_output_name", "lcm_v2")]);
    let dir = folder.path().to_str().unwrap();
    let flags = ["--lora_dir", dir, "--lora", "style=0.5", "--lora", "x", "--fast", "auto"];
    assert_settings(&flags, "lcm discrete 4 1 0");
}

#[test]
fn auto_recognises_a_model_whose_guidance_is_an_input_and_keeps_its_scale() {
    let folder = TempDir::new().unwrap();
    for part in ["unet", "vae", "text_encoder"] {
        fs::create_dir(folder.path().join(part)).unwrap();
    }
    fs::write(folder.path().join("unet/config.json"), "{\"time_cond_proj_dim\": 256}").unwrap();
    let words = |fast: &str| {
        let words = ["txt2img", "--config", fixture("nano.yaml").to_str().unwrap(), "--fast", fast].map(OsString::from);
        words.into_iter().chain(["--ckpt".into(), folder.path().into()]).collect::<Vec<_>>()
    };
    for fast in ["auto", "lcm"] {
        let words = [words(fast), ["--negative_prompt", "blue"].map(OsString::from).to_vec()].concat();
        let job = Job::from_args(&Args::try_from_words(words).unwrap()).unwrap();
        assert_eq!(settings(&job.images.requests.params()[0]), "lcm discrete 4 7.5 0");
        let notes = job.run.notes.join("\n");
        assert!(notes.contains("--negative_prompt has no effect with this model"), "{notes}");
    }
}

#[test]
fn auto_refuses_what_it_does_not_recognise() {
    let folder = TempDir::new().unwrap();
    let style = lora(folder.path(), "style.safetensors", &[]);
    for flags in [&["--fast", "auto"][..], &["--fast", "auto", "--lora", &style]] {
        let error = job(flags).unwrap_err().to_string();
        assert!(error.starts_with("--fast auto recognises neither a few-step LoRA"), "{error}");
    }
    let error = job(&["--fast", "auto", "--lora", "lcm=x"]).unwrap_err().to_string();
    assert!(error.contains("has weights 'x', which are not one or two numbers"), "{error}");
    let error = job(&["--fast", "auto", "--lora", "missing"]).unwrap_err().to_string();
    assert!(error.contains("LoRA 'missing' was not found"), "{error}");
}

#[test]
fn a_note_names_an_interval_of_guidance_without_steps() {
    let notes = notes(&["--guidance_interval", "0.9,0.91", "--ddim_steps", "4"]);
    assert!(
        notes.contains("--guidance_interval 0.9,0.91 contains none of the 4 steps, so the scale is 1 in all of them"),
        "{notes}"
    );
}

#[test]
fn a_note_warns_of_guidance_for_few_steps() {
    let warning = "--scale 7.5 is usually too high for the samplers lcm and tcd";
    assert!(notes(&["--sampler", "lcm", "--ddim_steps", "4"]).contains(warning));
    for flags in [&["--sampler", "lcm", "--ddim_steps", "4", "--scale", "2"][..], &["--fast", "tcd"], &["--plms"]] {
        assert!(!notes(flags).contains("usually too much"), "{flags:?}");
    }
}
