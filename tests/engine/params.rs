//! Every sampling parameter is a flag, a key of JSON prompts, an axis of `--sweep`, a placeholder of `--fname`, a field of
//! records, and a term of runs that are resumed. These tests go by the table of parameters, so that a new one is included.

use std::ffi::OsString;
use std::fs;
use tempfile::TempDir;
use txt2img::args::Args;
use txt2img::job::Job;
use txt2img::output::{NameFields, Pattern};
use txt2img::params::{Field, PARAMS, Param, SamplingParams};

/// Returns a value that `--sampler euler` with an input picture supports and that is not the default of the command line.
fn other_value(param: &Param) -> String {
    match (param.flag, param.field) {
        ("sampler" | "hires_sampler", _) => "heun".into(),
        ("hires", _) => "1.5".into(),
        ("hires_upscaler", _) => "lanczos".into(),
        ("clip_skip", _) => "2".into(),
        (_, Field::Whole { .. }) => "72".into(),
        (_, Field::Number { .. }) => "0.25".into(),
        ("guidance_interval", _) => "0.2,0.8".into(),
        ("outpaint", _) => "8,0,8,0".into(),
        (_, Field::Text { .. }) => "3,1".into(),
        ("mask", _) => "tests/fixtures/inpaint/mask.png".into(),
        (_, Field::Path { .. }) => "tests/fixtures/img2img/odd.jpg".into(),
        ("schedule", _) => "karras".into(),
        (_, Field::Name { names, .. }) => names().rsplit(", ").next().unwrap().into(),
        (_, Field::List { .. }) => "tests/fixtures/lora/peft.safetensors=0.5".into(),
    }
}

fn args(param: &Param, flags: &[&str]) -> Args {
    let words = ["txt2img", "--ckpt", "demo", "--sampler", "euler"];
    let start = ["--init-img", "tests/fixtures/inpaint/image.png"];
    // A second pass does not go with a picture to start from.
    let start = if param.flag == "hires" { &[][..] } else { &start };
    let words = words.iter().chain(start).chain(flags).map(OsString::from);
    Args::try_from_words(words).unwrap()
}

fn job(param: &Param, flags: &[&str]) -> Job {
    Job::from_args(&args(param, flags)).unwrap()
}

fn only_request(job: &Job) -> SamplingParams {
    let [params] = job.images.requests.params() else { panic!("several parameters") };
    params.clone()
}

fn value(param: &Param, job: &Job) -> String {
    param.get(&only_request(job)).to_string()
}

#[test]
fn every_parameter_is_a_flag() {
    for param in &PARAMS {
        let other = other_value(param);
        assert_ne!(value(param, &job(param, &[])), other, "{}", param.flag);
        assert_eq!(value(param, &job(param, &[&format!("--{}", param.flag), &other])), other, "{}", param.flag);
    }
}

#[test]
fn every_parameter_is_a_key_of_json_prompts_under_both_names() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("p.json");
    for param in &PARAMS {
        let other = other_value(param);
        let is_text =
            matches!(param.field, Field::Name { .. } | Field::Text { .. } | Field::Path { .. } | Field::List { .. });
        let json = if is_text { format!("\"{other}\"") } else { other.clone() };
        for key in [param.flag, param.name] {
            fs::write(&file, format!("{{\"prompt\": \"a\", \"{key}\": {json}}}")).unwrap();
            assert_eq!(value(param, &job(param, &["--from-file", file.to_str().unwrap()])), other, "{key}");
        }
    }
}

#[test]
fn every_parameter_is_an_axis_of_sweeps() {
    for param in &PARAMS {
        let other = other_value(param);
        let usual = match param.field {
            Field::List { .. } => "tests/fixtures/lora/loha.safetensors=1".into(),
            // Any picture with white can be a mask.
            _ if param.flag == "mask" => "tests/fixtures/inpaint/image.png".into(),
            _ => value(param, &job(param, &[])),
        };
        let job = job(param, &["--sweep", &format!("{}=\"{usual}\",\"{other}\"", param.flag)]);
        let cells: Vec<_> = job.images.requests.iter().map(|cell| param.get(&cell.params).to_string()).collect();
        assert_eq!(cells, [usual, other], "{}", param.flag);
    }
}

#[test]
fn every_parameter_is_a_placeholder_of_file_names() {
    for param in &PARAMS {
        let other = other_value(param);
        let params = only_request(&job(param, &[&format!("--{}", param.flag), &other]));
        let pattern = Pattern::parse(&format!("{{{}}}", param.name)).unwrap();
        let name = pattern.name(0, &NameFields { params, ..NameFields::default() });
        // Folders are left out, and of pictures the extension too.
        let expected = other.rsplit('/').next().unwrap().trim_end_matches(".jpg").trim_end_matches(".png");
        assert_eq!(name, expected, "{}", param.name);
    }
}

#[test]
fn every_parameter_is_recorded_under_its_name() {
    for param in &PARAMS {
        let params = only_request(&job(param, &[&format!("--{}", param.flag), &other_value(param)]));
        let record = serde_json::to_value(&params).unwrap();
        if let Field::List { .. } = param.field {
            assert_eq!(record[param.name].as_array().unwrap().len(), 1, "{}", param.name);
        } else {
            assert_eq!(record[param.name], serde_json::to_value(param.get(&params)).unwrap(), "{}", param.name);
        }
        assert_eq!(serde_json::from_value::<SamplingParams>(record).unwrap(), params, "{}", param.name);
    }
}

#[test]
fn runs_with_another_value_of_a_parameter_are_not_resumed() {
    for param in &PARAMS {
        let flag = format!("--{}", param.flag);
        assert_ne!(
            job(param, &[]).run.params[&flag],
            job(param, &[&flag, &other_value(param)]).run.params[&flag],
            "{flag}"
        );
    }
}
