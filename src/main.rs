//! `txt2img`: one command, one picture.

use anyhow::{Context, Result};
use std::io::Write;
use std::process::ExitCode;
use txt2img::args::Args;
use txt2img::commands::dry_run::dry_run;
use txt2img::commands::{collect, verify_watermarks};
use txt2img::job::Job;
use txt2img::progress::Progress;
use txt2img::txt2img::{End, run};

fn main() -> ExitCode {
    txt2img::ops::keep_memory(); // before there are threads
    match txt2img() {
        Ok(End::Finished) => ExitCode::SUCCESS,
        // 128 + SIGINT, as shells have it.
        Ok(End::Interrupted) => ExitCode::from(130),
        Err(error) => {
            // One line, whatever a path or a file puts into it; a closed standard error is no reason to panic.
            let sentence = format!("{error:#}").replace(char::is_control, " ");
            let _ = std::io::stderr().write_all(format!("Error: {sentence}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

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
        return foretell(&job);
    }
    run(&job)
}

/// `--dry_run`: what the run would be.
fn foretell(job: &Job) -> Result<End> {
    let plan = dry_run(job)?;
    let progress = Progress::new(job.run.progress, job.run.quiet);
    job.run.notes.iter().for_each(|note| progress.note(note));
    std::io::stdout().write_all(plan.to_string().as_bytes()).context("writing to standard output")?;
    plan.check_fit()?;
    Ok(End::Finished)
}
