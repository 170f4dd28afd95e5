//! What a request holds, with every limit.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::fault::Fault;
use crate::worker::View;

/// Bytes of a request's body at most.
const BODY: usize = 64 * 1024;
/// How long a body may take to arrive.
const READ: Duration = Duration::from_secs(10);
/// Characters of the headers that name a view.
const NAME: usize = 64;

/// A body of JSON.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        if !is_json(request.headers()) {
            let what = "the type of the body";
            return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what, "application/json"));
        }
        Ok(Self(parsed(&read(request.into_body()).await?)?))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|own| own.to_str().ok());
    let kind = kind.and_then(|own| own.split(';').next());
    kind.is_some_and(|own| own.trim().eq_ignore_ascii_case("application/json"))
}

async fn read(body: Body) -> Result<Vec<u8>, Fault> {
    match tokio::time::timeout(READ, to_bytes(body, BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(_)) => {
            let expected = format!("at most {} KiB", BODY / 1024);
            Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "the request", expected))
        }
        Err(_) => {
            let expected = format!("here within {} s", READ.as_secs());
            Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "the request", expected))
        }
    }
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|reason| {
        let status = match reason.classify() {
            serde_json::error::Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::BAD_REQUEST,
        };
        Fault::new(status, "the request", reason.to_string())
    })
}

/// What a request's address asks for, after `?`.
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(own)) => Ok(Self(own)),
            Err(reason) => {
                Err(Fault::new(StatusCode::BAD_REQUEST, "the address", reason.body_text()))
            }
        }
    }
}

/// The number in a request's address.
#[derive(Debug)]
pub(crate) struct Number(pub(crate) usize);

impl<S: Send + Sync> FromRequestParts<S> for Number {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        match Path::<usize>::from_request_parts(parts, state).await {
            Ok(Path(own)) => Ok(Self(own)),
            Err(_) => Err(Fault::missing("the address", "one with a number")),
        }
    }
}

/// Which view asks, if the page says so.
#[derive(Debug)]
pub(crate) struct Asker(pub(crate) Option<View>);

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        let text = |name: &str| {
            let own = parts.headers.get(name)?.to_str().ok()?;
            (own.len() <= NAME).then(|| own.to_owned())
        };
        let view = text("x-eigenlens-client").zip(text("x-eigenlens-view"));
        Ok(Self(view.map(|(client, name)| View { client, name })))
    }
}
