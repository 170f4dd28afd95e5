//! What the page can ask for.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /api/v1/info` | what is served, and the limits |
//! | `POST /api/v1/prompt` | codes of a prompt at every layer, sparse |
//! | `GET /api/v1/prompt/{id}/histograms` | its activations in bins |
//! | `POST /api/v1/logits` | what a layer's stream or its reconstruction predicts |
//! | `POST /api/v1/steer` | the same after interventions |
//! | `POST /api/v1/generate` | text with and without them, token by token |
//! | `GET /api/v1/latents` | a part of the list of latents |
//! | `GET /api/v1/latents/{i}` | all that is known of one |
//! | `GET /api/v1/latents/{i}/examples` | where it is active |
//! | `POST /api/v1/activate` | some latents on a text |
//! | `PUT /api/v1/labels/{i}` | a reader's name for a latent |
//!
//! Layers are numbers of the model. Errors are `{"error": {what, expected, found, hint}}`.

mod examples;
mod generate;
mod info;
mod intervention;
mod latent;
mod latents;
mod logits;
mod prompt;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Router, middleware};
use serde::{Deserialize, Serialize};

use crate::assets;
use crate::fault::Fault;
use crate::guard::{Guard, check_and_mark};
use crate::request::{Json, Number};
use crate::server::Served;

/// What every handler is given.
pub(crate) type Shared = State<Arc<Served>>;

/// Tokens in a list at most.
pub(crate) const TOP: usize = 64;

/// All addresses.
pub(crate) fn router(served: Arc<Served>, guard: Guard) -> Router {
    let api = Router::new()
        .route("/info", get(info::info))
        .route("/prompt", post(prompt::prompt))
        .route("/prompt/{id}/histograms", get(prompt::histograms))
        .route("/logits", post(logits::logits))
        .route("/steer", post(logits::steer))
        .route("/generate", post(generate::generate))
        .route("/latents", get(latents::latents))
        .route("/latents/{latent}", get(latent::latent))
        .route("/latents/{latent}/examples", get(examples::examples))
        .route("/activate", post(latent::activate))
        .route("/labels/{latent}", put(label));
    Router::new()
        .route("/", get(assets::index))
        .route("/assets/{name}", get(assets::named))
        .nest("/api/v1", api)
        .with_state(served)
        .layer(middleware::from_fn_with_state(guard, check_and_mark))
}

/// An answer in JSON.
pub(crate) fn answer(value: &impl Serialize) -> Result<Response, Fault> {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            Ok(([(header::CONTENT_TYPE, "application/json")], Body::from(bytes)).into_response())
        }
        Err(reason) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Err(Fault::new(status, "the answer", reason.to_string()))
        }
    }
}

/// Fails for a number of tokens that is not between 1 and [`TOP`], or above the vocabulary.
pub(crate) fn checked_top(served: &Served, top: usize) -> Result<usize, Fault> {
    let most = TOP.min(served.subject.mlsae.model().config().vocab);
    match (1..=most).contains(&top) {
        true => Ok(top),
        false => Err(Fault::invalid("`top`", format!("between 1 and {most}"), top)),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLabel {
    label: String,
}

async fn label(
    State(served): Shared,
    Number(latent): Number,
    Json(NewLabel { label }): Json<NewLabel>,
) -> Result<StatusCode, Fault> {
    served.subject.check_latent(latent)?;
    served.labels.set(latent, &label)?;
    Ok(StatusCode::NO_CONTENT)
}
