//! A fake hub with one repository, and a store of large files at another address.

use crate::server::{Answer, Request, Server};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use txt2img::checkpoint::hub::{Hub, Repo};

pub const COMMIT: &str = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14";

/// The size from which files are in the store, in bytes.
const LARGE: usize = 1000;

type Files = Vec<(String, Vec<u8>)>;

/// Answers that replace the normal ones, each for the first matching request.
type Faults = Arc<Mutex<Vec<(fn(&Request) -> bool, Answer)>>>;

/// A fake hub, its store, and a folder for the cache.
pub struct Pretend {
    pub hub: Server,
    pub store: Server,
    pub folder: TempDir,
    faults: Faults,
}

/// Returns bytes that differ for each seed, of a length that is not a round number.
pub fn weights(seed: u8) -> Vec<u8> {
    (0..700_123_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    txt2img::files::sha256::of_bytes(bytes)
}

/// Returns a name like git's of a file; any 40 digits will do.
fn git_name(bytes: &[u8]) -> String {
    sha256(bytes)[..40].to_string()
}

impl Pretend {
    /// Starts a hub with the repository `someone/model` of these files.
    pub fn with(files: &[(&str, &[u8])]) -> Self {
        let files: Files = files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect();
        let faults = Faults::default();
        let store = Server::start({
            let (files, faults) = (files.clone(), faults.clone());
            move |request| fault(&faults, request).unwrap_or_else(|| stored(&files, request))
        });
        let hub = Server::start({
            // The store has another host name than the hub.
            let (faults, store) = (faults.clone(), store.address.replace("127.0.0.1", "localhost"));
            move |request| fault(&faults, request).unwrap_or_else(|| answer(&files, &store, request))
        });
        Self { hub, store, folder: TempDir::new().unwrap(), faults }
    }

    /// Answers the next matching request with `answer`.
    pub fn once(self, when: fn(&Request) -> bool, answer: Answer) -> Self {
        self.faults.lock().unwrap().push((when, answer));
        self
    }

    /// Answers the next twenty matching requests with `answer`.
    pub fn always(mut self, when: fn(&Request) -> bool, answer: &Answer) -> Self {
        for _ in 0..20 {
            self = self.once(when, answer.clone());
        }
        self
    }

    /// Returns the client's view of the hub.
    pub fn seen(&self) -> Hub {
        Hub {
            endpoint: self.hub.address.clone(),
            cache: self.folder.path().join("hub"),
            token: None,
            offline: false,
            read_timeout: Duration::from_secs(10),
        }
    }

    /// Returns the number of requests to the store.
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
