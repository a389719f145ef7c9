//! Where the hub is and what it may know, by the variables all its programs read.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ureq::http::Uri;

use super::Hub;

const ENDPOINT: &str = "https://huggingface.co";

/// Seconds without a byte before giving up.
const PATIENCE: u64 = 30;

impl Hub {
    /// The hub as `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE` and
    /// `HF_HUB_DOWNLOAD_TIMEOUT` (in seconds) have it.
    ///
    /// # Errors
    /// When one of them is nothing of the kind, or there is no home to keep files in.
    pub fn from_env() -> Result<Self> {
        let hub = Self {
            endpoint: text("HF_ENDPOINT").unwrap_or(ENDPOINT.to_string()).trim_end_matches('/').to_string(),
            cache: cache()?,
            token: text("HF_TOKEN").or_else(token_file),
            offline: text("HF_HUB_OFFLINE").is_some_and(|word| is_yes(&word)),
            patience: patience()?,
        };
        hub.check()?;
        Ok(hub)
    }

    fn check(&self) -> Result<()> {
        let endpoint = &self.endpoint;
        let url = endpoint.parse::<Uri>().ok();
        let is_web = url.is_some_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.query().is_none());
        ensure!(is_web, "HF_ENDPOINT is '{endpoint}', which is no web address; unset it or set it to {ENDPOINT}");
        let is_token = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        ensure!(
            self.token.as_ref().is_none_or(is_token),
            "the token in HF_TOKEN or its file has characters that no token has; copy it again"
        );
        Ok(())
    }
}

/// A variable that says something.
fn text(name: &str) -> Option<String> {
    let text = env::var(name).ok()?.trim().to_string();
    (!text.is_empty()).then_some(text)
}

fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn home() -> Option<PathBuf> {
    let cache = || path("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
    path("HF_HOME").or_else(|| Some(cache()?.join("huggingface")))
}

fn cache() -> Result<PathBuf> {
    let cache = path("HF_HUB_CACHE").or_else(|| Some(home()?.join("hub")));
    let cache = cache.context("there is no home folder to keep downloads in; set HF_HOME to a folder")?;
    std::path::absolute(&cache).with_context(|| format!("'{}' is no folder; set HF_HOME to one", cache.display()))
}

fn token_file() -> Option<String> {
    let path = path("HF_TOKEN_PATH").or_else(|| Some(home()?.join("token")))?;
    let token = fs::read_to_string(path).ok()?.trim().to_string();
    (!token.is_empty()).then_some(token)
}

fn is_yes(word: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&word.to_ascii_lowercase().as_str())
}

fn patience() -> Result<Duration> {
    let name = "HF_HUB_DOWNLOAD_TIMEOUT";
    let seconds = text(name).map_or(Ok(PATIENCE), |seconds| seconds.parse());
    let seconds = seconds.ok().filter(|seconds| (1..=86400).contains(seconds));
    seconds
        .map(Duration::from_secs)
        .with_context(|| format!("{name} is no number of seconds; unset it or set it to 30"))
}
