//! Models of this library beside those of candle-transformers: the same files, the same tokens, the
//! same logits at every position; and the same draws from logits.
//!
//! candle-transformers is written by others, from the authors' code. Where it differs from that code,
//! `faults` names how, and what decides.

#![allow(clippy::unwrap_used)]

mod checkpoint;
mod families;
mod faults;
mod sampling;

use candle_nn::VarBuilder;
use eigenlens::candle::{Device, Result, Tensor};
use serde::de::DeserializeOwned;
use serde_json::Value;

use checkpoint::Checkpoint;

const CPU: &Device = &Device::Cpu;

/// More than twice as many as any window here.
const TOKENS: [u32; 13] = [3, 1, 4, 1, 5, 9, 2, 6, 10, 16, 0, 12, 7];

/// The largest difference of two logits in shares of the largest logit.
const TOLERANCE: f64 = 5e-5;

/// Logits of the last of the tokens `[1, positions]`, with nothing kept from an earlier call.
type Peer = Box<dyn FnMut(&Tensor) -> Result<Tensor>>;

/// How candle-transformers loads a family.
type LoadPeer = fn(&Value, VarBuilder<'static>) -> Result<Peer>;

fn config<T: DeserializeOwned>(config: &Value) -> T {
    serde_json::from_value(config.clone()).unwrap_or_else(|reason| panic!("{config}: {reason}"))
}

/// Logits `[positions, vocab]` of this library.
fn ours(checkpoint: &Checkpoint) -> Vec<Vec<f64>> {
    let tokens = Tensor::new(&[TOKENS], CPU).unwrap();
    checkpoint.decoder().logits(&tokens).unwrap().squeeze(0).unwrap().to_vec2().map(wide).unwrap()
}

/// Logits `[positions, vocab]` of candle-transformers, which has them of the last position only: each
/// prefix is read anew.
fn theirs(checkpoint: &Checkpoint, load: LoadPeer) -> Vec<Vec<f64>> {
    let mut peer = load(&checkpoint.config, checkpoint.builder()).unwrap();
    let rows = (1..=TOKENS.len()).map(|end| {
        let prefix = Tensor::new(vec![&TOKENS[..end]], CPU).unwrap();
        peer(&prefix).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    });
    wide(rows.collect())
}

fn wide(rows: Vec<Vec<f32>>) -> Vec<Vec<f64>> {
    rows.into_iter().map(|row| row.into_iter().map(f64::from).collect()).collect()
}

/// The largest difference at each position in shares of the largest logit of all.
fn gaps(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<f64> {
    let largest = a.iter().flatten().fold(0f64, |largest, logit| largest.max(logit.abs()));
    assert!(largest > 0.1 && a.len() == b.len(), "{largest}");
    let rows = a.iter().zip(b).map(|(a, b)| {
        assert_eq!(a.len(), b.len());
        let gaps = a.iter().zip(b).map(|(a, b)| (a - b).abs() / largest);
        gaps.fold(0., |most: f64, gap| if gap > most || gap.is_nan() { gap } else { most })
    });
    rows.collect()
}

fn assert_near(a: &[Vec<f64>], b: &[Vec<f64>]) {
    for (position, gap) in gaps(a, b).into_iter().enumerate() {
        assert!(gap <= TOLERANCE, "position {position}: {gap}");
    }
}
