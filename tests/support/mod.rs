//! Helpers for tests: runs of the program in temporary folders, and comparisons with the original's results.
#![allow(dead_code)] // no test binary uses all of it

use candle_core::{DType, Device, Tensor};
use rustix::time::ClockId;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;
use txt2img::args::Program;
use txt2img::checkpoint::Checkpoint;
use txt2img::config::ModelConfig;
use txt2img::device::{ComputeDevice, DeviceSpecs};
use txt2img::diffusion::EpsModel;
use txt2img::diffusion::samplers::{SamplerConfig, Sampling};
use txt2img::diffusion::schedule::Schedule;
use txt2img::engine::Model;
use txt2img::output::Picture;
use txt2img::rng::{Generator, Noise};

/// Returns the path of a file in `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Returns the CPU time of this thread so far. Unlike the time of a clock, it does not depend on other processes.
pub fn cpu_time() -> Duration {
    rustix::time::clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// The device of the tests of this process, as a value of `--device`.
fn device_name() -> String {
    std::env::var("TXT2IMG_TEST_DEVICE").unwrap_or("cpu".into())
}

/// The device of the tests of this process: the CPU, unless the tests are repeated on a GPU.
pub fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| device_of(&device_name()).unwrap()).clone()
}

fn device_of(name: &str) -> anyhow::Result<Device> {
    Ok(compute_device_of(name)?.device)
}

/// The device of the tests of this process, as the program opens it.
pub fn compute_device() -> ComputeDevice {
    compute_device_of(&device_name()).unwrap()
}

fn compute_device_of(name: &str) -> anyhow::Result<ComputeDevice> {
    Ok(name.parse::<DeviceSpecs>().unwrap().open(None)?.swap_remove(0))
}

/// Reads all tensors of a `.safetensors` fixture, in f32.
pub fn tensors(name: &str) -> HashMap<String, Tensor> {
    let file = fixture(name);
    let tensors = candle_core::safetensors::load(file, &device()).unwrap();
    tensors.into_iter().map(|(name, tensor)| (name, tensor.to_dtype(DType::F32).unwrap())).collect()
}

pub fn nano_config() -> ModelConfig {
    ModelConfig::from_yaml(&fixture("nano.yaml")).unwrap()
}

pub fn nano() -> Model<'static> {
    nano_from(&fixture("nano.ckpt"))
}

pub fn nano_from(checkpoint: &Path) -> Model<'static> {
    let checkpoint = Checkpoint::open(checkpoint).unwrap();
    Model::load(&checkpoint, &nano_config(), &Default::default(), &device(), DType::F32, &|| ()).unwrap()
}

/// Permutes (B, C, h, w), torch's layout, to (B, h, w, C).
pub fn channels_last(x: &Tensor) -> Tensor {
    x.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap()
}

/// Samples latents from `x`, standard normal noise (B, h, w, C).
pub fn sample(
    config: SamplerConfig,
    schedule: &Schedule,
    model: &dyn EpsModel,
    x: Tensor,
    noise: &mut dyn Noise,
) -> anyhow::Result<Tensor> {
    config.sample(schedule, x, &mut Sampling { model, noise, on_step: &mut |_, _, _| Ok(()) })
}

/// The root mean square of the difference, relative to that of `expected`.
pub fn relative_rms(ours: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(ours.dims(), expected.dims());
    let [ours, expected] = [ours, expected].map(|x| x.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap());
    let power = |x: &Tensor| f64::from(x.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap());
    (power(&(&ours - &expected).unwrap()) / power(&expected)).sqrt()
}

#[track_caller]
pub fn assert_close(name: &str, ours: &Tensor, expected: &Tensor, limit: f64) {
    let error = relative_rms(ours, expected);
    assert!(error <= limit, "{name}: relative RMS error {error:.2e} is above {limit:.0e}");
}

/// Asserts that at least 99.9% of the values differ by at most 2.
#[track_caller]
pub fn assert_same_picture(name: &str, ours: &Picture, expected: &Picture) {
    assert_eq!((ours.width, ours.height), (expected.width, expected.height), "{name}");
    let near = ours.rgb.iter().zip(&expected.rgb).filter(|(a, b)| a.abs_diff(**b) <= 2).count();
    let share = near as f64 / ours.rgb.len() as f64;
    assert!(share >= 0.999, "{name}: only {:.3}% of the values are within 2", 100. * share);
}

pub fn read_png(path: &Path) -> Picture {
    let rgb = image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into_rgb8();
    Picture { width: rgb.width() as usize, height: rgb.height() as usize, rgb: rgb.into_raw() }
}

const SMALL: [&str; 10] = ["--H", "64", "--W", "64", "--ddim_steps", "2", "--n_samples", "1", "--n_iter", "1"];

/// A temporary folder for one or more runs of the program.
pub struct TestRun {
    folder: TempDir,
}

impl TestRun {
    pub fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the folder.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path(name), content).unwrap();
        self
    }

    /// Copies the small model's files to the folder, under these names.
    pub fn with_nano(self, config: &str, ckpt: &str) -> Self {
        for (from, to) in [("nano.yaml", config), ("nano.ckpt", ckpt)] {
            let to = self.path(to);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(fixture(from), to).unwrap();
        }
        self
    }

    /// Returns a command that runs the program with only these arguments.
    pub fn bare<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.bare_of(Program::Txt2Img, args)
    }

    /// Returns a command that runs a program with only these arguments.
    fn bare_of<S: AsRef<OsStr>>(&self, program: Program, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(match program {
            Program::Txt2Img => env!("CARGO_BIN_EXE_txt2img"),
            Program::Img2Img => env!("CARGO_BIN_EXE_img2img"),
        });
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        // No test contacts the real hub.
        command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", self.path("hub"));
        command.env_remove("TXT2IMG_CKPT").env_remove("TXT2IMG_OUTDIR");
        command
    }

    /// Prepares a run of the program with only these arguments.
    pub fn alone<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> TestCommand {
        TestCommand(self.bare(args))
    }

    /// Asserts that these arguments are a usage error, and returns its message.
    #[track_caller]
    pub fn misuse<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        self.alone(args).is_misuse("error: ")
    }

    /// Prepares a run with the small model and OUTDIR `out`, on the device of the tests.
    pub fn args<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> TestCommand {
        self.args_of(Program::Txt2Img, args)
    }

    /// Prepares a run of a program with the small model and OUTDIR `out`, on the device of the tests.
    pub fn args_of<S: AsRef<OsStr>>(&self, program: Program, args: impl IntoIterator<Item = S>) -> TestCommand {
        let mut command = self.bare_of(program, ["--outdir", "out", "--safety", "off"]);
        command.arg("--config").arg(fixture("nano.yaml")).arg("--ckpt").arg(fixture("nano.ckpt"));
        command.args(["--device", &device_name()]).args(args);
        TestCommand(command)
    }

    /// Prepares a quick run with the small model: one picture of 64×64 in 2 steps.
    pub fn quick<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> TestCommand {
        let mut run = self.args(SMALL);
        run.0.args(args);
        run
    }

    /// Prepares a quick run of any model: one picture of 64×64 in 2 steps.
    pub fn small<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> TestCommand {
        let mut run = self.alone(SMALL);
        run.0.args(args);
        run
    }

    /// Returns the files below `out`, except the journal and spooled pictures.
    pub fn files(&self) -> Vec<String> {
        let mut files = files_below(&self.path("out"));
        files.retain(|file| file != "run.jsonl" && !file.starts_with(".txt2img-aside"));
        files
    }

    #[track_caller]
    pub fn has_files(&self, files: impl AsRef<[&'static str]>) {
        let mut files = files.as_ref().to_vec();
        files.sort();
        assert_eq!(self.files(), files);
    }
}

pub fn files_below(folder: &Path) -> Vec<String> {
    let mut files = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(inner).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

/// A prepared run of the program.
pub struct TestCommand(pub Command);

impl TestCommand {
    /// Sets the standard input.
    pub fn reads(mut self, text: &str) -> Self {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).and_then(|()| file.rewind()).unwrap();
        self.0.stdin(file);
        self
    }

    #[track_caller]
    pub fn ok(&mut self) -> Output {
        let output = self.0.output().unwrap();
        assert!(output.status.success(), "{:?} failed:\n{}", self.0, stderr(&output));
        output
    }

    /// Asserts exit code 1, one sentence that contains `reason`, nothing on standard output, and no panic.
    #[track_caller]
    pub fn fails_with(&mut self, reason: &str) -> String {
        let said = self.exits_with(1, reason);
        let sentences: Vec<&str> = said.lines().filter(|line| !line.starts_with("note: ")).collect();
        assert!(sentences.len() == 1 && sentences[0].starts_with("error: "), "{said}");
        said
    }

    /// Asserts exit code 2, an error that contains `reason`, nothing on standard output, and no panic.
    #[track_caller]
    pub fn is_misuse(&mut self, reason: &str) -> String {
        let said = self.exits_with(2, reason);
        let mut lines = said.lines().filter(|line| !line.starts_with("note: "));
        assert!(lines.next().is_some_and(|line| line.starts_with("error: ")), "{said}");
        said
    }

    /// Asserts that the program fails with exit code 1, or 2 for a mistake in the command line, and an error that contains
    /// `reason`.
    #[track_caller]
    pub fn fails(&mut self, code: i32, reason: &str) -> String {
        if code == 2 { self.is_misuse(reason) } else { self.fails_with(reason) }
    }

    #[track_caller]
    fn exits_with(&mut self, code: i32, reason: &str) -> String {
        let output = self.0.output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{:?}:\n{said}", self.0);
        assert!(said.contains(reason), "{:?} said\n{said}\ninstead of\n{reason}", self.0);
        assert!(!said.contains("panicked"), "{said}");
        assert!(output.stdout.is_empty());
        said
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Returns the notes of a run, one per line.
pub fn notes(output: &Output) -> String {
    stderr(output).lines().filter(|line| line.starts_with("note: ")).map(|line| format!("{line}\n")).collect()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A noise source that counts the calls.
pub struct Counting {
    noise: Box<dyn Generator>,
    pub draws: usize,
}

impl Counting {
    pub fn new(noise: Box<dyn Generator>) -> Self {
        Self { noise, draws: 0 }
    }
}

impl Noise for Counting {
    fn randn(&mut self, n: usize) -> Vec<f32> {
        self.draws += 1;
        self.noise.randn(n)
    }
}

/// Repeats a module's tests in a process that computes on a GPU, if there is one.
///
/// `module`: the caller's `module_path!()`. The calling test's name must contain `a_gpu`.
#[allow(clippy::explicit_write)] // libtest hides what `eprintln` prints in passing tests
pub fn pass_on_a_gpu(module: &str) {
    const GPU: &str = "cuda";
    if let Err(error) = device_of(GPU) {
        writeln!(std::io::stderr(), "skipped: {error:#}").unwrap();
        return;
    }
    let mut tests = same_tests(module);
    // One at a time: a CUDA graph captures everything that is launched on its device meanwhile.
    tests.args(["--test-threads", "1"]).env("TXT2IMG_TEST_DEVICE", GPU);
    let output = tests.output().unwrap();
    assert!(output.status.success(), "{}", stdout(&output));
}

/// Repeats a module's tests once for every instruction set, each time in a process restricted to it.
///
/// `module`: the caller's `module_path!()`. The calling test's name must contain `every_instruction_set`.
pub fn pass_with_every_instruction_set(module: &str) {
    let on_arm = cfg!(target_arch = "aarch64");
    for isa in if on_arm { &["portable", "neon"][..] } else { &["portable", "avx2", "avx512", "avx512bf16"] } {
        let output = same_tests(module).env("TXT2IMG_ISA", isa).output().unwrap();
        assert!(output.status.success(), "{isa}:\n{}", stdout(&output));
    }
}

/// A command that runs a module's tests, except those that repeat it.
fn same_tests(module: &str) -> Command {
    let (_, module) = module.split_once("::").expect("a module of a test binary");
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.arg(format!("{module}::")).args(["--skip", "every_instruction_set", "--skip", "a_gpu"]);
    tests
}
