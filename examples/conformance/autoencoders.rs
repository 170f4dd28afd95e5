//! `sae/`: autoencoders as each library saves them.

use std::path::Path;

use eigenlens::candle::{DType, Device, Tensor};
use eigenlens::sae::{Codes, Sae, SaeLoader};
use eigenlens::{Error, Result};
use serde_json::Value;

use crate::report::{Reference, Report};

/// What these cases ask for, relative to the largest entry of a tensor.
const TOLERANCE: f64 = 1e-5;

fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&text).map_err(|reason| Error::format(path, "JSON", reason.to_string()))
}

pub(crate) fn family(folder: &Path, report: &mut Report) -> Result<()> {
    report.relative(TOLERANCE);
    let case = folder.join("case.json");
    let fields = json(&case)?;
    let path = fields["load"]["path"].as_str();
    let path = folder.join(path.ok_or_else(|| Error::format(&case, "`load.path`", "none"))?);
    // What a family keeps in no file, SAELens keeps in its registry, and the case says.
    let loader = match fields["load"]["hub_loader"].as_str() {
        Some("qwen_scope") => SaeLoader::new().k(fields["k"].as_u64().unwrap_or_default() as usize),
        Some("llama_scope_r1_distill") => {
            SaeLoader::new().scale(fields["load"]["norm"].as_f64().unwrap_or_default())
        }
        _ => SaeLoader::new(),
    };
    let sae = loader.load(&path, &Device::Cpu)?;

    let reference = Reference::read(&folder.join("io.safetensors"), report)?;
    let x = reference.input("x", report)?;
    let codes = sae.encode(&x)?;
    let dense = codes.to_dense(&Device::Cpu)?;
    reference.compare("acts", &dense, report)?;
    same_features(&reference, &dense, report)?;
    reference.compare("recon", &sae.reconstruct(&x)?, report)?;
    if reference.has("indices") {
        kept(&sae, &codes, &reference, report)?;
    }
    let lengths = sae.w_dec().sqr()?.sum(0)?.sqrt()?;
    for name in reference.names().map(ToOwned::to_owned).collect::<Vec<_>>() {
        match name.as_str() {
            // The original's loader gives its decoder columns length one.
            "acts_normalized" => {
                let folded = sae.fold_w_dec_norm()?.encode(&x)?.to_dense(&Device::Cpu)?;
                reference.compare(&name, &folded, report)?;
            }
            "acts_scaled" => reference.compare(&name, &dense.broadcast_mul(&lengths)?, report)?,
            "acts_threshold" => {
                let own = sae.by_threshold()?.encode(&x)?.to_dense(&Device::Cpu)?;
                reference.compare(&name, &own, report)?;
            }
            // What a transcoder was fitted to; what the original gets wrong.
            "target" | "acts_folded_by_original" | "recon_folded_by_original" => {
                reference.input(&name, report)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// No feature is active that should not be, and none is missing.
fn same_features(reference: &Reference, found: &Tensor, report: &mut Report) -> Result<()> {
    let expected = reference.input("acts", report)?;
    let active = |tensor: &Tensor| tensor.ne(0f32)?.to_dtype(DType::F32);
    let wrong = (active(&expected)? - active(found)?)?.abs()?.sum_all()?.to_scalar::<f32>()?;
    match wrong {
        0.0 => report.pass("active features"),
        wrong => report.fail("active features", &format!("{wrong} are others")),
    }
    Ok(())
}

/// Compares `indices` and `values`: in each row as a set, where the value is not zero.
fn kept(sae: &Sae, codes: &Codes, reference: &Reference, report: &mut Report) -> Result<()> {
    let indices = reference.input("indices", report)?.to_dtype(DType::I64)?.to_vec2::<i64>()?;
    let values = reference.input("values", report)?;
    let mut rows = Vec::new();
    let mut found = Vec::new();
    for (row, (indices, values)) in indices.iter().zip(values.to_vec2::<f32>()?).enumerate() {
        let expected = indices.iter().zip(values).filter(|(_, value)| *value != 0.0);
        let mut expected: Vec<(u32, f32)> = expected.map(|(i, value)| (*i as u32, value)).collect();
        expected.sort_by_key(|(i, _)| *i);
        let own: Vec<(u32, f32)> = codes.row(row).filter(|(_, value)| *value != 0.0).collect();
        let names = |row: &[(u32, f32)]| row.iter().map(|(i, _)| *i).collect::<Vec<_>>();
        if names(&expected) != names(&own) {
            let message = format!("row {row} of {}: {own:?} for {expected:?}", sae.architecture());
            report.fail("indices", &message);
            return Ok(());
        }
        rows.extend(expected.into_iter().map(|(_, value)| value));
        found.extend(own.into_iter().map(|(_, value)| value));
    }
    report.pass("indices");
    let size = rows.iter().fold(0f32, |size, value| size.max(value.abs()));
    let gap = rows.iter().zip(&found).fold(0f32, |gap, (a, b)| gap.max((a - b).abs()));
    match f64::from(gap) <= TOLERANCE * f64::from(size) {
        true => report.pass("values"),
        false => report.fail("values", &format!("{gap:e} of {size:e}")),
    }
    Ok(())
}

/// Autoencoders that are wrong in one way each: refused, or loaded with a warning where the list
/// allows that, in words that name what is wrong.
pub(crate) fn refused(folder: &Path, report: &mut Report) -> Result<()> {
    let list = folder.join("cases.json");
    let cases = json(&list)?;
    let cases = cases.as_array().ok_or_else(|| Error::format(&list, "a list", "other JSON"))?;
    let root = folder.parent().unwrap_or(folder);
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap_or_default();
        let message = match Sae::load(root.join(text("path")), &Device::Cpu) {
            Err(error) => error.to_string(),
            Ok(sae) if text("expect").contains("warning") => {
                sae.origin().notes.iter().map(|note| format!("{note}\n")).collect()
            }
            Ok(_) => {
                report.fail(text("name"), "it was loaded, and should have been refused");
                continue;
            }
        };
        let words = case["should_mention"].as_array().into_iter().flatten();
        let missing = words.filter_map(Value::as_str).find(|words| {
            let low = message.to_lowercase();
            // "a or b": either will do.
            !words.split(" or ").any(|word| match word {
                "the folder's name" => low.contains(text("name")),
                word => low.contains(&word.to_lowercase()),
            })
        });
        match missing {
            None => report.pass(&format!("{}: {message}", text("name"))),
            Some(word) => {
                report.fail(text("name"), &format!("`{word}` is not in: {message}"));
            }
        }
    }
    Ok(())
}
