//! Failures: exit code 1, or 2 for mistakes in the command line; one sentence on standard error, and no files left behind.

use crate::support::{TestCommand, TestRun, fixture};
use std::ffi::OsStr;
use std::fs;
use std::io::{Cursor, Write};
use std::time::{Duration, Instant};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Asserts that the run fails with `reason` and leaves no files.
#[track_caller]
fn refused<S: AsRef<OsStr>>(run: &TestRun, args: impl IntoIterator<Item = S>, reason: &str) {
    run.quick(args).fails_with(reason);
    run.has_files([]);
}

/// Asserts that the command line is refused with exit code 2 and leaves no files.
#[track_caller]
fn misused<S: AsRef<OsStr>>(run: &TestRun, args: impl IntoIterator<Item = S>, reason: &str) {
    run.quick(args).is_misuse(reason);
    run.has_files([]);
}

/// Asserts that a checkpoint with this content is refused.
#[track_caller]
fn ckpt(content: impl AsRef<[u8]>, reason: &str) {
    refused(&TestRun::new().file("m.ckpt", content), ["--ckpt", "m.ckpt"], reason);
}

/// Asserts that the small model's config with one change is refused.
#[track_caller]
fn config(from: &str, to: &str, reason: &str) {
    let yaml = fs::read_to_string(fixture("nano.yaml")).unwrap();
    assert!(yaml.contains(from));
    refused(&TestRun::new().file("m.yaml", yaml.replacen(from, to, 1)), ["--config", "m.yaml"], reason);
}

#[track_caller]
fn prompts(content: impl AsRef<[u8]>, reason: &str) {
    refused(&TestRun::new().file("p.txt", content), ["--from-file", "p.txt"], reason);
}

/// Returns a `.safetensors` file with this header and `n_data` zeros.
fn safetensors(header: &str, n_data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; n_data]].concat()
}

/// Returns a `.safetensors` file with a tensor of this name.
fn tensor_named(name: &str) -> Vec<u8> {
    safetensors(&format!(r#"{{"{name}": {{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}}}"#), 8)
}

/// Returns a torch file with this pickle.
fn torch(pickle: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(vec![]));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file("archive/data.pkl", stored).unwrap();
    zip.write_all(pickle).unwrap();
    zip.finish().unwrap().into_inner()
}

fn nano() -> Vec<u8> {
    fs::read(fixture("nano.ckpt")).unwrap()
}

// Flags

#[test]
fn sizes_that_are_not_multiples_are_refused_with_the_nearest_multiples() {
    misused(&TestRun::new(), ["--H", "100"], "--H 100 is not a multiple of 8; the nearest are 96 and 104");
    misused(&TestRun::new(), ["--W", "65"], "--W 65 is not a multiple of 8; the nearest are 64 and 72");
    misused(
        &TestRun::new(),
        ["--W", "100", "--f", "16"],
        "--W 100 is not a multiple of 16; the nearest are 96 and 112",
    );
}

#[test]
fn numbers_out_of_range_are_refused_by_name() {
    for (flag, number, reason) in [
        ("--n_iter", "0", "--n_iter 0 draws nothing; give at least 1"),
        ("--n_iter", "-2", "--n_iter -2 draws nothing"),
        ("--n_iter", "9223372036854775807", "is more than 1000000"),
        ("--n_samples", "0", "--n_samples 0 draws nothing; give at least 1"),
        ("--n_samples", "1000001", "--n_samples 1000001 is more than 1000000"),
        ("--n_samples", "1000000", "more than the 65536 pictures of this size that a batch can have; raise --n_iter"),
        ("--ddim_steps", "0", "--ddim_steps 0 draws nothing"),
        ("--ddim_steps", "1001", "--ddim_steps 1001 is not between 1 and 1000"),
        ("--H", "0", "--H 0 is not between 8 and 8192"),
        ("--H", "-64", "--H -64 is not between 8 and 8192"),
        ("--W", "8200", "--W 8200 is not between 8 and 8192"),
        ("--f", "0", "--f 0 is not between 1 and 64"),
        ("--f", "-8", "--f -8 is not between 1 and 64"),
        ("--C", "3", "--C 3 does not fit the config, whose latents have 4 channels; leave out --C"),
        ("--C", "-4", "--C -4 does not fit the config"),
    ] {
        misused(&TestRun::new(), [flag, number], reason);
    }
}

#[test]
fn unsupported_sampler_settings_are_misused() {
    misused(&TestRun::new(), ["--plms", "--ddim_eta", "0.5"], "--ddim_eta must be 0 with PLMS");
    for sampler in ["ddim", "plms", "dpm_solver"] {
        let args = ["--schedule", "karras", "--sampler", sampler];
        misused(
            &TestRun::new(),
            args,
            "--schedule karras works only with --sampler lms, euler, euler_a, heun, dpm2, dpmpp_2m or uni_pc",
        );
    }
}

#[test]
fn a_build_without_cuda_reports_that() {
    let reason = if cfg!(feature = "cuda") {
        "--device cuda:99: there is no such GPU; there "
    } else {
        "--device cuda:99: this txt2img was built without CUDA; use --device cpu"
    };
    refused(&TestRun::new(), ["--device", "cuda:99"], reason);
}

// Checkpoints

#[test]
fn a_missing_checkpoint_is_reported() {
    let reason = "'x.ckpt' does not exist; give a Stable Diffusion 1.x model with --ckpt";
    refused(&TestRun::new(), ["--ckpt", "x.ckpt"], reason);
    let default = "checkpoint 'models/ldm/stable-diffusion-v1/model.ckpt' does not exist";
    // With --config alone, the demo model is not used.
    TestRun::new().with_nano("m.yaml", "m.ckpt").alone(["--config", "m.yaml"]).fails_with(default);
}

#[test]
fn a_missing_autoencoder_is_reported() {
    refused(
        &TestRun::new(),
        ["--vae", "x.pt"],
        "error: VAE 'x.pt' does not exist; give one with --vae FILE (a .vae.pt,",
    );
}

#[test]
fn a_web_address_gets_the_name_on_the_hub() {
    let address = "https://huggingface.co/a/b/resolve/main/x.safetensors";
    let reason = "is a web address, not a path; give a/b:x.safetensors to download it from the Hugging Face hub";
    refused(&TestRun::new(), ["--ckpt", address], reason);
    refused(&TestRun::new(), ["--vae", "https://x.org/x.pt"], "is a web address, not a path; download the file and");
}

#[test]
fn files_of_other_kinds_are_identified_in_errors() {
    ckpt("", "'m.ckpt' is empty; download it again");
    ckpt("<!DOCTYPE html><html>", "'m.ckpt' is a web page, not a checkpoint");
    ckpt("version https://git-lfs.github.com/spec/v1\nsize 42\n", "is a git-lfs pointer to 42 bytes");
    ckpt("Not Found", "'m.ckpt' is a text file, not a checkpoint");
    ckpt([0; 4096], "'m.ckpt' is of an unknown format");
    refused(&TestRun::new(), ["--ckpt", "."], "'.' is a folder, but not a diffusers model");
}

#[test]
fn a_truncated_checkpoint_is_refused_wherever_it_ends() {
    let nano = nano();
    for length in [4, 100, nano.len() / 2, nano.len() - 1] {
        ckpt(&nano[..length], "'m.ckpt' is cut short or damaged");
    }
}

#[test]
fn models_of_other_kinds_are_named() {
    for (tensor, kind) in [
        ("conditioner.embedders.0.x.weight", "is a Stable Diffusion XL model"),
        ("cond_stage_model.model.ln_final.weight", "is a Stable Diffusion 2.x model"),
        ("lora_unet_mid_block.lora_up.weight", "is a LoRA"),
        ("decoder.conv_in.weight", "is a VAE alone"),
    ] {
        ckpt(tensor_named(tensor), kind);
    }
}

#[test]
fn a_malicious_pickle_runs_nothing() {
    let run = TestRun::new().file("m.ckpt", torch(b"cos\nsystem\n(S'touch out.txt'\ntR."));
    refused(&run, ["--ckpt", "m.ckpt"], "'m.ckpt' holds a Python object, not a dictionary of tensors");
    assert!(!run.path("out.txt").exists());
}

#[test]
fn hostile_files_are_refused_at_once() {
    let start = Instant::now();
    ckpt(torch(b""), "is cut short or damaged (a sudden end at byte 0 of its pickle)");
    ckpt(torch(&b"(".repeat(1 << 20)), "is cut short or damaged (a sudden end");
    ckpt(torch(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff."), "is cut short or damaged (a sudden end");
    ckpt(safetensors(&format!(r#"{{"a": {}"#, "[".repeat(100_000)), 0), "its header is not valid: recursion limit");
    ckpt([[0xff; 8], *b"{\"a\": 1}"].concat(), "its header has 18446744073709551615 bytes and 8 are there");
    ckpt(safetensors("{}", 8), "holds no tensors");
    ckpt(tensor_named("a\\nb\\u001b[31m"), "holds tensors, but no UNet, text encoder or VAE of Stable Diffusion");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn contents_of_files_do_not_break_error_messages() {
    let header = r#"{"a": {"dtype": "one\ntwo\u001b[31m", "shape": [2], "data_offsets": [0, 8]}}"#;
    ckpt(safetensors(header, 8), "unknown variant `one two [31m`");
    refused(&TestRun::new(), ["--ckpt", "one\ntwo"], "checkpoint 'one two' does not exist");
    refused(&TestRun::new(), ["--config", "one\ntwo"], "config 'one two': there is no such file");
}

// Configs

#[test]
fn a_config_that_does_not_fit_the_model_names_tensors_and_is_quick() {
    let start = Instant::now();
    let input = "'model.diffusion_model.input_blocks.0.0.weight' is 32×4×3×3, not 64×4×3×3";
    config("model_channels: 32", "model_channels: 64", input);
    config("channel_mult: [ 1, 2, 2 ]", "channel_mult: [ 1, 2, 4 ]", "and perhaps more; give the config that belongs");
    config("num_res_blocks: 1", "num_res_blocks: 2", "it has no tensor 'model.diffusion_model.");
    let built_in = TestRun::new().with_nano("m.yaml", "m.ckpt");
    built_in
        .small(["--ckpt", "m.ckpt"])
        .fails_with("the text encoder's tokens have width 32, but the config's UNet needs 768");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn files_that_are_no_config_are_refused() {
    refused(
        &TestRun::new(),
        ["--config", "x.yaml"],
        "config 'x.yaml': there is no such file; give the model's yaml file",
    );
    refused(&TestRun::new(), ["--config", "."], "config '.': it is a folder; give a yaml file");
    for (text, reason) in [
        (&b""[..], "not a Stable Diffusion 1.x config"),
        (b"\xff\xfe", "it is not UTF-8 text; give a yaml file"),
        (b"model: &a {params: *a}", "not a Stable Diffusion 1.x config"),
        (&b"[".repeat(100_000), "recursion limit exceeded"),
        (&b"#\n".repeat(1 << 20), "more than 1048576 bytes"),
    ] {
        refused(&TestRun::new().file("m.yaml", text), ["--config", "m.yaml"], reason);
    }
    config("0.00085", ".nan", "non-finite float");
    config(
        "openaimodel.UNetModel",
        "Other",
        "'ldm.modules.diffusionmodules.Other' is not part of Stable Diffusion 1.x",
    );
}

// Prompts

#[test]
fn prompts_files_that_cannot_be_drawn_are_refused() {
    prompts("", "prompts file 'p.txt' is empty; write one prompt on each line");
    prompts(b"caf\xe9", "prompts file 'p.txt' is not UTF-8 text; save it as UTF-8");
    prompts(format!("a\n{}", "x".repeat(100_001)), "prompts file 'p.txt', line 2: longer than 100000 bytes");
    refused(&TestRun::new(), ["--from-file", "."], "prompts file '.' is a folder; name a text file in it");
    refused(&TestRun::new(), ["--from-file", "x"], "reading prompts file 'x': No such file");
    refused(&TestRun::new(), ["--from-file", "-"], "prompts file '-' is empty");
}

#[test]
fn a_very_long_prompt_that_is_allowed_is_drawn() {
    for text in ["Ã©â€™", "&amp;", "😀", "x", "a\u{300}"] {
        let prompt = text.repeat(100_000 / text.len());
        let run = TestRun::new().file("p.txt", prompt);
        run.quick(["--from-file", "p.txt", "--skip_grid"]).ok();
        run.has_files(["samples/00000.png"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn endless_devices_are_refused() {
    refused(&TestRun::new(), ["--ckpt", "/dev/zero"], "is neither a file nor a folder");
    refused(&TestRun::new(), ["--config", "/dev/zero"], "more than 1048576 bytes");
    refused(&TestRun::new(), ["--from-file", "/dev/zero"], "it has more than 1073741824 bytes");
}

// Folders and standard streams

#[test]
fn an_outdir_that_is_a_file_or_below_one_is_refused() {
    let run = TestRun::new().file("f", "in the way");
    for outdir in ["f", "f/below", "f/samples/below"] {
        refused(&run, ["--outdir", outdir], "'f' is a file, not a folder: choose another --outdir");
    }
    assert_eq!(fs::read(run.path("f")).unwrap(), b"in the way");
}

#[test]
fn a_failure_before_the_first_picture_creates_no_folder() {
    let run = TestRun::new().file("m.ckpt", "<html>");
    run.quick(["--ckpt", "m.ckpt"]).fails_with("is a web page");
    run.quick(["--n_iter", "0"]).is_misuse("draws nothing");
    assert!(!run.path("out").exists());
}

#[cfg(unix)]
mod unix {
    use super::*;
    use crate::support::{read_png, stderr, stdout};
    use std::process::{Command, Output};

    /// Prepares a quick run by a shell script in which `"$@"` is the program with its arguments.
    fn shell(run: &TestRun, script: &str, args: &[&str]) -> TestCommand {
        let TestCommand(program) = run.quick(args);
        let mut sh = Command::new("sh");
        sh.args(["-c", script, "sh"]).arg(program.get_program()).args(program.get_args());
        sh.current_dir(run.path(""));
        TestCommand(sh)
    }

    #[track_caller]
    fn output(mut run: TestCommand, code: i32) -> Output {
        let output = run.0.output().unwrap();
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(!message.contains("panicked"), "{message}");
        output
    }

    /// A file size limit simulates a full disk: with SIGXFSZ ignored, a write beyond it fails.
    #[test]
    fn a_full_disk_is_reported_and_leaves_no_partial_picture() {
        let run = TestRun::new();
        let full = r#"trap "" XFSZ; ulimit -f 8; exec "$@""#;
        shell(&run, full, &["--skip_grid"]).fails_with("cannot write 'out/samples/00000.png': File too large");
        run.has_files([]);
        shell(&run, full, &["--skip_save"]).fails_with("/0.png': File too large");
        run.has_files([]);
    }

    #[test]
    fn a_closed_standard_output_does_not_prevent_saving() {
        let run = TestRun::new();
        output(shell(&run, r#""$@" >&-"#, &[]), 0);
        assert_eq!(run.files().len(), 2);
        let message = stderr(&output(shell(&run, r#"{ "$@"; echo $? >rc; } | true"#, &["--skip_watermark"]), 0));
        assert!(message.starts_with("1 picture saved in "), "{message}");
        assert!(message.ends_with("\nerror: writing to standard output: Broken pipe (os error 32)\n"), "{message}");
        assert_eq!(fs::read(run.path("rc")).unwrap(), b"1\n");
        assert_eq!(run.files().len(), 4);
    }

    #[test]
    fn a_closed_standard_error_does_not_panic() {
        let run = TestRun::new();
        let message = stdout(&output(shell(&run, r#""$@" 2>&-"#, &[]), 0));
        assert!(message.ends_with("here: \nout\n"));
        output(shell(&run, r#""$@" 2>&-"#, &["--ckpt", "x"]), 1);
        output(shell(&run, r#"{ "$@" 2>&1; echo $? >rc; } | true; exit $(cat rc)"#, &["--ckpt", "x"]), 1);
        output(shell(&run, r#"{ "$@" 2>&1; echo $? >rc; } | true; exit $(cat rc)"#, &["--bogus"]), 2);
    }

    #[test]
    fn help_into_a_closed_pipe_does_not_panic() {
        output(shell(&TestRun::new(), r#"{ "$@"; echo $? >rc; } | true; exit $(cat rc)"#, &["--help"]), 0);
    }

    #[test]
    fn circular_links_are_refused() {
        let run = TestRun::new();
        std::os::unix::fs::symlink("loop", run.path("loop")).unwrap();
        refused(&run, ["--ckpt", "loop"], "'loop' cannot be read: ");
        refused(&run, ["--config", "loop"], "config 'loop': ");
        refused(&run, ["--from-file", "loop"], "reading prompts file 'loop': ");
        refused(
            &run,
            ["--outdir", "loop"],
            "'loop' is a link to a missing folder or to itself: choose another --outdir",
        );
    }

    #[test]
    fn pictures_saved_before_a_failure_are_kept() {
        let run = TestRun::new();
        // The single pictures are below the limit, the grid of nine is not.
        let half = r#"trap "" XFSZ; ulimit -f 64; exec "$@""#;
        shell(&run, half, &["--n_samples", "9"]).fails_with("cannot write 'out/grid-0000.png'");
        assert_eq!(run.files().len(), 9);
        for file in run.files() {
            assert_eq!(read_png(&run.path("out").join(file)).width, 64);
        }
    }
}
