//! A language model and what reads it, beside PyTorch, and the memory that they take.

use eigenlens::prelude::*;
use eigenlens::sae::{Architecture, SaeWeights};

use crate::pytorch::{self, Work};
use crate::report::Row;
use crate::{Result, coding, memory};

/// Windows of text whose logits are computed together.
const PREFILL: usize = 8;
/// Tokens that generation begins with, and tokens that it adds.
const GENERATION: [usize; 2] = [28, 100];
/// Tokens of the text that windows are drawn from.
const TEXT: usize = 1 << 16;
/// The layer that the tracer reads.
const LAYER: usize = 2;
/// Output features that the tracer scans.
const OUTPUTS: usize = 256;

/// Speeds and how they compare with PyTorch's, then peaks of memory.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut rows = coding::rows()?;
    rows.extend(speeds()?);
    rows.extend(memory::rows()?);
    Ok(rows)
}

/// The model of all rows but those that name another.
pub(crate) fn config() -> Config {
    Config::bilinear(4, 6, 192, 768)
}

fn speeds() -> Result<Vec<Row>> {
    let cpu = &Device::Cpu;
    let config = config();
    let model = Decoder::random(config.clone(), 0, cpu)?;
    let (fit, sae_fit) = (TrainOptions::default(), SaeOptions::default());
    let text = text()?;
    let windows = text.windows(PREFILL, fit.length, cpu)?;
    let [prompt, new] = GENERATION;
    let features = sae_fit.expansion * config.d_model;
    let inputs = random_sae(HookPoint::MlpIn(LAYER), [features, config.d_model], sae_fit.k)?;
    let outputs = random_sae(HookPoint::MlpOut(LAYER), [OUTPUTS, config.d_model], sae_fit.k)?;
    let tracer = Tracer::new(&model, LAYER, &inputs, &outputs)?;
    let train = |steps: usize| {
        let options = TrainOptions { steps, report: steps, held_out: 1, ..fit.clone() };
        model.fit(&text, &text, &options).map(drop)
    };
    let transformer = format!(
        "{} layers, {} heads, d_model {}, d_hidden {}, vocab {}",
        config.layers, config.heads, config.d_model, config.d_hidden, config.vocab
    );
    // An operation each to multiply and to add; those of attention scores are left out.
    let unembedding = config.d_model * config.vocab;
    let read = 2.0 * (config.layers * layer_products(&config) + unembedding) as f64;
    let works = [
        Work::new("prefill", "prefill", |times| again(times, || model.logits(&windows).map(drop)))
            .size(format!("{transformer}, {PREFILL}×{} tokens", fit.length))
            .turn(10, PREFILL * fit.length, "tokens/s")
            .flops(read),
        Work::new("generation", "generation", |times| {
            let (start, usual) = (&text.as_slice()[..prompt], Sampling::default());
            again(times, || model.generate_tokens(start, new, usual).map(drop))
        })
        .size(format!("{transformer}, {new} tokens after {prompt}"))
        .turn(3, new, "tokens/s"),
        Work::new("tracer scan, truncated eigenvalues", "scan", |times| {
            let statistic = Statistic::TruncatedEigenvalues { k: 2 };
            again(times, || tracer.compute(statistic).map(drop))
        })
        .size(format!(
            "{OUTPUTS} output features, d_model {}, d_hidden {}",
            config.d_model, config.d_hidden
        ))
        .turn(2, OUTPUTS, "features/s"),
        // Training comes last: from then on the allocator keeps what is freed, and it would not do
        // so for someone who only reads.
        Work::new("language training", "language", train)
            .size(format!("{transformer}, {}×{} tokens", fit.batch, fit.length))
            .turn(5, fit.batch * fit.length, "tokens/s")
            // Gradients of weights and of what they multiply take as many each.
            .flops(3.0 * read),
    ];
    let own = [("prefill", PREFILL), ("prompt", prompt), ("new", new), ("outputs", OUTPUTS)];
    pytorch::rows(works, &[model_sizes().as_slice(), &own].concat())
}

/// What PyTorch has to know of the model, and of the text that it is given.
pub(crate) fn model_sizes() -> [(&'static str, usize); 9] {
    let (config, fit) = (config(), TrainOptions::default());
    [
        ("layers", config.layers),
        ("heads", config.heads),
        ("d_model", config.d_model),
        ("d_hidden", config.d_hidden),
        ("vocab", config.vocab),
        ("context", config.context),
        ("text", TEXT),
        ("batch", fit.batch),
        ("length", fit.length),
    ]
}

/// Entries of the matrices that a token is multiplied by in a layer.
pub(crate) fn layer_products(config: &Config) -> usize {
    4 * config.d_model.pow(2) + 3 * config.d_model * config.d_hidden
}

/// A text for that model.
pub(crate) fn text() -> Result<Tokens> {
    Ok(Tokens::from(random_tokens(TEXT, config().vocab)?))
}

pub(crate) fn again(
    times: usize,
    run: impl Fn() -> eigenlens::Result<()>,
) -> eigenlens::Result<()> {
    (0..times).try_for_each(|_| run())
}

/// Tokens drawn from a vocabulary.
pub(crate) fn random_tokens(count: usize, vocab: usize) -> Result<Vec<u32>> {
    let drawn = Rng::seed(0).uniform(0.0, vocab as f32, count, &Device::Cpu)?;
    Ok(drawn.to_dtype(DType::U32)?.to_vec1()?)
}

/// An autoencoder with random weights, `[features, width]`.
pub(crate) fn random_sae(point: HookPoint, shape: [usize; 2], k: usize) -> Result<Sae> {
    let [features, width] = shape;
    let mut rng = Rng::seed(0);
    let weights = SaeWeights::new(
        rng.normal((features, width), &Device::Cpu)?,
        rng.normal((width, features), &Device::Cpu)?,
        rng.normal(width, &Device::Cpu)?,
    );
    Ok(Sae::new(Architecture::signed_top_k(k), weights)?.at(point))
}
