//! Errors of the hub and of the network: one sentence each, with a remedy.

use super::*;
use pretend::{is_about, is_bytes, is_list};
use server::{Answer, Server};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

fn pretend() -> Pretend {
    Pretend::with(&[("model-v2.ckpt", &weights(1)), ("readme.md", b"x")])
}

/// Returns the error if every request of a kind gets this answer.
#[track_caller]
fn message(when: fn(&server::Request) -> bool, answer: Answer) -> String {
    let pretend = pretend().always(when, &answer);
    refusal(&pretend.seen(), &model()).replace(&pretend.hub.address, "HUB")
}

fn no(status: u16, code: &str) -> Answer {
    Answer::status(status).with("X-Error-Code", code)
}

#[test]
fn errors_of_gated_repositories_name_the_licence_page() {
    let sentence = "'someone/model' is not public; accept its licence at HUB/someone/model, create a token at \
                    HUB/settings/tokens and set HF_TOKEN to it";
    assert_eq!(message(is_about, no(401, "GatedRepo")), sentence);
    assert_eq!(message(is_about, no(403, "GatedRepo")), sentence);
    assert_eq!(message(is_list, Answer::status(401)), sentence);
}

#[test]
fn a_refused_token_is_reported() {
    let pretend = pretend().always(is_list, &Answer::status(401));
    let hub = Hub { token: Some("old".into()), ..pretend.seen() };
    assert!(
        refusal(&hub, &model()).contains(" rejects the token for 'someone/model'; create one that can read it at ")
    );
}

#[test]
fn missing_repositories_revisions_and_files_are_named() {
    let pretend = pretend();
    let message = |repo: &str| refusal(&pretend.seen(), &file(repo)).replace(&pretend.hub.address, "HUB");
    let repository = "HUB has no repository 'someone/else', or it is private; check the spelling, or set HF_TOKEN to a \
                      token that can read it";
    assert_eq!(message("someone/else"), repository);
    assert_eq!(message("someone/else:a.ckpt"), repository);
    let revision =
        "'someone/model' has no revision 'v9'; give a branch, a tag or a commit from HUB/someone/model/commits";
    assert_eq!(message("someone/model@v9"), revision);
    assert_eq!(message("someone/model@v9:a.ckpt"), revision);
    let near = "'someone/model' has no file 'model-v1.ckpt'; it has 'model-v2.ckpt', 'readme.md'";
    assert_eq!(message("someone/model:model-v1.ckpt"), near);
}

#[test]
fn rate_limits_are_reported_with_the_time_to_wait() {
    let limited = Answer::status(429);
    assert_eq!(
        message(is_list, limited.clone().with("Retry-After", 120)),
        "too many requests to HUB; try again in 120 s, or set HF_TOKEN, which allows more"
    );
    assert!(message(is_bytes, limited).contains("try again later, or"));
}

#[test]
fn server_errors_are_reported() {
    assert_eq!(
        message(is_list, Answer::status(500)),
        "HUB answers with status 500 for a checkpoint of 'someone/model'; try again later"
    );
    assert!(message(is_bytes, Answer::status(502)).contains("status 502 for 'model-v2.ckpt' of 'someone/model'; try"));
}

#[test]
fn servers_that_are_not_hubs_are_reported() {
    for answer in [Answer::body("<html>"), Answer::body("{}"), Answer::status(302)] {
        let message = message(is_list, answer);
        assert!(message.starts_with("HUB does not answer as a Hugging Face hub does ("), "{message}");
    }
    let commit = |commit: &str, etag: &str| Answer::body("x").with("X-Repo-Commit", commit).with("ETag", etag);
    let redirects = ["", "/again", "nowhere", "ftp://x"].map(|to| Answer::status(302).with("Location", to));
    let odd = [commit("../..", "a"), commit("a", "../../x"), commit("", "a"), commit("a", "")];
    for answer in odd.into_iter().chain(redirects).chain([Answer::body("x")]) {
        let message = message(is_about, answer.clone());
        assert!(message.starts_with("HUB does not answer as a Hugging Face hub does ("), "{answer:?}: {message}");
    }
}

#[test]
fn names_outside_the_cache_are_refused() {
    let list = r#"{"sha":"abc","siblings":[{"rfilename":"..\\x.safetensors"}]}"#;
    assert!(message(is_list, Answer::body(list)).contains("is not a valid file name"));
}

/// A hub that cannot be reached.
fn nowhere(pretend: &Pretend) -> Hub {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Hub { endpoint: format!("http://127.0.0.1:{port}"), ..pretend.seen() }
}

#[test]
fn being_offline_is_detected_quickly() {
    let pretend = pretend();
    let start = Instant::now();
    for endpoint in [nowhere(&pretend).endpoint, "http://no-such-host.invalid".to_string()] {
        let hub = Hub { endpoint: endpoint.clone(), ..pretend.seen() };
        let sentence = refusal(&hub, &model());
        assert!(sentence.starts_with(&format!("cannot reach {endpoint} (")), "{sentence}");
        assert!(sentence.ends_with("'; check the network, or download it elsewhere and give its path"), "{sentence}");
    }
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_host_that_accepts_connections_but_never_answers_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let start = Instant::now();
    let sentence = refusal(&Hub { endpoint, ..pretend().seen() }, &model());
    assert!(sentence.contains(" (no connection in time), and a checkpoint of 'someone/model' is not in the cache '"));
    assert!(start.elapsed() < Duration::from_secs(8));
}

#[test]
fn a_host_without_tls_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 64]).and_then(|()| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")).unwrap();
        std::thread::sleep(Duration::from_secs(1));
    });
    let sentence = refusal(&Hub { endpoint: endpoint.clone(), ..pretend().seen() }, &model());
    assert!(sentence.starts_with(&format!("{endpoint} does not answer as a Hugging Face hub does (")), "{sentence}");
}

#[test]
fn an_error_without_a_reason_names_the_request() {
    let sentence = "a checkpoint of 'someone/model' was not found at HUB; check the spelling, or HF_ENDPOINT";
    assert_eq!(message(is_list, Answer::status(404)), sentence);
}

#[test]
fn a_hub_that_never_answers_times_out() {
    let silent = Answer::body("").silent_after(0, Duration::ZERO);
    let server = Server::start(move |_| {
        std::thread::sleep(Duration::from_secs(20));
        silent.clone()
    });
    let pretend = pretend();
    let hub = Hub { endpoint: server.address, read_timeout: Duration::from_millis(200), ..pretend.seen() };
    assert!(refusal(&hub, &model()).contains(" sent nothing for 0.2 s while a checkpoint of 'someone/model'"));
}

#[test]
fn cached_files_work_offline() {
    let pretend = pretend();
    let offline = Hub { offline: true, ..pretend.seen() };
    let sentence = refusal(&offline, &model());
    let start = "HF_HUB_OFFLINE is set and a checkpoint of 'someone/model' is not in the cache '";
    assert!(sentence.starts_with(start) && sentence.ends_with("'; unset it, or give a file's path"), "{sentence}");
    let sentence = refusal(&offline, &file("someone/model:model-v2.ckpt"));
    assert!(sentence.starts_with("HF_HUB_OFFLINE is set and 'model-v2.ckpt' of 'someone/model' is not"), "{sentence}");
    assert!(pretend.hub.requests().is_empty());

    let path = fetch(&pretend.seen(), &model(), false).unwrap();
    for hub in [offline, nowhere(&pretend)] {
        assert_eq!(fetch(&hub, &model(), false).unwrap(), path);
        assert_eq!(fetch(&hub, &file("someone/model:model-v2.ckpt"), false).unwrap(), path);
    }
}

#[cfg(unix)]
#[test]
fn an_unwritable_cache_is_reported() {
    let pretend = pretend();
    let file = pretend.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let hub = Hub { cache: file.clone(), ..pretend.seen() };
    let sentence = refusal(&hub, &model());
    let start = format!("cannot write '{}", file.display());
    assert!(sentence.starts_with(&start) && sentence.contains("set HF_HOME to another folder"), "{sentence}");
}
