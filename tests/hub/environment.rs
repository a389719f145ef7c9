//! Environment variables of the hub, and Ctrl-C, each in a process of its own.

use super::*;
use pretend::{is_bytes, sha256};
use server::Answer;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use txt2img::interrupt::{self, Interrupted};

/// Downloads as configured by the environment and prints the outcome; run by the other tests in this file.
#[test]
#[ignore = "a process of its own, started by the others"]
fn child() {
    interrupt::listen();
    let outcome = Hub::from_env().and_then(|hub| fetch(&hub, &model(), false));
    println!(
        "\nOUTCOME {}",
        match outcome {
            Ok(path) => path.display().to_string(),
            Err(error) if error.is::<Interrupted>() => "interrupted".to_string(),
            Err(error) => format!("{error:#}"),
        }
    );
}

/// Returns a command that downloads with only these environment variables.
fn child_with(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "environment::child", "--ignored", "--nocapture"]).env_clear();
    command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn outcome(output: &Output) -> String {
    let message = String::from_utf8_lossy(&output.stdout);
    let line = message.lines().find_map(|line| line.strip_prefix("OUTCOME "));
    line.unwrap_or_else(|| panic!("{message}{}", String::from_utf8_lossy(&output.stderr))).to_string()
}

#[track_caller]
fn ends(variables: &[(&str, &str)]) -> String {
    outcome(&child_with(variables).output().unwrap())
}

#[test]
fn environment_variables_of_the_hub_are_used() {
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]);
    let home = pretend.folder.path().to_str().unwrap();
    let endpoint = format!("{}/", pretend.hub.address);
    let at = ("HF_ENDPOINT", &endpoint[..]);
    let file = format!("hub/models--someone--model/snapshots/{COMMIT}/a.safetensors");

    fs::write(pretend.folder.path().join("token"), "hf_of_a_file\n").unwrap();
    assert_eq!(ends(&[at, ("HF_HOME", home)]), format!("{home}/{file}"));
    let token = |i: usize| pretend.hub.requests()[i].header("authorization").map(str::to_string);
    assert_eq!(token(0).as_deref(), Some("Bearer hf_of_a_file"));
    let n = pretend.hub.requests().len();

    assert_eq!(ends(&[("HF_HUB_OFFLINE", "1"), ("HF_HOME", home)]), format!("{home}/{file}"));
    assert_eq!(pretend.hub.requests().len(), n);

    let other = format!("{home}/other");
    let path = ends(&[at, ("HF_HUB_CACHE", &other), ("HF_HOME", home), ("HF_TOKEN", " hf_x ")]);
    assert_eq!(path, format!("{other}/{}", &file[4..]));
    assert_eq!(token(n).as_deref(), Some("Bearer hf_x"));
    let path = ends(&[at, ("HOME", &other)]);
    assert_eq!(path, format!("{other}/.cache/huggingface/{file}"));
}

#[test]
fn invalid_environment_variables_are_refused() {
    let home = ("HF_HOME", "/nonexistent");
    let message = ends(&[("HF_ENDPOINT", "hub.example"), home]);
    assert_eq!(
        message,
        "HF_ENDPOINT is 'hub.example', which is not a URL; unset it or set it to https://huggingface.co"
    );
    assert!(ends(&[("HF_TOKEN", "a b"), home]).starts_with("the token in HF_TOKEN or its file has characters"));
    assert!(ends(&[("HF_HUB_DOWNLOAD_TIMEOUT", "0"), home]).starts_with("HF_HUB_DOWNLOAD_TIMEOUT must be a number"));
}

#[cfg(unix)]
#[test]
fn an_interrupt_stops_a_download_and_keeps_its_part() {
    const CAME: usize = 300_001;
    let silent = Answer::body(weights(1)).silent_after(CAME, Duration::from_secs(50));
    let pretend = Pretend::with(&[("a.safetensors", &weights(1))]).once(is_bytes, silent);
    let home = pretend.folder.path().to_str().unwrap();
    let variables = [("HF_ENDPOINT", &pretend.hub.address[..]), ("HF_HOME", home)];
    let child = child_with(&variables).spawn().unwrap();

    let part = cached(&pretend, &format!("blobs/{}.part", sha256(&weights(1))));
    let start = Instant::now();
    while fs::metadata(&part).map_or(0, |part| part.len()) < CAME as u64 {
        assert!(start.elapsed() < Duration::from_secs(20));
        sleep(Duration::from_millis(10));
    }
    let start = Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(outcome(&child.wait_with_output().unwrap()), "interrupted");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(fs::metadata(&part).unwrap().len(), CAME as u64);

    assert!(fs::read(ends(&variables)).unwrap() == weights(1));
    let ranges: Vec<_> =
        pretend.store.requests().iter().map(|request| request.header("range").map(String::from)).collect();
    assert_eq!(ranges, [None, Some(format!("bytes={CAME}-"))]);
}
