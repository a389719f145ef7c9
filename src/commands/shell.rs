//! `--completions` and `--man`: what a shell and `man` need to know about the flags.

use crate::args::{Program, command};
use crate::txt2img::End;
use anyhow::{Context, Result};
use clap_complete::Shell;
use std::io::{Write, stdout};

/// Prints a script that completes the flags of `program` in `shell`.
///
/// # Errors
/// If standard output cannot be written.
pub fn print_completions(program: Program, shell: Shell) -> Result<End> {
    let mut command = command(program, false);
    let name = command.get_name().to_owned();
    let mut script = vec![];
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&script)
}

/// Prints the manual page of `program`, in roff.
///
/// # Errors
/// If standard output cannot be written.
pub fn print_man_page(program: Program) -> Result<End> {
    let mut page = vec![];
    clap_mangen::Man::new(command(program, false)).render(&mut page)?;
    print(&page)
}

fn print(bytes: &[u8]) -> Result<End> {
    stdout().write_all(bytes).context("writing to standard output")?;
    Ok(End::Finished)
}
