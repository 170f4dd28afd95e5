//! A part of the list of latents.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::{Shared, answer};
use crate::explained::in_a_list;
use crate::fault::Fault;
use crate::request::{Asked, Asker};
use crate::server::Served;
use crate::subject::PROMOTED;
use crate::table::{LatentFilter, LatentNumbers, SortKey};

/// Rows of an answer: if nothing is said, and at most.
const ROWS: (usize, usize) = (80, 200);
/// Bytes of a search at most.
const SEARCH: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListRequest {
    #[serde(default)]
    sort: SortKey,
    #[serde(default)]
    order: Order,
    layer_from: Option<f64>,
    layer_to: Option<f64>,
    std_from: Option<f64>,
    std_to: Option<f64>,
    density_from: Option<f64>,
    density_to: Option<f64>,
    alive: Option<bool>,
    q: Option<String>,
    offset: Option<usize>,
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Asc,
    Desc,
}

#[derive(Debug, Serialize)]
struct ListAnswer {
    total: usize,
    rows: Vec<ListRow>,
    searched: Searched,
}

#[derive(Debug, Serialize)]
struct ListRow {
    #[serde(flatten)]
    numbers: LatentNumbers,
    profile: Vec<f64>,
    /// Texts of the tokens that it promotes.
    top: Vec<String>,
    label: String,
    /// What was written about it.
    explanation: String,
}

/// What a search looks through.
#[derive(Debug, Serialize)]
struct Searched {
    labels: bool,
    explanations: bool,
    examples: bool,
    promoted: bool,
}

pub(super) async fn latents(
    State(served): Shared,
    Asker(view): Asker,
    Asked(asked): Asked<ListRequest>,
) -> Result<Response, Fault> {
    let limit = asked.limit.unwrap_or(ROWS.0);
    if !(1..=ROWS.1).contains(&limit) {
        return Err(Fault::invalid("`limit`", format!("between 1 and {}", ROWS.1), limit));
    }
    if asked.q.as_ref().is_some_and(|own| own.len() > SEARCH) {
        return Err(Fault::invalid("`q`", format!("at most {SEARCH} bytes"), "more"));
    }
    let own = Arc::clone(&served);
    answer(&served.worker.ask(view, move || listed(&own, &asked, limit)).await?)
}

fn listed(served: &Served, asked: &ListRequest, limit: usize) -> Result<ListAnswer, Fault> {
    let subject = &served.subject;
    let filter = LatentFilter {
        mean_layer: [asked.layer_from, asked.layer_to],
        std: [asked.std_from, asked.std_to],
        density: [asked.density_from, asked.density_to],
        alive: asked.alive,
    };
    let labels = served.labels.all();
    let label = |latent: usize| labels.get(&latent).map(String::as_str).unwrap_or_default();
    let explained = served.explained.now();
    let query = asked.q.as_deref().unwrap_or_default().trim().to_lowercase();
    let searched = match query.is_empty() {
        true => &[][..],
        false => subject.searched()?,
    };
    // In ascending order.
    let in_explanations = explained.find(&query);
    let matches = |latent: usize| {
        query.is_empty()
            || latent.to_string() == query
            || label(latent).to_lowercase().contains(&query)
            || in_explanations.binary_search(&latent).is_ok()
            || searched[latent].contains(&query)
    };
    let all = subject.table.list((asked.sort, asked.order == Order::Desc), filter, matches);
    let shown: Vec<usize> =
        all.iter().copied().skip(asked.offset.unwrap_or_default()).take(limit).collect();
    let promoted = match shown.is_empty() {
        true => Vec::new(),
        false => subject.promoted(&shown, PROMOTED, true)?,
    };
    let rows = shown.iter().zip(promoted).map(|(latent, tokens)| ListRow {
        numbers: subject.table.row(*latent),
        profile: subject.table.profile(*latent).to_vec(),
        top: tokens.into_iter().map(|(token, _)| subject.texts.one(token)).collect(),
        label: label(*latent).to_owned(),
        explanation: in_a_list(&explained, *latent),
    });
    Ok(ListAnswer {
        total: all.len(),
        rows: rows.collect(),
        searched: Searched {
            labels: true,
            explanations: !explained.is_empty(),
            examples: subject.examples.is_some(),
            promoted: subject.searches_promoted(),
        },
    })
}
