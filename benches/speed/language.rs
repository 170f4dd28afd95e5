//! A language model and what reads it, beside PyTorch, and the memory that they take.

use eigenlens::prelude::*;
use eigenlens::sae::{Architecture, SaeWeights};

use crate::pytorch::{self, Work};
use crate::report::Row;
use crate::{Result, memory};

/// Windows of text whose logits are computed together.
const PREFILL: usize = 8;
/// Tokens that generation begins with, and tokens that it adds.
const GENERATION: [usize; 2] = [28, 100];
/// Activations that are encoded and decoded.
const ACTIVATIONS: usize = 4_096;
/// The autoencoder that does it: width, features, and how many a code keeps.
const SAE: [usize; 3] = [768, 12_288, 32];
/// A second one, for more activations: width, features, how many a code keeps, and activations.
const BATCH: [usize; 4] = [1_024, 8_192, 30, 8_192];
/// Where the smaller autoencoders are, of which one is trained.
const LAYER: usize = 2;
/// Output features that the tracer scans.
const OUTPUTS: usize = 256;

/// Speeds and how they compare with PyTorch's, then peaks of memory.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut rows = speeds()?;
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
    let text = Tokens::from(random_tokens(1 << 16, config.vocab)?);
    let windows = text.windows(PREFILL, fit.length, cpu)?;
    let [prompt, new] = GENERATION;
    let [sae_width, sae_features, sae_k] = SAE;
    let sae = random_sae(HookPoint::MlpOut(LAYER), [sae_features, sae_width], sae_k)?;
    let x = Rng::seed(1).normal((ACTIVATIONS, sae_width), cpu)?;
    let codes = sae.encode(&x)?;
    let [batch_width, batch_features, batch_k, batch_rows] = BATCH;
    let batch_sae = random_sae(HookPoint::MlpOut(LAYER), [batch_features, batch_width], batch_k)?;
    let batch_x = Rng::seed(2).normal((batch_rows, batch_width), cpu)?;
    let batch_codes = batch_sae.encode(&batch_x)?;
    let features = sae_fit.expansion * config.d_model;
    let inputs = random_sae(HookPoint::MlpIn(LAYER), [features, config.d_model], sae_fit.k)?;
    let outputs = random_sae(HookPoint::MlpOut(LAYER), [OUTPUTS, config.d_model], sae_fit.k)?;
    let tracer = Tracer::new(&model, LAYER, &inputs, &outputs)?;
    let train = |steps: usize| {
        let options = TrainOptions { steps, report: steps, held_out: 1, ..fit.clone() };
        model.fit(&text, &text, &options).map(drop)
    };
    let train_sae = |buffers: usize| {
        let steps = buffers * sae_fit.buffer / sae_fit.batch;
        let options = SaeOptions { steps, report: steps, ..sae_fit.clone() };
        Sae::fit(&model, HookPoint::MlpOut(LAYER), &text, &options).map(drop)
    };

    let transformer = format!(
        "{} layers, {} heads, d_model {}, d_hidden {}, vocab {}",
        config.layers, config.heads, config.d_model, config.d_hidden, config.vocab
    );
    let top_k = |width: usize, features: usize, k: usize| {
        format!("top-{k} of {features} features, d_model {width}")
    };
    let works = [
        Work {
            name: "prefill",
            request: "prefill",
            size: format!("{transformer}, {PREFILL}×{} tokens", fit.length),
            unit: "tokens/s",
            each: PREFILL * fit.length,
            times: 10,
            run: &|times| again(times, || model.logits(&windows).map(drop)),
        },
        Work {
            name: "generation",
            request: "generation",
            size: format!("{transformer}, {new} tokens after {prompt}"),
            unit: "tokens/s",
            each: new,
            times: 3,
            run: &|times| {
                let (start, usual) = (&text.as_slice()[..prompt], Sampling::default());
                again(times, || model.generate_tokens(start, new, usual).map(drop))
            },
        },
        Work {
            name: "autoencoder, encoding",
            request: "encoding",
            size: format!("{}, {ACTIVATIONS} tokens", top_k(sae_width, sae_features, sae_k)),
            unit: "tokens/s",
            each: ACTIVATIONS,
            times: 2,
            run: &|times| again(times, || sae.encode(&x).map(drop)),
        },
        Work {
            name: "autoencoder, decoding",
            request: "decoding",
            size: format!("{}, {ACTIVATIONS} tokens", top_k(sae_width, sae_features, sae_k)),
            unit: "tokens/s",
            each: ACTIVATIONS,
            times: 20,
            run: &|times| again(times, || sae.decode(&codes).map(drop)),
        },
        Work {
            name: "autoencoder, encoding a batch",
            request: "encoding-batch",
            size: format!("{}, {batch_rows} tokens", top_k(batch_width, batch_features, batch_k)),
            unit: "tokens/s",
            each: batch_rows,
            times: 1,
            run: &|times| again(times, || batch_sae.encode(&batch_x).map(drop)),
        },
        Work {
            name: "autoencoder, decoding a batch",
            request: "decoding-batch",
            size: format!("{}, {batch_rows} tokens", top_k(batch_width, batch_features, batch_k)),
            unit: "tokens/s",
            each: batch_rows,
            times: 10,
            run: &|times| again(times, || batch_sae.decode(&batch_codes).map(drop)),
        },
        Work {
            name: "tracer scan, truncated eigenvalues",
            request: "scan",
            size: format!(
                "{OUTPUTS} output features, d_model {}, d_hidden {}",
                config.d_model, config.d_hidden
            ),
            unit: "features/s",
            each: OUTPUTS,
            times: 2,
            run: &|times| {
                let statistic = Statistic::TruncatedEigenvalues { k: 2 };
                again(times, || tracer.compute(statistic).map(drop))
            },
        },
        // Training comes last: from then on the allocator keeps what is freed, and it would not do
        // so for someone who only reads.
        Work {
            name: "language training",
            request: "language",
            size: format!("{transformer}, {}×{} tokens", fit.batch, fit.length),
            unit: "tokens/s",
            each: fit.batch * fit.length,
            times: 5,
            run: &train,
        },
        Work {
            name: "autoencoder training",
            request: "features",
            size: format!(
                "{}, batch {}, layer {LAYER} of the same model",
                top_k(config.d_model, features, sae_fit.k),
                sae_fit.batch
            ),
            unit: "activations/s",
            each: sae_fit.buffer,
            times: 1,
            run: &train_sae,
        },
    ];
    let sizes = [
        ("layers", config.layers),
        ("heads", config.heads),
        ("d_model", config.d_model),
        ("d_hidden", config.d_hidden),
        ("vocab", config.vocab),
        ("context", config.context),
        ("text", text.len()),
        ("batch", fit.batch),
        ("length", fit.length),
        ("prefill", PREFILL),
        ("prompt", prompt),
        ("new", new),
        ("sae_rows", ACTIVATIONS),
        ("sae_d_model", sae_width),
        ("sae_features", sae_features),
        ("sae_k", sae_k),
        ("batch_rows", batch_rows),
        ("batch_d_model", batch_width),
        ("batch_features", batch_features),
        ("batch_k", batch_k),
        ("outputs", OUTPUTS),
        ("fit_layer", LAYER),
        ("fit_features", features),
        ("fit_k", sae_fit.k),
        ("fit_batch", sae_fit.batch),
        ("fit_buffer", sae_fit.buffer),
    ];
    pytorch::rows(works, &sizes)
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
