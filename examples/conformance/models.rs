//! `models/*` and `models2/*`: every point, gradient, loss, intervention and continuation of the
//! hooked language models, from every file that a case has them in.

use std::fs;
use std::path::Path;

use eigenlens::candle::{DType, Device, Tensor};
use eigenlens::model::{Cache, Decoder, HookPoint, Hooks, Sampling};
use eigenlens::train::cross_entropy;
use eigenlens::{Error, Result};

use crate::report::{Reference, Report};

/// Of logits and gradients, `max |error| ≤ SHARE · max |reference|`.
const SHARE: f64 = 5e-5;

/// What a name of the reference begins with that is the gradient of the loss at a point.
const GRADIENT: &str = "grad.";

/// The configs that a case may have, and its weights with the names that a model has them under.
const CONFIGS: [&str; 2] = ["config.json", "config.legacy.json"];
const WEIGHTS: [(&str, &str); 4] = [
    ("model.safetensors", "model.safetensors"),
    ("model.legacy.safetensors", "model.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin"),
    ("model_final.pth", "model_final.pth"),
];

pub(crate) fn model(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join("io.safetensors"), report)?;
    let model = Decoder::from_pretrained(&folder.to_string_lossy(), &Device::Cpu)?;
    let tokens = reference.input("input_ids", report)?;
    let logits = model.logits(&tokens)?;
    reference.compare("logits", &logits, report)?;
    same("logits", &reference, &logits, report)?;
    let wide = model.widened()?.logits(&tokens)?.to_dtype(DType::F32)?;
    same("logits in f64", &reference, &wide, report)?;
    reference.compare("loss", &model.loss(&tokens)?, report)?;
    reference.compare("loss_per_token", &model.loss_per_token(&tokens)?, report)?;
    points(&model, &tokens, &reference, report)?;
    gradients(&model, &tokens, &reference, report)?;
    interventions(&model, &tokens, &reference, report)?;
    greedy(&model, &reference, report)?;
    spellings(folder, &tokens, &reference, report)
}

/// The same checkpoint in several files, beside the case it belongs to.
pub(crate) fn sharded(folder: &Path, report: &mut Report) -> Result<()> {
    let whole = folder.parent().unwrap_or(folder).join("io.safetensors");
    let reference = Reference::read(&whole, &mut Report::default())?;
    let model = Decoder::from_pretrained(&folder.to_string_lossy(), &Device::Cpu)?;
    let tokens = reference.input("input_ids", &mut Report::default())?;
    same("logits of the shards", &reference, &model.logits(&tokens)?, report)
}

/// The same model from each config with each file of weights, those included that are spelt as
/// before transformers 5.
fn spellings(
    folder: &Path,
    tokens: &Tensor,
    reference: &Reference,
    report: &mut Report,
) -> Result<()> {
    let is_there = |name: &str| folder.join(name).is_file();
    for config in CONFIGS.into_iter().filter(|name| is_there(name)) {
        for (weights, name) in WEIGHTS.into_iter().filter(|(weights, _)| is_there(weights)) {
            if (config, weights) == (CONFIGS[0], WEIGHTS[0].0) {
                continue;
            }
            let own = tempfile::tempdir().map_err(Error::io("create", folder))?;
            for (from, to) in [(config, CONFIGS[0]), (weights, name)] {
                let from = folder.join(from);
                fs::copy(&from, own.path().join(to)).map_err(Error::io("read", &from))?;
            }
            let model = Decoder::from_pretrained(&own.path().to_string_lossy(), &Device::Cpu)?;
            let what = format!("logits of {config}, {weights}");
            same(&what, reference, &model.logits(tokens)?, report)?;
        }
    }
    Ok(())
}

/// Every point of the model that the reference has, all from one pass; a point of the reference that
/// the model does not have stays open, and so fails.
fn points(
    model: &Decoder,
    tokens: &Tensor,
    reference: &Reference,
    report: &mut Report,
) -> Result<()> {
    let (logits, cache) = model.run(tokens, &Hooks::new().capture_all(model.points()))?;
    same("logits of a pass with every hook", reference, &logits, report)?;
    for name in reference.names() {
        let Ok(point) = name.parse::<HookPoint>() else { continue };
        if let Ok(found) = cache.get(point) {
            reference.compare(name, &stored(point, found, &cache)?, report)?;
        }
    }
    for layer in 0..model.config().layers {
        let resid = cache.get(HookPoint::ResidPre(layer))?;
        let what = format!("logits from layer {layer} on");
        same(&what, reference, &model.run_from(layer, resid, &Hooks::new())?.0, report)?;
    }
    Ok(())
}

/// Gradients of the mean loss with respect to activations, compared by share: they are small.
fn gradients(
    model: &Decoder,
    tokens: &Tensor,
    reference: &Reference,
    report: &mut Report,
) -> Result<()> {
    let found = |name: &str| name.strip_prefix(GRADIENT).map(str::parse::<HookPoint>);
    let points: Vec<HookPoint> = reference.names().filter_map(found).collect::<Result<_>>()?;
    if points.is_empty() {
        return Ok(());
    }
    let predicting = tokens.dim(1)? - 1;
    let next = tokens.narrow(1, 1, predicting)?.flatten_all()?;
    let loss = |logits: &Tensor| {
        let logits = logits.narrow(1, 0, predicting)?.contiguous()?.flatten(0, 1)?;
        cross_entropy(&logits, &next)
    };
    let found = model.gradients(tokens, &points, &Hooks::new(), loss)?;
    report.relative(SHARE);
    for point in points {
        let name = format!("{GRADIENT}{}", point.long_name());
        reference.compare(&name, found.gradients.get(point)?, report)?;
    }
    report.standard();
    Ok(())
}

/// What the reference keeps of an activation: of scores, zero where the mask hides them.
fn stored(point: HookPoint, found: &Tensor, cache: &Cache) -> Result<Tensor> {
    let HookPoint::Scores(layer) = point else { return Ok(found.clone()) };
    let hidden = found.lt(-1e29)?;
    let pattern = cache.get(HookPoint::Pattern(layer))?;
    let leaked = hidden.to_dtype(DType::F32)?.mul(pattern)?.abs()?.max_all()?;
    if leaked.to_scalar::<f32>()? != 0.0 {
        return Err(Error::invalid("the pattern where it is masked", "0", leaked));
    }
    Ok(hidden.where_cond(&found.zeros_like()?, found)?)
}

fn interventions(
    model: &Decoder,
    tokens: &Tensor,
    reference: &Reference,
    report: &mut Report,
) -> Result<()> {
    let names = reference.names().filter_map(|name| {
        name.strip_prefix("interventions.")?.strip_suffix(".logits").map(str::to_owned)
    });
    for name in names {
        let hooks = if let Some([layer, at]) = numbers(&name, "zero_mlp_out_l", "_p") {
            Hooks::new().replace(HookPoint::MlpOut(layer), move |x| zeroed(x, 1, at))
        } else if let Some([layer, head]) = numbers(&name, "zero_z_l", "_h") {
            Hooks::new().replace(HookPoint::Z(layer), move |x| zeroed(x, 2, head))
        } else if let Some(layer) = name.strip_prefix("add_resid_post_l") {
            let layer = layer.parse().map_err(|_| unknown(&name))?;
            let vector = reference.input(&format!("interventions.{name}.vector"), report)?;
            Hooks::new()
                .replace(HookPoint::ResidPost(layer), move |x| Ok(x.broadcast_add(&vector)?))
        } else {
            return Err(unknown(&name));
        };
        let logits = model.run(tokens, &hooks)?.0;
        reference.compare(&format!("interventions.{name}.logits"), &logits, report)?;
    }
    Ok(())
}

fn unknown(name: &str) -> Error {
    Error::invalid("an intervention", "one whose name is known", name)
}

/// The numbers of `{start}1{between}2`.
fn numbers(name: &str, start: &str, between: &str) -> Option<[usize; 2]> {
    let (first, second) = name.strip_prefix(start)?.split_once(between)?;
    Some([first.parse().ok()?, second.parse().ok()?])
}

/// `x` with entry `at` of dimension `dim` zero.
fn zeroed(x: &Tensor, dim: usize, at: usize) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    shape[dim] = x.dim(dim)?;
    let kept: Vec<f32> = (0..shape[dim]).map(|i| if i == at { 0. } else { 1. }).collect();
    Ok(x.broadcast_mul(&Tensor::from_vec(kept, shape, x.device())?)?)
}

/// The most probable continuation, with kept keys and values and without.
fn greedy(model: &Decoder, reference: &Reference, report: &mut Report) -> Result<()> {
    let prompt = reference.input("greedy.prompt_ids", report)?;
    let ids: Vec<u32> = prompt.flatten_all()?.to_dtype(DType::U32)?.to_vec1()?;
    let expected = reference.input("greedy.output_ids", report)?;
    let count = expected.dim(1)? - ids.len();
    let greedy = Sampling { temperature: 0., ..Sampling::default() };
    // The reference goes on after an end token.
    let kept = model.with_end_tokens(&[])?.generate_tokens(&ids, count, greedy)?;
    let as_tensor =
        |ids: &[u32]| Tensor::new(ids, &Device::Cpu)?.to_dtype(DType::I64)?.unsqueeze(0);
    reference.compare("greedy.output_ids", &as_tensor(&kept)?, report)?;
    let (mut all, mut margins) = (ids, Vec::new());
    for _ in 0..count {
        let logits = model.logits(&Tensor::new(all.as_slice(), &Device::Cpu)?)?.get(0)?;
        let last: Vec<f32> = logits.get(all.len() - 1)?.to_vec1()?;
        let mut order: Vec<usize> = (0..last.len()).collect();
        order.sort_by(|a, b| last[*b].total_cmp(&last[*a]));
        margins.push(last[order[0]] - last[order[1]]);
        all.push(order[0] as u32);
    }
    reference.compare("greedy.margins", &Tensor::new(margins, &Device::Cpu)?, report)?;
    match all == kept {
        true => report.pass("greedy.output_ids without kept keys and values"),
        false => report.fail("greedy.output_ids without kept keys and values", "other tokens"),
    }
    Ok(())
}

/// Compares logits with the reference's, relative to the largest.
fn same(what: &str, reference: &Reference, found: &Tensor, report: &mut Report) -> Result<()> {
    let expected = reference.input("logits", &mut Report::default())?;
    if expected.dims() != found.dims() {
        report.fail(what, &format!("shape {:?} for {:?}", found.dims(), expected.dims()));
        return Ok(());
    }
    let most = |x: &Tensor| -> Result<f64> {
        let all: Vec<f32> = x.flatten_all()?.to_vec1()?;
        // `max` would forget a NaN.
        let larger = |most: f32, x: f32| if x.is_nan() { f32::INFINITY } else { most.max(x.abs()) };
        Ok(f64::from(all.into_iter().fold(0f32, larger)))
    };
    let share = most(&(found - &expected)?)? / most(&expected)?;
    match share <= SHARE {
        true => report.pass(&format!("{what}: share {share:.3e}")),
        false => report.fail(what, &format!("share {share:.3e}")),
    }
    Ok(())
}
