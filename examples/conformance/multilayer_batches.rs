//! `mlsae/`: metrics, examples and prompts.

use std::path::Path;

use eigenlens::candle::{DType, Device, IndexOp, Tensor};
use eigenlens::multilayer::{
    EvaluatedLayer, Evaluation, ExampleRule, LayerCodes, LayerDistributions, LayerExample,
    LayerExampleOptions, LayerExamples, LayerScores, OriginalEvaluation, OriginalMetrics,
    OriginalOptions, original_names,
};
use eigenlens::sae::{Architecture, Normalization, Sae, SaeWeights};
use eigenlens::{Error, Result};
use serde_json::Value;

use crate::multilayer::{TENSORS, codes, exactly, json, numbers, size};
use crate::report::{Reference, Report};

pub(crate) fn metrics(folder: &Path, report: &mut Report) -> Result<()> {
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    let (layers, latents) = (size(&case, "n_layers")?, size(&case, "n_latents")?);
    let options = OriginalOptions {
        dead_threshold: number(&case, "dead_threshold")?,
        dead_tokens_threshold: number(&case, "dead_tokens_threshold")?,
        auxk_coef: number(&case, "auxk_coef")?,
    };
    let mut plain = Evaluation::new(layers, latents)?;
    let mut original = OriginalEvaluation::new(layers, latents, options)?;
    let mut without = original.clone();
    for batch in 0..2 {
        let own = |name: &str| format!("in.batch{batch}.{name}");
        let codes = codes(&reference, &format!("in.batch{batch}"), latents, report)?;
        let mut scores = Vec::new();
        let mut scores_without = Vec::new();
        let tensor = |name: &str, report: &mut Report| reference.input(&own(name), report);
        let inputs = tensor("inputs", report)?;
        let reconstructions = tensor("recons", report)?;
        let auxiliary = tensor("auxk_recons", report)?;
        let logits = [tensor("logits_true", report)?, tensor("logits_pred", report)?];
        let losses = [tensor("loss_true", report)?, tensor("loss_pred", report)?];
        for layer in 0..layers {
            let loss = |own: &Tensor| -> Result<f64> {
                Ok(own.to_dtype(DType::F64)?.i(layer)?.to_scalar()?)
            };
            let whole = EvaluatedLayer {
                inputs: Some(inputs.i(layer)?),
                reconstructions: Some(reconstructions.i(layer)?),
                logits: Some(logits[0].i(layer)?),
                patched_logits: Some(logits[1].i(layer)?),
                loss: Some(loss(&losses[0])?),
                patched_loss: Some(loss(&losses[1])?),
                auxiliary: Some(auxiliary.i(layer)?),
            };
            scores.push(LayerScores::of(&whole)?);
            scores_without.push(LayerScores::of(&EvaluatedLayer { auxiliary: None, ..whole })?);
        }
        let contexts = size(&case, "batch")?;
        plain.add(&scores, &codes)?;
        original.add(&scores, &codes, contexts)?;
        without.add(&scores_without, &codes, contexts)?;
        let after = format!("after_update{}", batch + 1);
        metric_values(&reference, &after, &original.metrics(), report)?;
        if let Some(last) = original.last() {
            metric_values(&reference, &format!("forward{}", batch + 1), &last, report)?;
        }
        if batch == 0 {
            logged(&case, &original.metrics(), report);
        }
    }
    metric_values(&reference, "after_forward2", &original.merged(), report)?;
    let loss = without.metrics().auxiliary_loss;
    numbers(&reference, "out.auxiliary_loss.without_auxk", &[loss], report)?;
    let layers = plain.layers();
    let fvu: Vec<f64> = layers.iter().map(|layer| layer.fvu).collect();
    numbers(&reference, "right.layerwise_fvu.about_feature_means", &fvu, report)?;
    let kl: Vec<f64> = layers.iter().map(|layer| layer.kl.unwrap_or(f64::NAN)).collect();
    numbers(&reference, "right.logit_kl_div.true_to_pred_per_token_mean", &kl, report)
}

/// Names and values of a metric as they are logged.
fn logged(case: &Value, metrics: &OriginalMetrics, report: &mut Report) {
    let texts = case["wrapper_keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let values = case["wrapper_values"].as_array().into_iter().flatten().filter_map(Value::as_f64);
    let layers: Vec<usize> = (0..metrics.layerwise_fvu.len()).collect();
    report.check("wrapper_keys", texts.eq(original_names("fvu/", &layers)));
    let found = metrics.logged(&layers);
    let found = found.iter().filter(|(name, _)| name.contains("/fvu/"));
    let same = values.zip(found).all(|(expected, (_, found))| (expected - found).abs() <= 5e-5);
    report.check("wrapper_values", same);
}

fn metric_values(
    reference: &Reference,
    suffix: &str,
    found: &OriginalMetrics,
    report: &mut Report,
) -> Result<()> {
    for (name, values) in [
        ("layerwise_mse", &found.layerwise_mse[..]),
        ("layerwise_fvu", &found.layerwise_fvu),
        ("mse_loss", &[found.mse_loss]),
        ("auxiliary_loss", &[found.auxiliary_loss]),
        ("layerwise_l0", &found.layerwise_l0),
        ("layerwise_l1", &found.layerwise_l1),
        ("dead_latents", &[found.dead_latents]),
        ("logit_kl_div", &found.logit_kl_div),
        ("logit_mse", &found.logit_mse),
        ("loss_delta", &found.loss_delta),
    ] {
        numbers(reference, &format!("out.{name}.{suffix}"), values, report)?;
    }
    Ok(())
}

pub(crate) fn prompt(folder: &Path, report: &mut Report) -> Result<()> {
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    let mut weight = |name: &str| reference.input(&format!("in.{name}"), report);
    let weights =
        SaeWeights::new(weight("encoder")?, weight("decoder")?, weight("pre_encoder_bias")?);
    let x = weight("x")?;
    let normalization = Normalization::LayerNorm;
    let architecture = Architecture { normalization, ..Architecture::top_k(size(&case, "k")?) };
    let sae = Sae::new(architecture, weights)?;
    let layers = (0..x.dim(0)?).map(|layer| sae.encode(&x.i(layer)?));
    let codes = LayerCodes::new(layers.collect::<Result<Vec<_>>>()?)?;
    let mut found = LayerDistributions::new(codes.layers(), codes.width())?;
    found.add(&codes)?;
    let map = found.heat_map_above(number(&case, "dead_threshold")?)?;
    reference.compare("out.probs", &map.probabilities, report)
}

pub(crate) fn examples(folder: &Path, report: &mut Report) -> Result<()> {
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    let (layers, latents) = (size(&case, "n_layers")?, size(&case, "n_latents")?);
    let default = LayerExampleOptions::default();
    let expected = (size(&case, "default_n_examples")?, size(&case, "default_n_tokens")?);
    report.check("defaults", (default.examples, default.window) == expected);
    let of = |rule| LayerExampleOptions {
        examples: size(&case, "n_examples").unwrap_or(0),
        window: size(&case, "n_tokens").unwrap_or(0),
        threshold: number(&case, "dead_threshold").unwrap_or(f64::NAN) as f32,
        rule,
    };
    let mut contexts = LayerExamples::new(layers, latents, of(ExampleRule::Contexts))?;
    let mut distinct = LayerExamples::new(layers, latents, of(ExampleRule::Distinct))?;
    let mut original = LayerExamples::new(layers, latents, of(ExampleRule::Original))?;
    let mut first = 0;
    for batch in 0..size(&case, "batches")? {
        let prefix = format!("in.batch{batch}");
        let tokens = reference.input(&format!("{prefix}.tokens"), report)?;
        let codes = codes(&reference, &prefix, latents, report)?;
        for examples in [&mut contexts, &mut distinct, &mut original] {
            examples.add(first, &tokens, &codes)?;
        }
        first += tokens.dim(0)? as u64;
    }
    let window = size(&case, "n_tokens")?;
    right(&reference, "right.contexts", &contexts, window, report)?;
    right(&reference, "right.distinct", &distinct, window, report)?;
    originals(&reference, &original, window, report)
}

/// A column of whole numbers by its name in the reference.
type ExampleColumn = (&'static str, fn(&LayerExample) -> i64);

/// The rows of a table, windows with the peak in the middle.
fn right(
    reference: &Reference,
    prefix: &str,
    found: &LayerExamples,
    window: usize,
    report: &mut Report,
) -> Result<()> {
    let rows: Vec<LayerExample> = found.iter().collect::<Result<_>>()?;
    let place = |row: &LayerExample| window - (row.position - row.start);
    let columns: [ExampleColumn; 8] = [
        ("layer", |row| row.layer as i64),
        ("latent", |row| row.latent as i64),
        ("rank", |row| row.rank as i64),
        ("context", |row| row.context as i64),
        ("position", |row| row.position as i64),
        ("start", |row| row.start as i64),
        ("end", |row| row.end() as i64),
        ("token_id", |row| i64::from(row.token)),
    ];
    for (name, value) in columns {
        let values: Vec<i64> = rows.iter().map(value).collect();
        let values = Tensor::new(values, &Device::Cpu)?;
        exactly(reference, &format!("{prefix}.{name}"), &values, report)?;
    }
    let acts: Vec<f64> = rows.iter().map(|row| f64::from(row.activation)).collect();
    numbers(reference, &format!("{prefix}.act"), &acts, report)?;
    windows(reference, prefix, &rows, 2 * window + 1, place, report)?;
    // Ties are broken by the number of the context, here as there.
    reference.input(&format!("{prefix}.tied"), report)?;
    Ok(())
}

/// `token_ids` and `acts`; `place` is the column of a window's first token.
fn windows(
    reference: &Reference,
    prefix: &str,
    rows: &[LayerExample],
    width: usize,
    place: impl Fn(&LayerExample) -> usize,
    report: &mut Report,
) -> Result<()> {
    let [tokens, acts] = laid_out(rows, width, place)?;
    exactly(reference, &format!("{prefix}.token_ids"), &tokens, report)?;
    reference.compare(&format!("{prefix}.acts"), &acts, report)
}

/// Tokens, −1 where there is none, and activations, 0 where there is none, `[rows, width]`.
fn laid_out(
    rows: &[LayerExample],
    width: usize,
    place: impl Fn(&LayerExample) -> usize,
) -> Result<[Tensor; 2]> {
    let mut tokens = vec![-1i64; rows.len() * width];
    let mut acts = vec![0f64; rows.len() * width];
    for (at, row) in rows.iter().enumerate() {
        let start = at * width + place(row);
        for (i, (token, value)) in row.tokens.iter().zip(&row.activations).enumerate() {
            tokens[start + i] = i64::from(*token);
            acts[start + i] = f64::from(*value);
        }
    }
    let shape = (rows.len(), width);
    Ok([
        Tensor::from_vec(tokens, shape, &Device::Cpu)?,
        Tensor::from_vec(acts, shape, &Device::Cpu)?,
    ])
}

/// The original's table: where another candidate has the same activation, the activation alone.
fn originals(
    reference: &Reference,
    found: &LayerExamples,
    window: usize,
    report: &mut Report,
) -> Result<()> {
    let rows: Vec<LayerExample> = found.iter().collect::<Result<_>>()?;
    let tied: Vec<i64> = reference.input("out.tied", report)?.to_vec1()?;
    if tied.len() != rows.len() {
        let expected = format!("{} rows", tied.len());
        return Err(Error::invalid("the examples", expected, rows.len()));
    }
    let columns: [ExampleColumn; 5] = [
        ("layer", |row| row.layer as i64),
        ("latent", |row| row.latent as i64),
        ("rank", |row| row.rank as i64),
        ("token_id", |row| i64::from(row.token)),
        ("length", |row| row.tokens.len() as i64),
    ];
    let acts: Vec<f64> = rows.iter().map(|row| f64::from(row.activation)).collect();
    numbers(reference, "out.act", &acts, report)?;
    let untied: Vec<u32> = (0..).zip(&tied).filter(|own| *own.1 == 0).map(|own| own.0).collect();
    let untied = Tensor::new(untied, &Device::Cpu)?;
    let mut same = |name: &str, found: Tensor| -> Result<()> {
        let name = format!("out.{name}");
        let expected = reference.input(&name, report)?.index_select(&untied, 0)?;
        report.compare(&name, &expected, &found.index_select(&untied, 0)?)
    };
    for (name, value) in columns {
        let values: Vec<i64> = rows.iter().map(value).collect();
        same(name, Tensor::new(values, &Device::Cpu)?)?;
    }
    let [tokens, acts] = laid_out(&rows, 2 * window, |_| 0)?;
    same("token_ids", tokens)?;
    same("acts", acts)
}

pub(crate) fn number(case: &Value, name: &str) -> Result<f64> {
    let found = case[name].as_f64();
    found.ok_or_else(|| Error::invalid(format!("`{name}` of the case"), "a number", &case[name]))
}
