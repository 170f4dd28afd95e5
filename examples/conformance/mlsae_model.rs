//! `mlsae/api` and `mlsae/lens-tfm`: a multi-layer autoencoder in its model, and behind a tuned lens.

use std::path::Path;

use eigenlens::Result;
use eigenlens::candle::{DType, Device, IndexOp, Tensor};
use eigenlens::model::{Config, Decoder, HookPoint, LensVariant};
use eigenlens::multilayer::{
    CodeHistograms, EvaluatedLayer, LatentIntervention, LayerCodes, LayerPrompt, LayerScores,
    LogitShift, Mlsae, OriginalEvaluation, OriginalOptions, RankedLogit, SteeredLogits,
    original_code_histograms,
};
use serde_json::Value;

use crate::autoencoders;
use crate::multilayer::{TENSORS, exactly, json, numbers, size};
use crate::multilayer_batches::number;
use crate::report::{Reference, Report};

/// Tokens of a table.
const TOP: usize = 16;

pub(crate) fn behind_a_lens(folder: &Path, report: &mut Report) -> Result<()> {
    autoencoders::family(folder, report)?;
    report.standard();
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    for name in ["x", "acts", "recon", "indices", "values"] {
        reference.input(name, report)?;
    }
    let path = folder.join(case["load"]["path"].as_str().unwrap_or_default());
    let (layers, width) = (size(&case, "n_layers")?, size(&case, "d_in")?);
    let config = Config { vocab: 19, ..Config::gpt_neox(layers, 1, width, 40) };
    let model = Decoder::random(config, 0, &Device::Cpu)?;
    let right = Mlsae::load(&path, &model)?;
    let Some(lens) = right.lens().cloned() else {
        report.fail("lens", "none in the checkpoint");
        return Ok(());
    };
    let original = right.with_lens(&lens.variant(LensVariant::Original))?;
    let x = reference.input("lens.x", report)?;
    let streams = (0..layers).map(|layer| Ok(x.i(layer)?)).collect::<Result<Vec<_>>>()?;
    for (mlsae, prefix) in [(right, "lens.right"), (original, "lens.out")] {
        let codes = mlsae.encode(&streams)?;
        reference.compare(&format!("{prefix}.acts"), &dense(&codes)?, report)?;
        let recon = Tensor::stack(&mlsae.reconstruct(&streams)?, 0)?;
        reference.compare(&format!("{prefix}.recon"), &recon, report)?;
        let transformed = streams.iter().zip(mlsae.layers()).map(|(stream, layer)| {
            let lens = mlsae.lens().unwrap_or(&lens);
            lens.transform(stream, HookPoint::ResidPost(*layer))
        });
        let transformed = transformed.collect::<Result<Vec<_>>>()?;
        let stacked = Tensor::stack(&transformed, 0)?;
        reference.compare(&format!("{prefix}.transformed"), &stacked, report)?;
        // Rows that are in the lens's space already.
        let recon = mlsae.without_lens().reconstruct(&transformed)?;
        let recon = Tensor::stack(&recon, 0)?;
        reference.compare(&format!("{prefix}.recon_in_lens_space"), &recon, report)?;
        // Without its lens it refuses streams, and so does the autoencoder at one layer.
        let bare = Mlsae::new(&model, mlsae.sae(), mlsae.layers())?;
        report.check("refused without a lens", bare.encode(&streams).is_err());
        report.check("no Sae with a lens", mlsae.at(0).is_err());
        let notes = mlsae.sae().origin().to_string();
        report.check("the origin tells of the lens", notes.contains("tuned lens"));
    }
    Ok(())
}

pub(crate) fn api(folder: &Path, report: &mut Report) -> Result<()> {
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    let path = |name: &str| folder.join("hub").join(case[name].as_str().unwrap_or_default());
    let model = Decoder::from_pretrained(&path("model").to_string_lossy(), &Device::Cpu)?;
    let mlsae = Mlsae::load(path("mlsae"), &model)?;
    let text = |name: &str| case[name].as_str().unwrap_or_default();
    let prompt = mlsae.prompt(text("prompt"))?;
    same_tokens(&reference, "in.token_ids", &prompt, report)?;

    let codes = prompt.codes();
    let latents = dense(codes)?;
    reference.compare("out.latents", &latents, report)?;
    reference.compare("out.latents_max", &latents.max(2)?, report)?;
    let bins = size(&case, "bins")?;
    let own = codes.histograms(bins)?;
    let zeros: Vec<i64> = own.zeros.iter().map(|count| *count as i64).collect();
    let zeros = Tensor::new(zeros, &Device::Cpu)?;
    exactly(&reference, "right.layer_histograms.zeros", &zeros, report)?;
    histograms(&reference, "right.layer_histograms", &own, report)?;
    let original = original_code_histograms(&own);
    histograms(&reference, "out.layer_histograms", &original, report)?;

    let streams = prompt.streams()?;
    reference.compare("out.inputs", &streams, report)?;
    let streams: Vec<Tensor> =
        (0..mlsae.layers().len()).map(|layer| Ok(streams.i(layer)?)).collect::<Result<_>>()?;
    let recons = mlsae.reconstruct(&streams)?;
    reference.compare("out.recons", &Tensor::stack(&recons, 0)?, report)?;
    metrics(&reference, &case, (&mlsae, &streams, &recons), report)?;

    let logits = mlsae.prompt_logits(&prompt)?;
    reference.compare("right.logits", &logits, report)?;
    ranked(&reference, "out.input.max", &RankedLogit::largest(&logits, TOP)?, report)?;
    for layer in mlsae.layers().iter().copied() {
        let name = format!("recon.layer{layer}");
        let own = mlsae.logits_of_reconstruction(&prompt, layer)?;
        right(&reference, &name, &own, report)?;
        let own = mlsae.original_logits_of_reconstruction(&prompt, layer)?;
        tables(&reference, &format!("out.{name}"), &own, report)?;
    }
    for (i, request) in case["steer"].as_array().into_iter().flatten().enumerate() {
        let (latent, layer) = (size(request, "latent")?, size(request, "layer")?);
        let factor = number(request, "factor")?;
        let intervention = LatentIntervention::add_column(latent, factor).at(layer);
        let own = mlsae.steer(&prompt, std::slice::from_ref(&intervention))?;
        right(&reference, &format!("steer{i}"), &own, report)?;
        let own = mlsae.original_steer(&prompt, latent, layer, factor)?;
        tables(&reference, &format!("out.steer{i}"), &own, report)?;
        if i == 0 {
            one_token(&reference, &mlsae, text("one_token_prompt"), intervention, report)?;
        }
    }
    Ok(())
}

/// The answers to a prompt of a single token, reconstructed after layer 0 and steered.
fn one_token(
    reference: &Reference,
    mlsae: &Mlsae,
    text: &str,
    intervention: LatentIntervention,
    report: &mut Report,
) -> Result<()> {
    let prompt = mlsae.prompt(text)?;
    same_tokens(reference, "in.one_token.token_ids", &prompt, report)?;
    reference.compare("right.one_token.latents", &dense(prompt.codes())?, report)?;
    let logits = mlsae.prompt_logits(&prompt)?;
    reference.compare("right.one_token.logits", &logits, report)?;
    let largest = RankedLogit::largest(&logits, TOP)?;
    ranked(reference, "right.one_token.input.max", &largest, report)?;
    let own = mlsae.logits_of_reconstruction(&prompt, 0)?;
    reference.compare("right.one_token.recon.layer0.logits", own.after(), report)?;
    let own = mlsae.steer(&prompt, &[intervention])?;
    reference.compare("right.one_token.steer0.logits", own.after(), report)
}

/// Codes `[L, …, n]` of codes with one axis of positions.
fn dense(codes: &LayerCodes) -> Result<Tensor> {
    let layers = codes.iter().map(|own| own.to_dense(&Device::Cpu));
    Ok(Tensor::stack(&layers.collect::<Result<Vec<_>>>()?, 0)?)
}

fn same_tokens(
    reference: &Reference,
    name: &str,
    prompt: &LayerPrompt,
    report: &mut Report,
) -> Result<()> {
    let ids: Vec<i64> = prompt.tokens().iter().map(|token| i64::from(*token)).collect();
    exactly(reference, name, &Tensor::new(ids, &Device::Cpu)?, report)
}

fn histograms(
    reference: &Reference,
    prefix: &str,
    found: &CodeHistograms,
    report: &mut Report,
) -> Result<()> {
    let rows = found.values.iter().map(|row| row.iter().map(|count| *count as i64));
    let rows = Tensor::new(rows.map(Iterator::collect).collect::<Vec<Vec<i64>>>(), &Device::Cpu)?;
    exactly(reference, &format!("{prefix}.values"), &rows, report)?;
    numbers(reference, &format!("{prefix}.edges"), &found.edges, report)
}

/// The metrics as a training step of the original logs them: names and values.
fn metrics(
    reference: &Reference,
    case: &Value,
    (mlsae, streams, recons): (&Mlsae, &[Tensor], &[Tensor]),
    report: &mut Report,
) -> Result<()> {
    let params = &case["params"];
    let options = OriginalOptions {
        dead_threshold: number(params, "dead_threshold")?,
        dead_tokens_threshold: number(params, "dead_tokens_threshold")?,
        auxk_coef: number(params, "auxk_coef")?,
    };
    let codes = mlsae.before_relu()?.encode(streams)?;
    let scores = streams.iter().zip(recons).map(|(inputs, reconstructions)| {
        LayerScores::of(&EvaluatedLayer {
            inputs: Some(inputs.clone()),
            reconstructions: Some(reconstructions.clone()),
            ..EvaluatedLayer::default()
        })
    });
    let mut found = OriginalEvaluation::new(codes.layers(), codes.width(), options)?;
    found.add(&scores.collect::<Result<Vec<_>>>()?, &codes, 1)?;
    let (names, values): (Vec<String>, Vec<f64>) =
        found.metrics().logged(mlsae.layers()).into_iter().unzip();
    let expected = case["metrics"].as_array().into_iter().flatten().filter_map(Value::as_str);
    report.check("names of metrics", expected.eq(names.iter().map(String::as_str)));
    numbers(reference, "out.metrics", &values, report)
}

/// All logits, and where the case has them the tables.
fn right(
    reference: &Reference,
    name: &str,
    found: &SteeredLogits,
    report: &mut Report,
) -> Result<()> {
    let prefix = format!("right.{name}");
    reference.compare(&format!("{prefix}.logits"), found.after(), report)?;
    let before = reference.input("right.logits", report)?;
    report.compare(&format!("{prefix} before"), &before, found.before())?;
    let same = divergences(&before, found.after())?;
    let own = Tensor::new(found.divergences()?, &Device::Cpu)?;
    report.compare(&format!("{prefix} divergences"), &same, &own)?;
    match reference.has(&format!("{prefix}.max.ids")) {
        true => tables(reference, &prefix, found, report),
        false => Ok(()),
    }
}

/// `KL(before ‖ after)` at each position, from the definition.
fn divergences(before: &Tensor, after: &Tensor) -> Result<Tensor> {
    let probabilities = |logits: &Tensor| -> Result<Tensor> {
        let weights = logits.to_dtype(DType::F64)?.exp()?;
        Ok(weights.broadcast_div(&weights.sum_keepdim(1)?)?)
    };
    let (p, q) = (probabilities(before)?, probabilities(after)?);
    Ok((&p * (p.log()? - q.log()?)?)?.sum(1)?)
}

fn tables(
    reference: &Reference,
    prefix: &str,
    found: &SteeredLogits,
    report: &mut Report,
) -> Result<()> {
    ranked(reference, &format!("{prefix}.max"), &found.largest(TOP)?, report)?;
    for (name, rows) in [("rises", found.rises(TOP)?), ("falls", found.falls(TOP)?)] {
        let prefix = format!("{prefix}.{name}");
        let ids = table(&rows, |own: &LogitShift| f64::from(own.token))?;
        exactly(reference, &format!("{prefix}.ids"), &ids, report)?;
        reference.compare(&format!("{prefix}.logits"), &table(&rows, |own| own.change)?, report)?;
    }
    Ok(())
}

fn ranked(
    reference: &Reference,
    prefix: &str,
    rows: &[Vec<RankedLogit>],
    report: &mut Report,
) -> Result<()> {
    let ids = table(rows, |own| f64::from(own.token))?;
    exactly(reference, &format!("{prefix}.ids"), &ids, report)?;
    reference.compare(&format!("{prefix}.logits"), &table(rows, |own| own.logit)?, report)?;
    reference.compare(&format!("{prefix}.probs"), &table(rows, |own| own.probability)?, report)
}

/// A number of each entry, `[rows, entries]`.
fn table<T>(rows: &[Vec<T>], number: impl Fn(&T) -> f64) -> Result<Tensor> {
    let rows: Vec<Vec<f64>> = rows.iter().map(|row| row.iter().map(&number).collect()).collect();
    Ok(Tensor::new(rows, &Device::Cpu)?)
}
