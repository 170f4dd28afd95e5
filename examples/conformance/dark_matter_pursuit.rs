//! `dark_matter/`: gradient pursuit, power laws over widths, detection scores.

use std::path::Path;

use eigenlens::candle::{DType, Device, Tensor};
use eigenlens::sae_error::original::{
    DetectionAccuracies, OriginalRegression, PowerLawAdam, empirical_l0, gradient_pursuit,
    normalized_mse, unexplained_variance, wald_half_width,
};
use eigenlens::sae_error::{DetectionCounts, PowerLaw, Pursuit, PursuitMethod, PursuitSteps};
use eigenlens::{Error, Result};
use serde_json::Value;

use crate::multilayer::{TENSORS, exactly, json, numbers, size};
use crate::report::{Reference, Report};

/// What snapshots of the study's fit of a power law are held to.
const SNAPSHOT: f64 = 2e-4;
/// What the best power law is held to.
const OPTIMUM: f64 = 1e-4;
/// Deciles that the study's lists hold; entry 0 is none.
const DECILES: usize = 10;

pub(crate) fn grad_pursuit(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    let [acts, bias, signals, dictionary] =
        ["acts", "bias", "signals", "dictionary"].map(|name| format!("in.{name}"));
    let acts = reference.input(&acts, report)?;
    let bias = reference.input(&bias, report)?;
    let dictionary = reference.input(&dictionary, report)?;
    let steps = integers(&reference.input("in.target_l0", report)?)?;
    let own = acts.broadcast_sub(&bias)?;
    reference.compare(&signals, &own, report)?;
    for (name, steps) in [("out.after_one_step", 1), ("out.after_two_steps", 2)] {
        let weights = gradient_pursuit(&dictionary, &own, PursuitSteps::Same(steps))?;
        compare_weights(&reference, name, &weights, report)?;
    }
    let steps = PursuitSteps::Each(steps);
    let weights = gradient_pursuit(&dictionary, &own, steps.clone())?;
    compare_weights(&reference, "out.weights", &weights, report)?;
    // NaN is not zero.
    let l0 = weights.ne(0f32)?.to_dtype(DType::F32)?.sum(1)?;
    exactly(&reference, "out.l0", &l0, report)?;
    let reconstructions = weights.matmul(&dictionary)?.broadcast_add(&bias)?;
    reference.compare("out.reconstructions", &reconstructions, report)?;
    // The default is the same but for rows of which nothing is left.
    let pursuit = Pursuit { steps, ..Pursuit::new(PursuitMethod::Gradient, 0) };
    let codes = pursuit.encode_with(&dictionary, Some(&bias), &acts)?;
    let codes = codes.to_dense(&Device::Cpu)?.to_vec2::<f32>()?;
    let weights = weights.to_vec2::<f32>()?;
    let is_same = |(code, row): (&Vec<f32>, &Vec<f32>)| {
        let pairs = || code.iter().zip(row);
        row.iter().all(|weight| weight.is_nan())
            || pairs().all(|(own, weight)| (own - weight).abs() <= 5e-5 * weight.abs().max(1.0))
    };
    report.check("codes of the library", codes.iter().zip(&weights).all(is_same));
    Ok(())
}

/// Compares weights, and which of them are zero.
fn compare_weights(
    reference: &Reference,
    name: &str,
    weights: &Tensor,
    report: &mut Report,
) -> Result<()> {
    let support =
        |weights: &Tensor| -> Result<Vec<u8>> { Ok(weights.ne(0f32)?.flatten_all()?.to_vec1()?) };
    let expected = reference.input(name, report)?;
    report.check(&format!("support of {name}"), support(&expected)? == support(weights)?);
    reference.compare(name, weights, report)
}

pub(crate) fn power_laws(folder: &Path, report: &mut Report) -> Result<()> {
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    let acts = reference.input("in.acts", report)?.to_dtype(DType::F64)?;
    let order = integers(&reference.input("in.perm", report)?)?;
    let (fit_rows, judged_to) = (size(&case, "train")?, size(&case, "eval")?);
    let regression = OriginalRegression { order: &order, fit_rows, judged_to };
    let contexts = size(&case, "contexts")?;
    let mut columns: [Vec<f64>; 7] = Default::default();
    for name in names(&case)? {
        let input = |what: &str, report: &mut Report| {
            reference.input(&format!("in.sae_{name}.{what}"), report)
        };
        let errors = input("error_vectors", report)?.to_dtype(DType::F64)?.neg()?;
        let positions = integers(&input("active_token", report)?)?;
        let of = integers(&input("active_context", report)?)?;
        report
            .check(&format!("contexts of {name}"), of.iter().all(|own| (*own as usize) < contexts));
        let made = (&acts - &errors)?;
        let fit = regression.fit(&acts, &errors)?;
        let with_prediction = (&made + acts.matmul(&fit.solution)?)?;
        let norms = regression.fit(&acts, &errors.sqr()?.sum(1)?)?;
        let found = [
            normalized_mse(&acts, &made)?,
            unexplained_variance(&acts, &made)?,
            normalized_mse(&acts, &with_prediction)?,
            unexplained_variance(&acts, &with_prediction)?,
            fit.r_squared.unwrap_or(f64::NAN),
            norms.r_squared.unwrap_or(f64::NAN),
            empirical_l0(&positions, contexts)?,
        ];
        columns.iter_mut().zip(found).for_each(|(column, own)| column.push(own));
    }
    let names = [
        "normalized_mse",
        "fvu",
        "normalized_mse_with_prediction",
        "fvu_with_prediction",
        "error_vector_r_squared",
        "error_norm_r_squared",
        "empirical_l0",
    ];
    for (name, column) in names.into_iter().zip(&columns) {
        numbers(&reference, &format!("out.{name}"), column, report)?;
    }
    adam(&reference, &case, report)
}

/// Names of the case's autoencoders, such as `16k_11`.
fn names(case: &Value) -> Result<Vec<String>> {
    let name = |pair: &Value| Some(format!("{}_{}", pair[0].as_str()?, pair[1].as_u64()?));
    let names: Option<Vec<String>> =
        case["saes"].as_array().and_then(|pairs| pairs.iter().map(name).collect());
    names.ok_or_else(|| Error::invalid("`saes` of the case", "widths and L0s", &case["saes"]))
}

/// Snapshots of the study's fit, and where it ends.
fn adam(reference: &Reference, case: &Value, report: &mut Report) -> Result<()> {
    let law = &case["power_law"];
    let rate = law["lr"].as_f64().unwrap_or(f64::NAN);
    let series = |name: &str, report: &mut Report| -> Result<Vec<f64>> {
        let values = reference.input(&format!("in.power_law.{name}"), report)?;
        Ok(values.to_dtype(DType::F64)?.to_vec1()?)
    };
    let (widths, losses) = (series("widths", report)?, series("losses", report)?);
    for (name, with_constant) in [("with_c", true), ("without_c", false)] {
        let start = series(&format!("{name}.start"), report)?;
        let start = start
            .try_into()
            .map_err(|start: Vec<f64>| Error::shape("a start", "three parameters", start.len()))?;
        let adam = PowerLawAdam { start, rate, with_constant };
        for steps in law["snapshots"].as_array().into_iter().flatten().filter_map(Value::as_u64) {
            let found = adam.run(&widths, &losses, steps as usize)?;
            let predictions: Vec<f64> =
                widths.iter().map(|width| adam.predict(found, *width)).collect();
            let prefix = format!("out.power_law.{name}");
            report.absolute(SNAPSHOT);
            numbers(reference, &format!("{prefix}.after{steps}"), &found, report)?;
            let name = format!("{prefix}.predictions_after{steps}");
            numbers(reference, &name, &predictions, report)?;
        }
        let fit = match with_constant {
            true => PowerLaw::fit(&widths, &losses)?,
            false => PowerLaw::without_constant(&widths, &losses)?,
        };
        let best: Vec<f64> = [fit.a, fit.exponent].into_iter().chain(fit.c).collect();
        let name = format!("right.power_law.{name}.optimum");
        report.absolute(OPTIMUM);
        numbers(reference, &name, &best, report)?;
        report.standard();
    }
    Ok(())
}

pub(crate) fn detection(folder: &Path, report: &mut Report) -> Result<()> {
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    let deciles = |name: &str, report: &mut Report| -> Result<Vec<Vec<u64>>> {
        let counts = reference.input(&format!("in.quantile_{name}"), report)?;
        counts.narrow(1, 1, DECILES)?.to_vec2::<i64>()?.into_iter().map(counted).collect()
    };
    let negatives = |name: &str, report: &mut Report| -> Result<Vec<u64>> {
        counted(reference.input(&format!("in.negative_{name}"), report)?.to_vec1()?)
    };
    let counts = DetectionCounts::new(
        deciles("positives", report)?,
        deciles("totals", report)?,
        negatives("positives", report)?,
        negatives("totals", report)?,
    )?;
    let found = DetectionAccuracies::of(&counts);
    numbers(&reference, "out.y", &found.y, report)?;
    numbers(&reference, "out.ci", &found.ci, report)?;
    let pairs = case["pairs"].as_array().into_iter().flatten().map(|pair| {
        let count = |at: usize| pair[at].as_u64().unwrap_or(u64::MAX);
        wald_half_width(count(0), count(1))
    });
    let widths = pairs.collect::<Result<Vec<f64>>>()?;
    numbers(&reference, "out.confidence_interval", &widths, report)?;
    // The library's own are pooled in the same way.
    let own = counts.accuracies(100, 0)?;
    let order = std::iter::once(&own[0]).chain(own[1..].iter().rev());
    let is_same = order.zip(&found.y).all(|(own, y)| (own.mean - y).abs() < 1e-12);
    report.check("accuracies of the library", is_same);
    Ok(())
}

fn counted(counts: Vec<i64>) -> Result<Vec<u64>> {
    let count = |count: i64| {
        u64::try_from(count).map_err(|_| Error::invalid("a count", "not negative", count))
    };
    counts.into_iter().map(count).collect()
}

fn integers(tensor: &Tensor) -> Result<Vec<u32>> {
    Ok(tensor.to_dtype(DType::U32)?.to_vec1()?)
}
