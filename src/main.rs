//! `txt2img`: one command, one picture.

use anyhow::Result;
use std::io::Write;
use std::process::ExitCode;
use txt2img::args::Args;
use txt2img::job::Job;
use txt2img::plan::plan;
use txt2img::txt2img::{End, run, verify_watermarks};

fn main() -> ExitCode {
    txt2img::ops::keep_memory(); // before there are threads
    match txt2img() {
        Ok(End::Finished) => ExitCode::SUCCESS,
        // 128 + SIGINT, as shells have it.
        Ok(End::Interrupted) => ExitCode::from(130),
        Err(error) => {
            // One line, whatever a path or a file puts into it; a closed standard error is no reason to panic.
            let sentence = format!("{error:#}").replace(char::is_control, " ");
            let _ = writeln!(std::io::stderr(), "Error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn txt2img() -> Result<End> {
    let args = Args::from_command_line();
    if !args.verify_watermark.is_empty() {
        return verify_watermarks(&args.verify_watermark);
    }
    let job = Job::from_args(&args)?;
    if args.dry_run {
        print!("{}", plan(&job)?);
        return Ok(End::Finished);
    }
    run(&job)
}
