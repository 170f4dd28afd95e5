//! `sae/`: autoencoders as each library saves them.

use std::path::Path;

use eigenlens::candle::{Device, Tensor};
use eigenlens::sae::{Codes, Sae};
use eigenlens::{Error, Result};

use crate::report::{Reference, Report};

/// What these cases ask for, relative to the largest entry of a tensor.
const TOLERANCE: f64 = 1e-5;

pub(crate) fn scope(folder: &Path, report: &mut Report) -> Result<()> {
    report.relative(TOLERANCE);
    let case = folder.join("case.json");
    let text = std::fs::read(&case).map_err(Error::io("read", &case))?;
    let fields: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|reason| Error::format(&case, "a JSON object", reason.to_string()))?;
    let path = fields["load"]["path"].as_str();
    let path = path.ok_or_else(|| Error::format(&case, "`load.path`", "none"))?;
    let sae = Sae::load(folder.join(path), &Device::Cpu)?;

    let reference = Reference::read(&folder.join("io.safetensors"), report)?;
    let x = reference.input("x", report)?;
    let codes = sae.encode(&x)?;
    reference.compare("acts", &codes.to_dense(&Device::Cpu)?, report)?;
    reference.compare("recon", &sae.decode(&codes)?, report)?;
    let (indices, values) = largest_first(&codes, sae.k())?;
    reference.compare("indices", &indices, report)?;
    reference.compare("values", &values, report)
}

/// A damaged autoencoder, which must not load.
pub(crate) fn refused(folder: &Path, report: &mut Report) -> Result<()> {
    match Sae::load(folder, &Device::Cpu) {
        Ok(_) => report.fail("case", "it was loaded, and should have been refused"),
        Err(error) => report.pass(&format!("refused: {error}")),
    }
    Ok(())
}

/// Features and values of every row, `[rows, k]`, in the order of values.
fn largest_first(codes: &Codes, k: usize) -> Result<(Tensor, Tensor)> {
    let (mut indices, mut values) = (Vec::new(), Vec::new());
    for row in 0..codes.rows() {
        let mut entries: Vec<(u32, f32)> = codes.row(row).collect();
        entries.sort_by(|a, b| b.1.total_cmp(&a.1));
        indices.extend(entries.iter().map(|(feature, _)| i64::from(*feature)));
        values.extend(entries.iter().map(|(_, value)| *value));
    }
    let shape = (codes.rows(), k);
    Ok((
        Tensor::from_vec(indices, shape, &Device::Cpu)?,
        Tensor::from_vec(values, shape, &Device::Cpu)?,
    ))
}
