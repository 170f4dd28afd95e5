//! Infos in folders.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::SaeInfo;
use super::data::{InfoParts, KeptActivations};
use super::model::InfoModel;
use super::sample::{InfoTokens, TextSample};
use super::unit::{code_tensors, codes_of};
use crate::data::text::Contexts;
use crate::model::HookPoint;
use crate::sae::Sae;
use crate::store::{Tensors, parse_json, replace, save_exactly};
use crate::{Error, Result};

const FORMAT: u32 = 1;
const RECORD: &str = "info.json";
const TENSORS: &str = "info.safetensors";
const CONTEXTS: &str = "contexts";
const SAE: &str = "sae";
/// The activations among the tensors, if they were in memory.
const ROWS: &str = "activations";

/// What the tensors do not say.
#[derive(Debug, Serialize, Deserialize)]
struct InfoRecord {
    format: u32,
    name: String,
    point: String,
    window: [usize; 2],
    skip_tokens: Vec<u32>,
    batch: usize,
    folds: usize,
    seed: u64,
    model: Option<String>,
    model_sha256: String,
    /// The files of activations, if they are kept in files.
    files: Vec<PathBuf>,
    eigenlens: String,
}

impl SaeInfo {
    /// Writes it to the folder `folder`, which is made if need be: `info.json`, `info.safetensors`, the
    /// contexts and the autoencoder. Activations in memory are written too; files of activations stay
    /// where they are, and are found there.
    ///
    /// # Errors
    /// A place that cannot be written; as [`Sae::save`].
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let (folder, parts) = (folder.as_ref(), self.parts());
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        parts.sample.contexts.save(folder.join(CONTEXTS))?;
        save_sae(&parts.sae, &folder.join(SAE))?;
        let (host, tokens) = (&Device::Cpu, &parts.tokens);
        let mut tensors = HashMap::from([
            ("tokens".to_owned(), Tensor::new(&*tokens.tokens, host)?),
            ("positions".to_owned(), Tensor::new(&*tokens.positions, host)?),
            ("contexts".to_owned(), Tensor::new(&*tokens.contexts, host)?),
            ("losses".to_owned(), Tensor::new(&*tokens.losses, host)?),
            ("squares".to_owned(), Tensor::new(&**parts.squares, host)?),
            ("sums".to_owned(), Tensor::new(&**parts.sums, host)?),
            ("squared_errors".to_owned(), Tensor::new(&*parts.squared_errors, host)?),
        ]);
        tensors.extend(code_tensors("codes.", &parts.codes)?);
        let files = match &*parts.activations {
            KeptActivations::Files(files) => files
                .iter()
                .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()))
                .collect(),
            _ => Vec::new(),
        };
        if let KeptActivations::Memory(rows) = &*parts.activations {
            tensors.insert(ROWS.to_owned(), rows.clone());
        }
        save_exactly(&folder.join(TENSORS), &tensors)?;
        let record = InfoRecord {
            format: FORMAT,
            name: parts.name.clone(),
            point: parts.point.to_string(),
            window: [parts.sample.window.start, parts.sample.window.end],
            skip_tokens: parts.sample.skip_tokens.clone(),
            batch: parts.sample.batch,
            folds: parts.folds,
            seed: parts.seed,
            model: parts.model.name.clone(),
            model_sha256: parts.model.sha256()?,
            files,
            eigenlens: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let text = serde_json::to_vec_pretty(&record).map_err(std::io::Error::other);
        replace(&folder.join(RECORD), |place| fs::write(place, text?))
    }

    /// Reads what [`SaeInfo::save`] wrote, to the CPU. If the activations were not kept, its model is
    /// loaded by its name when they are asked for, or given with [`SaeInfo::with_model`].
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Format`] for a folder that holds something else or is damaged.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let record = record(&folder.join(RECORD))?;
        let path = folder.join(TENSORS);
        let point: HookPoint = record.point.parse()?;
        let sae = Sae::load(folder.join(SAE), &Device::Cpu)?.at(point);
        let contexts = folder.join(CONTEXTS);
        let contexts =
            Contexts::from_pretrained(contexts.to_str().ok_or_else(|| {
                Error::invalid("the folder", "a name in UTF-8", folder.display())
            })?)?;
        let mut file = Tensors::open(&path, &Device::Cpu)?;
        let mut take = |name: String| {
            let expected = || format!("`{name}`, as SaeInfo::save writes it");
            file.any(&name).ok_or_else(|| Error::format(&path, expected(), "no such tensor"))
        };
        let mut tokens = |name: &str| -> Result<Vec<u32>> {
            Ok(take(name.to_owned())?.flatten_all()?.to_vec1()?)
        };
        let [token, position, context] = ["tokens", "positions", "contexts"].map(&mut tokens);
        let tokens = InfoTokens {
            tokens: token?,
            positions: position?,
            contexts: context?,
            losses: take("losses".to_owned())?.to_vec1()?,
        };
        let damaged = || {
            let expected = "tensors of one sample of text";
            Error::format(&path, expected, "others: the file is damaged, or the record is")
        };
        let last = tokens.contexts.iter().max().map_or(0, |last| *last as usize);
        if tokens.tokens.is_empty() || last >= contexts.len() {
            return Err(damaged());
        }
        let sums: Vec<f64> = take("sums".to_owned())?.to_vec1()?;
        if sums.len() != contexts.len() * sae.d_model() {
            return Err(damaged());
        }
        let squares: Vec<f64> = take("squares".to_owned())?.to_vec1()?;
        let squared_errors: Vec<f64> = take("squared_errors".to_owned())?.to_vec1()?;
        let codes = codes_of(sae.features(), "codes.", &mut take)?.ok_or_else(damaged)?;
        let activations = match (file.any(ROWS), record.files.is_empty()) {
            (Some(rows), _) if rows.dims() == [tokens.tokens.len(), sae.d_model()] => {
                KeptActivations::Memory(rows.to_dtype(DType::F32)?)
            }
            (Some(_), _) => return Err(damaged()),
            (None, false) => KeptActivations::Files(record.files),
            (None, true) => KeptActivations::Nothing,
        };
        let sample = TextSample {
            contexts,
            window: record.window[0]..record.window[1],
            skip_tokens: record.skip_tokens,
            batch: record.batch.max(1),
        };
        if sample.kept(0..sample.contexts.len()).len() != tokens.tokens.len() {
            return Err(damaged());
        }
        Self::of(InfoParts {
            name: record.name,
            sae,
            point,
            sample,
            tokens: Arc::new(tokens),
            squares: Arc::new(squares),
            sums: Arc::new(sums),
            squared_errors,
            codes,
            activations: Arc::new(activations),
            model: Arc::new(InfoModel::by_name(record.model, record.model_sha256)),
            folds: record.folds,
            seed: record.seed,
        })
    }
}

fn record(path: &Path) -> Result<InfoRecord> {
    let text = fs::read(path).map_err(Error::io("read", path))?;
    let value = parse_json(path, &text, "the record of an info")?;
    if value.get("format").is_some_and(|format| *format != FORMAT) {
        let found = format!("format {}, of another version of eigenlens", value["format"]);
        return Err(Error::format(path, format!("an info of format {FORMAT}"), found));
    }
    serde_json::from_value(value).map_err(|reason| {
        Error::format(path, "the record of an info", reason.to_string()).caused_by(reason)
    })
}

/// Writes an autoencoder in the layout that has its kind.
///
/// # Errors
/// As [`Sae::save`].
pub(in crate::sae_error) fn save_sae(sae: &Sae, folder: &Path) -> Result<()> {
    match sae.save(folder) {
        // SAELens has no signed top-k.
        Err(reason @ Error::Invalid { .. }) => {
            sae.save_scope(folder, DType::F32).map_err(|_| reason)
        }
        other => other,
    }
}
