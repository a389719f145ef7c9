//! The commands: their common beginning and end, and those that draw nothing.

mod collect;
pub(crate) mod display;
pub mod dry_run;
mod handover;
mod shell;
mod verify_watermark;

use crate::args::{Args, Program};
use crate::job::Job;
use crate::ops;
use crate::progress::Progress;
use crate::terminal::{self, Label};
use crate::txt2img::{End, run};
use crate::usage::UsageError;
use anyhow::Result;
use std::process::ExitCode;

pub use collect::collect;
pub use dry_run::print_dry_run;
pub use verify_watermark::verify_watermarks;

/// Runs a program with the arguments of this process. Prints an error, if there is one, on one line.
pub fn main(program: Program) -> ExitCode {
    ops::keep_memory(); // before there are threads
    match command(program) {
        Ok(End::Finished) => ExitCode::SUCCESS,
        // 128 + SIGINT, as in shells.
        Ok(End::Interrupted) => ExitCode::from(130),
        Err(error) => {
            terminal::print(Label::Error, &format!("{error:#}"));
            // As clap does for the mistakes that it finds.
            if error.is::<UsageError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Runs the command that the flags select.
fn command(program: Program) -> Result<End> {
    let args = Args::from_command_line(program);
    terminal::set_color(args.color_choice());
    if let Some(shell) = args.completions {
        return shell::print_completions(program, shell);
    }
    if args.man {
        return shell::print_man_page(program);
    }
    if !args.verify_watermark.is_empty() {
        return verify_watermarks(&args.verify_watermark);
    }
    if args.collect {
        return collect(&args.outdir, args.index, &Progress::new(args.progress, args.quiet));
    }
    handover::to_cuda(&args);
    let job = Job::from_args(&args)?;
    if args.dry_run {
        return print_dry_run(&job);
    }
    run(&job)
}
