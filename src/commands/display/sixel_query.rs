//! The question to a terminal whether it displays sixels.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};

/// The time that a terminal has for each part of its answer, in nanoseconds. Those that do not know the question say nothing.
const PATIENCE: i64 = 200_000_000;

/// The attribute of terminals that display sixels.
const SIXEL: &str = "4";

/// Returns whether the terminal names sixels among its attributes.
pub fn has_sixel() -> bool {
    ask().is_some_and(|answer| names_sixel(&answer))
}

/// Asks for the terminal's primary device attributes, and returns its answer.
fn ask() -> Option<String> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
    let before = tcgetattr(&terminal).ok()?;
    let mut raw = before.clone();
    // The answer arrives as if it were typed: neither echoed nor held back until the end of the line.
    raw.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    tcsetattr(&terminal, OptionalActions::Now, &raw).ok()?;
    let answer = terminal.write_all(b"\x1b[c").ok().and_then(|()| answer(&mut terminal));
    let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
    answer
}

/// Reads up to the `c` that ends an answer.
fn answer(terminal: &mut File) -> Option<String> {
    let mut answer = vec![];
    while answer.last() != Some(&b'c') && answer.len() < 256 {
        let mut fds = [PollFd::new(&*terminal, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: PATIENCE };
        if poll(&mut fds, Some(&timeout)).ok()? == 0 {
            return None;
        }
        let mut byte = [0];
        terminal.read_exact(&mut byte).ok()?;
        answer.extend(byte);
    }
    String::from_utf8(answer).ok()
}

/// Returns whether an answer such as `ESC [ ? 62 ; 4 ; 22 c` names sixels.
fn names_sixel(answer: &str) -> bool {
    let attributes = answer.rsplit_once("[?").and_then(|(_, rest)| rest.strip_suffix('c'));
    attributes.is_some_and(|attributes| attributes.split(';').skip(1).any(|attribute| attribute == SIXEL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixels_are_attribute_4_after_the_terminals_class() {
        assert!(names_sixel("\x1b[?62;4;22c"));
        assert!(!names_sixel("\x1b[?4;22c") && !names_sixel("\x1b[?62;14c") && !names_sixel("c"));
    }
}
