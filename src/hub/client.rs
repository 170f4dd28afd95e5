//! Requests to one hub: redirects, who may see the token, and what a failure means.

use std::fmt;
use std::time::Duration;

use crate::Error;
use crate::error::SharedCause;
use crate::http::{
    Headers, HttpBody, HttpFailure, HttpRequest, HttpSender, NoAnswer, Patience, Reach, origin,
};

const REDIRECTS: usize = 10;

/// Why the hub did not give what was asked for.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    Stopped,
    /// No hub was reached, or it is out of order.
    Unreachable {
        address: String,
        reason: String,
        /// The error that told, where one did.
        cause: Option<SharedCause>,
        /// Whether another try may help, and after what time the hub wants it.
        again: Option<Option<Duration>>,
    },
    /// The hub has it not, or not for everyone: what to do.
    Missing {
        hint: String,
    },
    /// What answers is no hub.
    Odd {
        address: String,
        found: String,
    },
}

impl Refusal {
    /// What it means that `address` gave no answer.
    pub(super) fn of(failure: HttpFailure, address: &str) -> Self {
        let HttpFailure::NoAnswer { reason, cause, reach } = failure else { return Self::Stopped };
        let advice = "HF_HUB_OFFLINE=1 takes what is in the cache, HF_ENDPOINT names a mirror, and \
                      HTTPS_PROXY a proxy";
        Self::Unreachable {
            address: address.to_owned(),
            reason: format!("{reason}. {advice}"),
            cause,
            // A connection that breaks in the middle is worth another try; a closed door is not.
            again: (reach == Reach::Broken).then_some(None),
        }
    }

    /// The same, with what the cache has, if a hub out of reach is the reason.
    pub(super) fn or_cached(self, cached: &str) -> Self {
        match self {
            Self::Unreachable { address, reason, cause, again } if !cached.is_empty() => {
                Self::Unreachable { address, reason: format!("{reason}; {cached}"), cause, again }
            }
            other => other,
        }
    }

    /// As an error about `what`.
    pub(super) fn into_error(self, what: impl fmt::Display) -> Error {
        match self {
            Self::Stopped => Error::Interrupted { what: format!("fetching {what}") },
            Self::Missing { hint } => Error::NotFound { what: what.to_string(), hint },
            Self::Odd { address, found } => {
                let found = format!("{found}; is HF_ENDPOINT right?");
                Error::format(address.as_ref(), "a hub's answer", found)
            }
            Self::Unreachable { address, reason, cause, .. } => {
                NoAnswer::error("fetch", &address, reason, cause)
            }
        }
    }
}

/// An answer, after its redirects.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) address: String,
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// The headers of the redirects before it, in their order.
    pub(super) before: Vec<Headers>,
    body: HttpBody,
}

/// A sender of requests to one hub.
#[derive(Debug)]
pub(super) struct Client {
    sender: HttpSender,
    /// Where the token may go.
    origin: String,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(endpoint: &str, token: Option<&str>, patience: &Patience) -> Self {
        Self {
            sender: HttpSender::new(patience),
            origin: origin(endpoint).to_owned(),
            token: token.map(str::to_owned),
        }
    }

    /// The answer to a request for the bytes `range` of `address`, with redirects followed.
    pub(super) fn get(&self, address: &str, range: Option<&str>) -> Result<Answer, Refusal> {
        let mut before = Vec::new();
        let mut address = address.to_owned();
        loop {
            let mut answer = self.ask(&address, range)?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                answer.before = before;
                return Ok(answer);
            }
            let odd = |found: String| Refusal::Odd { address: address.clone(), found };
            let Some(location) = answer.headers.get("location") else {
                let status = answer.status;
                return Err(odd(format!("a redirect (status {status}) without a Location")));
            };
            if before.len() == REDIRECTS {
                return Err(odd(format!("more than {REDIRECTS} redirects")));
            }
            address = join(&address, location);
            before.push(answer.headers);
        }
    }

    fn ask(&self, address: &str, range: Option<&str>) -> Result<Answer, Refusal> {
        let mut request = HttpRequest::get(address).header("Accept-Encoding", "identity");
        if let Some(range) = range {
            request = request.header("Range", range);
        }
        if let Some(token) = self.token.as_ref().filter(|_| origin(address) == self.origin) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answer = self.sender.send(request).map_err(|failure| Refusal::of(failure, address))?;
        Ok(Answer {
            address: address.to_owned(),
            status: answer.status,
            headers: answer.headers,
            before: Vec::new(),
            body: answer.body,
        })
    }
}

impl Answer {
    /// The next bytes, none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        self.body.next().map_err(|failure| Refusal::of(failure, &self.address))
    }

    /// All of it, if it is at most `limit` bytes.
    pub(super) fn read(&mut self, limit: usize) -> Result<Vec<u8>, Refusal> {
        let all = self.body.read(limit).map_err(|failure| Refusal::of(failure, &self.address))?;
        all.ok_or_else(|| Refusal::Odd {
            address: self.address.clone(),
            found: format!("more than {limit} bytes"),
        })
    }

    /// Whether it is a page for people.
    pub(super) fn is_page(&self) -> bool {
        self.headers.get("content-type").is_some_and(|kind| kind.starts_with("text/html"))
    }
}

/// Where a redirect of `address` leads.
fn join(address: &str, location: &str) -> String {
    let scheme = address.split_once("://").map_or("https", |(scheme, _)| scheme);
    if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{}{location}", origin(address))
    } else {
        let path = address.split(['?', '#']).next().unwrap_or(address);
        let folder = path.rfind('/').filter(|at| *at > origin(address).len());
        format!("{}/{location}", &path[..folder.unwrap_or(origin(address).len())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_a_browser_would_go() {
        let from = "https://hub.org:8080/a/b?c=d/e";
        let cases = [
            ("https://other/x", "https://other/x"),
            ("//other/x", "https://other/x"),
            ("/x?y", "https://hub.org:8080/x?y"),
            ("x", "https://hub.org:8080/a/x"),
        ];
        for (location, expected) in cases {
            assert_eq!(join(from, location), expected);
        }
        assert_eq!(join("http://hub", "x"), "http://hub/x");
    }
}
