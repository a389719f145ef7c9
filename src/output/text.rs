//! Text in pictures.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

use super::Picture;

const FONT: &[u8] = include_bytes!("font/DejaVuSans.ttf");

/// Stands for what was left out.
const ELLIPSIS: char = '…';

const INK: f32 = 32.;

/// A font in one size.
///
/// Characters are set one after another, as they come: right for Latin, Greek and Cyrillic letters. Those that the font
/// does not have become boxes.
pub struct Text {
    font: FontRef<'static>,
    scale: PxScale,
}

impl Text {
    /// Letters of `size` pixels an em.
    pub fn new(size: f32) -> Self {
        let font = FontRef::try_from_slice(FONT).expect("the font is compiled in");
        let em = font.units_per_em().expect("DejaVu Sans has units");
        let scale = PxScale::from(size * font.height_unscaled() / em);
        Self { font, scale }
    }

    /// From one line to the next, in pixels.
    pub fn line(&self) -> usize {
        self.font.as_scaled(self.scale).height().ceil() as usize
    }

    /// In pixels.
    pub fn width(&self, text: &str) -> f32 {
        text.chars().map(|c| self.advance(c)).sum()
    }

    /// The text, or its beginning and an ellipsis; nothing where not even that fits.
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

    /// The text on at most `n` lines, broken between words where there are any, its end left out where it is too long.
    pub fn wrapped(&self, text: &str, width: f32, n: usize) -> Vec<String> {
        let mut lines = vec![];
        let mut rest = text.trim();
        while !rest.is_empty() && lines.len() + 1 < n {
            let line = whole_words(rest, self.beginning(rest, width));
            if line.is_empty() {
                break; // Not even one letter fits.
            }
            lines.push(line.trim_end().to_owned());
            rest = rest[line.len()..].trim_start();
        }
        lines.extend((!rest.is_empty()).then(|| self.shortened(rest, width)));
        lines
    }

    /// Writes one line; what is outside the picture is cut off.
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

    /// How far the next letter is.
    fn advance(&self, c: char) -> f32 {
        let font = self.font.as_scaled(self.scale);
        font.h_advance(font.glyph_id(visible(c)))
    }

    /// As many characters as fit.
    fn beginning<'a>(&self, text: &'a str, width: f32) -> &'a str {
        let mut end = 0.;
        let too_far = text.char_indices().find(|&(_, c)| {
            end += self.advance(c);
            end > width
        });
        &text[..too_far.map_or(text.len(), |(at, _)| at)]
    }
}

/// Line breaks and tabs are spaces here.
fn visible(c: char) -> char {
    if c.is_whitespace() { ' ' } else { c }
}

/// `beginning`, without the word it breaks off in; a word as long as that is broken.
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
