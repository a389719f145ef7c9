//! The name of a repository on the hub, `OWNER/NAME[@REVISION][:FILE]`.

use std::fmt;
use std::path::{Component, Path};

/// A repository on the hub, with a revision and a file if they are given.
#[derive(Clone, Debug, PartialEq)]
pub struct Repo {
    /// The user or organisation that owns the repository.
    pub owner: String,
    /// The name of the repository.
    pub name: String,
    /// A branch, a tag or a commit; `None` stands for the branch `main`.
    pub revision: Option<String>,
    /// The path of a file in the repository.
    pub file: Option<String>,
}

/// File extensions. A text that ends in one is a path, not a repository.
const EXTENSIONS: [&str; 8] = [".ckpt", ".safetensors", ".pt", ".pth", ".bin", ".gguf", ".zip", ".yaml"];

impl Repo {
    /// Parses `OWNER/NAME[@REVISION][:FILE]` or `hub`, which stands for Stable Diffusion 1.5. Returns `None` for other
    /// texts, which are paths.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "hub" {
            return Some(Self::stable_diffusion_1_5());
        }
        let (repo, file) = split(text, ':');
        let (id, revision) = split(repo, '@');
        let (owner, name) = id.split_once('/')?;
        let is_repo = is_name(owner)
            && is_name(name)
            && !is_file_name(name)
            && revision.is_none_or(is_revision)
            && file.is_none_or(is_file);
        let repo = Self { owner: owner.into(), name: name.into(), revision: None, file: None };
        is_repo.then(|| Self { revision: revision.map(Into::into), file: file.map(Into::into), ..repo })
    }

    /// Returns the repository of Stable Diffusion 1.5. It replaces the original one, which no longer exists.
    pub fn stable_diffusion_1_5() -> Self {
        let name = "stable-diffusion-v1-5".to_string();
        Self { owner: name.clone(), name, revision: None, file: None }
    }

    /// Returns the repository of the original's safety checker.
    pub fn safety_checker() -> Self {
        let (owner, name) = ("CompVis".to_string(), "stable-diffusion-safety-checker".to_string());
        Self { owner, name, revision: None, file: None }
    }

    /// Returns `OWNER/NAME`.
    pub(super) fn id(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// Returns the revision, `main` by default.
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

/// Splits a text at the first `at`, if there is one.
fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(start, end)| (start, Some(end)))
}

/// Whether a text is a valid name of an owner or a repository by the hub's rules.
fn is_name(name: &str) -> bool {
    let is_outside = |end: char| matches!(end, '.' | '-');
    (1..=96).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !name.starts_with(is_outside)
        && !name.ends_with(is_outside)
        && !name.contains("..")
        && !name.contains("--")
}

/// Whether a name has the extension of a file.
fn is_file_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    EXTENSIONS.iter().any(|end| name.ends_with(end))
}

/// Whether a text may be the name of a revision, and is safe as a path.
fn is_revision(revision: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    revision.bytes().all(is_safe) && revision.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}

/// Returns whether a file name stays within the folder it is joined to.
pub(super) fn is_file(name: &str) -> bool {
    let is_plain = |component| matches!(component, Component::Normal(_));
    let is_text = !name.contains(|c: char| c.is_control() || c == '\\');
    is_text && !name.is_empty() && !name.ends_with('/') && Path::new(name).components().all(is_plain)
}
