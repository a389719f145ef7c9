//! `--completions` and `--man`: what a shell and `man` need to know about the flags.

use crate::args::{Program, TABLES, command, examples};
use crate::terminal;
use crate::txt2img::End;
use anyhow::Result;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

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
    let man = Man::new(command(program, false)).manual("Stable Diffusion");
    let mut page = vec![];
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]).text([bold(program.name()), roman(" [OPTIONS]")]);
    roff.to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for (example, purpose) in examples(program) {
        roff.control("TP", []).text([roman(*purpose)]).text([bold(*example)]);
    }
    for (title, rows) in TABLES {
        roff.control("SH", [&*title.to_uppercase()]);
        for (name, meaning) in rows {
            roff.control("TP", []).text([bold(*name)]).text([roman(*meaning)]);
        }
    }
    roff.to_writer(&mut page)?;
    print(&page)
}

fn print(bytes: &[u8]) -> Result<End> {
    terminal::write_results(bytes)?;
    Ok(End::Finished)
}
