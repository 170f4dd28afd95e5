//! What the model predicts, as it is and after a change.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use eigenlens::multilayer::RankedLogit;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::intervention::{Intervention, interventions};
use super::{Shared, answer, checked_top};
use crate::answers::{Changed, Shifts};
use crate::fault::Fault;
use crate::request::{Asker, Json};
use crate::texts::NextToken;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogitsRequest {
    id: String,
    layer: Option<usize>,
    what: What,
    top: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// The model as it is.
    Input,
    /// With the reconstruction in the place of a layer's stream.
    Reconstruction,
}

pub(super) async fn logits(
    State(served): Shared,
    Asker(view): Asker,
    Json(asked): Json<LogitsRequest>,
) -> Result<Response, Fault> {
    let top = checked_top(&served, asked.top)?;
    let prompt = served.prompts.get(&asked.id)?;
    let own = Arc::clone(&served);
    let LogitsRequest { layer, what, .. } = asked;
    if what == What::Input {
        let work = move || {
            let logits = own.subject.mlsae.prompt_logits(&prompt)?;
            Ok(own.subject.texts.next(RankedLogit::largest(&logits, top)?))
        };
        let max = served.worker.ask(view, work).await?;
        return answer(&json!({"max": max, "rises": [], "falls": [], "kl": []}));
    }
    let Some(layer) = layer else {
        return Err(Fault::invalid("`layer`", "there for a reconstruction", "none"));
    };
    served.subject.place_of(layer)?;
    let work = move || {
        let found = own.subject.mlsae.logits_of_reconstruction(&prompt, layer)?;
        let max = own.subject.texts.next(found.largest(top)?);
        Ok(Changed { max, shifts: Shifts::of(&own.subject.texts, &found, top)? })
    };
    answer(&served.worker.ask(view, work).await?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SteerRequest {
    id: String,
    interventions: Vec<Intervention>,
    top: usize,
}

#[derive(Debug, Serialize)]
struct SteerAnswer {
    before: Vec<Vec<NextToken>>,
    after: Vec<Vec<NextToken>>,
    #[serde(flatten)]
    shifts: Shifts,
}

pub(super) async fn steer(
    State(served): Shared,
    Asker(view): Asker,
    Json(asked): Json<SteerRequest>,
) -> Result<Response, Fault> {
    let top = checked_top(&served, asked.top)?;
    let prompt = served.prompts.get(&asked.id)?;
    let changes = interventions(&served, &asked.interventions)?;
    let own = Arc::clone(&served);
    let work = move || {
        let (texts, found) = (&own.subject.texts, own.subject.mlsae.steer(&prompt, &changes)?);
        Ok(SteerAnswer {
            before: texts.next(RankedLogit::largest(found.before(), top)?),
            after: texts.next(found.largest(top)?),
            shifts: Shifts::of(texts, &found, top)?,
        })
    };
    answer(&served.worker.ask(view, work).await?)
}
