//! Questions to the hub and its answers.

use std::time::Duration;

use anyhow::Result;
use hf_hub::api::RepoInfo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

use super::Hub;
use super::trouble::Trouble;

/// Time to find and reach a host: being offline is to be noticed soon.
const CONNECT: Duration = Duration::from_secs(5);

/// Redirects from a repository's old name to its new one, or from a mirror to the hub.
const MOST_REDIRECTS: usize = 5;

/// What is not encoded in the path of an address.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'_').remove(b'-').remove(b'~');

/// What the hub says of a file.
pub(super) struct About {
    /// The commit that is the revision asked for.
    pub(super) commit: String,
    /// The sha256 of a large file, git's name for a small one.
    pub(super) etag: String,
    /// In bytes.
    pub(super) size: Option<u64>,
}

pub(super) struct Client<'a> {
    hub: &'a Hub,
    agent: Agent,
}

impl<'a> Client<'a> {
    pub(super) fn new(hub: &'a Hub) -> Self {
        let config = Agent::config_builder()
            .user_agent(concat!("txt2img/", env!("CARGO_PKG_VERSION")))
            // Ranges and sizes are those of the file itself.
            .accept_encoding("identity")
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .http_status_as_error(false)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(hub.patience));
        Self { hub, agent: config.build().into() }
    }

    pub(super) fn agent(&self) -> Agent {
        self.agent.clone()
    }

    /// The names of all files at a revision, and which commit that is.
    pub(super) fn list(&self, repo: &hf_hub::Repo) -> Result<RepoInfo, Trouble> {
        let url = format!("{}/api/{}", self.hub.endpoint, repo.api_url());
        let mut response = accepted(self.get(&url).call()?)?;
        let info = response.body_mut().read_json::<RepoInfo>();
        let info = info.map_err(|error| match Trouble::from(error) {
            Trouble::Strange(why) => Trouble::Strange(format!("its list of files cannot be read: {why}")),
            trouble => trouble,
        })?;
        checked(&info.sha)?;
        Ok(info)
    }

    /// Where a file is.
    pub(super) fn url(&self, repo: &hf_hub::Repo, file: &str) -> String {
        let file = utf8_percent_encode(file, PLAIN);
        format!("{}/{}/resolve/{}/{file}", self.hub.endpoint, repo.url(), repo.url_revision())
    }

    /// What the hub itself says of a file, before it sends us elsewhere for its bytes.
    pub(super) fn about(&self, url: &str) -> Result<About, Trouble> {
        let mut url = url.to_string();
        for _ in 0..MOST_REDIRECTS {
            let request = self.authorized(self.agent.head(&url), &url);
            let response = accepted(request.config().max_redirects(0).max_redirects_will_error(false).build().call()?)?;
            let is_redirect = response.status().is_redirection();
            let location = text(response.headers(), "location").filter(|_| is_redirect);
            let leads_on = location.is_some_and(|location| location.starts_with('/'));
            match (about(&response), location) {
                (Some(about), _) if !leads_on => {
                    return checked(&about.commit).and(checked(&about.etag)).map(|()| about);
                }
                (_, Some(location)) => url = absolute(&url, location)?,
                (_, None) => return Err(Trouble::Strange("no commit and ETag with a file".into())),
            }
        }
        Err(Trouble::Strange("too many redirects".into()))
    }

    /// A file's bytes from `start` on: status 206, or 200 if it is all of them after all.
    pub(super) fn bytes(&self, url: &str, start: u64) -> Result<Response<Body>, Trouble> {
        let range = if start > 0 { Some(("range", format!("bytes={start}-"))) } else { None };
        let request = range.into_iter().fold(self.get(url), |request, (name, value)| request.header(name, value));
        accepted(request.call()?)
    }

    fn get(&self, url: &str) -> RequestBuilder<WithoutBody> {
        self.authorized(self.agent.get(url), url)
    }

    /// With the token, if it is the hub that is asked.
    fn authorized(&self, request: RequestBuilder<WithoutBody>, url: &str) -> RequestBuilder<WithoutBody> {
        match &self.hub.token {
            Some(token) if origin(url) == origin(&self.hub.endpoint) => {
                request.header("authorization", format!("Bearer {token}"))
            }
            _ => request,
        }
    }
}

fn accepted(response: Response<Body>) -> Result<Response<Body>, Trouble> {
    let is_no = response.status().is_client_error() || response.status().is_server_error();
    if is_no { Err(Trouble::refused(&response)) } else { Ok(response) }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// An answer that sends us elsewhere speaks of the file in `x-linked-…`, of itself in the others.
fn about(response: &Response<Body>) -> Option<About> {
    let header = |name| text(response.headers(), name);
    let etag = header("x-linked-etag").or(header("etag"))?;
    let length = header("content-length").filter(|_| response.status() == StatusCode::OK);
    Some(About {
        commit: header("x-repo-commit")?.to_string(),
        etag: etag.trim_start_matches("W/").trim_matches('"').to_string(),
        size: header("x-linked-size").or(length).and_then(|size| size.parse().ok()),
    })
}

/// Commits and ETags become names of files.
fn checked(name: &str) -> Result<(), Trouble> {
    let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_plain { Ok(()) } else { Err(Trouble::Strange("an odd commit or ETag".into())) }
}

/// scheme://host:port
fn origin(url: &str) -> Option<String> {
    let url: Uri = url.parse().ok()?;
    Some(format!("{}://{}", url.scheme_str()?, url.authority()?))
}

/// Where a redirect leads.
fn absolute(from: &str, location: &str) -> Result<String, Trouble> {
    let base = origin(from).filter(|_| location.starts_with('/') && !location.starts_with("//"));
    let is_web = ["http://", "https://"].iter().any(|scheme| location.starts_with(scheme));
    match base {
        Some(base) => Ok(format!("{base}{location}")),
        None if is_web => Ok(location.to_string()),
        None => Err(Trouble::Strange("a redirect that leads nowhere".into())),
    }
}
