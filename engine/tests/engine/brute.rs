//! The ten answers by loops over all rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;

use crate::process::Rows;
use crate::store::{Code, Token};

/// The rows of each feature.
fn by_feature(codes: &[Code]) -> BTreeMap<i64, Vec<Code>> {
    let mut features: BTreeMap<i64, Vec<Code>> = BTreeMap::new();
    codes.iter().for_each(|code| features.entry(code.feature).or_default().push(*code));
    features
}

fn max(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::NEG_INFINITY, f64::max)
}

/// Answers to `queries::QUERIES`, in their order.
pub(crate) fn answers(codes: &[Code], tokens: &[Token], feature: i64) -> [Rows; 10] {
    let features = by_feature(codes);
    let sum = |rows: &[Code]| rows.iter().map(|row| row.value).sum::<f64>();
    let values = |rows: &[Code]| rows.iter().map(|row| row.value).collect::<Vec<_>>();
    let frequencies = features.iter().map(|(feature, rows)| {
        let (count, sum) = (rows.len(), sum(rows));
        let max = max(values(rows).into_iter());
        vec![json!(feature), json!(count), json!(sum), json!(max), json!(sum / count as f64)]
    });
    let best = features.iter().flat_map(|(feature, rows)| {
        let mut rows = rows.clone();
        rows.sort_by(|a, b| {
            let by_value = b.value.partial_cmp(&a.value).unwrap();
            by_value.then((a.context, a.position).cmp(&(b.context, b.position)))
        });
        rows.truncate(3);
        let row = |row: &Code| {
            vec![json!(feature), json!(row.value), json!(row.context), json!(row.position)]
        };
        rows.iter().map(row).collect::<Vec<_>>()
    });
    let contexts = features.iter().map(|(feature, rows)| {
        let contexts: BTreeSet<i64> = rows.iter().map(|row| row.context).collect();
        vec![json!(feature), json!(contexts.len())]
    });
    let positions = by_position(codes);
    let statistics = features.iter().map(|(feature, rows)| {
        vec![json!(feature), json!(rows.len()), json!(max(values(rows).into_iter()))]
    });
    let histograms = features.iter().map(|(feature, rows)| {
        let mut edge = 1.0 / 64.0;
        while rows.iter().any(|row| row.value >= edge) {
            edge *= 2.0;
        }
        let mut counts = [0; 32];
        rows.iter().for_each(|row| counts[(row.value / edge * 32.0) as usize] += 1);
        vec![json!(feature), json!(edge), json!(counts.map(|count| count.to_string()).join(" "))]
    });
    [
        frequencies.collect(),
        best.collect(),
        contexts.collect(),
        together(codes, feature),
        positions,
        losses(codes, tokens),
        active(tokens),
        correlation(tokens),
        statistics.collect(),
        histograms.collect(),
    ]
}

/// What is active together with a feature.
fn together(codes: &[Code], feature: i64) -> Rows {
    let here: BTreeSet<(i64, i64)> = codes
        .iter()
        .filter(|code| code.feature == feature)
        .map(|code| (code.context, code.position))
        .collect();
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    for code in codes.iter().filter(|code| here.contains(&(code.context, code.position))) {
        *counts.entry(code.feature).or_default() += i64::from(code.feature != feature);
    }
    counts.remove(&feature);
    let mut counts: Vec<(i64, i64)> = counts.into_iter().collect();
    counts.sort_by_key(|(feature, count)| (-count, *feature));
    counts.iter().take(20).map(|(feature, count)| vec![json!(feature), json!(count)]).collect()
}

fn by_position(codes: &[Code]) -> Rows {
    let mut positions: BTreeMap<i64, (i64, f64)> = BTreeMap::new();
    for code in codes {
        let (count, sum) = positions.entry(code.position).or_default();
        *count += 1;
        *sum += code.value;
    }
    let row = |(position, (count, sum)): (&i64, &(i64, f64))| {
        vec![json!(position), json!(count), json!(sum / *count as f64)]
    };
    positions.iter().map(row).collect()
}

/// The mean loss where a feature is active, of features that are active at 20 tokens.
fn losses(codes: &[Code], tokens: &[Token]) -> Rows {
    let losses: HashMap<(i64, i64), f64> = tokens
        .iter()
        .filter_map(|token| Some(((token.context, token.position), token.loss?)))
        .collect();
    let mut features: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for code in codes {
        if let Some(loss) = losses.get(&(code.context, code.position)) {
            features.entry(code.feature).or_default().push(*loss);
        }
    }
    let often = features.iter().filter(|(_, losses)| losses.len() >= 20);
    let row = |(feature, losses): (&i64, &Vec<f64>)| {
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        vec![json!(feature), json!(losses.len()), json!(mean)]
    };
    often.map(row).collect()
}

fn active(tokens: &[Token]) -> Rows {
    let mut groups: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    tokens.iter().for_each(|token| groups.entry(token.l0).or_default().push(token.error));
    let row = |(l0, errors): (&i64, &Vec<f64>)| {
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        vec![json!(l0), json!(errors.len()), json!(mean)]
    };
    groups.iter().map(row).collect()
}

/// Loss against error, over tokens that have a loss.
fn correlation(tokens: &[Token]) -> Rows {
    let pairs: Vec<(f64, f64)> =
        tokens.iter().filter_map(|token| Some((token.loss?, token.error))).collect();
    let count = pairs.len() as f64;
    let mean = |get: fn(&(f64, f64)) -> f64| pairs.iter().map(get).sum::<f64>() / count;
    let (x, y) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let moment = |f: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>();
    let xy = moment(&|pair| (pair.0 - x) * (pair.1 - y));
    let (xx, yy) = (moment(&|pair| (pair.0 - x).powi(2)), moment(&|pair| (pair.1 - y).powi(2)));
    let losses = || pairs.iter().map(|pair| pair.0);
    let least = -max(losses().map(|loss| -loss));
    vec![vec![json!(pairs.len()), json!(xy / (xx * yy).sqrt()), json!(least), json!(max(losses()))]]
}
