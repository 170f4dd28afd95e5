//! Examples against a look at everything.

mod files;
mod published;

use candle_core::{Device, Tensor};

use super::*;
use crate::multilayer::codes::LayerCodes;
use crate::multilayer::codes::tests::{dense, random_codes};
use crate::random::Rng;

const LENGTH: usize = 11;
const SIZES: [usize; 4] = [3, 8 * LENGTH, 3, 6];

/// Tokens of 8 contexts, of which the last two read as the first.
fn tokens() -> Tensor {
    let mut rng = Rng::seed(4);
    let mut tokens: Vec<u32> = (0..6 * LENGTH).map(|_| rng.below(3) as u32).collect();
    tokens.extend_from_within(..LENGTH);
    tokens.extend_from_within(..LENGTH);
    Tensor::from_vec(tokens, (8, LENGTH), &Device::Cpu).unwrap()
}

/// All examples, from memory or a file.
fn all(examples: &LayerExamples) -> Vec<LayerExample> {
    examples.iter().map(|example| example.unwrap()).collect()
}

fn options(rule: ExampleRule) -> LayerExampleOptions {
    LayerExampleOptions { examples: 5, window: 2, threshold: 0.25, rule }
}

fn collected(rule: ExampleRule, codes: &LayerCodes, per_batch: usize) -> LayerExamples {
    let mut found = LayerExamples::new(3, 6, options(rule)).unwrap();
    for first in (0..8).step_by(per_batch) {
        let count = per_batch.min(8 - first);
        let rows = first * LENGTH..(first + count) * LENGTH;
        let codes = codes.keeping(|row| rows.contains(&row)).unwrap();
        found.add(first as u64, &tokens().narrow(0, first, count).unwrap(), &codes).unwrap();
    }
    found
}

/// The windows around a position of a context: where it begins, tokens and activations.
fn window(context: usize, position: usize, values: &[f32]) -> (usize, Vec<u32>, Vec<f32>) {
    let tokens: Vec<Vec<u32>> = tokens().to_vec2().unwrap();
    let (start, end) = (position.saturating_sub(2), LENGTH.min(position + 3));
    let own = &values[context * LENGTH..][..LENGTH];
    let rectified = own[start..end].iter().map(|value| value.max(0.0)).collect();
    (start, tokens[context][start..end].to_vec(), rectified)
}

#[test]
fn examples_are_those_of_a_look_at_all_contexts() {
    let codes = random_codes(8, SIZES);
    let dense = dense(&codes);
    for rule in [ExampleRule::Contexts, ExampleRule::Distinct] {
        let found = collected(rule, &codes, 8);
        assert_eq!(all(&found), all(&collected(rule, &codes, 3)), "batches change nothing");
        let mut count = 0;
        for (layer, rows) in dense.iter().enumerate() {
            for latent in 0..6 {
                let values: Vec<f32> = rows.iter().map(|row| row[latent]).collect();
                let mut peaks: Vec<(f32, usize, usize)> = Vec::new();
                for (context, own) in values.chunks(LENGTH).enumerate() {
                    let most = own.iter().copied().fold(0f32, f32::max);
                    let position = own.iter().position(|value| *value == most).unwrap();
                    if most > 0.25 {
                        peaks.push((most, context, position));
                    }
                }
                peaks.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                if rule == ExampleRule::Distinct {
                    let mut seen = Vec::new();
                    peaks.retain(|(_, context, position)| {
                        let (start, tokens, _) = window(*context, *position, &values);
                        let key = (tokens, position - start);
                        let is_new = !seen.contains(&key);
                        seen.push(key);
                        is_new
                    });
                }
                peaks.truncate(5);
                count += peaks.len();
                let own = found.get(layer, latent).unwrap();
                assert_eq!(own.len(), peaks.len());
                for (rank, (own, (most, context, position))) in own.iter().zip(peaks).enumerate() {
                    assert_eq!((own.rank, own.activation), (rank, most));
                    assert_eq!((own.context as usize, own.position), (context, position));
                    let (start, tokens, values) = window(context, position, &values);
                    assert_eq!((own.start, own.end()), (start, start + tokens.len()));
                    assert_eq!(own.token, tokens[position - start]);
                    assert_eq!((&own.tokens, &own.activations), (&tokens, &values));
                    // As many tokens on both sides, but for the ends of the context.
                    let [before, after] = [position - own.start, own.end() - position - 1];
                    assert_eq!(before, position.min(2));
                    assert_eq!(after, (LENGTH - position - 1).min(2));
                }
            }
        }
        assert_eq!((found.len(), found.iter().count()), (count, count));
    }
}

#[test]
fn the_originals_windows_run_through_the_batch() {
    let codes = random_codes(8, SIZES);
    let dense = dense(&codes);
    let found = collected(ExampleRule::Original, &codes, 8);
    let tokens: Vec<u32> = tokens().flatten_all().unwrap().to_vec1().unwrap();
    let (mut empty, mut across) = (0, 0);
    for own in all(&found) {
        let row = own.context as usize * LENGTH + own.position;
        assert_eq!(own.activation, dense[own.layer][row][own.latent]);
        if row < 2 {
            empty += 1;
            assert!(own.tokens.is_empty());
            continue;
        }
        let rows = row - 2..tokens.len().min(row + 2);
        assert_eq!((own.start, &own.tokens[..]), (row - 2, &tokens[rows.clone()]));
        across += usize::from(rows.start / LENGTH != (rows.end - 1) / LENGTH);
        let values: Vec<f32> = rows.map(|row| dense[own.layer][row][own.latent]).collect();
        assert_eq!(own.activations, values, "not rectified");
    }
    assert!(empty > 0 && across > 0);
    let rounded = options(ExampleRule::Original).activation(1.0 + 1e-4);
    assert_eq!((rounded, options(ExampleRule::Distinct).activation(1.0 + 1e-4)), (1.0, 1.0 + 1e-4));
}

#[test]
fn parts_merge_to_one_run() {
    let codes = random_codes(2, SIZES);
    let folder = tempfile::tempdir().unwrap();
    for rule in [ExampleRule::Contexts, ExampleRule::Distinct] {
        let whole = collected(rule, &codes, 8);
        let part = |first: usize, end: usize| {
            let mut part = LayerExamples::new(3, 6, options(rule)).unwrap();
            let rows = first * LENGTH..end * LENGTH;
            let codes = codes.keeping(|row| rows.contains(&row)).unwrap();
            let tokens = tokens().narrow(0, first, end - first).unwrap();
            part.add(first as u64, &tokens, &codes).unwrap();
            part
        };
        let mut merged = part(5, 8);
        merged.merge(&part(0, 5)).unwrap();
        assert_eq!(all(&merged), all(&whole));
        // From files too, of which one is added to.
        let paths = [(3, 8), (0, 3)].map(|(first, end)| {
            let path = folder.path().join(format!("{first}.parquet"));
            part(first, end).save(&path).unwrap();
            path
        });
        let mut merged = LayerExamples::open(&paths[0]).unwrap();
        merged.merge(&LayerExamples::open(&paths[1]).unwrap()).unwrap();
        assert_eq!(all(&merged), all(&whole));
        assert_eq!(all(&LayerExamples::open(&paths[0]).unwrap()), all(&part(3, 8)));
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let codes = random_codes(0, SIZES);
    let mut found = LayerExamples::new(3, 6, LayerExampleOptions::default()).unwrap();
    assert!(found.is_empty() && found.to_string().starts_with("0 examples of 6 latents"));
    let few = tokens().narrow(0, 0, 2).unwrap();
    assert!(found.add(0, &few, &codes).unwrap_err().to_string().contains("88 tokens"));
    assert!(found.get(3, 0).is_err() && found.get(0, 6).is_err());
    let far = found.add(u64::from(u32::MAX) - 2, &tokens(), &codes).unwrap_err().to_string();
    assert!(far.contains("the number of a context must be below 4,294,967,296"), "{far}");
    let other = LayerExamples::new(3, 6, options(ExampleRule::Contexts)).unwrap();
    assert!(found.merge(&other).unwrap_err().to_string().contains("same sizes and options"));
    for bad in [
        LayerExampleOptions { examples: 0, ..LayerExampleOptions::default() },
        LayerExampleOptions { window: 0, ..LayerExampleOptions::default() },
        LayerExampleOptions { threshold: f32::NAN, ..LayerExampleOptions::default() },
    ] {
        assert!(LayerExamples::new(3, 6, bad).is_err(), "{bad:?}");
    }
}
