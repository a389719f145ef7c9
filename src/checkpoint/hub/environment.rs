//! The hub's settings from the environment variables of `huggingface_hub`.

use super::Hub;
use crate::files::user_cache;
use anyhow::{Context, Result, ensure};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use ureq::http::Uri;

const ENDPOINT: &str = "https://huggingface.co";

/// The default read timeout in seconds.
const READ_TIMEOUT: u64 = 30;

impl Hub {
    /// Creates a hub from `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE` and
    /// `HF_HUB_DOWNLOAD_TIMEOUT` (in seconds).
    ///
    /// # Errors
    /// If a variable is invalid, or no folder for the cache is set and there is no home folder.
    pub fn from_env() -> Result<Self> {
        let hub = Self {
            endpoint: text("HF_ENDPOINT").unwrap_or(ENDPOINT.to_string()).trim_end_matches('/').to_string(),
            cache: cache()?,
            token: text("HF_TOKEN").or_else(token_file),
            offline: text("HF_HUB_OFFLINE").is_some_and(|word| is_yes(&word)),
            read_timeout: read_timeout()?,
        };
        hub.check()?;
        Ok(hub)
    }

    /// # Errors
    /// If the endpoint is not a URL, or the token has invalid characters.
    fn check(&self) -> Result<()> {
        let endpoint = &self.endpoint;
        let url = endpoint.parse::<Uri>().ok();
        let is_web = url.is_some_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.query().is_none());
        ensure!(is_web, "HF_ENDPOINT is '{endpoint}', which is not a URL; unset it or set it to {ENDPOINT}");
        let is_token = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        ensure!(
            self.token.as_ref().is_none_or(is_token),
            "the token in HF_TOKEN or its file has characters that are invalid in a token; copy it again"
        );
        Ok(())
    }
}

/// Returns the value of a variable without surrounding space, if it is not empty.
fn text(name: &str) -> Option<String> {
    let text = env::var(name).ok()?.trim().to_string();
    (!text.is_empty()).then_some(text)
}

/// Returns the path in a variable, if it is not empty.
fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Returns the folder for all files of the hub's programs.
fn home() -> Option<PathBuf> {
    path("HF_HOME").or_else(|| Some(user_cache()?.join("huggingface")))
}

/// Returns the cache folder as an absolute path.
fn cache() -> Result<PathBuf> {
    let cache = path("HF_HUB_CACHE").or_else(|| Some(home()?.join("hub")));
    let cache = cache.context("there is no home folder for downloads; set HF_HOME to a folder")?;
    std::path::absolute(&cache)
        .with_context(|| format!("'{}' is not a valid path; set HF_HOME to a folder", cache.display()))
}

fn token_file() -> Option<String> {
    let path = path("HF_TOKEN_PATH").or_else(|| Some(home()?.join("token")))?;
    let token = fs::read_to_string(path).ok()?.trim().to_string();
    (!token.is_empty()).then_some(token)
}

fn is_yes(word: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&word.to_ascii_lowercase().as_str())
}

fn read_timeout() -> Result<Duration> {
    let name = "HF_HUB_DOWNLOAD_TIMEOUT";
    let seconds = text(name).map_or(Ok(READ_TIMEOUT), |seconds| seconds.parse());
    let seconds = seconds.ok().filter(|seconds| (1..=86400).contains(seconds));
    seconds.map(Duration::from_secs).with_context(|| {
        format!("{name} must be a number of seconds from 1 to 86400; unset it or set it to {READ_TIMEOUT}")
    })
}
