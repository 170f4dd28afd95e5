//! Where a latent is active.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use eigenlens::multilayer::LayerExample;
use eigenlens::prelude::Tensor;
use serde::{Deserialize, Serialize};

use super::{Shared, answer};
use crate::fault::Fault;
use crate::request::{Asked, Asker, Number};
use crate::server::Served;

/// Examples of an answer: if nothing is said, and at most.
const ROWS: (usize, usize) = (16, 64);
/// Tokens on each side at most.
const WINDOW: usize = 64;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExamplesRequest {
    layer: Option<usize>,
    offset: Option<usize>,
    limit: Option<usize>,
    window: Option<usize>,
}

#[derive(Debug, Serialize)]
struct ExamplesAnswer {
    total: usize,
    rows: Vec<ShownExample>,
}

#[derive(Debug, Serialize)]
struct ShownExample {
    layer: usize,
    activation: f32,
    context: u64,
    position: usize,
    /// The place of the peak among the tokens.
    peak: usize,
    tokens: Vec<String>,
    activations: Vec<f32>,
}

pub(super) async fn examples(
    State(served): Shared,
    Asker(view): Asker,
    Number(latent): Number,
    Asked(asked): Asked<ExamplesRequest>,
) -> Result<Response, Fault> {
    served.subject.check_latent(latent)?;
    let limit = asked.limit.unwrap_or(ROWS.0);
    if !(1..=ROWS.1).contains(&limit) {
        return Err(Fault::invalid("`limit`", format!("between 1 and {}", ROWS.1), limit));
    }
    if asked.window.is_some_and(|own| own > WINDOW) {
        return Err(Fault::invalid("`window`", format!("at most {WINDOW}"), "more"));
    }
    let own = Arc::clone(&served);
    answer(&served.worker.ask(view, move || found(&own, latent, asked, limit)).await?)
}

fn found(
    served: &Served,
    latent: usize,
    asked: ExamplesRequest,
    limit: usize,
) -> Result<ExamplesAnswer, Fault> {
    let subject = &served.subject;
    let Some(examples) = &subject.examples else {
        return Ok(ExamplesAnswer { total: 0, rows: Vec::new() });
    };
    let places = match asked.layer {
        Some(layer) => {
            let place = subject.place_of(layer)?;
            place..place + 1
        }
        None => 0..examples.layers(),
    };
    let mut all: Vec<LayerExample> = Vec::new();
    for place in places {
        all.extend(examples.get(place, latent)?);
    }
    // Stable: equal ones stay in the order of layers and ranks.
    all.sort_by(|a, b| b.activation.total_cmp(&a.activation));
    let total = all.len();
    let rows = all.into_iter().skip(asked.offset.unwrap_or_default()).take(limit);
    let rows = rows.map(|own| shown(served, own, asked.window));
    Ok(ExamplesAnswer { total, rows: rows.collect::<Result<_, Fault>>()? })
}

/// An example with `window` tokens on each side, or as it was kept.
fn shown(served: &Served, own: LayerExample, window: Option<usize>) -> Result<ShownExample, Fault> {
    let subject = &served.subject;
    let (mut start, mut tokens, mut activations) = (own.start, own.tokens, own.activations);
    if let Some(window) = window {
        // The parts of what was kept, or the text it is from if that is here.
        let wanted = own.position.saturating_sub(window)..own.position + window + 1;
        let is_kept = wanted.start >= start && wanted.end <= start + tokens.len();
        if let Some(text) = subject.contexts.as_ref().filter(|_| !is_kept) {
            let context = text.get(own.context as usize)?;
            let batch = Tensor::new(context, subject.mlsae.model().device())?.unsqueeze(0)?;
            let codes = subject.mlsae.codes_of(&batch)?;
            let codes = codes.layer(own.layer)?;
            let value = |row: usize| {
                let found = codes.row(row).find(|(other, _)| *other as usize == own.latent);
                found.map_or(0.0, |own| own.1)
            };
            activations = (0..context.len()).map(value).collect();
            (start, tokens) = (0, context.to_vec());
        }
        let first = wanted.start.max(start) - start;
        let last = wanted.end.min(start + tokens.len()).max(start) - start;
        (tokens, activations) = (tokens[first..last].to_vec(), activations[first..last].to_vec());
        start += first;
    }
    Ok(ShownExample {
        layer: subject.mlsae.layers()[own.layer],
        activation: own.activation,
        context: own.context,
        position: own.position,
        peak: own.position.saturating_sub(start),
        tokens: tokens.iter().map(|token| subject.texts.one(*token)).collect(),
        activations,
    })
}
