//! Detects a file's format by its first bytes.

use super::{Layout, legacy};
use anyhow::{Result, bail};

/// The start of a git-lfs pointer.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";

/// Returns whether a file is a zip archive, as torch's files are since version 1.6.
pub(super) fn is_zip(file: &[u8]) -> bool {
    file.starts_with(b"PK\x03\x04")
}

/// Returns the format of a file.
///
/// # Errors
/// A clause that says what the file is, if it is not a checkpoint.
pub(super) fn layout(file: &[u8]) -> Result<Layout> {
    layout_of(file, "checkpoint", "give a .ckpt or .safetensors file or a diffusers folder")
}

/// Returns the format of a file. `wanted`: the kind of file that it should be, and `remedy`: what to give, for the error.
///
/// # Errors
/// A clause that says what the file is, if its format is another.
pub(super) fn layout_of(file: &[u8], wanted: &str, remedy: &str) -> Result<Layout> {
    if is_zip(file) || legacy::is_legacy(file) {
        return Ok(Layout::Torch);
    }
    if is_safetensors(file) {
        return Ok(Layout::Safetensors);
    }
    let a = if wanted.starts_with('e') { "an" } else { "a" };
    if file.starts_with(LFS_POINTER) {
        let size = lfs_size(file).unwrap_or("an unknown number of");
        bail!("is a git-lfs pointer to {size} bytes, not the {wanted} itself; fetch it with git lfs pull");
    }
    if is_web_page(file) {
        bail!("is a web page, not {a} {wanted}; the download went to a login or error page, so download it again");
    }
    if is_tar(file) {
        bail!(
            "is a tar archive, not {a} {wanted}; unpack it, or if torch wrote it before 2017, save it with a newer one"
        );
    }
    bail!("is {}, not {a} {wanted}; {remedy}", other(file));
}

/// Returns whether a file begins with the length of a header and a JSON object. A real length is too small to be text.
fn is_safetensors(file: &[u8]) -> bool {
    file.get(8) == Some(&b'{') && !is_text(&file[..8])
}

/// Returns the size that a git-lfs pointer states.
fn lfs_size(file: &[u8]) -> Option<&str> {
    let text = str::from_utf8(start(file)).ok()?;
    let size = text.lines().find_map(|line| line.strip_prefix("size "))?;
    size.bytes().all(|byte| byte.is_ascii_digit()).then_some(size)
}

fn is_web_page(file: &[u8]) -> bool {
    let text = String::from_utf8_lossy(start(file)).to_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    ["<!doctype", "<html", "<head", "<?xml", "<!--"].iter().any(|tag| text.starts_with(tag))
}

fn is_tar(file: &[u8]) -> bool {
    file.get(257..262) == Some(b"ustar")
}

/// Describes a file of another format.
fn other(file: &[u8]) -> &'static str {
    match file {
        [0x80, 0..=5, ..] => "a bare Python pickle",
        [b'G', b'G', b'U', b'F', ..] => "a GGUF file",
        [0x1f, 0x8b, ..] => "a gzip archive",
        _ if !is_text(start(file)) => "of an unknown format",
        _ if file.trim_ascii_start().starts_with(b"{") => "a JSON file",
        _ => "a text file",
    }
}

/// Returns the part of a file that is examined for text.
fn start(file: &[u8]) -> &[u8] {
    &file[..file.len().min(512)]
}

fn is_text(bytes: &[u8]) -> bool {
    // The last character may be incomplete.
    let valid = str::from_utf8(bytes).map_or_else(|e| e.error_len().is_none(), |_| true);
    valid && bytes.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace())
}
