//! A hub with one repository, and its store of large files at another address.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use txt2img::checkpoint::hub::{Hub, Repo};
use crate::server::{Answer, Request, Server};

pub const COMMIT: &str = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14";

/// Larger files are in the store.
const LARGE: usize = 1000;

type Files = Vec<(String, Vec<u8>)>;

/// Answers in place of the usual ones, each to the first request it is for.
type Faults = Arc<Mutex<Vec<(fn(&Request) -> bool, Answer)>>>;

/// What is the hub, what is the store, and a folder for the cache.
pub struct Pretend {
    pub hub: Server,
    pub store: Server,
    pub folder: TempDir,
    faults: Faults,
}

/// Bytes that are no two files' and end nowhere round.
pub fn weights(seed: u8) -> Vec<u8> {
    (0..700_123_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// As git names a file; any 40 digits do.
fn git_name(bytes: &[u8]) -> String {
    sha256(bytes)[..40].to_string()
}

impl Pretend {
    /// `someone/model` with these files.
    pub fn with(files: &[(&str, &[u8])]) -> Self {
        let files: Files = files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect();
        let faults = Faults::default();
        let store = Server::start({
            let (files, faults) = (files.clone(), faults.clone());
            move |request| fault(&faults, request).unwrap_or_else(|| stored(&files, request))
        });
        let hub = Server::start({
            // Another host than the hub's, by its name.
            let (faults, store) = (faults.clone(), store.address.replace("127.0.0.1", "localhost"));
            move |request| fault(&faults, request).unwrap_or_else(|| answer(&files, &store, request))
        });
        Self { hub, store, folder: TempDir::new().unwrap(), faults }
    }

    /// The next request for which this is true is answered so.
    pub fn once(self, when: fn(&Request) -> bool, answer: Answer) -> Self {
        self.faults.lock().unwrap().push((when, answer));
        self
    }

    /// The same for many requests.
    pub fn always(mut self, when: fn(&Request) -> bool, answer: &Answer) -> Self {
        for _ in 0..20 {
            self = self.once(when, answer.clone());
        }
        self
    }

    /// As a program sees it.
    pub fn seen(&self) -> Hub {
        Hub {
            endpoint: self.hub.address.clone(),
            cache: self.folder.path().join("hub"),
            token: None,
            offline: false,
            patience: Duration::from_secs(10),
        }
    }

    /// Requests for a file's bytes.
    pub fn fetched(&self) -> usize {
        self.store.requests().len()
    }
}

pub fn model() -> Repo {
    Repo::parse("someone/model").unwrap()
}

pub fn is_bytes(request: &Request) -> bool {
    request.path.starts_with("/store/")
}

pub fn is_list(request: &Request) -> bool {
    request.path.starts_with("/api/models/")
}

pub fn is_about(request: &Request) -> bool {
    request.method == "HEAD"
}

fn fault(faults: &Faults, request: &Request) -> Option<Answer> {
    let mut faults = faults.lock().unwrap();
    let next = faults.iter().position(|(when, _)| when(request))?;
    Some(faults.remove(next).1)
}

fn answer(files: &Files, store: &str, request: &Request) -> Answer {
    let no = |code: &str| Answer::status(404).with("X-Error-Code", code);
    let path = &request.path[1..];
    if let Some(path) = path.strip_prefix("api/resolve-cache/") {
        return small(files, path, request);
    }
    if let Some(revision) = path.strip_prefix("api/models/someone/model/revision/") {
        return if is_revision(revision) { list(files) } else { no("RevisionNotFound") };
    }
    let Some(path) = path.strip_prefix("someone/model/resolve/") else { return no("RepoNotFound") };
    let (revision, file) = path.split_once('/').unwrap();
    match files.iter().find(|(name, _)| name == &file.replace("%20", " ")) {
        _ if !is_revision(revision) => no("RevisionNotFound"),
        None => no("EntryNotFound").with("X-Repo-Commit", COMMIT),
        Some((_, bytes)) if bytes.len() < LARGE => {
            let to = format!("/api/resolve-cache/{file}");
            Answer::status(307).with("Location", to).with("ETag", "\"of-the-redirect\"")
        }
        Some((_, bytes)) => Answer::status(302)
            .with("Location", format!("{store}/store/{file}?signature=1"))
            .with("X-Repo-Commit", COMMIT)
            .with("X-Linked-Etag", format!("\"{}\"", sha256(bytes)))
            .with("X-Linked-Size", bytes.len())
            .with("ETag", "\"of-the-redirect\""),
    }
}

fn is_revision(revision: &str) -> bool {
    ["main", "fp16", COMMIT].contains(&revision)
}

fn list(files: &Files) -> Answer {
    let siblings: Vec<String> = files.iter().map(|(name, _)| format!(r#"{{"rfilename":"{name}"}}"#)).collect();
    Answer::body(format!(r#"{{"sha":"{COMMIT}","private":false,"siblings":[{}]}}"#, siblings.join(",")))
}

fn small(files: &Files, path: &str, request: &Request) -> Answer {
    let (_, bytes) = files.iter().find(|(name, _)| name == path).unwrap();
    let etag = format!("W/\"{}\"", git_name(bytes));
    Answer::file(bytes, request).with("ETag", etag).with("X-Repo-Commit", COMMIT)
}

fn stored(files: &Files, request: &Request) -> Answer {
    let name = request.path.strip_prefix("/store/").unwrap().strip_suffix("?signature=1").unwrap();
    let (_, bytes) = files.iter().find(|(file, _)| file == &name.replace("%20", " ")).unwrap();
    Answer::file(bytes, request).with("ETag", "\"of-the-store\"")
}
