//! Checkpoints from a Hugging Face hub: choice of files, downloads, the cache, and errors.

mod choice;
mod environment;
mod names;
mod pretend;
mod program;
mod refusals;
mod resume;
mod server;
#[path = "../support/mod.rs"]
mod support;

use pretend::{COMMIT, Pretend, model, weights};
use std::fs;
use std::path::{Path, PathBuf};
use txt2img::checkpoint::hub::{Download, Hub, Repo};

/// Downloads a repository's checkpoint, ignoring progress.
fn fetch(hub: &Hub, repo: &Repo, half: bool) -> anyhow::Result<PathBuf> {
    hub.fetch(repo, half, &mut |_| ())
}

/// Returns the error of a download, which must be one sentence.
#[track_caller]
fn refusal(hub: &Hub, repo: &Repo) -> String {
    let Err(error) = fetch(hub, repo, false) else { panic!("'{repo}' is fetched") };
    let sentence = format!("{error:#}");
    assert!(!sentence.contains('\n') && !sentence.ends_with('.'), "{sentence}");
    sentence
}

fn file(repo: &str) -> Repo {
    Repo::parse(repo).unwrap_or_else(|| panic!("{repo}"))
}

fn cached(pretend: &Pretend, path: &str) -> PathBuf {
    pretend.seen().cache.join("models--someone--model").join(path)
}

#[test]
fn the_cache_has_the_layout_of_huggingface_hub() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
    let path = fetch(&pretend.seen(), &file("someone/model:a.safetensors"), false).unwrap();
    assert_eq!(path, cached(&pretend, &format!("snapshots/{COMMIT}/a.safetensors")));
    assert!(fs::read(&path).unwrap() == weights(1));
    assert_eq!(fs::read_to_string(cached(&pretend, "refs/main")).unwrap(), COMMIT);
    let blob = cached(&pretend, &format!("blobs/{}", pretend::sha256(&weights(1))));
    assert_eq!(fs::canonicalize(&path).unwrap(), fs::canonicalize(blob).unwrap());
    #[cfg(unix)]
    assert!(fs::read_link(&path).unwrap().starts_with("../../blobs"));
}

#[test]
fn cached_files_are_not_requested_again() {
    let pretend = Pretend::with(&[("v1-5-pruned-emaonly.safetensors", &weights(1))]);
    for repo in ["someone/model:v1-5-pruned-emaonly.safetensors", "someone/model", "someone/model"] {
        fetch(&pretend.seen(), &file(repo), false).unwrap();
    }
    assert_eq!((pretend.hub.requests().len(), pretend.fetched()), (2, 1));
}

#[test]
fn the_list_of_files_is_requested_again_but_cached_files_are_not() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
    let path = fetch(&pretend.seen(), &model(), false).unwrap();
    let n = pretend.hub.requests().len();
    assert_eq!(fetch(&pretend.seen(), &model(), false).unwrap(), path);
    let since: Vec<String> = pretend.hub.requests()[n..].iter().map(|request| request.path.clone()).collect();
    assert_eq!((since, pretend.fetched()), (vec!["/api/models/someone/model/revision/main".to_string()], 1));
}

#[test]
fn the_token_is_sent_only_to_the_hub() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
    let hub = Hub { token: Some("hf_secret".into()), ..pretend.seen() };
    fetch(&hub, &model(), false).unwrap();
    let has_token = |request: &server::Request| request.header("authorization") == Some("Bearer hf_secret");
    assert!(pretend.hub.requests().iter().all(has_token));
    assert!(pretend.store.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn progress_names_the_file_and_counts_bytes() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
    let mut seen: Vec<Download> = vec![];
    pretend.seen().fetch(&model(), false, &mut |download| seen.push(download.clone())).unwrap();
    let n = weights(1).len() as u64;
    assert!(seen.iter().all(|download| download.file == "a.safetensors" && download.size == Some(n)));
    assert!(seen.is_sorted_by_key(|download| download.done));
    assert_eq!((seen[0].done, seen[seen.len() - 1].done), (0, n));
}

#[test]
fn small_files_revisions_folders_and_odd_names_are_downloaded() {
    let files: [(&str, &[u8]); 3] = [("config.json", b"{}"), ("b.bin", &weights(2)), ("my old/x y.ckpt", &weights(3))];
    let pretend = Pretend::with(&files);
    let repo = file("someone/model@fp16");
    let names: [&[&str]; 2] = [&["config.json"], &["model.safetensors", "b.bin"]];
    let folder = pretend.seen().fetch_files(&repo, &names, &mut |_| ()).unwrap();
    assert_eq!(fs::read(folder.join("config.json")).unwrap(), b"{}");
    assert!(fs::read(folder.join("b.bin")).unwrap() == weights(2));
    assert!(!folder.join("model.safetensors").exists());
    assert!(cached(&pretend, "refs/fp16").exists() && !cached(&pretend, "refs/main").exists());
    let n = pretend.hub.requests().len();
    assert_eq!(pretend.seen().fetch_files(&repo, &names, &mut |_| ()).unwrap(), folder);
    assert_eq!(pretend.hub.requests().len(), n);
    let path = fetch(&pretend.seen(), &file("someone/model:my old/x y.ckpt"), false).unwrap();
    assert!(path.ends_with(Path::new("my old/x y.ckpt")) && fs::read(path).unwrap() == weights(3));
}

#[test]
fn a_commit_is_a_revision() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
    let repo = file(&format!("someone/model@{COMMIT}:a.safetensors"));
    let path = fetch(&pretend.seen(), &repo, false).unwrap();
    fs::remove_dir_all(cached(&pretend, "refs")).unwrap();
    let offline = Hub { offline: true, ..pretend.seen() };
    assert_eq!(fetch(&offline, &repo, false).unwrap(), path);
}

#[test]
fn a_branch_is_looked_up_again() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
    let fetch = || fetch(&pretend.seen(), &file("someone/model:a.safetensors"), false).unwrap();
    let path = fetch();
    // The state that a program leaves that is killed while writing.
    fs::write(cached(&pretend, "refs/main"), "").unwrap();
    assert_eq!(fetch(), path);
    assert_eq!(fs::read_to_string(cached(&pretend, "refs/main")).unwrap(), COMMIT);
}
