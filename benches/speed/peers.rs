//! Small models of random weights beside candle-transformers, which computes with the same candle: by
//! turns in one run, without hooks.

use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{llama, qwen3};
use eigenlens::candle;
use eigenlens::model::{Norm, QkNorm};
use eigenlens::prelude::*;

use crate::language::random_tokens;
use crate::pytorch::{REST, TURNS};
use crate::report::{Row, Spread};
use crate::{Result, median, once};

/// Tokens that are read at once.
const PREFILL: usize = 256;
/// Tokens that a text begins with, and tokens that are written one by one after them.
const GENERATION: [usize; 2] = [16, 48];
const BASE: f64 = 10_000.0;
const EPS: f64 = 1e-5;

/// Logits of the last of the tokens, which go on from those before `position`.
type Peer = Box<dyn FnMut(&[u32], usize) -> candle::Result<Tensor>>;

/// Speeds of reading and writing here, those of candle-transformers, and their ratios.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let usual = Config {
        kv_heads: Some(4),
        vocab: 4_096,
        context: 512,
        norm: Norm::RmsGain { eps: EPS },
        ..Config::llama(6, 8, 512, 1_408)
    };
    let normed = Config { qk_norm: Some(QkNorm::PerHead), ..usual.clone() };
    let mut rows = beside("Llama", &usual, load_llama)?;
    rows.extend(beside("Qwen 3", &normed, load_qwen3)?);
    Ok(rows)
}

fn beside(
    name: &str,
    config: &Config,
    load: fn(&Config, VarBuilder<'static>) -> candle::Result<Peer>,
) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let random = Decoder::random(config.clone(), 0, &Device::Cpu)?;
    random.save(folder.path())?;
    // Random tokens can end a text at any step, and each count is to be the same work.
    let model = random.with_end_tokens(&[])?;
    let weights = std::fs::read(folder.path().join("model.safetensors"))?;
    let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
    let mut peer = load(config, weights)?;
    let tokens = random_tokens(PREFILL, config.vocab)?;
    let error = difference(&model, &mut peer, &tokens)?;
    let size = format!(
        "{} layers, {} of {} heads, d_model {}, d_hidden {}, vocab {}, {} threads",
        config.layers,
        config.heads,
        config.kv_heads(),
        config.d_model,
        config.d_hidden,
        config.vocab,
        rayon::current_num_threads()
    );
    let [prompt, new] = GENERATION;
    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    let mut rows = Vec::new();
    // Both compute logits of the last position alone.
    for (work, length, count, times) in [("prefill", PREFILL, 1, 3), ("decode", prompt, new, 1)] {
        let tokens = &tokens[..length];
        let counted = if count == 1 { length } else { count } * times;
        let size = match count {
            1 => format!("{size}, {length} tokens"),
            _ => format!("{size}, {count} tokens after {length}, greedy"),
        };
        let ours = |times: usize| -> eigenlens::Result<()> {
            (0..times).try_for_each(|_| model.generate_tokens(tokens, count, greedy).map(drop))
        };
        let mut theirs = |times: usize| -> eigenlens::Result<()> {
            (0..times).try_for_each(|_| Ok(continued(&mut peer, tokens, count).map(drop)?))
        };
        ours(1)?;
        theirs(1)?;
        let mut speeds = [Vec::new(), Vec::new()];
        for _ in 0..TURNS {
            std::thread::sleep(REST);
            speeds[0].push(counted as f64 / once(|| ours(times))?);
            std::thread::sleep(REST);
            speeds[1].push(counted as f64 / once(|| theirs(times))?);
        }
        let ratios = speeds[0].iter().zip(&speeds[1]).map(|(ours, theirs)| ours / theirs);
        let ratio = Some(Spread::of(ratios.collect()));
        let [ours, theirs] = speeds.map(median);
        let name = format!("{name}, {work}");
        let beside = format!("{name}: candle-transformers");
        let ours = Row::new(name, &size, ours, "tokens/s");
        rows.push(Row { ratio, error: Some(error), ..ours });
        rows.push(Row::new(beside, &size, theirs, "tokens/s"));
    }
    Ok(rows)
}

/// The largest difference of the last logits in shares of the largest.
fn difference(model: &Decoder, peer: &mut Peer, tokens: &[u32]) -> Result<f64> {
    let all = model.logits(&Tensor::new(tokens, &Device::Cpu)?)?;
    let ours: Vec<f32> = all.get(0)?.get(tokens.len() - 1)?.to_vec1()?;
    let theirs: Vec<f32> = peer(tokens, 0)?.flatten_all()?.to_vec1()?;
    let largest = ours.iter().fold(0f32, |largest, logit| largest.max(logit.abs()));
    let gaps = ours.iter().zip(&theirs).map(|(ours, theirs)| f64::from((ours - theirs).abs()));
    Ok(crate::largest(gaps) / f64::from(largest))
}

/// The text with so many tokens more, each the most probable.
fn continued(peer: &mut Peer, tokens: &[u32], count: usize) -> candle::Result<Vec<u32>> {
    let mut all = tokens.to_vec();
    let mut logits = peer(tokens, 0)?;
    for left in (0..count).rev() {
        let token: u32 = logits.flatten_all()?.argmax(0)?.to_scalar()?;
        all.push(token);
        if left > 0 {
            logits = peer(&[token], all.len() - 1)?;
        }
    }
    Ok(all)
}

fn load_llama(config: &Config, weights: VarBuilder<'static>) -> candle::Result<Peer> {
    let config = llama::Config {
        hidden_size: config.d_model,
        intermediate_size: config.d_hidden,
        vocab_size: config.vocab,
        num_hidden_layers: config.layers,
        num_attention_heads: config.heads,
        num_key_value_heads: config.kv_heads(),
        use_flash_attn: false,
        rms_norm_eps: EPS,
        rope_theta: BASE as f32,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: config.context,
        tie_word_embeddings: false,
    };
    let model = llama::Llama::load(weights, &config)?;
    let new = move || llama::Cache::new(true, DType::F32, &config, &Device::Cpu);
    let mut cache = new()?;
    Ok(Box::new(move |tokens, position| {
        if position == 0 {
            cache = new()?;
        }
        model.forward(&Tensor::new(vec![tokens], &Device::Cpu)?, position, &mut cache)
    }))
}

fn load_qwen3(config: &Config, weights: VarBuilder<'static>) -> candle::Result<Peer> {
    let config = qwen3::Config {
        vocab_size: config.vocab,
        hidden_size: config.d_model,
        intermediate_size: config.d_hidden,
        num_hidden_layers: config.layers,
        num_attention_heads: config.heads,
        head_dim: config.d_head(),
        attention_bias: false,
        num_key_value_heads: config.kv_heads(),
        max_position_embeddings: config.context,
        sliding_window: None,
        max_window_layers: config.layers,
        tie_word_embeddings: false,
        rope_theta: BASE,
        rms_norm_eps: EPS,
        use_sliding_window: false,
        hidden_act: Activation::Silu,
    };
    let mut model = qwen3::ModelForCausalLM::new(&config, weights)?;
    Ok(Box::new(move |tokens, position| {
        if position == 0 {
            model.clear_kv_cache();
        }
        model.forward(&Tensor::new(vec![tokens], &Device::Cpu)?, position)
    }))
}
