//! `mlsae/autoencoder` and `mlsae/training`: the original's autoencoder, and steps of its training.

use std::path::Path;

use eigenlens::Result;
use eigenlens::candle::{DType, Device, Tensor};
use eigenlens::multilayer::{
    PublishedForward, PublishedRecipe, PublishedTraining, geometric_median, unit_columns,
    without_part_along,
};
use serde_json::Value;

use crate::circles::{TENSORS, count};
use crate::json;
use crate::report::{Reference, Report};

fn recipe(case: &Value, standardize: bool) -> PublishedRecipe {
    let number = |name: &str, or: f64| case[name].as_f64().unwrap_or(or);
    let usual = PublishedRecipe::default();
    PublishedRecipe {
        k: count(case, "k"),
        auxk: count(case, "auxk"),
        auxk_coef: number("auxk_coef", usual.auxk_coef),
        dead_threshold: number("dead_threshold", f64::from(usual.dead_threshold)) as f32,
        dead_steps: number("dead_steps_threshold", 0.0) as i64,
        standardize,
        accumulate: case["accumulate"].as_u64().unwrap_or(1) as usize,
        learning_rate: number("lr", usual.learning_rate),
    }
}

pub(crate) fn autoencoder(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    let case = json::read(folder, "case.json")?;
    let mut input = |name: &str| reference.input(name, report);
    let (x, encoder, decoder) = (input("in.x")?, input("in.encoder")?, input("in.decoder")?);
    let (bias, alive) = (input("in.pre_encoder_bias")?, input("in.last_nonzero")?);
    let alive: Vec<i64> = alive.to_vec1()?;
    let (norm, gradient) = (input("in.norm.decoder")?, input("in.norm.grad")?);
    let points = input("in.median.points")?;
    for (tag, standardize) in [("standardize", true), ("plain", false)] {
        let recipe = recipe(&case, standardize);
        let training = PublishedTraining::new(&encoder, &decoder, alive.clone(), recipe)?;
        let mut training = training.with_bias(&bias)?;
        let found = training.forward(&x)?;
        let name = |what: &str| format!("out.{tag}.{what}");
        for (what, tensor) in [
            ("latents", &found.latents),
            ("recons", &found.recons),
            ("aux_latents", &found.aux_latents),
            ("auxk_recons", &found.aux_recons),
        ] {
            reference.compare(&name(what), tensor, report)?;
        }
        if standardize {
            reference.compare(&name("mean"), &found.mean, report)?;
            reference.compare(&name("std"), &found.std, report)?;
        }
        let calls = Tensor::new(training.last_nonzero(), &Device::Cpu)?;
        reference.compare(&name("last_nonzero"), &calls, report)?;
        reference.compare(&name("dead"), &Tensor::new(&[found.dead], &Device::Cpu)?, report)?;
        largest(&reference, &name, &found, training.last_nonzero(), &recipe, report)?;
    }
    let unit = unit_columns(&norm)?;
    reference.compare("out.norm.decoder", &unit, report)?;
    let projected = without_part_along(&unit, &gradient)?;
    reference.compare("out.norm.grad_projected", &projected, report)?;
    let projected = without_part_along(&norm, &gradient)?;
    reference.compare("out.norm.grad_projected_unnormalised", &projected, report)?;
    let options = &case["median"];
    let tolerance = options["tol"].as_f64().unwrap_or(1e-5);
    let median = geometric_median(&points, count(options, "max_iter"), tolerance)?;
    reference.compare("out.median", &median, report)?;
    let one = geometric_median(&points, 1, tolerance)?;
    reference.compare("out.median.one_iteration", &one, report)?;
    let first = unit_columns(&encoder.t()?)?;
    reference.compare("aux.init.decoder_is_normalised_encoder_transpose", &first, report)
}

/// Compares the largest values with those that the original kept, whose order is arbitrary.
fn largest(
    reference: &Reference,
    name: &dyn Fn(&str) -> String,
    found: &PublishedForward,
    calls: &[i64],
    recipe: &PublishedRecipe,
    report: &mut Report,
) -> Result<()> {
    let n = calls.len();
    let pre: Vec<Vec<f32>> = found.pre.reshape(((), n))?.to_vec2()?;
    let is_dead = |j: usize| calls[j] >= recipe.dead_steps;
    for (kind, k, only_dead) in [("topk", recipe.k, false), ("auxk", recipe.auxk, true)] {
        let mut values = Vec::new();
        let mut places = Vec::new();
        for row in &pre {
            let value = |j: &usize| if only_dead && !is_dead(*j) { 0.0 } else { row[*j] };
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|i, j| value(j).total_cmp(&value(i)));
            values.extend(order[..k].iter().map(value));
            let mut kept: Vec<i64> = order[..k].iter().map(|j| *j as i64).collect();
            kept.sort_unstable();
            places.extend(kept);
        }
        let expected = reference.input(&name(&format!("{kind}_values")), report)?;
        let rows = expected.reshape(((), k))?;
        let (rows, _) = rows.sort_last_dim(false)?;
        let own = Tensor::from_vec(values, (pre.len(), k), &Device::Cpu)?;
        report.compare(&name(&format!("{kind}_values")), &rows, &own)?;
        let expected = reference.input(&name(&format!("{kind}_indices")), report)?;
        // Where fewer than k are dead, any live latents fill up.
        if !only_dead {
            let mut rows: Vec<Vec<i64>> = expected.reshape(((), k))?.to_vec2()?;
            rows.iter_mut().for_each(|row| row.sort_unstable());
            let rows = Tensor::new(rows, &Device::Cpu)?;
            let own = Tensor::from_vec(places, (pre.len(), k), &Device::Cpu)?;
            report.compare(&name("topk_indices"), &rows, &own)?;
        }
    }
    Ok(())
}

pub(crate) fn training(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    let case = json::read(folder, "case.json")?;
    let recipe = recipe(&case, true);
    let (encoder, decoder) =
        (reference.input("in.encoder", report)?, reference.input("in.decoder", report)?);
    let alive: Vec<i64> = reference.input("in.last_nonzero", report)?.to_vec1()?;
    let mut training = PublishedTraining::new(&encoder, &decoder, alive, recipe)?;
    let scalar = |value: f64| Tensor::new(&[value], &Device::Cpu);
    for micro in 0.. {
        if !reference.has(&format!("in.micro{micro}.inputs")) {
            break;
        }
        let inputs = reference.input(&format!("in.micro{micro}.inputs"), report)?;
        if micro == 0 {
            let median = geometric_median(&inputs, 100, 1e-5)?;
            reference.compare("out.pre_encoder_bias_after_init", &median, report)?;
        }
        let found = training.step(&inputs)?;
        let name = |what: &str| format!("out.micro{micro}.{what}");
        let [encoder, decoder, bias] = &found.gradients;
        for (what, tensor) in [
            ("grad.encoder", encoder),
            ("grad.decoder", decoder),
            ("grad.pre_encoder_bias", bias),
            ("grad_after_hook.decoder", &found.projected),
        ] {
            reference.compare(&name(what), tensor, report)?;
        }
        let loss = found.loss_mse + found.loss_auxk;
        // Called "abs" by the original, it is the share.
        let dead = found.forward.dead;
        for (what, value) in [
            ("loss_mse", found.loss_mse),
            ("loss_auxk", found.loss_auxk),
            ("loss", loss),
            ("train_dead_abs", dead),
        ] {
            reference.compare(&name(what), &scalar(value)?, report)?;
        }
        let calls = Tensor::new(training.last_nonzero(), &Device::Cpu)?;
        reference.compare(&name("last_nonzero"), &calls, report)?;
        if micro == 0 {
            let logged = reference.input(&name("logged"), report)?.to_dtype(DType::F64)?;
            let logged: Vec<f64> = logged.to_vec1()?;
            let keys = case["logged_keys"].as_array().into_iter().flatten();
            for (key, expected) in keys.zip(logged) {
                let key = key.as_str().unwrap_or_default();
                let losses = [found.loss_mse, found.loss_auxk];
                let own = logged_value(key, &inputs, &found.forward, losses, (dead, recipe.k))?;
                report.compare(&format!("logged {key}"), &scalar(expected)?, &scalar(own)?)?;
            }
        }
        if (micro + 1) % recipe.accumulate == 0 {
            let step = micro / recipe.accumulate;
            let name = |what: &str| format!("out.step{step}.{what}");
            let [encoder, decoder, bias] = training.weights();
            let lengths = decoder.sqr()?.sum(0)?.sqrt()?;
            for (what, tensor) in [
                ("encoder", &encoder),
                ("decoder", &decoder),
                ("pre_encoder_bias", &bias),
                ("decoder_norms", &lengths),
            ] {
                reference.compare(&name(what), tensor, report)?;
            }
        }
    }
    Ok(())
}

/// What the original logs of a micro-batch under a name.
fn logged_value(
    key: &str,
    inputs: &Tensor,
    forward: &PublishedForward,
    [mse, auxk]: [f64; 2],
    (dead, k): (f64, usize),
) -> Result<f64> {
    let layers = inputs.dims()[0];
    let of_layer = |what: &str, layer: usize| -> Result<f64> {
        let wide = |x: &Tensor| -> Result<Tensor> { Ok(x.get(layer)?.to_dtype(DType::F64)?) };
        let x = wide(inputs)?;
        let error = (&x - wide(&forward.recons)?)?.sqr()?.mean_all()?.to_scalar::<f64>()?;
        let codes = wide(&forward.latents)?;
        Ok(match what {
            "mse" => error,
            "fvu" => {
                let (count, mean) = (x.elem_count() as f64, x.mean_all()?.to_scalar::<f64>()?);
                let squares = (x - mean)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
                error / (squares / (count - 1.0))
            }
            "l1" => {
                let positions = codes.elem_count() / codes.dims()[codes.rank() - 1];
                codes.abs()?.sum_all()?.to_scalar::<f64>()? / positions as f64
            }
            _ => f64::NAN,
        })
    };
    Ok(match key.split('/').collect::<Vec<_>>()[..] {
        ["loss", "total"] => mse + auxk,
        ["loss", "mse"] => mse,
        ["loss", "auxk"] => auxk,
        ["train", "dead", "abs"] => dead,
        ["train", "dead", "rel"] => unchosen(forward, k)?,
        ["train", what, "avg"] => {
            let all = (0..layers).map(|layer| of_layer(what, layer));
            all.sum::<Result<f64>>()? / layers as f64
        }
        ["train", what, layer] => {
            let layer = layer.trim_start_matches("layer_").parse().unwrap_or(usize::MAX);
            of_layer(what, layer)?
        }
        _ => f64::NAN,
    })
}

/// The share of latents that no activation chose among its k, values of zero included.
fn unchosen(forward: &PublishedForward, k: usize) -> Result<f64> {
    let n = forward.pre.dims()[forward.pre.rank() - 1];
    let mut chosen = vec![false; n];
    for row in forward.pre.reshape(((), n))?.to_vec2::<f32>()? {
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|i, j| row[*j].total_cmp(&row[*i]));
        order[..k].iter().for_each(|j| chosen[*j] = true);
    }
    Ok(chosen.iter().filter(|chosen| !**chosen).count() as f64 / n as f64)
}
