//! Ways of displaying a picture in a terminal.

use crate::output::{self, Format, Picture};
use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine};
use icy_sixel::SixelImage;
use std::fmt::Write;
use terminal_size::{Height, Width, terminal_size};

/// A way of displaying a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// The terminal graphics protocol of kitty, which Ghostty and WezTerm have too.
    Kitty,
    /// Inline images of iTerm2, which VS Code's terminal has too.
    Iterm2,
    /// Sixels, as xterm, foot, Konsole and Windows Terminal have them.
    Sixel,
    /// Two pixels in each cell, in 24-bit colours.
    Blocks,
}

/// The size of a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Screen {
    /// The number of columns.
    pub columns: usize,
    /// The number of lines.
    pub lines: usize,
}

/// The width of a cell in pixels, of which most terminals have more.
const CELL_WIDTH: usize = 8;

/// The most bytes in an escape sequence of kitty's protocol.
const KITTY_CHUNK: usize = 4096;

impl Screen {
    /// Returns the size of the terminal, or 80×24 if it is unknown.
    pub fn of_terminal() -> Self {
        let (Width(columns), Height(lines)) = terminal_size().unwrap_or((Width(80), Height(24)));
        Self { columns: columns.into(), lines: lines.into() }
    }

    /// The width in pixels, at least.
    fn pixels(self) -> usize {
        self.columns * CELL_WIDTH
    }
}

impl Protocol {
    /// Returns the best way in a terminal with these environment variables. `has_sixel` asks the terminal.
    pub fn detect(variable: &dyn Fn(&str) -> Option<String>, has_sixel: impl FnOnce() -> bool) -> Self {
        let term = variable("TERM").unwrap_or_default();
        let program = variable("TERM_PROGRAM").or_else(|| variable("LC_TERMINAL")).unwrap_or_default();
        // Terminal multiplexers do not pass on the other protocols.
        let is_nested = variable("TMUX").is_some() || term.starts_with("screen") || term.starts_with("tmux");
        if !is_nested {
            let is_kitty = term.contains("kitty") || variable("KITTY_WINDOW_ID").is_some();
            if is_kitty || ["ghostty", "WezTerm"].contains(&&*program) {
                return Self::Kitty;
            }
            if ["iTerm.app", "iTerm2", "vscode"].contains(&&*program) {
                return Self::Iterm2;
            }
        }
        if has_sixel() { Self::Sixel } else { Self::Blocks }
    }

    /// Returns what to print to display a picture, no wider than the terminal.
    ///
    /// # Errors
    /// If the picture cannot be encoded.
    pub fn encode(self, picture: &Picture, screen: Screen) -> Result<Vec<u8>> {
        let is_wide = picture.width > screen.pixels();
        match self {
            Self::Kitty => Ok(kitty(&png(picture)?, is_wide.then_some(screen.columns)).into_bytes()),
            Self::Iterm2 => {
                let (data, width) = (png(picture)?, if is_wide { "100%" } else { "auto" });
                Ok(format!("\x1b]1337;File=inline=1;width={width}:{data}\x07").into_bytes())
            }
            Self::Sixel => {
                let picture = output::shrunk(picture, picture.width.div_ceil(screen.pixels().max(1)).max(1));
                let rgba = picture.rgb.chunks_exact(3).flat_map(|rgb| [rgb[0], rgb[1], rgb[2], 255]).collect();
                let image = SixelImage::from_rgba(rgba, picture.width, picture.height);
                Ok(image.encode().context("encoding sixels")?.into_bytes())
            }
            Self::Blocks => Ok(blocks(picture, screen).into_bytes()),
        }
    }
}

/// Returns a picture as a PNG file in base64.
fn png(picture: &Picture) -> Result<String> {
    Ok(BASE64_STANDARD.encode(Format::Png.encode(picture, None)?))
}

/// Returns the escape sequences of kitty's protocol for a PNG file in base64. `columns`: the width to scale it to.
fn kitty(png: &str, columns: Option<usize>) -> String {
    let mut text = String::new();
    let width = columns.map_or(String::new(), |columns| format!(",c={columns}"));
    let mut start = 0;
    while start < png.len() {
        let end = (start + KITTY_CHUNK).min(png.len());
        let control = if start == 0 { format!("a=T,f=100{width},") } else { String::new() };
        let has_more = u8::from(end < png.len());
        // Writing to a string does not fail.
        let _ = write!(text, "\x1b_G{control}m={has_more};{}\x1b\\", &png[start..end]);
        start = end;
    }
    text
}

/// Returns lines of upper half blocks, whose foreground is the upper of two pixels and whose background the lower one.
fn blocks(picture: &Picture, screen: Screen) -> String {
    let (width, height) = (picture.width as f64, picture.height as f64);
    // A line remains for the prompt.
    let most = (screen.columns as f64 / width).min(2. * screen.lines.saturating_sub(1).max(1) as f64 / height).min(1.);
    let (columns, rows) = (((width * most) as usize).max(1), ((height * most) as usize).max(2) / 2 * 2);
    let pixel = |x: usize, y: usize| {
        let (left, right) = (x * picture.width / columns, ((x + 1) * picture.width).div_ceil(columns));
        let (top, bottom) = (y * picture.height / rows, ((y + 1) * picture.height).div_ceil(rows));
        output::mean(picture, left..right, top..bottom)
    };
    let mut text = String::new();
    for y in (0..rows).step_by(2) {
        for x in 0..columns {
            let ([r, g, b], [r2, g2, b2]) = (pixel(x, y), pixel(x, y + 1));
            let _ = write!(text, "\x1b[38;2;{r};{g};{b};48;2;{r2};{g2};{b2}m▀");
        }
        text += if y + 2 < rows { "\x1b[0m\n" } else { "\x1b[0m" };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(variables: &[(&str, &str)], has_sixel: bool) -> Protocol {
        let variable =
            |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        Protocol::detect(&variable, || has_sixel)
    }

    #[test]
    fn terminals_are_detected_by_their_variables() {
        assert_eq!(detected(&[("TERM", "xterm-kitty")], false), Protocol::Kitty);
        assert_eq!(detected(&[("TERM_PROGRAM", "WezTerm")], false), Protocol::Kitty);
        assert_eq!(detected(&[("TERM_PROGRAM", "iTerm.app")], false), Protocol::Iterm2);
        assert_eq!(detected(&[("LC_TERMINAL", "iTerm2")], false), Protocol::Iterm2);
        assert_eq!(detected(&[("TERM", "foot")], true), Protocol::Sixel);
        assert_eq!(detected(&[("TERM", "tmux-256color"), ("KITTY_WINDOW_ID", "1")], false), Protocol::Blocks);
        assert_eq!(detected(&[], false), Protocol::Blocks);
    }

    #[test]
    fn kittys_chunks_add_up_to_the_file() {
        let png = "a".repeat(2 * KITTY_CHUNK + 5);
        let text = kitty(&png, Some(80));
        assert!(text.starts_with("\x1b_Ga=T,f=100,c=80,m=1;"));
        let chunks: Vec<&str> = text.split("\x1b\\").filter(|chunk| !chunk.is_empty()).collect();
        assert!(chunks.len() == 3 && chunks[2].starts_with("\x1b_Gm=0;"));
        assert_eq!(chunks.iter().map(|chunk| chunk.split_once(';').unwrap().1).collect::<String>(), png);
    }

    #[test]
    fn blocks_show_two_pixels_in_a_cell() {
        let picture = Picture { width: 2, height: 2, rgb: vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] };
        let text = blocks(&picture, Screen { columns: 80, lines: 24 });
        assert_eq!(text, "\x1b[38;2;1;2;3;48;2;7;8;9m▀\x1b[38;2;4;5;6;48;2;10;11;12m▀\x1b[0m");
        let wide = Picture { width: 400, height: 300, rgb: vec![9; 3 * 400 * 300] };
        let text = blocks(&wide, Screen { columns: 80, lines: 24 });
        assert!(text.lines().count() <= 23 && text.lines().all(|line| line.matches('▀').count() <= 80));
    }

    #[test]
    fn sixels_are_no_wider_than_the_terminal() {
        let picture = Picture { width: 1000, height: 10, rgb: vec![200; 30_000] };
        let text = Protocol::Sixel.encode(&picture, Screen { columns: 80, lines: 24 }).unwrap();
        assert_eq!(SixelImage::decode(&text).unwrap().width, 500);
    }
}
