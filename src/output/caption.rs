//! Captions below the pictures of a grid (`--caption`).

use super::Picture;
use super::text::Text;

/// The level of the strip below a picture.
const PAPER: u8 = 255;

/// Returns a picture with `caption` on one line below it, shortened if it is longer than the picture is wide.
pub fn captioned(picture: &Picture, caption: &str) -> Picture {
    let text = Text::new((picture.width as f32 / 24.).clamp(10., 24.));
    let pad = text.line() / 4;
    let height = picture.height + text.line() + 2 * pad;
    let mut rgb = picture.rgb.clone();
    rgb.resize(3 * picture.width * height, PAPER);
    let mut captioned = Picture { width: picture.width, height, rgb };
    let line = text.shortened(caption, (picture.width - (2 * pad).min(picture.width)) as f32);
    text.draw(&mut captioned, &line, pad, picture.height + pad);
    captioned
}
