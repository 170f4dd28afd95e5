//! `dark_matter/sae_info`: what the study keeps of each token, and the names of its autoencoders.

use std::path::Path;

use eigenlens::candle::{Device, Tensor};
use eigenlens::sae_error::SaeName;
use eigenlens::sae_error::original::StudyInfo;
use eigenlens::{Error, Result};
use serde_json::Value;

use crate::multilayer::{TENSORS, exactly, json, numbers, size};
use crate::report::{Reference, Report};

pub(crate) fn sae_info(folder: &Path, report: &mut Report) -> Result<()> {
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    let activations = reference.input("in.acts", report)?;
    let codes = reference.input("in.feature_acts", report)?;
    let reconstructions = reference.input("in.reconstructions", report)?;
    let sizes = [size(&case, "contexts")?, size(&case, "positions")?, size(&case, "n_features")?];
    report.check("sizes", codes.dims() == sizes);
    let info = StudyInfo::new(&activations, &codes, &reconstructions)?;
    exactly(&reference, "out.l0", &info.l0()?, report)?;
    reference.compare("out.error_norms", &info.error_norms()?, report)?;
    reference.compare("out.error_vectors", &info.error_vectors()?, report)?;
    reference.compare("out.feature_act_norms", &info.code_norms()?, report)?;
    let entries = info.entries()?;
    for (name, values) in
        [("context", entries.context), ("token", entries.token), ("feature", entries.feature)]
    {
        let found = Tensor::new(values, &Device::Cpu)?;
        exactly(&reference, &format!("out.active.{name}"), &found, report)?;
    }
    let values = Tensor::new(entries.value, &Device::Cpu)?;
    exactly(&reference, "out.active.value", &values, report)?;
    let [start, end] = window(&case)?;
    let made = info.reconstruction_vectors(start, end)?;
    reference.compare("out.reconstruction_vectors", &made, report)?;
    let features = info.features(start, end)?;
    let counts: Vec<f64> = features.counts().iter().map(|count| *count as f64).collect();
    numbers(&reference, "out.feature_counts", &counts, report)?;
    // What has no mean is NaN there.
    let means: Vec<f64> =
        features.mean_when_active().into_iter().map(|mean| mean.unwrap_or(f64::NAN)).collect();
    numbers(&reference, "out.average_when_active", &means, report)?;
    numbers(&reference, "out.average_overall", &features.mean(), report)?;
    names(&case, report)
}

/// The positions that count.
fn window(case: &Value) -> Result<[usize; 2]> {
    let ends: Option<Vec<usize>> = case["window"]
        .as_array()
        .and_then(|ends| ends.iter().map(|end| usize::try_from(end.as_u64()?).ok()).collect());
    match ends.as_deref() {
        Some(&[start, end]) => Ok([start, end]),
        _ => Err(Error::invalid("`window` of the case", "two positions", &case["window"])),
    }
}

/// Names into layer, width and L0.
fn names(case: &Value, report: &mut Report) -> Result<()> {
    let names = case["names"].as_object().filter(|names| !names.is_empty());
    let names = names
        .ok_or_else(|| Error::invalid("`names` of the case", "at least one", &case["names"]))?;
    for (name, expected) in names {
        let found: SaeName = name.parse()?;
        let found = serde_json::json!([found.layer, found.width, found.l0]);
        report.check(&format!("name {name}"), found == *expected);
    }
    Ok(())
}
