//! `dark_matter/`: the study's regressions, parts of errors, norms per token, norm tests.

use std::path::Path;

use eigenlens::candle::{DType, Device, Tensor};
use eigenlens::sae_error::original::{
    EqualBuckets, OriginalCircuits, OriginalNormTest, OriginalParts, OriginalPerToken,
    OriginalRegression, OriginalSite, OriginalTokenMeans, mean_r_squared, normalized_mse,
    one_mean_r_squared, original_norm_baseline, unexplained_variance, with_ones,
};
use eigenlens::{Error, Result};
use serde_json::{Value, json};

use crate::multilayer::{TENSORS, exactly, json as description, numbers, size};
use crate::report::{Reference, Report};

/// What R² tables and percentages are held to, as shares of the largest entry or 1.
const LOOSE: f64 = 2e-4;

/// A case's tensors, and the permutation and thresholds of its regressions.
struct RegressionCase {
    reference: Reference,
    description: Value,
    order: Vec<u32>,
    fit_rows: usize,
    judged_to: usize,
}

impl RegressionCase {
    /// Reads a case whose thresholds are under these names.
    fn read(folder: &Path, thresholds: [&str; 2], report: &mut Report) -> Result<Self> {
        let reference = Reference::read(&folder.join(TENSORS), report)?;
        let description = description(folder)?;
        let order = whole_numbers(&reference, "in.perm", report)?;
        let [fit_rows, judged_to] = thresholds.map(|name| size(&description, name));
        Ok(Self { order, fit_rows: fit_rows?, judged_to: judged_to?, reference, description })
    }

    fn regression(&self) -> OriginalRegression<'_> {
        let Self { fit_rows, judged_to, .. } = *self;
        OriginalRegression { order: &self.order, fit_rows, judged_to }
    }

    fn input(&self, name: &str, report: &mut Report) -> Result<Tensor> {
        Ok(self.reference.input(&format!("in.{name}"), report)?.to_dtype(DType::F64)?)
    }

    /// Errors x − x̂, of which the study keeps the negative.
    fn errors(&self, name: &str, report: &mut Report) -> Result<Tensor> {
        Ok(self.input(name, report)?.neg()?)
    }

    fn compare(&self, name: &str, found: &Tensor, report: &mut Report) -> Result<()> {
        self.reference.compare(name, found, report)
    }

    fn number(&self, name: &str, found: f64, report: &mut Report) -> Result<()> {
        numbers(&self.reference, name, &[found], report)
    }

    /// Compares what the reference's tolerance is wider for.
    fn compare_loosely(&self, name: &str, found: &Tensor, report: &mut Report) -> Result<()> {
        let expected = self.reference.input(name, report)?;
        let largest = expected.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let largest = largest.into_iter().fold(1.0, |most: f64, value| most.max(value.abs()));
        report.absolute(LOOSE * largest);
        let result = report.compare(name, &expected, found);
        report.standard();
        result
    }
}

pub(crate) fn basics(folder: &Path, report: &mut Report) -> Result<()> {
    const THRESHOLDS: [&str; 2] = ["lstsq_token_threshold", "eval_token_threshold"];
    let case = RegressionCase::read(folder, THRESHOLDS, report)?;
    let x = case.input("x", report)?;
    let y = case.input("y", report)?;
    let first = y.narrow(1, 0, 1)?.squeeze(1)?;
    for (name, x, y) in [
        ("matrix", x.clone(), &y),
        ("matrix_with_ones", with_ones(&x)?, &y),
        ("vector", x.clone(), &first),
        ("vector_with_ones", with_ones(&x)?, &first),
    ] {
        let found = case.regression().fit(&x, y)?;
        let prefix = format!("out.lstsq.{name}");
        case.compare(&format!("{prefix}.solution"), &found.solution, report)?;
        case.compare(&format!("{prefix}.residuals"), &found.residuals, report)?;
        let r_squared = found.r_squared.unwrap_or(f64::NAN);
        case.number(&format!("{prefix}.r_squared"), r_squared, report)?;
    }
    let all = OriginalRegression::of_all_rows(&x, &y)?;
    case.compare("out.lstsq.all.solution", &all, report)?;
    let study = OriginalRegression::study(&case.order);
    let defaults = THRESHOLDS.map(|name| size(&case.description, &format!("default_{name}")));
    let [fit_rows, judged_to] = defaults;
    report.check(
        "thresholds of the study",
        (study.fit_rows, study.judged_to) == (fit_rows?, judged_to?),
    );
    report.check("nothing is left to judge", study.fit(&x, &y)?.r_squared.is_none());

    let own = case.input("recon", report)?;
    case.number("out.r_squared", mean_r_squared(&x, &own)?, report)?;
    case.number("out.r_squared_torch", one_mean_r_squared(&x, &own)?, report)?;
    case.number("out.fvu", unexplained_variance(&x, &own)?, report)?;
    case.number("out.normalized_mse", normalized_mse(&x, &own)?, report)?;
    buckets(&case, report)
}

fn buckets(case: &RegressionCase, report: &mut Report) -> Result<()> {
    let values: Vec<f32> = case.reference.input("in.bucket.x", report)?.to_vec1()?;
    let found = EqualBuckets::of(&values, size(&case.description, "buckets")?)?;
    let assignment: Vec<i64> = found.assignment.iter().map(|bucket| *bucket as i64).collect();
    let assignment = Tensor::new(assignment, &Device::Cpu)?;
    exactly(&case.reference, "out.bucket.assignment", &assignment, report)?;
    exactly(&case.reference, "out.bucket.one_hot", &found.one_hot()?, report)?;
    let which = case.description["buckets_to_use"].as_array().into_iter().flatten();
    let which: Vec<usize> = which.filter_map(Value::as_u64).map(|bucket| bucket as usize).collect();
    exactly(&case.reference, "out.bucket.selected", &found.selected(&which)?, report)
}

pub(crate) fn decomposition(folder: &Path, report: &mut Report) -> Result<()> {
    let case = RegressionCase::read(folder, ["train", "eval"], report)?;
    let columns = json!(["act", "sae_rec", "linear_error", "nonlinear_error"]);
    report.check("columns", case.description["columns"] == columns);
    let names: Vec<&str> = case.description["rows"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut sites = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        let activations = case.input(&format!("{name}.acts"), report)?;
        let errors = case.errors(&format!("{name}.error_vectors"), report)?;
        let (x, e) = (activations.flatten_from(1)?, errors.flatten_from(1)?);
        let parts = OriginalParts::of(&x, &e, &case.regression())?;
        // The first site is the target as well.
        let prefixes = [Some(format!("out.{name}")), (i == 0).then(|| "out.resid".to_owned())];
        for prefix in prefixes.iter().flatten() {
            case.compare(&format!("{prefix}.linear_error"), &parts.linear, report)?;
            case.compare(&format!("{prefix}.nonlinear_error"), &parts.nonlinear, report)?;
        }
        if i == 0 {
            case.compare("out.resid.solution", &parts.solution, report)?;
        }
        sites.push(OriginalSite { activations, errors });
    }
    let found = OriginalCircuits::of(&sites, &case.regression())?;
    for (name, table) in [
        ("sae_error", found.error),
        ("nonlinear_error", found.nonlinear),
        ("linear_error", found.linear),
    ] {
        let table = Tensor::new(table.concat(), &Device::Cpu)?.reshape((names.len(), 4))?;
        case.compare_loosely(&format!("out.r_squared.{name}"), &table, report)?;
    }
    Ok(())
}

pub(crate) fn per_token(folder: &Path, report: &mut Report) -> Result<()> {
    let case = RegressionCase::read(folder, ["train", "eval"], report)?;
    let x = case.input("acts", report)?;
    let mut errors = Vec::new();
    while case.reference.has(&format!("in.sae{}.error_vectors", errors.len())) {
        errors.push(case.errors(&format!("sae{}.error_vectors", errors.len()), report)?);
    }
    let found = OriginalPerToken::of(&x, &errors, &case.regression())?;
    case.compare("out.total_norms", &found.total, report)?;
    case.compare("out.linear_norms", &found.linear, report)?;
    case.compare("out.nonlinear_norms", &found.nonlinear, report)?;
    let square = |table: Vec<Vec<f64>>| -> Result<Tensor> {
        Ok(Tensor::new(table.concat(), &Device::Cpu)?.reshape((errors.len(), errors.len()))?)
    };
    case.compare("out.r_squared", &square(found.r_squared)?, report)?;
    // On the diagonal the study divides one rounding by another.
    const PERCENT: &str = "out.percent_increase";
    let mut percent = found.percent;
    let expected: Vec<Vec<f64>> = case.reference.input(PERCENT, report)?.to_vec2()?;
    for (i, row) in percent.iter_mut().enumerate() {
        row[i] = expected.get(i).and_then(|row| row.get(i)).copied().unwrap_or(f64::NAN);
    }
    case.compare_loosely(PERCENT, &square(percent)?, report)
}

pub(crate) fn norm_prediction(folder: &Path, report: &mut Report) -> Result<()> {
    let case = RegressionCase::read(folder, ["train", "eval"], report)?;
    let x = case.input("acts", report)?;
    let errors = case.errors("error_vectors", report)?;
    let squares = case.input("error_norms", report)?;
    let column = |name: &str, report: &mut Report| -> Result<Tensor> {
        Ok(case.input(name, report)?.unsqueeze(1)?)
    };
    let (loss, l0) = (column("model_loss", report)?, column("l0", report)?);
    let lengths = x.sqr()?.sum_keepdim(1)?.sqrt()?;
    for (name, numbers) in
        [("act", &x), ("model_loss", &loss), ("l0", &l0), ("activation_norm", &lengths)]
    {
        let found = original_norm_baseline(numbers, &squares, &case.regression())?;
        case.number(&format!("out.baseline.{name}"), found, report)?;
    }
    let tokens = whole_numbers(&case.reference, "in.tokens", report)?;
    let means = OriginalTokenMeans::of(&tokens, &squares.to_vec1::<f64>()?)?;
    case.number("out.baseline.token", means.r_squared, report)?;
    let counts: Vec<i64> = means.counts.iter().map(|count| *count as i64).collect();
    let counts = Tensor::new(counts, &Device::Cpu)?;
    exactly(&case.reference, "out.token_counts", &counts, report)?;
    numbers(&case.reference, "out.token_means", &means.means, report)?;
    let largest = size(&case.description, "max_token")?;
    report.check("largest token", means.counts.len() == largest + 1);

    let rows = json!([
        "reconstruction",
        "sae_error",
        "nonlinear_error",
        "reconstruction_plus_nonlinear_error",
        "linear_error"
    ]);
    report.check("rows", case.description["violin_rows"] == rows);
    let columns = json!(["include_ones", "no_ones"]);
    report.check("columns", case.description["violin_columns"] == columns);
    let found = OriginalNormTest::of(&x, &errors, &case.regression())?;
    let table = |table: &[[f64; 2]; 5]| Tensor::new(table, &Device::Cpu);
    case.number("out.violin.acts", found.activations, report)?;
    case.compare("out.violin.from_acts", &table(&found.from_activations)?, report)?;
    case.compare("right.violin.from_acts", &table(&found.as_labelled)?, report)?;
    case.compare_loosely("out.violin.from_self", &table(&found.from_itself)?, report)
}

/// A tensor of whole numbers from 0 on.
fn whole_numbers(reference: &Reference, name: &str, report: &mut Report) -> Result<Vec<u32>> {
    let values: Vec<i64> = reference.input(name, report)?.to_dtype(DType::I64)?.to_vec1()?;
    let whole = |value: i64| {
        u32::try_from(value).map_err(|_| Error::invalid(name, "whole numbers from 0", value))
    };
    values.into_iter().map(whole).collect()
}
