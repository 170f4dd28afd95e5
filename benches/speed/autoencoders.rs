//! Training autoencoders of every objective, beside PyTorch.

use std::time::Instant;

use eigenlens::prelude::*;

use crate::language::{config, layer_products, model_sizes, text};
use crate::pytorch::{self, Work};
use crate::report::Row;
use crate::{Result, growth, median};

/// The layer whose MLP's output is read, or by a transcoder predicted from its input.
const LAYER: usize = 2;
/// λ of the kinds that have one; `benches/pytorch/autoencoders.py` has the same.
const PENALTY: f64 = 1.0;
/// Nested dictionaries of the matryoshka one, features; the whole comes on top.
const PREFIXES: [usize; 2] = [192, 576];
/// Features for each dimension with which a step is timed to see how it grows.
const EXPANSIONS: [usize; 3] = [4, 8, 16];
/// Steps of a buffer there.
const STEPS: usize = 8;

/// Speeds of all kinds, and how a step grows.
///
/// Both sides collect activations and train on each once. Each turn of ours begins with random
/// weights, when codes of the kinds with a penalty are not sparse yet, and no feature is dead: the
/// auxiliary loss waits for `dead_after` steps on both sides, and is not timed.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let (config, usual) = (config(), SaeOptions::default());
    let model = &Decoder::random(config.clone(), 0, &Device::Cpu)?;
    let text = &text()?;
    let features = usual.expansion * config.d_model;
    let size = format!("{features} features, d_model {}, batch {}", config.d_model, usual.batch);
    // The encoder's product for h; sums over k features for the result and for the gradients of
    // codes, decoder and encoder; and the layers that the activation comes through.
    let collecting = 2 * (LAYER + 1) * layer_products(&config);
    let flops = (2 * features + 8 * usual.k) * config.d_model + collecting;
    let works = kinds().into_iter().map(|(name, request, options)| {
        let counted = matches!(options.objective, Objective::TopK | Objective::BatchTopK);
        let size = match options.target {
            Some(target) => format!("{size}, from {} to {target}", point(&options)),
            None => format!("{size}, {}", point(&options)),
        };
        let (buffer, batch) = (options.buffer, options.batch);
        let train = move |buffers: usize| {
            let steps = buffers * buffer.div_ceil(batch);
            let options = SaeOptions { steps, report: steps, ..options.clone() };
            Sae::fit(model, point(&options), text, &options).map(drop)
        };
        Work::new(name, request, train)
            .size(size)
            .turn(1, buffer, "activations/s")
            .flops(counted.then_some(flops as f64))
    });
    let own = [
        ("fit_layer", LAYER),
        ("fit_features", features),
        ("fit_k", usual.k),
        ("fit_batch", usual.batch),
        ("fit_buffer", usual.buffer),
        ("fit_dead_after", usual.dead_after),
        ("fit_prefix_1", PREFIXES[0]),
        ("fit_prefix_2", PREFIXES[1]),
    ];
    let mut rows = pytorch::rows(works, &[model_sizes().as_slice(), &own].concat())?;
    rows.push(growth_of_step(model, text)?);
    Ok(rows)
}

/// What is read: a transcoder reads what its MLP does.
fn point(options: &SaeOptions) -> HookPoint {
    if options.target.is_some() { HookPoint::MlpIn(LAYER) } else { HookPoint::MlpOut(LAYER) }
}

/// Name, request and options of every kind.
fn kinds() -> [(&'static str, &'static str, SaeOptions); 7] {
    let of = |objective| SaeOptions { objective, ..SaeOptions::default() };
    let matryoshka = Objective::Matryoshka { prefixes: PREFIXES.to_vec() };
    let target = Some(HookPoint::MlpOut(LAYER));
    [
        ("training, top-k", "fit-top_k", of(Objective::TopK)),
        ("training, batch-top-k", "fit-batch_top_k", of(Objective::BatchTopK)),
        ("training, matryoshka", "fit-matryoshka", of(matryoshka)),
        ("training, ReLU with L1", "fit-standard", of(Objective::Standard { l1: PENALTY })),
        ("training, JumpReLU", "fit-jump_relu", of(Objective::jump_relu(PENALTY))),
        ("training, gated", "fit-gated", of(Objective::Gated { l1: PENALTY })),
        (
            "training, top-k transcoder",
            "fit-transcoder",
            SaeOptions { target, ..SaeOptions::default() },
        ),
    ]
}

/// The exponent of a step's time: what fits of one step and of a whole buffer differ by, since both
/// fill the buffer once, with embeddings, which cost little.
fn growth_of_step(model: &Decoder, text: &Tokens) -> Result<Row> {
    let usual = SaeOptions::default();
    let d = config().d_model;
    let fixed = format!("top-{}, d_model {d}, batch {}", usual.k, usual.batch);
    growth::row("autoencoder training step", "features", EXPANSIONS.map(|by| by * d), &fixed, |m| {
        let fit = |steps: usize| -> Result<f64> {
            let options = SaeOptions {
                steps,
                report: steps,
                expansion: m / d,
                buffer: STEPS * usual.batch,
                ..usual.clone()
            };
            let start = Instant::now();
            Sae::fit(model, HookPoint::Embed, text, &options)?;
            Ok(start.elapsed().as_secs_f64())
        };
        fit(STEPS)?;
        let steps = (STEPS - 1) as f64;
        let times = (0..3).map(|_| Ok((fit(STEPS)? - fit(1)?) / steps));
        Ok(median(times.collect::<Result<_>>()?))
    })
}
