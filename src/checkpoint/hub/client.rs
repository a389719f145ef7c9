//! HTTP requests to the hub.

use super::Hub;
use super::error::HubError;
use anyhow::Result;
use hf_hub::api::RepoInfo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::Duration;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

/// The time to resolve and reach a host, short so that being offline is noticed soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum number of redirects to follow, such as from a repository's old name to its new one, or from a mirror to
/// the hub.
const MAX_REDIRECTS: usize = 5;

/// The characters to encode in the path of a URL.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'_').remove(b'-').remove(b'~');

/// The metadata of a file on the hub.
pub(super) struct FileMeta {
    /// The commit of the requested revision.
    pub(super) commit: String,
    /// The SHA-256 of a large file, or git's hash of a small one.
    pub(super) etag: String,
    /// The size in bytes, if the hub states it.
    pub(super) size: Option<u64>,
}

/// An HTTP client for one hub.
pub(super) struct Client<'a> {
    hub: &'a Hub,
    agent: Agent,
}

impl<'a> Client<'a> {
    pub(super) fn new(hub: &'a Hub) -> Self {
        let config = Agent::config_builder()
            .user_agent(concat!("txt2img/", env!("CARGO_PKG_VERSION")))
            // Uncompressed, so that ranges and sizes are those of the file.
            .accept_encoding("identity")
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .http_status_as_error(false)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(hub.read_timeout));
        Self { hub, agent: config.build().into() }
    }

    pub(super) fn agent(&self) -> Agent {
        self.agent.clone()
    }

    /// Returns the names of all files at a revision, and its commit.
    pub(super) fn list(&self, repo: &hf_hub::Repo) -> Result<RepoInfo, HubError> {
        let url = format!("{}/api/{}", self.hub.endpoint, repo.api_url());
        let mut response = accepted(self.get(&url).call()?)?;
        let info = response.body_mut().read_json::<RepoInfo>();
        let info = info.map_err(|error| match HubError::from(error) {
            HubError::Invalid(why) => HubError::Invalid(format!("its list of files cannot be read: {why}")),
            error => error,
        })?;
        check_name(&info.sha)?;
        Ok(info)
    }

    /// Returns the URL of a file.
    pub(super) fn url(&self, repo: &hf_hub::Repo, file: &str) -> String {
        let file = utf8_percent_encode(file, ENCODED);
        format!("{}/{}/resolve/{}/{file}", self.hub.endpoint, repo.url(), repo.url_revision())
    }

    /// Requests the metadata of a file from the hub itself, before any redirect to the server that stores its contents.
    pub(super) fn file_meta(&self, url: &str) -> Result<FileMeta, HubError> {
        let mut url = url.to_string();
        for _ in 0..MAX_REDIRECTS {
            let request = self.authorized(self.agent.head(&url), &url);
            let response = accepted(request.config().max_redirects(0).max_redirects_will_error(false).build().call()?)?;
            let is_redirect = response.status().is_redirection();
            let location = text(response.headers(), "location").filter(|_| is_redirect);
            let is_same_host = location.is_some_and(|location| location.starts_with('/'));
            match (file_meta(&response), location) {
                (Some(meta), _) if !is_same_host => {
                    return check_name(&meta.commit).and(check_name(&meta.etag)).map(|()| meta);
                }
                (_, Some(location)) => url = absolute(&url, location)?,
                (_, None) => return Err(HubError::Invalid("a file without a commit or an ETag".into())),
            }
        }
        Err(HubError::Invalid("too many redirects".into()))
    }

    /// Requests a file's bytes from `start` on. The response has status 206, or 200 if it begins at byte 0
    /// nevertheless.
    pub(super) fn bytes(&self, url: &str, start: u64) -> Result<Response<Body>, HubError> {
        let range = if start > 0 { Some(("range", format!("bytes={start}-"))) } else { None };
        let request = range.into_iter().fold(self.get(url), |request, (name, value)| request.header(name, value));
        accepted(request.call()?)
    }

    fn get(&self, url: &str) -> RequestBuilder<WithoutBody> {
        self.authorized(self.agent.get(url), url)
    }

    /// Adds the token to a request, if its URL is the hub's.
    fn authorized(&self, request: RequestBuilder<WithoutBody>, url: &str) -> RequestBuilder<WithoutBody> {
        match &self.hub.token {
            Some(token) if origin(url) == origin(&self.hub.endpoint) => {
                request.header("authorization", format!("Bearer {token}"))
            }
            _ => request,
        }
    }
}

/// Turns a response with an error status into an error.
fn accepted(response: Response<Body>) -> Result<Response<Body>, HubError> {
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    if is_error { Err(HubError::from_response(&response)) } else { Ok(response) }
}

/// Returns the value of a header, if it is plain text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Reads a file's metadata from a response. In a redirect, the headers `X-Linked-…` describe the file, and `ETag` and
/// `Content-Length` the redirect itself.
fn file_meta(response: &Response<Body>) -> Option<FileMeta> {
    let header = |name| text(response.headers(), name);
    let etag = header("x-linked-etag").or(header("etag"))?;
    let length = header("content-length").filter(|_| response.status() == StatusCode::OK);
    Some(FileMeta {
        commit: header("x-repo-commit")?.to_string(),
        etag: etag.trim_start_matches("W/").trim_matches('"').to_string(),
        size: header("x-linked-size").or(length).and_then(|size| size.parse().ok()),
    })
}

/// Checks a commit or an ETag, which become names of files.
fn check_name(name: &str) -> Result<(), HubError> {
    let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_plain { Ok(()) } else { Err(HubError::Invalid("an invalid commit or ETag".into())) }
}

/// Returns `scheme://host:port` of a URL.
fn origin(url: &str) -> Option<String> {
    let url: Uri = url.parse().ok()?;
    Some(format!("{}://{}", url.scheme_str()?, url.authority()?))
}

/// Returns the URL that a redirect from `from` to `location` leads to.
fn absolute(from: &str, location: &str) -> Result<String, HubError> {
    let base = origin(from).filter(|_| location.starts_with('/') && !location.starts_with("//"));
    let is_web = ["http://", "https://"].iter().any(|scheme| location.starts_with(scheme));
    match base {
        Some(base) => Ok(format!("{base}{location}")),
        None if is_web => Ok(location.to_string()),
        None => Err(HubError::Invalid("an invalid redirect".into())),
    }
}
