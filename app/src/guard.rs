//! Who may ask, and what every answer says about itself.
//!
//! A page of another site can send requests to a server on this machine, and a name of its own may
//! lead here (DNS rebinding). So the name in `Host` must be this machine's, an `Origin` must be our
//! own, and everything but the page itself needs the token, which no other page knows.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq as _;

use crate::fault::Fault;

/// Names of this machine that a browser may use, with any port: one may come through `ssh -L`.
const OWN_NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'self' http://127.0.0.1:* http://localhost:*";

/// The secret that a link carries.
#[derive(Clone)]
pub(crate) struct Token(Arc<str>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// 256 random bits; what `EIGENLENS_APP_TOKEN` says, for tests.
    pub(crate) fn new() -> eigenlens::Result<Self> {
        if let Ok(own) = std::env::var("EIGENLENS_APP_TOKEN")
            && !own.is_empty()
        {
            return Ok(Self(own.into()));
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|reason| {
            eigenlens::Error::invalid("the system's random numbers", "there", reason)
        })?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self(text.into()))
    }

    /// Its text, for the link.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|own| own.to_str().ok());
        let given = given.and_then(|own| own.strip_prefix("Bearer "));
        given.is_some_and(|own| own.as_bytes().ct_eq(self.0.as_bytes()).into())
    }
}

/// What requests are held against.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    pub(crate) token: Token,
    /// Whether there is a line on standard error for each request.
    pub(crate) logs: bool,
}

/// Refuses what does not come from a browser of this machine that has the link, and adds the headers
/// that keep answers where they belong.
pub(crate) async fn check_and_mark(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let is_api = path.starts_with("/api/");
    let mut response = match check(&guard.token, &request, is_api) {
        Ok(()) => next.run(request).await,
        Err(fault) => fault.into_response(),
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED || is_plain_miss(&response) {
        let expected = "one of the page's";
        response = Fault::new(response.status(), "the address", expected).into_response();
    }
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(header::CACHE_CONTROL, if is_api { "no-store" } else { "no-cache" });
    if guard.logs {
        // Without what it held: prompts and tokens stay out of logs.
        eprintln!("{method} {path} {}", response.status().as_u16());
    }
    response
}

/// Whether axum said "not found" itself, without a body of ours.
fn is_plain_miss(response: &Response) -> bool {
    response.status() == StatusCode::NOT_FOUND
        && !response.headers().contains_key(header::CONTENT_TYPE)
}

fn check(token: &Token, request: &Request, is_api: bool) -> Result<(), Fault> {
    let headers = request.headers();
    let forbidden = |what| {
        Fault::new(StatusCode::FORBIDDEN, what, "of this machine")
            .hint("Open the link that the app printed.")
    };
    let text = |name| headers.get(name).map(|own: &HeaderValue| own.to_str().unwrap_or_default());
    let host = text(header::HOST).unwrap_or_default();
    if !OWN_NAMES.contains(&name_of(host)) {
        return Err(forbidden("the name in the address"));
    }
    if text(header::ORIGIN).is_some_and(|own| own != format!("http://{host}"))
        || text(HeaderName::from_static("sec-fetch-site")) == Some("cross-site") && is_api
    {
        return Err(forbidden("the page that asks"));
    }
    if is_api && !token.is_in(headers) {
        return Err(Fault::new(StatusCode::UNAUTHORIZED, "the token", "that of this start")
            .hint("Open the link that the app printed."));
    }
    Ok(())
}

/// `host` without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|own| own.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_no_part_of_a_name() {
        for (host, name) in [
            ("127.0.0.1:80", "127.0.0.1"),
            ("localhost", "localhost"),
            ("[::1]:9", "[::1]"),
            ("127.0.0.1.evil.org:80", "127.0.0.1.evil.org"),
            ("evil.org", "evil.org"),
        ] {
            assert_eq!(name_of(host), name);
        }
    }

    #[test]
    fn a_token_is_long_secret_and_never_the_same() {
        let (one, other) = (Token::new().unwrap(), Token::new().unwrap());
        if std::env::var_os("EIGENLENS_APP_TOKEN").is_none() {
            assert!(one.as_str().len() == 64 && one.as_str() != other.as_str());
        }
        assert!(!format!("{one:?}").contains(one.as_str()));
    }
}
