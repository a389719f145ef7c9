//! What can go wrong on the way to the hub, and what to do about it.

use std::fmt;
use std::io::ErrorKind;

use ureq::http::Response;
use ureq::{Body, Error, Timeout};

use super::{Hub, Repo};

/// Why the hub gave nothing to use.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nothing answers: no network, no such host, nobody listens.
    Away(String),
    /// An answer began, then nothing came for too long.
    Silent,
    /// An answer began, then the connection broke.
    Broken(String),
    /// The answer is no; `code` is the hub's word for why, `wait` the seconds it asks for.
    Refused { status: u16, code: String, wait: Option<u32> },
    /// The answer is none of a hub.
    Strange(String),
}

impl Trouble {
    pub(super) fn refused(response: &Response<Body>) -> Self {
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        Self::Refused {
            status: response.status().as_u16(),
            code: header("x-error-code").unwrap_or_default().to_string(),
            wait: header("retry-after").and_then(|seconds| seconds.parse().ok()),
        }
    }

    /// Whether what is in the cache will do until it is over.
    pub(super) fn passes(&self) -> bool {
        match self {
            // Strange as well: a network that first wants to be logged into answers for everybody.
            Self::Away(_) | Self::Silent | Self::Broken(_) | Self::Strange(_) => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
        }
    }

    /// Whether to try again at once, from where the last try ended.
    pub(super) fn is_brief(&self) -> bool {
        match self {
            Self::Silent | Self::Broken(_) => true,
            Self::Refused { status, .. } => *status >= 500 || self.is_past_the_end(),
            Self::Away(_) | Self::Strange(_) => false,
        }
    }

    /// Whether what is there is not the start of what is to come.
    pub(super) fn is_past_the_end(&self) -> bool {
        matches!(self, Self::Refused { status: 416, .. })
    }

    /// Whether the file asked for is not there, all else is.
    pub(super) fn is_no_such_file(&self) -> bool {
        matches!(self, Self::Refused { status: 404, code, .. } if !code.starts_with("Re"))
    }

    /// One sentence: what, where, what to do.
    pub(super) fn sentence(&self, hub: &Hub, repo: &Repo, what: &str) -> String {
        let at = &hub.endpoint;
        match self {
            Self::Away(why) => format!(
                "nothing answers at {at} ({why}), and {what} is not in the cache '{}'; check the network, or fetch it \
                 elsewhere and give its path",
                hub.cache.display()
            ),
            Self::Silent => format!(
                "{at} fell silent for {} s while {what} was fetched; try again, what has come is kept",
                hub.patience.as_secs_f32()
            ),
            Self::Broken(why) => format!(
                "the connection to {at} broke while {what} was fetched ({why}); try again, what has come is kept"
            ),
            Self::Strange(why) => {
                format!("{at} does not answer as a Hugging Face hub does ({why}); check HF_ENDPOINT and any proxy")
            }
            Self::Refused { status, code, wait } => refusal(hub, repo, what, (*status, code, *wait)),
        }
    }
}

fn refusal(hub: &Hub, repo: &Repo, what: &str, answer: (u16, &str, Option<u32>)) -> String {
    let (at, id, has_token) = (&hub.endpoint, repo.id(), hub.token.is_some());
    match answer {
        (_, "RevisionNotFound", _) => {
            let revision = repo.revision();
            format!("'{id}' has no revision '{revision}'; give a branch, a tag or a commit from {at}/{id}/commits")
        }
        (_, "RepoNotFound", _) => no_repository(at, &id),
        (404, ..) => format!("{what} is not to be found at {at}; check the spelling, or HF_ENDPOINT"),
        (401 | 403, code, _) if code == "GatedRepo" || !has_token => format!(
            "'{id}' is not open to everybody; accept its licence at {at}/{id}, make a token at {at}/settings/tokens \
             and set HF_TOKEN to it"
        ),
        (401 | 403, ..) => {
            format!(
                "{at} refuses the token for '{id}'; make one that may read it at {at}/settings/tokens and set HF_TOKEN to it"
            )
        }
        (429, _, wait) => {
            let when = wait.map_or("later".to_string(), |seconds| format!("in {seconds} s"));
            let more = if has_token { "" } else { ", or set HF_TOKEN, which allows more" };
            format!("{at} is asked too often from here; try again {when}{more}")
        }
        (status, ..) => format!("{at} answers with status {status} for {what}; try again later"),
    }
}

fn no_repository(at: &str, id: &str) -> String {
    format!("{at} has no repository '{id}' for us; check the spelling, or set HF_TOKEN if it is a private one")
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, UnexpectedEof};
        match error {
            Error::Timeout(Timeout::Resolve | Timeout::Connect) => Self::Away("no connection in time".into()),
            Error::Timeout(_) => Self::Silent,
            Error::HostNotFound | Error::ConnectionFailed => Self::Away(error.to_string()),
            Error::Io(error) => match error.kind() {
                ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof => Self::Broken(error.to_string()),
                InvalidData => Self::Strange(error.to_string()),
                _ => Self::Away(error.to_string()),
            },
            error => Self::Strange(error.to_string()),
        }
    }
}

/// Trouble with a sentence to show.
#[derive(Debug)]
pub(super) struct Explained {
    pub(super) sentence: String,
    pub(super) trouble: Trouble,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Explained {}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Trouble {}
