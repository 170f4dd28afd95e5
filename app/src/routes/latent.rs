//! All that is known of one latent, and some latents on a text.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::prompt::prompted;
use super::{Shared, answer};
use crate::directions::Directions;
use crate::explained::{ShownExplanation, in_a_list};
use crate::fault::Fault;
use crate::request::{Asker, Json, Number};
use crate::server::Served;
use crate::statistics::LatentHistograms;
use crate::table::LatentNumbers;
use crate::texts::{NearToken, ScoredToken, ShownToken};

/// Tokens that a latent promotes and suppresses.
const LOGITS: usize = 16;
/// Neighbours, and nearest embeddings.
const NEAREST: usize = 8;
/// Latents that are looked at on a text at a time.
const LATENTS: usize = 64;

#[derive(Debug, Serialize)]
struct LatentAnswer {
    label: String,
    explanation: Option<ShownExplanation>,
    #[serde(flatten)]
    numbers: LatentNumbers,
    by_layer: Vec<AtLayer>,
    histograms: Option<LatentHistograms>,
    promoted: Vec<ScoredToken>,
    suppressed: Vec<ScoredToken>,
    nearest: Nearest,
    embeddings: Embeddings,
}

#[derive(Debug, Serialize)]
struct AtLayer {
    layer: usize,
    count: Option<u64>,
    mean: Option<f64>,
    share: Option<f64>,
    max: Option<f32>,
}

/// Latents whose directions have the largest cosines with this one's.
#[derive(Debug, Serialize)]
struct Nearest {
    decoder: Vec<NearLatent>,
    encoder: Vec<NearLatent>,
}

#[derive(Debug, Serialize)]
struct NearLatent {
    latent: u32,
    cosine: f32,
    label: String,
    explanation: String,
}

#[derive(Debug, Serialize)]
struct Embeddings {
    input: Vec<NearToken>,
    output: Vec<NearToken>,
}

pub(super) async fn latent(
    State(served): Shared,
    Asker(view): Asker,
    Number(latent): Number,
) -> Result<Response, Fault> {
    served.subject.check_latent(latent)?;
    let own = Arc::clone(&served);
    answer(&served.worker.ask(view, move || described(&own, latent)).await?)
}

fn described(served: &Served, latent: usize) -> Result<LatentAnswer, Fault> {
    let subject = &served.subject;
    let scored = |rises: bool| -> Result<Vec<ScoredToken>, Fault> {
        let rows = subject.promoted(&[latent], LOGITS, rises)?;
        Ok(subject.texts.scored(rows.into_iter().flatten()))
    };
    let directions = &subject.directions;
    let written = directions.decoder.one(latent)?;
    let near = |embeddings: &Directions| -> Result<Vec<NearToken>, Fault> {
        Ok(subject.texts.near(embeddings.nearest(&written, NEAREST)?))
    };
    Ok(LatentAnswer {
        label: served.labels.of(latent),
        explanation: ShownExplanation::of(&served.explained.now(), latent),
        numbers: subject.table.row(latent),
        by_layer: by_layer(served, latent)?,
        histograms: subject.statistics.as_ref().map(|own| own.of(latent)),
        promoted: scored(true)?,
        suppressed: scored(false)?,
        nearest: Nearest {
            decoder: neighbours(served, &directions.decoder, latent)?,
            encoder: neighbours(served, &directions.encoder, latent)?,
        },
        embeddings: Embeddings {
            input: near(&directions.input)?,
            output: near(&directions.output)?,
        },
    })
}

/// The directions nearest to that of a latent.
fn neighbours(served: &Served, all: &Directions, latent: usize) -> Result<Vec<NearLatent>, Fault> {
    let explained = served.explained.now();
    let found = all.nearest(&all.one(latent)?, NEAREST + 1)?;
    let others = found.into_iter().filter(|own| own.0 as usize != latent).take(NEAREST);
    let near = others.map(|(latent, cosine)| NearLatent {
        latent,
        cosine,
        label: served.labels.of(latent as usize),
        explanation: in_a_list(&explained, latent as usize),
    });
    Ok(near.collect())
}

fn by_layer(served: &Served, latent: usize) -> Result<Vec<AtLayer>, Fault> {
    let subject = &served.subject;
    let (counts, means) = (subject.table.counts(latent), subject.table.means(latent));
    let profile = subject.table.profile(latent);
    let layers = subject.mlsae.layers().iter().enumerate();
    let each = layers.map(|(at, layer)| {
        let best = match &subject.examples {
            Some(own) => own.get(at, latent)?.first().map(|own| own.activation),
            None => None,
        };
        Ok(AtLayer {
            layer: *layer,
            count: counts.get(at).map(|own| *own as u64),
            mean: means.get(at).copied(),
            share: profile.get(at).copied().filter(|own| own.is_finite()),
            max: best,
        })
    });
    each.collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActivateRequest {
    latents: Vec<usize>,
    text: String,
}

#[derive(Debug, Serialize)]
struct ActivateAnswer {
    tokens: Vec<ShownToken>,
    rows: Vec<Activated>,
}

#[derive(Debug, Serialize)]
struct Activated {
    latent: usize,
    /// By layer and position; 0 where it is not active.
    values: Vec<Vec<f32>>,
}

pub(super) async fn activate(
    State(served): Shared,
    Asker(view): Asker,
    Json(ActivateRequest { latents, text }): Json<ActivateRequest>,
) -> Result<Response, Fault> {
    if !(1..=LATENTS).contains(&latents.len()) {
        let expected = format!("between 1 and {LATENTS}");
        return Err(Fault::invalid("the number of latents", expected, latents.len()));
    }
    latents.iter().try_for_each(|latent| served.subject.check_latent(*latent))?;
    let own = Arc::clone(&served);
    let work = move || {
        let (_, prompt) = prompted(&own, &text)?;
        let rows = latents.into_iter().map(|latent| {
            let layers = prompt.codes().iter().map(|codes| {
                (0..codes.rows()).map(|row| codes.get(row, latent as u32).max(0.0)).collect()
            });
            Activated { latent, values: layers.collect() }
        });
        Ok(ActivateAnswer { tokens: own.subject.texts.all(prompt.tokens()), rows: rows.collect() })
    };
    answer(&served.worker.ask(view, work).await?)
}
