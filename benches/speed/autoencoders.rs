//! Training autoencoders of every objective, beside PyTorch.

use eigenlens::prelude::*;

use crate::language::{config, layer_products, model_sizes, text};
use crate::pytorch::{self, Work};
use crate::report::Row;
use crate::{Result, growth};

/// The layer whose MLP's output is read, or by a transcoder predicted from its input.
const LAYER: usize = 2;
/// λ of the kinds that have one; `benches/pytorch/autoencoders.py` has the same.
const PENALTY: f64 = 1.0;
/// Where JumpReLU begins, in standard deviations of what its encoder says: one in 40 features fires.
const THRESHOLD: f64 = 2.0;
/// Buffers a turn.
const BUFFERS: usize = 3;
/// Nested dictionaries of the matryoshka one, features; the whole comes on top.
const PREFIXES: [usize; 2] = [192, 576];
/// Features for each dimension with which a step is timed to see how it grows.
const EXPANSIONS: [usize; 3] = [4, 8, 16];
/// Steps of a buffer there.
const STEPS: usize = 8;

/// Speeds of all kinds, and how a step grows.
///
/// Steps alone are timed on embeddings, which cost next to nothing; two rows are of activations that
/// both sides compute. Each turn of ours begins with random weights, when no feature is dead: the
/// auxiliary loss waits for `dead_after` steps on both sides, and is not timed. Codes of ReLU and
/// gated are not sparse yet then, which is the worst case; JumpReLU has [`THRESHOLD`].
pub(crate) fn rows() -> Result<Vec<Row>> {
    let (config, usual) = (config(), SaeOptions::default());
    let model = &Decoder::random(config.clone(), 0, &Device::Cpu)?;
    let text = &text()?;
    let features = usual.expansion * config.d_model;
    let size = format!("{features} features, d_model {}, batch {}", config.d_model, usual.batch);
    // The layers that an activation comes through.
    let collecting = 2 * (LAYER + 1) * layer_products(&config);
    // The encoder's product for h; sums over k features for the result and for the gradients of
    // codes, decoder and encoder.
    let step = (2 * features + 8 * usual.k) * config.d_model;
    let works = kinds().into_iter().map(|(name, request, point, options)| {
        let flops = match (&options.objective, point) {
            (Objective::TopK | Objective::BatchTopK, HookPoint::Embed) => Some(step as f64),
            (Objective::TopK, _) => Some((step + collecting) as f64),
            _ => None,
        };
        let size = match options.target {
            Some(target) => format!("{size}, from {point} to {target}"),
            None => format!("{size}, {point}"),
        };
        let (buffer, batch) = (options.buffer, options.batch);
        let train = move |buffers: usize| {
            let steps = buffers * buffer.div_ceil(batch);
            let options = SaeOptions { steps, report: steps, ..options.clone() };
            Sae::fit(model, point, text, &options).map(drop)
        };
        Work::new(name, request, train)
            .size(size)
            .turn(BUFFERS, buffer, "activations/s")
            .flops(flops)
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

/// Name, request, what is read and options of every kind.
fn kinds() -> [(&'static str, &'static str, HookPoint, SaeOptions); 8] {
    let of = |objective| SaeOptions { objective, ..SaeOptions::default() };
    let step = |name, request, objective| (name, request, HookPoint::Embed, of(objective));
    let matryoshka = Objective::Matryoshka { prefixes: PREFIXES.to_vec() };
    let (l1, l0, bandwidth) = (PENALTY, PENALTY, 0.1);
    let jump_relu = Objective::JumpRelu { l0, bandwidth, threshold: THRESHOLD };
    let (read, written) = (HookPoint::MlpIn(LAYER), HookPoint::MlpOut(LAYER));
    let transcoder = SaeOptions { target: Some(written), ..SaeOptions::default() };
    [
        step("training steps, top-k", "fit-top_k", Objective::TopK),
        step("training steps, batch-top-k", "fit-batch_top_k", Objective::BatchTopK),
        step("training steps, matryoshka", "fit-matryoshka", matryoshka),
        step("training steps, ReLU with L1", "fit-standard", Objective::Standard { l1 }),
        step("training steps, JumpReLU", "fit-jump_relu", jump_relu),
        step("training steps, gated", "fit-gated", Objective::Gated { l1 }),
        ("training, top-k", "fit-collected", written, of(Objective::TopK)),
        ("training, top-k transcoder", "fit-transcoder", read, transcoder),
    ]
}

/// The exponent of a step's time: what fits of one step and of a whole buffer differ by, since both
/// fill the buffer once, with embeddings, which cost little.
fn growth_of_step(model: &Decoder, text: &Tokens) -> Result<Row> {
    let usual = SaeOptions::default();
    let d = config().d_model;
    let fixed = format!("top-{}, d_model {d}, batch {}", usual.k, usual.batch);
    growth::row("autoencoder training step", "features", EXPANSIONS.map(|by| by * d), &fixed, |m| {
        let fit = |steps: usize| {
            let options = SaeOptions {
                steps,
                report: steps,
                expansion: m / d,
                buffer: STEPS * usual.batch,
                ..usual.clone()
            };
            growth::seconds(|| Sae::fit(model, HookPoint::Embed, text, &options).map(drop))
        };
        Ok((fit(STEPS)? - fit(1)?) / (STEPS - 1) as f64)
    })
}
