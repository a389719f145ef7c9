//! The command `txt2img`.

use anyhow::Result;
use std::io::Write;
use std::process::ExitCode;
use txt2img::args::Args;
use txt2img::commands::{collect, print_dry_run, verify_watermarks};
use txt2img::job::Job;
use txt2img::progress::Progress;
use txt2img::txt2img::{End, run};

fn main() -> ExitCode {
    txt2img::ops::keep_memory(); // before there are threads
    match txt2img() {
        Ok(End::Finished) => ExitCode::SUCCESS,
        // 128 + SIGINT, as in shells.
        Ok(End::Interrupted) => ExitCode::from(130),
        Err(error) => {
            // One line, whatever a path contains. `eprintln!` would panic if standard error is closed.
            let sentence = format!("{error:#}").replace(char::is_control, " ");
            let _ = std::io::stderr().write_all(format!("Error: {sentence}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// Runs the command that the flags select.
fn txt2img() -> Result<End> {
    let args = Args::from_command_line();
    if !args.verify_watermark.is_empty() {
        return verify_watermarks(&args.verify_watermark);
    }
    if args.collect {
        return collect(&args.outdir, &Progress::new(args.progress, args.quiet));
    }
    let job = Job::from_args(&args)?;
    if args.dry_run {
        return print_dry_run(&job);
    }
    run(&job)
}
