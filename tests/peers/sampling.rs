//! Draws of the next token beside those of candle-transformers' `LogitsProcessor`.

use std::collections::HashMap;
use std::fs;

use candle_transformers::generation::{LogitsProcessor, Sampling as PeerSampling};
use candle_transformers::utils::apply_repeat_penalty;
use eigenlens::candle::{DType, Tensor, safetensors};
use eigenlens::model::{Decoder, Sampling};
use serde_json::json;

use crate::CPU;

const LOGITS: [f32; 8] = [0.3, -1.2, 1.9, 0.8, -0.4, 1.1, 0.0, -1.5];
const DRAWS: usize = 1_000;

/// A model whose logits are [`LOGITS`] after every text: the last norm has a gain of zero, and its
/// shift is the only one of four directions that the unembedding reads.
fn constant() -> Decoder {
    let config = json!({
        "model_type": "gpt2", "n_layer": 1, "n_head": 1, "n_embd": 4, "n_inner": 1,
        "n_positions": DRAWS + 1, "vocab_size": LOGITS.len(), "tie_word_embeddings": false,
    });
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, CPU).unwrap();
    let mut weights = HashMap::from([
        ("transformer.wte.weight".to_owned(), zeros(&[LOGITS.len(), 4])),
        ("transformer.wpe.weight".to_owned(), zeros(&[DRAWS + 1, 4])),
        ("transformer.ln_f.weight".to_owned(), zeros(&[4])),
        ("transformer.ln_f.bias".to_owned(), Tensor::new(&[1f32, 0., 0., 0.], CPU).unwrap()),
    ]);
    for norm in ["ln_1", "ln_2"] {
        weights.insert(format!("transformer.h.0.{norm}.weight"), zeros(&[4]));
        weights.insert(format!("transformer.h.0.{norm}.bias"), zeros(&[4]));
    }
    let maps =
        [("attn.c_attn", 4, 12), ("attn.c_proj", 4, 4), ("mlp.c_fc", 4, 1), ("mlp.c_proj", 1, 4)];
    for (name, inputs, outputs) in maps {
        weights.insert(format!("transformer.h.0.{name}.weight"), zeros(&[inputs, outputs]));
        weights.insert(format!("transformer.h.0.{name}.bias"), zeros(&[outputs]));
    }
    let rows = LOGITS.iter().flat_map(|logit| [*logit, 0., 0., 0.]).collect::<Vec<f32>>();
    let unembed = Tensor::from_vec(rows, (LOGITS.len(), 4), CPU).unwrap();
    weights.insert("lm_head.weight".to_owned(), unembed);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    safetensors::save(&weights, folder.path().join("model.safetensors")).unwrap();
    let model = Decoder::from_pretrained(folder.path().to_str().unwrap(), CPU).unwrap();
    model.with_end_tokens(&[]).unwrap()
}

fn frequencies(drawn: impl IntoIterator<Item = u32>) -> Vec<f64> {
    let mut counts = vec![0.; LOGITS.len()];
    drawn.into_iter().for_each(|token| counts[token as usize] += 1.);
    counts.into_iter().map(|count| count / DRAWS as f64).collect()
}

/// Our draws, the peer's draws, and our probabilities: none is further from another than five times
/// the standard deviation of such a share.
fn assert_alike(ours: Sampling, theirs: PeerSampling, support: usize) {
    let logits = Tensor::new(&LOGITS, CPU).unwrap();
    let probabilities = ours.probabilities(&logits).unwrap();
    assert_eq!(probabilities.iter().filter(|share| **share > 0.).count(), support);
    let model = constant();
    let drawn = model.generate_tokens(&[0], DRAWS, ours).unwrap();
    let our_draws = frequencies(drawn[1..].iter().copied());
    let mut peer = LogitsProcessor::from_sampling(5, theirs);
    let their_draws = frequencies((0..DRAWS).map(|_| peer.sample(&logits).unwrap()));
    for (token, share) in probabilities.iter().enumerate() {
        let bound = 5. * (share * (1. - share) / DRAWS as f64).sqrt();
        for (whose, drawn) in [("ours", our_draws[token]), ("theirs", their_draws[token])] {
            assert!((drawn - share).abs() <= bound, "{whose}, token {token}: {drawn} for {share}");
            assert_eq!(drawn > 0., *share > 0., "{whose}, token {token}");
        }
    }
}

#[test]
fn draws_at_a_temperature_have_the_same_frequencies() {
    for temperature in [1.0, 0.8, 2.5] {
        let ours = Sampling { temperature, seed: 3, ..Sampling::default() };
        assert_alike(ours, PeerSampling::All { temperature }, LOGITS.len());
    }
}

#[test]
fn draws_of_the_most_probable_tokens_have_the_same_support() {
    for (k, temperature) in [(1, 1.0), (3, 1.0), (4, 2.0)] {
        let all = Sampling { temperature, seed: 4, ..Sampling::default() };
        let ours = Sampling { top_k: Some(k), ..all };
        assert_alike(ours, PeerSampling::TopK { k, temperature }, k);
    }
}

/// Sums of the largest shares: 0.43, 0.63, 0.77, 0.86, 0.92, 0.97, 0.99, 1. Both options at once are not
/// compared: the peer's nucleus is one of all tokens then, and that of transformers of those in top-k.
#[test]
fn draws_of_a_nucleus_have_the_same_support() {
    for (top_p, support) in [(0.3, 1), (0.7, 3), (0.95, 6)] {
        let ours = Sampling { top_p: Some(top_p), seed: 5, ..Sampling::default() };
        assert_alike(ours, PeerSampling::TopP { p: top_p, temperature: 1.0 }, support);
    }
}

#[test]
fn a_penalty_on_repetitions_makes_the_same_probabilities() {
    let logits = Tensor::new(&LOGITS, CPU).unwrap();
    let tokens = [2, 1, 2, 6, 4];
    for penalty in [1.3f32, 0.7, 1.0] {
        let ours = Sampling { repetition_penalty: penalty.into(), ..Sampling::default() };
        let ours = ours.probabilities_after(&tokens, &logits).unwrap();
        let theirs = apply_repeat_penalty(&logits, penalty, &tokens).unwrap();
        let theirs: Vec<f64> = theirs.to_dtype(DType::F64).unwrap().to_vec1().unwrap();
        let sum: f64 = theirs.iter().map(|logit| logit.exp()).sum();
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert!((ours - theirs.exp() / sum).abs() < 1e-6, "{penalty}: {ours}, {theirs}");
        }
    }
}

#[test]
fn a_temperature_of_zero_is_the_argmax() {
    let ours = Sampling { temperature: 0.0, ..Sampling::default() };
    assert_alike(ours, PeerSampling::ArgMax, 1);
}
