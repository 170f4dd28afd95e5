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
use crate::subject::Subject;

/// Examples of an answer: if nothing is said, and at most.
const ROWS: (usize, usize) = (16, 64);
/// Tokens on each side at most.
const WINDOW: usize = 64;
/// Contexts that go through the model at a time.
const CONTEXTS: usize = 16;

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
    let mut rows: Vec<LayerExample> = rows.collect();
    if let Some(window) = asked.window {
        widen(subject, &mut rows, window)?;
    }
    Ok(ExamplesAnswer { total, rows: rows.into_iter().map(|own| shown(subject, own)).collect() })
}

/// Gives each example `window` tokens on each side: parts of what was kept, or of the text it is from
/// if that is here. The model runs on all contexts that need it at once.
fn widen(subject: &Subject, rows: &mut [LayerExample], window: usize) -> Result<(), Fault> {
    let wanted =
        |own: &LayerExample| own.position.saturating_sub(window)..own.position + window + 1;
    let is_kept = |own: &LayerExample| {
        wanted(own).start >= own.start && wanted(own).end <= own.start + own.tokens.len()
    };
    if let Some(text) = &subject.contexts {
        let mut short: Vec<&mut LayerExample> =
            rows.iter_mut().filter(|own| !is_kept(own)).collect();
        let mut contexts: Vec<u64> = short.iter().map(|own| own.context).collect();
        contexts.sort_unstable();
        contexts.dedup();
        for part in contexts.chunks(CONTEXTS) {
            let tokens = part.iter().map(|context| text.get(*context as usize));
            let tokens = tokens.collect::<Result<Vec<_>, _>>()?.concat();
            let (shape, device) = ((part.len(), text.length()), subject.mlsae.model().device());
            let codes = subject.mlsae.codes_of(&Tensor::from_vec(tokens, shape, device)?)?;
            for own in &mut short {
                let Ok(at) = part.binary_search(&own.context) else { continue };
                let codes = codes.layer(own.layer)?;
                let first = at * text.length();
                own.activations = (first..first + text.length())
                    .map(|row| codes.get(row, own.latent as u32))
                    .collect();
                (own.start, own.tokens) = (0, text.get(own.context as usize)?.to_vec());
            }
        }
    }
    for own in rows {
        let wanted = wanted(own);
        let end = (wanted.end.min(own.start + own.tokens.len())).max(own.start) - own.start;
        let first = (wanted.start.max(own.start) - own.start).min(end);
        own.tokens = own.tokens[first..end].to_vec();
        own.activations = own.activations[first..end].to_vec();
        own.start += first;
    }
    Ok(())
}

fn shown(subject: &Subject, own: LayerExample) -> ShownExample {
    ShownExample {
        layer: subject.mlsae.layers()[own.layer],
        activation: own.activation,
        context: own.context,
        position: own.position,
        peak: own.position.saturating_sub(own.start),
        tokens: own.tokens.iter().map(|token| subject.texts.one(*token)).collect(),
        activations: own.activations,
    }
}
