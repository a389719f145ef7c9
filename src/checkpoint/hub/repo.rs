//! Which repository is meant, in one word.

use std::fmt;
use std::path::{Component, Path};

/// A model on the hub, as `OWNER/NAME[@REVISION][:FILE]` names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Repo {
    /// Whose it is.
    pub owner: String,
    /// What it is called.
    pub name: String,
    /// A branch, a tag or a commit; the branch `main` if none is given.
    pub revision: Option<String>,
    /// A file in it.
    pub file: Option<String>,
}

/// Ends of file names; what has one is meant as a path.
const FILES: [&str; 8] = [".ckpt", ".safetensors", ".pt", ".pth", ".bin", ".gguf", ".zip", ".yaml"];

impl Repo {
    /// The repository that is meant by a text, or none if it can only be a path. The word `hub` means Stable
    /// Diffusion 1.5.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "hub" {
            return Some(Self::stable_diffusion_1_5());
        }
        let (place, file) = split(text, ':');
        let (id, revision) = split(place, '@');
        let (owner, name) = id.split_once('/')?;
        let is_repo = is_name(owner)
            && is_name(name)
            && !is_file_name(name)
            && revision.is_none_or(is_revision)
            && file.is_none_or(is_file);
        let repo = Self { owner: owner.into(), name: name.into(), revision: None, file: None };
        is_repo.then(|| Self { revision: revision.map(Into::into), file: file.map(Into::into), ..repo })
    }

    /// The repository that holds Stable Diffusion 1.5 since its first one was given up.
    pub fn stable_diffusion_1_5() -> Self {
        let name = "stable-diffusion-v1-5".to_string();
        Self { owner: name.clone(), name, revision: None, file: None }
    }

    /// The repository that holds the original's safety checker.
    pub fn safety_checker() -> Self {
        let (owner, name) = ("CompVis".to_string(), "stable-diffusion-safety-checker".to_string());
        Self { owner, name, revision: None, file: None }
    }

    /// OWNER/NAME
    pub(super) fn id(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    pub(super) fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        self.revision.iter().try_for_each(|revision| write!(f, "@{revision}"))
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(start, end)| (start, Some(end)))
}

/// The hub's own rule for names.
fn is_name(name: &str) -> bool {
    let is_outside = |end: char| matches!(end, '.' | '-');
    (1..=96).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !name.starts_with(is_outside)
        && !name.ends_with(is_outside)
        && !name.contains("..")
        && !name.contains("--")
}

fn is_file_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    FILES.iter().any(|end| name.ends_with(end))
}

fn is_revision(revision: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    revision.bytes().all(is_safe) && revision.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}

/// Whether a name stays within the folder it is joined to.
pub(super) fn is_file(name: &str) -> bool {
    let is_plain = |component| matches!(component, Component::Normal(_));
    let is_text = !name.contains(|c: char| c.is_control() || c == '\\');
    is_text && !name.is_empty() && !name.ends_with('/') && Path::new(name).components().all(is_plain)
}
