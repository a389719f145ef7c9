//! Downloads of checkpoints from a Hugging Face hub, into the cache that `huggingface_hub` and other programs share.
//!
//! A cached file is not requested again. An interrupted download is resumed, in this run or a later one, and verified
//! before it gets its name.

mod choice;
mod client;
mod environment;
mod error;
mod repo;
mod repo_cache;
mod transfer;

use crate::interrupt;
use anyhow::{Error, Result, anyhow, bail};
use choice::{Choice, Wanted};
use client::Client;
use error::{Described, HubError};
use hf_hub::RepoType;
use hf_hub::api::RepoInfo;
use repo_cache::RepoCache;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use transfer::Transfer;

pub use repo::Repo;

/// The maximum number of files that an error names.
const MAX_NAMED: usize = 5;

/// The settings of downloads: the server and the cache.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The URL of the hub, without a slash at the end.
    pub endpoint: String,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// The access token, for gated and private repositories.
    pub token: Option<String>,
    /// Whether to use cached files only.
    pub offline: bool,
    /// The time without a byte from the hub after which a request fails.
    pub read_timeout: Duration,
}

/// The progress of a download.
#[derive(Clone, Debug, PartialEq)]
pub struct Download {
    /// The path of the file in its repository.
    pub file: String,
    /// The number of bytes on the disk, including those of earlier tries.
    pub done: u64,
    /// The size of the file in bytes, if the hub states it.
    pub size: Option<u64>,
}

/// A callback for the progress of a download, called at least a few times a second while bytes arrive.
pub type OnProgress<'a> = &'a mut dyn FnMut(&Download);

impl Hub {
    /// Returns the path of a checkpoint, and downloads it if it is not cached. It is the file that `repo` names, or
    /// else the best single-file checkpoint of the repository, or else the folder of a diffusers model. With `half`,
    /// weights in half precision are preferred.
    ///
    /// # Errors
    /// If there is no such checkpoint or it cannot be downloaded, with the remedy;
    /// [`Interrupted`](interrupt::Interrupted) after Ctrl-C. A partial download is kept.
    pub fn fetch(&self, repo: &Repo, half: bool, on_progress: OnProgress) -> Result<PathBuf> {
        self.fetch_wanted(repo, Wanted::Checkpoint { half }, on_progress)
    }

    /// Returns the path of a LoRA file, and downloads it if it is not cached. It is the file that `repo` names, or else
    /// the repository's only one.
    ///
    /// # Errors
    /// If there is no such file, or there are several, or as for [`fetch`](Self::fetch).
    pub fn fetch_lora(&self, repo: &Repo, on_progress: OnProgress) -> Result<PathBuf> {
        self.fetch_wanted(repo, Wanted::Lora, on_progress)
    }

    fn fetch_wanted(&self, repo: &Repo, wanted: Wanted, on_progress: OnProgress) -> Result<PathBuf> {
        Session::new(self, repo).run(|session| match &repo.file {
            Some(file) => {
                session.fetch_files(&[&[file]], on_progress)?;
                session.cache.find(file).ok_or_else(|| session.not_cached(&format!("'{file}'")))
            }
            None => session.fetch_best(wanted, on_progress),
        })
    }

    /// Returns the folder of a repository's files, and downloads those that are not cached. Each item of `files` is a
    /// list of names, of which the first that exists is used.
    ///
    /// # Errors
    /// If a file does not exist or cannot be downloaded, as for [`fetch`](Self::fetch).
    pub fn fetch_files(&self, repo: &Repo, files: &[&[&str]], on_progress: OnProgress) -> Result<PathBuf> {
        Session::new(self, repo).run(|session| session.fetch_files(files, on_progress))
    }
}

/// The work on one repository at one revision, in the cache and on the hub.
struct Session<'a> {
    hub: &'a Hub,
    repo: &'a Repo,
    remote: hf_hub::Repo,
    cache: RepoCache,
    client: Client<'a>,
}

impl<'a> Session<'a> {
    fn new(hub: &'a Hub, repo: &'a Repo) -> Self {
        let remote = hf_hub::Repo::with_revision(repo.id(), RepoType::Model, repo.revision().to_string());
        Self { hub, repo, cache: RepoCache::new(&hub.cache, &remote), remote, client: Client::new(hub) }
    }

    /// Runs `work`. Ctrl-C closes all connections, which ends it.
    fn run<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let (working, done) = channel::<()>();
        let agent = self.client.agent();
        let watch = move || {
            while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(Duration::from_millis(50)) {
                if interrupt::check().is_err() {
                    return agent.shutdown();
                }
            }
        };
        thread::scope(|scope| {
            scope.spawn(watch);
            let result = work(self);
            drop(working);
            interrupt::check()?;
            result
        })
    }

    /// Returns the path of the best choice. Asks the hub for the list of files, unless no better one is possible.
    fn fetch_best(&self, wanted: Wanted, on_progress: OnProgress) -> Result<PathBuf> {
        let cached = wanted.choose(&self.cache.files());
        if let Some(choice) = cached.as_ref().filter(|choice| self.hub.offline || wanted.is_certain(choice)) {
            return self.path(choice);
        }
        if self.hub.offline {
            bail!(self.not_cached(wanted.name()));
        }
        match (self.list(wanted.name()), cached) {
            (Ok(list), _) => self.download_best(&list, wanted, on_progress),
            (Err(error), Some(choice)) if hub_error(&error).is_some_and(HubError::is_temporary) => self.path(&choice),
            (Err(error), _) => Err(error),
        }
    }

    /// Downloads the best choice in `list`, except for cached files.
    fn download_best(&self, list: &RepoInfo, wanted: Wanted, on_progress: OnProgress) -> Result<PathBuf> {
        let files: Vec<String> = list.siblings.iter().map(|file| file.rfilename.clone()).collect();
        let Some(choice) = wanted.choose(&files) else {
            bail!("'{}' {} ({}); {}", self.repo, wanted.lack(), first_names(files.iter()), wanted.remedy());
        };
        let commit = hf_hub::Repo::with_revision(self.repo.id(), RepoType::Model, list.sha.clone());
        let cache = RepoCache::new(&self.hub.cache, &commit);
        for file in choice.files().iter().filter(|file| cache.find(file).is_none()) {
            self.download(&commit, file, on_progress)?;
        }
        self.cache.set_ref(&list.sha)?;
        self.path(&choice)
    }

    /// Returns the path of a cached checkpoint.
    fn path(&self, choice: &Choice) -> Result<PathBuf> {
        let path = match choice {
            Choice::File(file) => self.cache.find(file),
            Choice::Parts(_) => self.cache.snapshot(),
        };
        path.ok_or_else(|| self.not_cached("a checkpoint"))
    }

    fn fetch_files(&self, files: &[&[&str]], on_progress: OnProgress) -> Result<PathBuf> {
        let missing = files.iter().find(|names| !names.iter().any(|name| self.cache.find(name).is_some()));
        if let Some(names) = missing {
            if self.hub.offline {
                bail!(self.not_cached(&format!("'{}'", names.join("' or '"))));
            }
            // All of them, so that they are of one commit. Blobs that exist are not downloaded again.
            for names in files {
                self.download_first(names, on_progress)?;
            }
        }
        self.cache.snapshot().ok_or_else(|| self.not_cached("a file"))
    }

    /// Downloads the first of `names` that exists.
    fn download_first(&self, names: &[&str], on_progress: OnProgress) -> Result<()> {
        for name in names {
            match self.download(&self.remote, name, on_progress) {
                Err(error) if hub_error(&error).is_some_and(HubError::is_missing_file) => {}
                other => return other,
            }
        }
        Err(self.no_such_file(names))
    }

    /// Downloads a file into the cache. `remote` is the repository at the revision or at its commit.
    fn download(&self, remote: &hf_hub::Repo, file: &str, on_progress: OnProgress) -> Result<()> {
        if !repo::is_file(file) {
            bail!("'{file}' in '{}' is not a valid file name; give another", self.repo);
        }
        let what = format!("'{file}' of '{}'", self.repo);
        self.try_download(remote, file, on_progress).map_err(|error| self.describe(error, &what))
    }

    fn try_download(&self, remote: &hf_hub::Repo, file: &str, on_progress: OnProgress) -> Result<()> {
        let url = self.client.url(remote, file);
        let meta = self.client.file_meta(&url)?;
        let blob = self.cache.blob(&meta.etag)?;
        let mut download = Download { file: file.to_string(), done: 0, size: meta.size };
        let _lock = Transfer { client: &self.client, url: &url, meta: &meta }.run(&blob, &mut |done| {
            download.done = done;
            on_progress(&download);
        })?;
        self.cache.link(&blob, &meta.commit, file)?;
        self.cache.set_ref(&meta.commit)
    }

    /// Requests the list of the repository's files. `what` names its purpose in an error.
    fn list(&self, what: &str) -> Result<RepoInfo> {
        let list = self.client.list(&self.remote);
        list.map_err(|error| self.describe(error.into(), &format!("{what} of '{}'", self.repo)))
    }

    fn not_cached(&self, what: &str) -> Error {
        let (repo, cache) = (self.repo, self.hub.cache.display());
        if self.hub.offline {
            return anyhow!(
                "HF_HUB_OFFLINE is set and {what} of '{repo}' is not in the cache '{cache}'; unset it, or give a \
                 file's path"
            );
        }
        anyhow!(
            "{what} of '{repo}' is missing from the cache '{cache}'; delete the repository's folder there and try again"
        )
    }

    fn no_such_file(&self, names: &[&str]) -> Error {
        let wanted = names.join("' or '");
        let Ok(list) = self.list("the files") else {
            return anyhow!("'{}' has no file '{wanted}'; see {}/{}", self.repo, self.hub.endpoint, self.repo.id());
        };
        let mut files: Vec<String> = list.siblings.into_iter().map(|file| file.rfilename).collect();
        let similarity = |file: &str| names.iter().map(|name| strsim::jaro_winkler(name, file)).fold(0., f64::max);
        files.sort_by(|a, b| similarity(b).total_cmp(&similarity(a)));
        anyhow!("'{}' has no file '{wanted}'; it has {}", self.repo, first_names(files.iter()))
    }

    /// Gives a `HubError` its message for users; other errors stay as they are.
    fn describe(&self, error: Error, what: &str) -> Error {
        match error.downcast::<HubError>() {
            Ok(cause) => Described { message: cause.message(self.hub, self.repo, what), cause }.into(),
            Err(error) => error,
        }
    }
}

/// Returns the cause of an error that has been described.
fn hub_error(error: &Error) -> Option<&HubError> {
    error.downcast_ref().map(|Described { cause, .. }| cause)
}

/// Returns the first few of many names, in quotes.
fn first_names<'a>(files: impl Iterator<Item = &'a String>) -> String {
    let mut names: Vec<String> = files.take(MAX_NAMED + 1).map(|file| format!("'{file}'")).collect();
    if names.len() > MAX_NAMED {
        names[MAX_NAMED] = "…".to_string();
    }
    names.join(", ")
}
