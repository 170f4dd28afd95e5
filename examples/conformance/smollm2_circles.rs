//! Weekdays and months in SmolLM2, against numbers that another implementation measured on the same
//! weights.

use eigenlens::candle::{DType, Device, Tensor};
use eigenlens::cyclic::{CyclicTask, InterveneOptions, Interventions, Patch, PromptOptions, Role};
use eigenlens::features::{Clusters, GraphOptions, Neighbours, cosines};
use eigenlens::geometry::{FourierPower, OrderNull, Probe, ProbeOptions, Targets};
use eigenlens::linalg::pca;
use eigenlens::model::Decoder;
use eigenlens::{Error, Result};

use crate::report::Report;

/// Those numbers are given with two or three digits.
const NEAR: f64 = 0.02;
/// The same for differences of logits.
const NEAR_LOGIT: f64 = 0.03;

pub(crate) fn compare(model: &Decoder, report: &mut Report) -> Result<()> {
    let embedding = embedding(model)?;
    for (task, raw, centred) in
        [(CyclicTask::weekdays(), 0.850, 0.796), (CyclicTask::months(), 0.781, 0.817)]
    {
        let tokens = word_tokens(model, task.words())?;
        let own = rows(&embedding, &tokens)?;
        let name = task.words()[0].clone();
        near(report, &format!("cosines of {name} and others"), mean_cosine(&own)?, raw);
        let mean = embedding.mean_keepdim(0)?;
        let own = own.broadcast_sub(&mean)?;
        near(report, &format!("centred cosines of {name} and others"), mean_cosine(&own)?, centred);
        words(report, &name, &own, task.period())?;
    }
    week_is_a_cluster(model, &embedding, report)?;
    next_month(model, report)
}

/// The token embedding, f32.
fn embedding(model: &Decoder) -> Result<Tensor> {
    let found = model.weights().into_iter().find(|(name, _)| name.contains("wte"));
    let (_, embedding) =
        found.ok_or_else(|| Error::invalid("the model", "with a token embedding", "none"))?;
    Ok(embedding.to_dtype(DType::F32)?)
}

fn word_tokens(model: &Decoder, words: &[String]) -> Result<Vec<u32>> {
    let tokenizer = model.tokenizer()?;
    words.iter().map(|word| Ok(tokenizer.encode_plain(&format!(" {word}"))?[0])).collect()
}

fn rows(embedding: &Tensor, tokens: &[u32]) -> Result<Tensor> {
    Ok(embedding.index_select(&Tensor::new(tokens, &Device::Cpu)?, 0)?)
}

/// The mean of the cosines of different rows.
fn mean_cosine(rows: &Tensor) -> Result<f64> {
    let count = rows.dims()[0] as f64;
    let all = cosines(rows)?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
    Ok((all - count) / (count * (count - 1.0)))
}

/// The words in their own principal components: their circle, and how special it is.
fn words(report: &mut Report, name: &str, rows: &Tensor, period: usize) -> Result<()> {
    let targets = Targets::circle(0..period, period, &[1])?;
    let probe = Probe::fit(rows, &targets, &ProbeOptions { components: Some(2) })?;
    let power = FourierPower::of(rows, &(0..period).collect::<Vec<_>>(), period)?;
    if period == 7 {
        let parts = pca(rows, 3)?;
        for (at, share) in [0.357, 0.209, 0.144].into_iter().enumerate() {
            near(report, &format!("{name}: component {}", at + 1), parts.explained[at], share);
        }
        for (at, share) in [0.517, 0.261, 0.222].into_iter().enumerate() {
            near(report, &format!("{name}: frequency {}", at + 1), power.share(at + 1)?, share);
        }
        let null = probe.orders(OrderNull::All)?;
        near(report, &format!("{name}: R²"), null.own, 0.851);
        report.check(&format!("{name}: rank of R²"), null.rank() == 1 && null.values.len() == 360);
        let null = power.orders(1, OrderNull::All)?;
        report.check(&format!("{name}: rank of frequency 1"), null.rank() == 1);
    } else {
        let null = probe.orders(OrderNull::Sample { count: 20_000, seed: 0 })?;
        near(report, &format!("{name}: R²"), null.own, 0.708);
        report.check(&format!("{name}: R² is above all orders"), null.highest() < null.own);
        near(report, &format!("{name}: frequency 1"), power.share(1)?, 0.323);
    }
    Ok(())
}

fn week_is_a_cluster(model: &Decoder, embedding: &Tensor, report: &mut Report) -> Result<()> {
    let centred = embedding.broadcast_sub(&embedding.mean_keepdim(0)?)?;
    let neighbours = Neighbours::of(&centred, 2)?;
    let options = GraphOptions { k: 2, cutoff: 0.6, ..GraphOptions::default() };
    let clusters = Clusters::graph(&neighbours, &options)?;
    report.check("clusters of the embedding", clusters.at_least(2).len() == 6_724);
    let mut week: Vec<usize> = word_tokens(model, CyclicTask::weekdays().words())?
        .into_iter()
        .map(|token| token as usize)
        .collect();
    week.sort_unstable();
    let found = clusters.find(week[0]).map(|at| clusters.get(at).map(<[usize]>::to_vec));
    let mut found = found.transpose()?.unwrap_or_default();
    found.sort_unstable();
    report.check("the weekdays are a cluster", found == week);
    Ok(())
}

/// How many months it knows the next of, and what patches do to that.
fn next_month(model: &Decoder, report: &mut Report) -> Result<()> {
    let problems = CyclicTask::next_month().problems(model, &PromptOptions::default())?;
    let answers = problems.evaluate(model)?;
    for (template, right) in [11, 10, 11, 8].into_iter().enumerate() {
        let found = answers.right_among(|question| question.template == template);
        report.check(&format!("next month, template {template}"), found == (right, 12));
    }
    let streams = problems.activations(model, Role::Start)?;
    let patches = vec![Patch::None, Patch::Layer, Patch::Circle, Patch::Components, Patch::Average];
    let options = InterveneOptions {
        layers: vec![0, 5, 11],
        patches: patches.clone(),
        template: Some(1),
        ..InterveneOptions::default()
    };
    let found = Interventions::run(model, &problems, &streams, &options)?;
    for (layer, expected) in [
        (0, [2.02, -2.02, -1.19, -0.75, 0.00]),
        (5, [2.02, -2.01, -1.03, -0.53, 0.01]),
        (11, [2.02, -2.00, -1.02, -0.48, 0.01]),
    ] {
        for (patch, expected) in patches.iter().zip(expected) {
            let mean = found.get(layer, patch)?.difference.mean;
            let what = format!("next month, layer {layer}, {patch}");
            near_by(report, &what, mean, expected, NEAR_LOGIT);
        }
    }
    let orders = Patch::PermutedCircle(4);
    let options = InterveneOptions {
        layers: vec![2],
        patches: vec![Patch::Circle, orders.clone()],
        template: Some(0),
        ..InterveneOptions::default()
    };
    let found = Interventions::run(model, &problems, &streams, &options)?;
    let own = found.get(2, &Patch::Circle)?;
    near_by(report, "next month, layer 2, true order", own.difference.mean, -1.27, NEAR_LOGIT);
    let others = &found.get(2, &orders)?.differences;
    let lowest = others
        .chunks(own.differences.len())
        .map(|draw| draw.iter().sum::<f64>() / draw.len() as f64)
        .fold(f64::INFINITY, f64::min);
    report.check("next month, layer 2, true order is lowest", own.difference.mean < lowest);
    Ok(())
}

fn near(report: &mut Report, what: &str, found: f64, expected: f64) {
    near_by(report, what, found, expected, NEAR);
}

fn near_by(report: &mut Report, what: &str, found: f64, expected: f64, tolerance: f64) {
    match (found - expected).abs() <= tolerance {
        true => report.pass(what),
        false => report.fail(what, &format!("{found:.3}, expected {expected} ± {tolerance}")),
    }
}
