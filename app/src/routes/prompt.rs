//! A prompt at every layer.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use eigenlens::multilayer::{LayerPrompt, RankedLogit};
use serde::{Deserialize, Serialize};

use super::info::PROMPT_BYTES;
use super::{Shared, answer};
use crate::answers::SparseCodes;
use crate::explained::in_a_list;
use crate::fault::Fault;
use crate::request::{Asked, Asker, Json};
use crate::server::Served;
use crate::texts::{NextToken, ShownToken};

/// Likely tokens that an answer has for each position.
const NEXT: usize = 16;
/// Bins of histograms: the original's number, and the most.
const BINS: (usize, usize) = (64, 512);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PromptRequest {
    prompt: String,
}

#[derive(Debug, Serialize)]
struct PromptAnswer {
    id: String,
    tokens: Vec<ShownToken>,
    layers: Vec<usize>,
    max: Vec<Vec<f32>>,
    fvu: Vec<f64>,
    /// Mean of the losses.
    loss: Option<f64>,
    /// Of predicting each token from those before; none for the first.
    losses: Vec<Option<f64>>,
    next: Vec<Vec<NextToken>>,
    latents: KnownLatents,
    codes: SparseCodes,
}

/// What is known of the latents of a prompt.
#[derive(Debug, Default, Serialize)]
struct KnownLatents {
    id: Vec<u32>,
    density: Vec<Option<f64>>,
    mean_layer: Vec<Option<f64>>,
    std: Vec<Option<f64>>,
    max: Vec<Option<f64>>,
    label: Vec<String>,
    /// What was written about them; nothing at all if there is nothing about any latent.
    explanation: Vec<String>,
}

pub(super) async fn prompt(
    State(served): Shared,
    Asker(view): Asker,
    Json(PromptRequest { prompt }): Json<PromptRequest>,
) -> Result<Response, Fault> {
    if prompt.len() > PROMPT_BYTES {
        let expected = format!("at most {PROMPT_BYTES} bytes");
        return Err(Fault::invalid("the prompt", expected, prompt.len()).hint("Shorten it."));
    }
    let own = Arc::clone(&served);
    let found = served.worker.ask(view, move || answered(&own, &prompt)).await?;
    answer(&found)
}

/// The prompt of a text, computed now or not long ago, and its id.
pub(super) fn prompted(served: &Served, text: &str) -> Result<(String, Arc<LayerPrompt>), Fault> {
    if let Some(found) = served.prompts.of_text(text) {
        return Ok(found);
    }
    served.subject.tokens(text)?;
    let prompt = Arc::new(served.subject.mlsae.prompt(text)?);
    Ok((served.prompts.keep(Arc::clone(&prompt)), prompt))
}

fn answered(served: &Served, text: &str) -> Result<PromptAnswer, Fault> {
    let subject = &served.subject;
    let (id, prompt) = prompted(served, text)?;
    let logits = subject.mlsae.prompt_logits(&prompt)?;
    let losses = losses(&logits.to_dtype(eigenlens::prelude::DType::F64)?.to_vec2()?, &prompt);
    let known: Vec<f64> = losses.iter().copied().flatten().collect();
    let codes = SparseCodes::of(prompt.codes());
    let only_special = prompt.tokens().iter().all(|own| subject.mlsae.skipped().contains(own));
    let fvu = match only_special {
        true => vec![f64::NAN; prompt.layers().len()],
        false => {
            let scores = subject.mlsae.evaluate_prompt(&prompt)?.layers();
            scores.into_iter().map(|own| own.fvu).collect()
        }
    };
    let next = NEXT.min(subject.mlsae.model().config().vocab);
    Ok(PromptAnswer {
        id,
        tokens: subject.texts.all(prompt.tokens()),
        layers: prompt.layers().to_vec(),
        max: codes.maxima(prompt.layers().len()),
        fvu,
        loss: (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64),
        losses,
        next: subject.texts.next(RankedLogit::largest(&logits, next)?),
        latents: known_latents(served, codes.distinct()),
        codes,
    })
}

/// `−ln p` of each token but the first, nats.
fn losses(logits: &[Vec<f64>], prompt: &LayerPrompt) -> Vec<Option<f64>> {
    let of = |(row, token): (&Vec<f64>, &u32)| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|own| (own - largest).exp()).sum();
        Some(largest + sum.ln() - row[*token as usize])
    };
    [None].into_iter().chain(logits.iter().zip(&prompt.tokens()[1..]).map(of)).collect()
}

fn known_latents(served: &Served, latents: Vec<u32>) -> KnownLatents {
    let (labels, explained) = (served.labels.all(), served.explained.now());
    let mut found = KnownLatents::default();
    for latent in &latents {
        let row = served.subject.table.row(*latent as usize);
        found.density.push(row.density);
        found.mean_layer.push(row.mean_layer);
        found.std.push(row.std);
        found.max.push(row.max);
        found.label.push(labels.get(&(*latent as usize)).cloned().unwrap_or_default());
        if !explained.is_empty() {
            found.explanation.push(in_a_list(&explained, *latent as usize));
        }
    }
    KnownLatents { id: latents, ..found }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bins {
    bins: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Histograms {
    values: Vec<Vec<u64>>,
    edges: Vec<f64>,
    zeros: Vec<u64>,
}

pub(super) async fn histograms(
    State(served): Shared,
    Path(id): Path<String>,
    Asked(Bins { bins }): Asked<Bins>,
) -> Result<Response, Fault> {
    let bins = bins.unwrap_or(BINS.0);
    if !(1..=BINS.1).contains(&bins) {
        return Err(Fault::invalid("`bins`", format!("between 1 and {}", BINS.1), bins));
    }
    let found = served.prompts.get(&id)?.codes().histograms(bins)?;
    answer(&Histograms { values: found.values, edges: found.edges, zeros: found.zeros })
}
