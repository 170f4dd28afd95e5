//! What goes wrong with a request, as the page reads it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use eigenlens::Error;
use serde_json::{Value, json};

/// An answer that is an error.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    status: StatusCode,
    what: String,
    expected: String,
    found: Option<String>,
    hint: &'static str,
}

impl Fault {
    /// `what` should be `expected`.
    pub(crate) fn new(
        status: StatusCode,
        what: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self { status, what: what.into(), expected: expected.into(), found: None, hint: "" }
    }

    /// What a request holds is not what it should be.
    pub(crate) fn invalid(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> Self {
        let fault = Self::new(StatusCode::UNPROCESSABLE_ENTITY, what, expected);
        Self { found: Some(found.to_string()), ..fault }
    }

    /// Something that there is not.
    pub(crate) fn missing(what: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, what, expected)
    }

    /// The same with what to do about it.
    #[must_use]
    pub(crate) fn hint(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    /// Its JSON, as `error`.
    pub(crate) fn json(&self) -> Value {
        let Self { what, expected, found, hint, .. } = self;
        json!({"error": {"what": what, "expected": expected, "found": found, "hint": hint}})
    }

    /// Its status.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid { what, expected, found, .. }
            | Error::Shape { what, expected, found } => Self::invalid(what, expected, found),
            Error::NonFinite { what, .. } => {
                Self::invalid(what, "finite numbers", "NaN or infinity")
            }
            Error::Interrupted { .. } | Error::Stopped { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the request", "waited for")
                    .hint("It was given up.")
            }
            other => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the work", other.to_string())
                .hint("The terminal or the notebook may say more."),
        }
    }
}

impl From<eigenlens::candle::Error> for Fault {
    fn from(error: eigenlens::candle::Error) -> Self {
        Error::from(error).into()
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let body = self.json().to_string();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
