//! Checkpoints from a Hugging Face hub, kept in the cache that all programs share which use one.
//!
//! What is in the cache is not asked for again. A broken download goes on where it ended, in this run or a later
//! one, and is checked before it gets its name.

mod choice;
mod client;
mod environment;
mod repo;
mod shelf;
mod transfer;
mod trouble;

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Error, Result, anyhow, bail};
use hf_hub::RepoType;
use hf_hub::api::RepoInfo;

use crate::interrupt;
use choice::Choice;
use client::Client;
pub use repo::Repo;
use shelf::Shelf;
use transfer::Transfer;
use trouble::{Explained, Trouble};

/// Files named in an error.
const FEW: usize = 5;

/// Where to fetch from and where to keep it.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The hub's address, without a slash at its end.
    pub endpoint: String,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// Who asks, for what is not open to everybody.
    pub token: Option<String>,
    /// Whether to take only what is in the cache.
    pub offline: bool,
    /// How long the hub may be silent.
    pub patience: Duration,
}

/// How far a download is.
#[derive(Clone, Debug, PartialEq)]
pub struct Download {
    /// The file's name in its repository.
    pub file: String,
    /// Bytes that are there, those of earlier tries among them.
    pub done: u64,
    /// Bytes in all, if the hub says.
    pub size: Option<u64>,
}

/// What is told of a download, a few times a second or more often.
pub type Report<'a> = &'a mut dyn FnMut(&Download);

impl Hub {
    /// The path of a checkpoint, fetched if it is not in the cache: of the file that `repo` names, or else of the
    /// best one of its repository, or else of a folder with a diffusers model. half: half precision is enough.
    ///
    /// # Errors
    /// When it cannot be had, with the remedy; `Interrupted` after Ctrl-C, what has come is kept.
    pub fn fetch(&self, repo: &Repo, half: bool, report: Report) -> Result<PathBuf> {
        Visit::new(self, repo).run(|visit| match &repo.file {
            Some(file) => {
                visit.files(&[&[file]], report)?;
                visit.shelf.find(file).ok_or_else(|| visit.not_here(&format!("'{file}'")))
            }
            None => visit.best(half, report),
        })
    }

    /// The folder with a repository's files, fetched if they are not in the cache. Each of `files` is a list of
    /// names, of which the first that exists is taken.
    ///
    /// # Errors
    /// As those of `fetch`.
    pub fn fetch_files(&self, repo: &Repo, files: &[&[&str]], report: Report) -> Result<PathBuf> {
        Visit::new(self, repo).run(|visit| visit.files(files, report))
    }
}

/// One repository at one revision, here and at the hub.
struct Visit<'a> {
    hub: &'a Hub,
    repo: &'a Repo,
    there: hf_hub::Repo,
    shelf: Shelf,
    client: Client<'a>,
}

impl<'a> Visit<'a> {
    fn new(hub: &'a Hub, repo: &'a Repo) -> Self {
        let there = hf_hub::Repo::with_revision(repo.id(), RepoType::Model, repo.revision().to_string());
        Self { hub, repo, shelf: Shelf::new(&hub.cache, &there), there, client: Client::new(hub) }
    }

    /// Does what can be stopped by Ctrl-C, which closes all connections.
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

    fn best(&self, half: bool, report: Report) -> Result<PathBuf> {
        let here = choice::choose(&self.shelf.files(), half);
        if let Some(choice) = here.as_ref().filter(|choice| self.hub.offline || choice.is_certain(half)) {
            return self.path(choice);
        }
        if self.hub.offline {
            bail!(self.not_here("a checkpoint"));
        }
        match (self.list("a checkpoint"), here) {
            (Ok(list), _) => self.best_of(&list, half, report),
            (Err(error), Some(choice)) if trouble(&error).is_some_and(Trouble::passes) => self.path(&choice),
            (Err(error), _) => Err(error),
        }
    }

    fn best_of(&self, list: &RepoInfo, half: bool, report: Report) -> Result<PathBuf> {
        let files: Vec<String> = list.siblings.iter().map(|file| file.rfilename.clone()).collect();
        let Some(choice) = choice::choose(&files, half) else {
            bail!(
                "'{}' holds neither a single-file checkpoint nor a diffusers model ({}); give another repository",
                self.repo,
                few(files.iter())
            );
        };
        let commit = hf_hub::Repo::with_revision(self.repo.id(), RepoType::Model, list.sha.clone());
        let shelf = Shelf::new(&self.hub.cache, &commit);
        for file in choice.files().iter().filter(|file| shelf.find(file).is_none()) {
            self.obtain(&commit, file, report)?;
        }
        self.shelf.name(&list.sha)?;
        self.path(&choice)
    }

    /// Of what is in the cache.
    fn path(&self, choice: &Choice) -> Result<PathBuf> {
        let path = match choice {
            Choice::File(file) => self.shelf.find(file),
            Choice::Parts(_) => self.shelf.snapshot(),
        };
        path.ok_or_else(|| self.not_here("a checkpoint"))
    }

    fn files(&self, files: &[&[&str]], report: Report) -> Result<PathBuf> {
        let missing = files.iter().find(|names| !names.iter().any(|name| self.shelf.find(name).is_some()));
        if let Some(names) = missing {
            if self.hub.offline {
                bail!(self.not_here(&format!("'{}'", names.join("' or '"))));
            }
            // All of them, so that they are of one commit; bytes that are there are not fetched again.
            for names in files {
                self.first(names, report)?;
            }
        }
        self.shelf.snapshot().ok_or_else(|| self.not_here("a file"))
    }

    /// Fetches the first of these names that there is.
    fn first(&self, names: &[&str], report: Report) -> Result<()> {
        for name in names {
            match self.obtain(&self.there, name, report) {
                Err(error) if trouble(&error).is_some_and(Trouble::is_no_such_file) => {}
                other => return other,
            }
        }
        Err(self.no_such_file(names))
    }

    /// Sees to it that a file is in the cache. at: the repository at the revision or its commit.
    fn obtain(&self, at: &hf_hub::Repo, file: &str, report: Report) -> Result<()> {
        if !repo::is_file(file) {
            bail!("'{file}' in '{}' is no name of a file; give another", self.repo);
        }
        let what = format!("'{file}' of '{}'", self.repo);
        self.download(at, file, report).map_err(|error| self.explained(error, &what))
    }

    fn download(&self, at: &hf_hub::Repo, file: &str, report: Report) -> Result<()> {
        let url = self.client.url(at, file);
        let about = self.client.about(&url)?;
        let blob = self.shelf.blob(&about.etag)?;
        let mut download = Download { file: file.to_string(), done: 0, size: about.size };
        let _lock = Transfer { client: &self.client, url: &url, about: &about }.run(&blob, &mut |done| {
            download.done = done;
            report(&download);
        })?;
        self.shelf.place(&blob, &about.commit, file)?;
        self.shelf.name(&about.commit)
    }

    fn list(&self, what: &str) -> Result<RepoInfo> {
        let list = self.client.list(&self.there);
        list.map_err(|trouble| self.explained(trouble.into(), &format!("{what} of '{}'", self.repo)))
    }

    fn not_here(&self, what: &str) -> Error {
        let (repo, cache) = (self.repo, self.hub.cache.display());
        if self.hub.offline {
            return anyhow!(
                "HF_HUB_OFFLINE is set and {what} of '{repo}' is not in the cache '{cache}'; unset it, or give a \
                 file's path"
            );
        }
        anyhow!("{what} of '{repo}' is missing from the cache '{cache}'; delete what is there of it and try again")
    }

    fn no_such_file(&self, names: &[&str]) -> Error {
        let wanted = names.join("' or '");
        let Ok(list) = self.list("the files") else {
            return anyhow!("'{}' has no file '{wanted}'; see {}/{}", self.repo, self.hub.endpoint, self.repo.id());
        };
        let mut files: Vec<String> = list.siblings.into_iter().map(|file| file.rfilename).collect();
        let alike = |file: &str| names.iter().map(|name| strsim::jaro_winkler(name, file)).fold(0., f64::max);
        files.sort_by(|a, b| alike(b).total_cmp(&alike(a)));
        anyhow!("'{}' has no file '{wanted}'; it has {}", self.repo, few(files.iter()))
    }

    /// Trouble becomes a sentence; what was the matter stays within.
    fn explained(&self, error: Error, what: &str) -> Error {
        match error.downcast::<Trouble>() {
            Ok(trouble) => Explained { sentence: trouble.sentence(self.hub, self.repo, what), trouble }.into(),
            Err(error) => error,
        }
    }
}

fn trouble(error: &Error) -> Option<&Trouble> {
    error.downcast_ref().map(|Explained { trouble, .. }| trouble)
}

/// The first few of many names.
fn few<'a>(files: impl Iterator<Item = &'a String>) -> String {
    let mut names: Vec<String> = files.take(FEW + 1).map(|file| format!("'{file}'")).collect();
    if names.len() > FEW {
        names[FEW] = "…".to_string();
    }
    names.join(", ")
}
