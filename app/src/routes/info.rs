//! What is served, and the limits.

use axum::extract::State;
use axum::response::Response;
use eigenlens::sae::Normalization;
use serde_json::json;

use super::{Shared, TOP, answer, generate};
use crate::fault::Fault;
use crate::labels::LABEL_CHARS;
use crate::worker::QUEUE;

/// The prompt that the original's page begins with.
const PROMPT: &str = "When Mary and John went to the store, John gave a drink to";
/// Bytes of a prompt at most.
pub(super) const PROMPT_BYTES: usize = 32 * 1024;

pub(super) async fn info(State(served): Shared) -> Result<Response, Fault> {
    let subject = &served.subject;
    let (mlsae, model) = (&subject.mlsae, subject.mlsae.model());
    let (sae, config) = (mlsae.sae(), model.config());
    let architecture = sae.architecture();
    let name = match model.repository() {
        Some(repository) => repository.name().to_owned(),
        None => "a model in memory".to_owned(),
    };
    answer(&json!({
        "model": {
            "name": name, "layers": config.layers, "d_model": config.d_model,
            "vocab": config.vocab, "context": config.context,
        },
        "sae": {
            "name": subject.name, "architecture": architecture.to_string(),
            "latents": sae.features(), "k": sae.k(), "layers": mlsae.layers(),
            "lens": mlsae.lens().is_some(),
            "standardize": architecture.normalization == Normalization::LayerNorm,
        },
        "data": {
            "distributions": subject.table.has_distributions(),
            "positions": subject.table.positions(),
            "examples": subject.examples.as_ref().map(|own| own.len()),
            "texts": subject.contexts.is_some(),
            "histograms": subject.statistics.is_some(),
            "explanations": !served.explained.now().is_empty(),
        },
        "limits": {
            "prompt_bytes": PROMPT_BYTES, "prompt_tokens": subject.context, "top": TOP,
            "queue": QUEUE, "generate_tokens": generate::MOST, "label_chars": LABEL_CHARS,
        },
        "read_only": served.labels.read_only(),
        "prompt": PROMPT,
        "version": env!("CARGO_PKG_VERSION"),
    }))
}
