//! Errors of requests to the hub, and the messages that users see.

use super::{Hub, Repo};
use std::fmt;
use std::io::ErrorKind;
use ureq::http::Response;
use ureq::{Body, Error, Timeout};

/// The reason why a request to the hub failed.
#[derive(Debug)]
pub(super) enum HubError {
    /// No connection: there is no network, the host is unknown, or it refuses connections.
    Unreachable(String),
    /// The hub sent nothing for longer than the read timeout.
    TimedOut,
    /// The connection broke during the response.
    Disconnected(String),
    /// The hub answered with an error.
    Status {
        /// The HTTP status.
        status: u16,
        /// The reason, from the header `X-Error-Code`; empty if it is missing.
        code: String,
        /// The seconds to wait before another try, if the hub states them.
        retry_after: Option<u32>,
    },
    /// The response is not one that a hub gives.
    Invalid(String),
}

impl HubError {
    /// Returns the error that a response with an error status stands for.
    pub(super) fn from_response(response: &Response<Body>) -> Self {
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        Self::Status {
            status: response.status().as_u16(),
            code: header("x-error-code").unwrap_or_default().to_string(),
            retry_after: header("retry-after").and_then(|seconds| seconds.parse().ok()),
        }
    }

    /// Whether the hub may be available later, so that cached files should be used meanwhile.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            // A network that requires a login answers every request with its own page.
            Self::Unreachable(_) | Self::TimedOut | Self::Disconnected(_) | Self::Invalid(_) => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
        }
    }

    /// Whether to retry at once, from the end of the partial file.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::TimedOut | Self::Disconnected(_) => true,
            Self::Status { status, .. } => *status >= 500 || self.is_bad_range(),
            Self::Unreachable(_) | Self::Invalid(_) => false,
        }
    }

    /// Whether the partial file does not match the remote one (HTTP 416).
    pub(super) fn is_bad_range(&self) -> bool {
        matches!(self, Self::Status { status: 416, .. })
    }

    /// Whether the repository exists, but not the file.
    pub(super) fn is_missing_file(&self) -> bool {
        matches!(self, Self::Status { status: 404, code, .. } if !code.starts_with("Re"))
    }

    /// Returns the message for users. `what` is the thing that was requested, such as `'FILE' of 'REPOSITORY'`.
    pub(super) fn message(&self, hub: &Hub, repo: &Repo, what: &str) -> String {
        let at = &hub.endpoint;
        match self {
            Self::Unreachable(why) => format!(
                "cannot reach {at} ({why}), and {what} is not in the cache '{}'; check the network, or download it \
                 elsewhere and give its path",
                hub.cache.display()
            ),
            Self::TimedOut => format!(
                "{at} sent nothing for {} s while {what} was being downloaded; try again to resume the download",
                hub.read_timeout.as_secs_f32()
            ),
            Self::Disconnected(why) => format!(
                "the connection to {at} broke while {what} was being downloaded ({why}); try again: the partial download is \
                 resumed"
            ),
            Self::Invalid(why) => {
                format!("{at} does not answer as a Hugging Face hub does ({why}); check HF_ENDPOINT and any proxy")
            }
            Self::Status { status, code, retry_after } => {
                status_message(hub, repo, what, (*status, code, *retry_after))
            }
        }
    }
}

/// Returns the message for an error status. `answer` is the status, its code and the seconds to wait.
fn status_message(hub: &Hub, repo: &Repo, what: &str, answer: (u16, &str, Option<u32>)) -> String {
    let (at, id, has_token) = (&hub.endpoint, repo.id(), hub.token.is_some());
    match answer {
        (_, "RevisionNotFound", _) => {
            let revision = repo.revision();
            format!("'{id}' has no revision '{revision}'; give a branch, a tag or a commit from {at}/{id}/commits")
        }
        (_, "RepoNotFound", _) => format!(
            "{at} has no repository '{id}', or it is private; check the spelling, or set HF_TOKEN to a token that can \
             read it"
        ),
        (404, ..) => format!("{what} was not found at {at}; check the spelling, or HF_ENDPOINT"),
        (401 | 403, code, _) if code == "GatedRepo" || !has_token => format!(
            "'{id}' is not public; accept its licence at {at}/{id}, create a token at {at}/settings/tokens and set \
             HF_TOKEN to it"
        ),
        (401 | 403, ..) => format!(
            "{at} rejects the token for '{id}'; create one that can read it at {at}/settings/tokens and set HF_TOKEN to it"
        ),
        (429, _, retry_after) => {
            let when = retry_after.map_or("later".to_string(), |seconds| format!("in {seconds} s"));
            let more = if has_token { "" } else { ", or set HF_TOKEN, which allows more" };
            format!("too many requests to {at}; try again {when}{more}")
        }
        (status, ..) => format!("{at} answers with status {status} for {what}; try again later"),
    }
}

impl From<Error> for HubError {
    fn from(error: Error) -> Self {
        use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, UnexpectedEof};
        match error {
            Error::Timeout(Timeout::Resolve | Timeout::Connect) => Self::Unreachable("no connection in time".into()),
            Error::Timeout(_) => Self::TimedOut,
            Error::HostNotFound | Error::ConnectionFailed => Self::Unreachable(error.to_string()),
            Error::Io(error) => match error.kind() {
                ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof => {
                    Self::Disconnected(error.to_string())
                }
                InvalidData => Self::Invalid(error.to_string()),
                _ => Self::Unreachable(error.to_string()),
            },
            error => Self::Invalid(error.to_string()),
        }
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for HubError {}

/// An error with a message for users, instead of that of its cause.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) message: String,
    pub(super) cause: HubError,
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Described {}
