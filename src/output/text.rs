//! Text drawn into pictures.

use super::Picture;
use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

const FONT: &[u8] = include_bytes!("font/DejaVuSans.ttf");

/// Replaces omitted text.
const ELLIPSIS: char = '…';

/// The level of the letters.
const INK: f32 = 32.;

/// A font of a certain size.
///
/// Characters are placed one after another without shaping, which suits Latin, Greek and Cyrillic. Characters that the
/// font lacks are drawn as boxes.
pub struct Text {
    font: FontRef<'static>,
    scale: PxScale,
}

impl Text {
    /// Creates a font of `size` pixels per em.
    pub fn new(size: f32) -> Self {
        let font = FontRef::try_from_slice(FONT).expect("the font is compiled in");
        let em = font.units_per_em().expect("DejaVu Sans has units");
        let scale = PxScale::from(size * font.height_unscaled() / em);
        Self { font, scale }
    }

    /// The line height, in pixels.
    pub fn line(&self) -> usize {
        self.font.as_scaled(self.scale).height().ceil() as usize
    }

    /// Returns the width of `text`, in pixels.
    pub fn width(&self, text: &str) -> f32 {
        text.chars().map(|c| self.advance(c)).sum()
    }

    /// Returns `text`, shortened with an ellipsis to fit `width` pixels; empty if not even the ellipsis fits.
    pub fn shortened(&self, text: &str, width: f32) -> String {
        let room = width - self.advance(ELLIPSIS);
        if self.width(text) <= width {
            text.to_owned()
        } else if room < 0. {
            String::new()
        } else {
            format!("{}{ELLIPSIS}", self.beginning(text, room).trim_end())
        }
    }

    /// Wraps `text` to at most `n` lines of `width` pixels, preferably between words. If it is too long, the last line
    /// is shortened.
    pub fn wrapped(&self, text: &str, width: f32, n: usize) -> Vec<String> {
        let mut lines = vec![];
        let mut rest = text.trim();
        while !rest.is_empty() && lines.len() + 1 < n {
            let line = whole_words(rest, self.beginning(rest, width));
            if line.is_empty() {
                break; // not even one letter fits
            }
            lines.push(line.trim_end().to_owned());
            rest = rest[line.len()..].trim_start();
        }
        lines.extend((!rest.is_empty()).then(|| self.shortened(rest, width)));
        lines
    }

    /// Draws `text` on one line, with its upper left corner at (`left`, `top`), clipped to the picture.
    pub fn draw(&self, picture: &mut Picture, text: &str, left: usize, top: usize) {
        let baseline = top as f32 + self.font.as_scaled(self.scale).ascent();
        let mut x = left as f32;
        for c in text.chars() {
            let glyph = self.font.glyph_id(visible(c)).with_scale_and_position(self.scale, point(x, baseline));
            if let Some(outline) = self.font.outline_glyph(glyph) {
                let corner = outline.px_bounds().min;
                outline.draw(|dx, dy, ink| blend(picture, corner.x + dx as f32, corner.y + dy as f32, ink));
            }
            x += self.advance(c);
        }
    }

    /// Returns the advance width of `c`, in pixels.
    fn advance(&self, c: char) -> f32 {
        let font = self.font.as_scaled(self.scale);
        font.h_advance(font.glyph_id(visible(c)))
    }

    /// Returns the longest beginning of `text` that fits `width` pixels.
    fn beginning<'a>(&self, text: &'a str, width: f32) -> &'a str {
        let mut end = 0.;
        let too_far = text.char_indices().find(|&(_, c)| {
            end += self.advance(c);
            end > width
        });
        &text[..too_far.map_or(text.len(), |(at, _)| at)]
    }
}

/// Returns `c`, or a space for any whitespace.
fn visible(c: char) -> char {
    if c.is_whitespace() { ' ' } else { c }
}

/// Returns `beginning` without its last word if that is incomplete, unless it is the only word.
fn whole_words<'a>(text: &str, beginning: &'a str) -> &'a str {
    let breaks_off = text[beginning.len()..].starts_with(|c: char| !c.is_whitespace());
    match beginning.rfind(char::is_whitespace) {
        Some(space) if breaks_off => &beginning[..space],
        _ => beginning,
    }
}

fn blend(picture: &mut Picture, x: f32, y: f32, ink: f32) {
    if x < 0. || y < 0. || x >= picture.width as f32 || y >= picture.height as f32 {
        return;
    }
    let at = 3 * (y as usize * picture.width + x as usize);
    for level in &mut picture.rgb[at..][..3] {
        *level = (f32::from(*level) + (INK - f32::from(*level)) * ink.clamp(0., 1.)) as u8;
    }
}
