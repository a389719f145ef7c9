//! Runs of the original, repeated: the files, pictures, latents and numbers of draws are the same.

use crate::support::{
    Counting, TestRun, assert_close, assert_same_picture, channels_last, compute_device, files_below, fixture, nano,
    nano_config, read_png, tensors,
};
use ::txt2img::args::{Args, Program};
use ::txt2img::checkpoint::Checkpoint;
use ::txt2img::checkpoint::lora::Loras;
use ::txt2img::engine::{self, BatchNoise, Engine};
use ::txt2img::job::{Batch, Job};
use ::txt2img::rng::Noise;
use ::txt2img::text::Reading;
use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use std::collections::HashMap;

/// The tolerance of latents. The original itself differs by 3e-6 with another convolution library.
const LATENTS_LIMIT: f64 = 1e-4;
const CONTEXT_LIMIT: f64 = 2e-5;

struct Case {
    program: Program,
    /// The folder of what the original wrote.
    folder: &'static str,
    name: &'static str,
    args: Vec<String>,
    /// The contents of the files that the run needs.
    files: HashMap<String, Vec<u8>>,
}

impl Case {
    fn txt2img(name: &'static str) -> Self {
        Self::of(Program::Txt2Img, "cases.json", "cases", name)
    }

    fn img2img(name: &'static str) -> Self {
        Self::of(Program::Img2Img, "img2img/cases.json", "img2img", name)
    }

    fn of(program: Program, cases: &str, folder: &'static str, name: &'static str) -> Self {
        let case = &read_cases(cases)[name];
        let texts: HashMap<String, String> = serde_json::from_value(case["files"].clone()).unwrap_or_default();
        let mut files: HashMap<_, _> = texts.into_iter().map(|(name, text)| (name, text.into_bytes())).collect();
        if let Some(picture) = case["init"].as_str() {
            files.insert(picture.into(), std::fs::read(fixture(folder).join(picture)).unwrap());
        }
        Self { program, folder, name, args: serde_json::from_value(case["args"].clone()).unwrap(), files }
    }

    fn run(&self) -> TestRun {
        self.files.iter().fold(TestRun::new(), |run, (name, content)| run.file(name, content))
    }

    fn the_program_writes_the_same_files(&self) {
        let run = self.run();
        // The original ran on a CPU, where its autocast has no effect.
        run.args_of(self.program, ["--precision", "full"].into_iter().chain(self.args.iter().map(String::as_str))).ok();
        let expected = fixture(self.folder).join(self.name);
        assert_eq!(run.files(), files_below(&expected), "{}", self.name);
        for file in run.files() {
            let (ours, theirs) = (run.path("out").join(&file), expected.join(&file));
            assert_same_picture(&format!("{} {file}", self.name), &read_png(&ours), &read_png(&theirs));
        }
    }

    fn the_latents_and_draws_are_the_same(&self) {
        let run = self.run();
        let expected = tensors(&format!("{}/{}.safetensors", self.folder, self.name));
        let mut args = vec!["txt2img".into(), "--config".into(), fixture("nano.yaml").into_os_string()];
        args.extend(["--ckpt".into(), fixture("nano.ckpt").into_os_string()]);
        args.extend(self.args.iter().map(|arg| match self.files.contains_key(arg) {
            true => run.path(arg).into_os_string(),
            false => arg.into(),
        }));
        let job = Job::from_args(&Args::of_program(self.program, args).unwrap()).unwrap();
        let (latents, contexts, draws) = latents(&job);
        for (i, ours) in latents.iter().enumerate() {
            let name = format!("latents.{i}");
            assert_close(&name, ours, &channels_last(&expected[&name]), LATENTS_LIMIT);
        }
        for (i, ours) in contexts.iter().enumerate() {
            let name = format!("context.{i}");
            assert_close(&name, ours, &expected[&name], CONTEXT_LIMIT);
        }
        let count = |prefix: &str| expected.keys().filter(|name| name.starts_with(prefix)).count();
        assert_eq!((latents.len(), contexts.len()), (count("latents."), count("context.")));
        assert_eq!(draws as f32, expected["randn_calls"].to_vec1::<f32>().unwrap()[0]);
    }
}

/// Returns the latents of each batch, the contexts in the original's order, and the number of draws.
fn latents(job: &Job) -> (Vec<Tensor>, Vec<Tensor>, usize) {
    let (checkpoint, config, device) =
        (Checkpoint::open(&fixture("nano.ckpt")).unwrap(), nano_config(), compute_device());
    let mut engine =
        Engine::load(&checkpoint, &config, &Loras::default(), &device, DType::F32, Reading::default(), &mut ())
            .unwrap();
    if !job.images.inputs.is_empty() {
        engine.load_encoder(&checkpoint).unwrap();
    }
    let model = nano();
    let mut noise =
        StreamNoise { numbers: Counting::new(job.images.rng.noise(u64::from(job.images.seed))), fixed: None };
    if let Some(longest) = job.images.fixed_code {
        let params = job.images.requests.params_of(0);
        noise.fixed =
            Some(noise.start((longest, params.latent_height(), params.latent_width(), 4), &device.device).unwrap());
    }
    let (mut latents, mut contexts) = (vec![], vec![]);
    for Batch { params, images } in job.images.batches() {
        let context = |prompts: &[&str]| {
            let tokens: Vec<_> = prompts.iter().map(|prompt| model.tokens(prompt).unwrap()).collect();
            model.context(&tokens).unwrap()
        };
        if params.scale != 1. {
            contexts.push(context(&vec![""; images.len()]));
        }
        let prompts: Vec<_> = images.iter().map(|image| (&*image.prompt, image.negative)).collect();
        contexts.push(context(&prompts.iter().map(|(prompt, _)| *prompt).collect::<Vec<_>>()));
        let input = job.images.inputs.input(&params).unwrap();
        let batch = engine::Batch { prompts, params, input: input.as_ref() };
        latents.push(engine.sample(&batch, &mut noise, &mut ()).unwrap().latents);
    }
    (latents, contexts, noise.numbers.draws)
}

/// One stream of noise for all batches; with `--fixed_code`, every batch starts from the same noise.
struct StreamNoise {
    numbers: Counting,
    fixed: Option<Tensor>,
}

impl BatchNoise for StreamNoise {
    fn start(&mut self, shape: (usize, usize, usize, usize), device: &Device) -> anyhow::Result<Tensor> {
        match &self.fixed {
            Some(fixed) => Ok(fixed.narrow(0, 0, shape.0)?),
            None => Ok(self.numbers.randn_latents(shape, device)?),
        }
    }

    fn steps(&mut self) -> &mut dyn Noise {
        &mut self.numbers
    }
}

macro_rules! cases {
    ($new:ident: $($name:ident)*) => {
        mod the_program_writes_the_same_files {
            $(#[test] fn $name() { super::Case::$new(stringify!($name)).the_program_writes_the_same_files() })*
        }
        mod the_latents_and_draws_are_the_same {
            $(#[test] fn $name() { super::Case::$new(stringify!($name)).the_latents_and_draws_are_the_same() })*
        }
        pub const CASES: &[&str] = &[$(stringify!($name)),*];
    };
}

mod txt2img {
    use super::Case;
    cases!(txt2img: ddim ddim_eta plms dpm dpm_20 bulk fixed_code scale_one skip_save odd_steps);
}

mod img2img {
    use super::Case;
    cases!(img2img: i_default i_strength i_eta i_bulk i_odd i_none);
}

#[test]
fn no_case_is_left_out() {
    assert_eq!(listed("cases.json"), sorted(txt2img::CASES));
    assert_eq!(listed("img2img/cases.json"), sorted(img2img::CASES));
}

fn read_cases(name: &str) -> HashMap<String, Value> {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

/// Returns the names of the cases in a file, sorted.
fn listed(name: &str) -> Vec<String> {
    sorted(&read_cases(name).keys().map(String::as_str).collect::<Vec<_>>())
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<_> = names.iter().map(ToString::to_string).collect();
    names.sort();
    names
}

#[test]
fn a_gpu_passes_these_tests() {
    crate::support::pass_on_a_gpu(module_path!());
}
