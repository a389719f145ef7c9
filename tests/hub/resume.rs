//! Interrupted downloads.

use super::*;
use pretend::{is_bytes, sha256};
use server::Answer;
use std::time::{Duration, Instant};

const CUT: usize = 300_001;

fn starts(pretend: &Pretend) -> Vec<Option<String>> {
    let range = |request: &server::Request| request.header("range").map(str::to_string);
    pretend.store.requests().iter().map(range).collect()
}

fn part(pretend: &Pretend) -> PathBuf {
    cached(pretend, &format!("blobs/{}.part", sha256(&weights(1))))
}

/// Writes a partial file as an earlier download leaves it.
fn leave(pretend: &Pretend, bytes: &[u8]) {
    fs::create_dir_all(part(pretend).parent().unwrap()).unwrap();
    fs::write(part(pretend), bytes).unwrap();
}

#[track_caller]
fn is_whole(pretend: &Pretend) {
    let path = fetch(&pretend.seen(), &model(), false).unwrap();
    assert!(fs::read(path).unwrap() == weights(1));
    assert!(!part(pretend).exists());
}

#[test]
fn a_broken_connection_is_resumed() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
    let pretend = pretend.once(is_bytes, Answer::body(weights(1)).cut_after(CUT));
    is_whole(&pretend);
    assert_eq!(starts(&pretend), [None, Some(format!("bytes={CUT}-"))]);
}

#[test]
fn a_second_run_resumes_the_download_of_the_first() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
    leave(&pretend, &weights(1)[..CUT]);
    is_whole(&pretend);
    assert_eq!(starts(&pretend), [Some(format!("bytes={CUT}-"))]);
}

#[test]
fn a_complete_part_is_only_verified() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
    leave(&pretend, &weights(1));
    is_whole(&pretend);
    assert_eq!(pretend.fetched(), 0);
}

#[test]
fn a_part_that_is_too_long_is_downloaded_again() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
    leave(&pretend, &[weights(1), weights(2)].concat());
    is_whole(&pretend);
}

#[test]
fn without_range_requests_the_download_restarts() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]).once(is_bytes, Answer::body(weights(1)));
    leave(&pretend, &weights(1)[..CUT]);
    is_whole(&pretend);
}

#[test]
fn a_refused_range_restarts_the_download() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]).once(is_bytes, Answer::status(416));
    leave(&pretend, &weights(1)[..CUT]);
    is_whole(&pretend);
    assert_eq!(starts(&pretend), [Some(format!("bytes={CUT}-")), None]);
}

#[test]
fn a_download_with_a_wrong_hash_is_deleted() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]).once(is_bytes, Answer::body(weights(2)));
    let sentence = refusal(&pretend.seen(), &model());
    let (wrong, right) = (sha256(&weights(2)), sha256(&weights(1)));
    assert!(sentence.starts_with("the download from http://127.0.0.1:"), "{sentence}");
    let end = format!("/a.safetensors has the sha256 {wrong} instead of {right} and was deleted; try again");
    assert!(sentence.ends_with(&end), "{sentence}");
    assert!(!part(&pretend).exists());
    is_whole(&pretend);
}

#[test]
fn a_temporary_server_error_is_retried() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
    is_whole(&pretend.once(is_bytes, Answer::status(503)).once(is_bytes, Answer::status(500)));
}

#[test]
fn a_stalled_connection_is_resumed() {
    let slow = Answer::body(weights(1)).silent_after(CUT, Duration::from_secs(20));
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]).once(is_bytes, slow);
    let hub = Hub { read_timeout: Duration::from_millis(300), ..pretend.seen() };
    let start = Instant::now();
    let path = fetch(&hub, &model(), false).unwrap();
    assert!(fs::read(path).unwrap() == weights(1) && start.elapsed() < Duration::from_secs(10));
    assert_eq!(starts(&pretend)[1], Some(format!("bytes={CUT}-")));
}

#[test]
fn a_server_that_stalls_forever_fails_and_the_part_is_kept() {
    let silent = Answer::body(weights(1)).silent_after(0, Duration::from_secs(20));
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]).always(is_bytes, &silent);
    leave(&pretend, &weights(1)[..CUT]);
    let hub = Hub { read_timeout: Duration::from_millis(200), ..pretend.seen() };
    let sentence = refusal(&hub, &model());
    assert!(
        sentence.contains(
            "sent nothing for 0.2 s while 'a.safetensors' of 'someone/model' was being downloaded; try again"
        )
    );
    assert!(part(&pretend).exists());
}

#[test]
fn concurrent_processes_download_a_file_once() {
    let repos = [model(), file("someone/model:a.safetensors")];
    for repo in repos.iter().cycle().take(4) {
        let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
        let hub = pretend.seen();
        std::thread::scope(|scope| {
            let all = [(); 8].map(|()| scope.spawn(|| fetch(&hub, repo, false).unwrap()));
            for one in all {
                assert!(fs::read(one.join().unwrap()).unwrap() == weights(1));
            }
        });
        assert_eq!(pretend.fetched(), 1);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
    fs::create_dir_all(part(&pretend).parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", part(&pretend)).unwrap();
    let sentence = refusal(&pretend.seen(), &model());
    assert!(sentence.starts_with("the disk of '") && sentence.contains("is full; free some space, or set HF_HOME"));
}
