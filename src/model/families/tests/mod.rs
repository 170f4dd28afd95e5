//! Checkpoints of every family against plain evaluations in f64: loops over the tensors of the file, by
//! the formulas of the papers, with nothing of the model's own code. There are three of them, which
//! share no more than the activations.

// Plain loops, as the formulas have their indices.
#![allow(clippy::needless_range_loop)]

mod first;
mod plain;
mod spellings;
mod today;
mod wild;

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::model::past::Past;
use crate::model::{Decoder, Hooks};
use crate::random::Rng;

const VOCAB: usize = 11;
const CONTEXT: usize = 16;
const TOKENS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 10];

fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        let n = f64::from(n);
        term *= -x * x / n;
        sum += term / (2. * n + 1.);
    }
    sum * 2. / std::f64::consts::PI.sqrt()
}

fn silu(x: f64) -> f64 {
    x / (1. + (-x).exp())
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1. + erf(x / 2f64.sqrt()))
}

fn gelu_tanh(x: f64) -> f64 {
    let inner = (2. / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    0.5 * x * (1. + inner.tanh())
}

/// Normal tensors of these names and shapes, times 0.4.
fn normal(shapes: Vec<(String, Vec<usize>)>, seed: u64) -> impl Iterator<Item = (String, Tensor)> {
    let mut rng = Rng::seed(seed);
    let mut normal =
        move |shape: &[usize]| (rng.normal(shape, &Device::Cpu).unwrap() * 0.4).unwrap();
    shapes.into_iter().map(move |(name, shape)| (name, normal(&shape)))
}

fn load(folder: &Path, dtype: DType) -> crate::Result<Decoder> {
    Decoder::from_pretrained_as(folder.to_str().unwrap(), &Device::Cpu, dtype)
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
    (wide(a) - wide(b)).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

/// The model in `folder` has these logits for [`TOKENS`], whichever way they are computed: in f64
/// and within `bound` in f32, with hooks and without, and, if it `keeps`, from keys and values that
/// were kept.
fn assert_logits(folder: &Path, expected: Vec<Vec<f64>>, bound: f64, keeps: bool) -> Decoder {
    let expected = Tensor::new(expected, &Device::Cpu).unwrap();
    let tokens = Tensor::new(&TOKENS, &Device::Cpu).unwrap();
    let model = load(folder, DType::F64).unwrap_or_else(|error| panic!("{error}"));
    let config = model.config().clone();
    let found = model.logits(&tokens).unwrap().get(0).unwrap();
    assert!(gap(&found, &expected) < 1e-10, "{config:?}");
    // With a hook inside the attention and the MLP, other code runs.
    let hooks = Hooks::new().capture_all(model.points());
    let found = model.run(&tokens, &hooks).unwrap().0.get(0).unwrap();
    assert!(gap(&found, &expected) < 1e-10, "hooked {config:?}");
    let narrow = load(folder, DType::F32).unwrap();
    let found = narrow.logits(&tokens).unwrap().get(0).unwrap();
    assert_eq!(found.dtype(), DType::F32);
    assert!(gap(&found, &expected) < bound, "f32 {config:?}");
    // Attention forgets nothing of what it keeps, token by token and several at a time.
    for step in [1, 4].into_iter().filter(|_| keeps) {
        let mut past = Past::default();
        for start in (0..TOKENS.len()).step_by(step) {
            let end = (start + step).min(TOKENS.len());
            let found = model.next_logits(&TOKENS[start..end], &mut past, &Hooks::new()).unwrap();
            let own = expected.get(end - 1).unwrap();
            assert!(gap(&found, &own) < 1e-10, "kept {config:?}");
        }
    }
    model
}
