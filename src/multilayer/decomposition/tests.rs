//! Decompositions against closed forms, brute force, and each other.

use super::super::codes::tests::{dense, random_codes};
use super::*;
use crate::sae::Codes;

/// Codes where `at` says the value of a latent at a layer for a token.
fn world(
    [layers, tokens, latents]: [usize; 3],
    at: impl Fn(usize, usize, usize) -> f32,
) -> LayerCodes {
    let layer = |layer: usize| {
        let row = |token: usize| {
            let own = (0..latents).map(|latent| (latent as u32, at(layer, token, latent)));
            own.filter(|(_, value)| *value != 0.0).collect()
        };
        Codes::new(latents, (0..tokens).map(row)).unwrap()
    };
    LayerCodes::new((0..layers).map(layer).collect::<Vec<_>>()).unwrap()
}

fn decomposed(codes: &LayerCodes) -> VarianceDecomposition {
    let mut found = VarianceDecomposition::new(codes.layers(), codes.width()).unwrap();
    found.add(codes).unwrap();
    found
}

/// `(m² − 1)/12`, the variance of m layers that are equally likely.
fn uniform(m: usize) -> f64 {
    ((m * m) as f64 - 1.0) / 12.0
}

fn assert_parts(codes: &LayerCodes, weighting: Weighting, expected: [f64; 3]) {
    let found = decomposed(codes).variance(weighting);
    let parts = [found.between_latents, found.between_tokens, found.within_tokens];
    for (found, expected) in parts.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "{weighting:?}: {parts:?} for {expected}");
    }
    assert!((found.total - parts.iter().sum::<f64>()).abs() < 1e-12);
}

#[test]
fn simple_worlds_have_their_closed_forms() {
    const L: usize = 6;
    let strength = |token: usize, latent: usize| 0.5 + ((token + 3 * latent) % 4) as f32;
    let on = |is: bool, token, latent| if is { strength(token, latent) } else { 0.0 };
    let worlds: [(LayerCodes, [f64; 3]); 4] = [
        (world([L, 24, 12], |l, t, j| on(l == j % L, t, j)), [uniform(L), 0.0, 0.0]),
        (world([L, 24, 4], |l, t, j| on(l == (t / 4 + j) % L, t, j)), [0.0, uniform(L), 0.0]),
        (world([L, 24, 4], |_, t, j| strength(t, j)), [0.0, 0.0, uniform(L)]),
        (
            world([L, 20, 4], |l, t, j| {
                let first = (t / 4 + j) % (L - 1);
                on(l == first || l == first + 1, t, j)
            }),
            [0.0, uniform(L - 1), 0.25],
        ),
    ];
    for (codes, expected) in &worlds {
        Weighting::ALL.into_iter().for_each(|own| assert_parts(codes, own, *expected));
    }
    // A latent at its layer, and at every fifth token at the next one too: strengths alike.
    let drift =
        world([L, 20, L - 1], |l, t, j| f32::from(u8::from(l == j || l == j + 1 && t % 5 == 0)));
    assert_parts(&drift, Weighting::Count, [uniform(L - 1), 1.0 / 18.0, 1.0 / 12.0]);
    assert_parts(&drift, Weighting::Activation, [uniform(L - 1), 1.0 / 18.0, 1.0 / 12.0]);
    assert_parts(&drift, Weighting::Pairs, [uniform(L - 1), 1.0 / 25.0, 1.0 / 20.0]);
}

/// An active entry of a token and a latent.
struct WeightedEntry {
    layer: f64,
    pair: (usize, usize),
    weight: f64,
}

#[test]
fn terms_are_those_of_the_definition() {
    let codes = random_codes(11, [5, 30, 4, 16]);
    let dense = dense(&codes);
    for weighting in Weighting::ALL {
        let mut all: Vec<WeightedEntry> = Vec::new();
        for (token, latent) in (0..30).flat_map(|token| (0..16).map(move |j| (token, j))) {
            let values = dense.iter().map(|layer| f64::from(layer[token][latent]));
            let active: Vec<(usize, f64)> = values.enumerate().filter(|own| own.1 > 0.0).collect();
            let sum: f64 = active.iter().map(|(_, value)| value).sum();
            all.extend(active.into_iter().map(|(layer, value)| WeightedEntry {
                layer: layer as f64,
                pair: (token, latent),
                weight: weighting.of_pair(value, sum),
            }));
        }
        let mean = |keep: &dyn Fn(&WeightedEntry) -> bool| {
            let own = || all.iter().filter(|entry| keep(entry));
            let weight: f64 = own().map(|entry| entry.weight).sum();
            own().map(|entry| entry.layer * entry.weight).sum::<f64>() / weight
        };
        let weight: f64 = all.iter().map(|entry| entry.weight).sum();
        let average = |value: &dyn Fn(&WeightedEntry) -> f64| {
            all.iter().map(|entry| entry.weight * value(entry)).sum::<f64>() / weight
        };
        let overall = mean(&|_| true);
        let of_latent = |e: &WeightedEntry| mean(&|own| own.pair.1 == e.pair.1);
        let of_pair = |e: &WeightedEntry| mean(&|own| own.pair == e.pair);
        assert_parts(
            &codes,
            weighting,
            [
                average(&|e| (of_latent(e) - overall).powi(2)),
                average(&|e| (of_pair(e) - of_latent(e)).powi(2)),
                average(&|e| (e.layer - of_pair(e)).powi(2)),
            ],
        );
        let total = average(&|e| (e.layer - overall).powi(2));
        assert!((decomposed(&codes).variance(weighting).total - total).abs() < 1e-12);
    }
}

#[test]
fn intervals_are_as_wide_as_contexts_differ() {
    // Of every context all latents live at one layer, of ten contexts at layer 0 and of ten at 1.
    let mut found = VarianceDecomposition::new(2, 3).unwrap().with_intervals(400, 0).unwrap();
    let mut plain = VarianceDecomposition::new(2, 3).unwrap();
    for context in 0..20 {
        let codes = world([2, 5, 3], |l, _, _| f32::from(u8::from(l == context % 2)));
        found.add(&codes).unwrap();
        plain.add(&codes).unwrap();
    }
    assert_eq!(found.variance(Weighting::Count), plain.variance(Weighting::Count));
    let intervals = found.intervals(Weighting::Count, 0.95).unwrap();
    // p (1 − p) with p within 0.5 ± 1.96 √(1/80): from 0.202 to 0.25, on average 0.25 − 1/80.
    assert_eq!(intervals.total.mean, 0.25);
    assert!((intervals.total.lower - 0.202 - 1.0 / 80.0).abs() < 0.02, "{:?}", intervals.total);
    assert!((intervals.total.upper - 0.25 - 1.0 / 80.0).abs() < 0.005, "{:?}", intervals.total);
    assert!((intervals.within_latents_share.lower - 1.0).abs() < 1e-9);
    assert!(intervals.within_tokens.upper.abs() < 1e-12);

    // Several contexts in one call are the same draws, whatever the batches.
    let mut apart = VarianceDecomposition::new(2, 3).unwrap().with_intervals(9, 4).unwrap();
    let mut together = apart.clone();
    let codes = random_codes(2, [2, 12, 2, 3]);
    let contexts: Vec<u64> = (0..12).map(|row| row / 4).collect();
    together.add_contexts(&codes, &contexts).unwrap();
    for context in 0..3 {
        apart.add(&codes.keeping(|row| row / 4 == context).unwrap()).unwrap();
    }
    // So are parts of the text.
    let mut merged = VarianceDecomposition::new(2, 3).unwrap().with_intervals(9, 4).unwrap();
    let mut rest = merged.clone();
    merged.add_contexts(&codes.keeping(|row| row < 4).unwrap(), &contexts[..4]).unwrap();
    rest.add_contexts(&codes.keeping(|row| row >= 4).unwrap(), &contexts[4..]).unwrap();
    merged.merge(&rest).unwrap();
    assert_eq!(merged.tokens(), 12);
    assert!(merged.merge(&found).unwrap_err().to_string().contains("draws and seed"));
    let total =
        |found: &VarianceDecomposition| found.intervals(Weighting::Pairs, 0.9).unwrap().total;
    let together = total(&together);
    for own in [total(&apart), total(&merged)] {
        assert!((own.lower - together.lower).abs() + (own.upper - together.upper).abs() < 1e-12);
    }
}

#[test]
fn what_cannot_be_decomposed_is_named() {
    let codes = random_codes(0, [3, 4, 2, 5]);
    let mut found = VarianceDecomposition::new(3, 5).unwrap();
    assert!(found.variance(Weighting::Pairs).total.is_nan(), "nothing was active");
    found.add(&codes).unwrap();
    assert_eq!((found.tokens(), found.layers()), (4, 3));
    let message = |result: Result<LayerVarianceIntervals>| result.unwrap_err().to_string();
    assert!(message(found.intervals(Weighting::Count, 0.9)).contains("with_intervals"));
    assert!(found.add_contexts(&codes, &[0]).unwrap_err().to_string().contains("one a row"));
    assert!(found.clone().with_intervals(3, 0).unwrap_err().to_string().contains("first token"));
    assert!(found.add(&random_codes(0, [2, 4, 2, 5])).is_err());
    let mut one = VarianceDecomposition::new(3, 5).unwrap().with_intervals(3, 0).unwrap();
    one.add(&codes).unwrap();
    assert!(message(one.intervals(Weighting::Count, 0.9)).contains("contexts"));
    assert!(VarianceDecomposition::new(3, 5).unwrap().with_intervals(0, 0).is_err());
    assert!(found.to_string().contains("each pair alike: variance over layers"), "{found}");
}
