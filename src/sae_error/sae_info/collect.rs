//! One pass over a text for many autoencoders.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::checkpoint::{InfoFolder, InfoIdentity, unit_file};
use super::data::{InfoParts, KeptActivations};
use super::model::InfoModel;
use super::options::{InfoOptions, KeepActivations};
use super::rows::ACTIVATIONS;
use super::sample::{InfoTokens, TextSample};
use super::unit::{InfoUnit, PlacedSae};
use crate::check::check_finite;
use crate::data::text::Contexts;
use crate::model::{Decoder, HookPoint};
use crate::progress::Progress;
use crate::sae::{Codes, Sae};
use crate::store::save_exactly;
use crate::{Error, Result};

/// A pass over a text, before it begins.
pub(super) struct InfoPass<'a> {
    model: &'a Decoder,
    points: Vec<HookPoint>,
    saes: Vec<PlacedSae>,
    sample: TextSample,
    options: &'a InfoOptions,
    checkpoint: Option<InfoFolder>,
    /// The folder of activations, if they are kept in files.
    files: Option<PathBuf>,
    info_model: Arc<InfoModel>,
}

impl<'a> InfoPass<'a> {
    /// Finds out whether everything fits.
    ///
    /// # Errors
    /// As [`SaeInfo::collect_all`](super::SaeInfo::collect_all).
    pub(super) fn new(
        model: &'a Decoder,
        saes: &[Sae],
        contexts: &Contexts,
        options: &'a InfoOptions,
    ) -> Result<Self> {
        options.check()?;
        if saes.is_empty() {
            return Err(Error::invalid("the autoencoders", "at least one", "none"));
        }
        let (length, most) = (contexts.length(), model.config().context);
        if length > most {
            let expected = format!("at most {most}, the model's context");
            return Err(Error::invalid("the length of the contexts", expected, length));
        }
        let sample = TextSample::new(contexts, options)?;
        let (points, saes) = placed(model, saes, contexts)?;
        let info_model = Arc::new(InfoModel::new(model));
        let is_on_disk = matches!(options.keep, KeepActivations::Disk { .. });
        let identity = match is_on_disk || options.checkpoint.is_some() {
            true => {
                let sum = info_model.sha256()?;
                Some(InfoIdentity::new(sum, &saes, &sample, &options.keep)?)
            }
            false => None,
        };
        let pair = options.checkpoint.as_ref().zip(identity.as_ref());
        let checkpoint = pair.map(|(folder, own)| InfoFolder::open(folder, own)).transpose()?;
        let files = match (&options.keep, &identity) {
            (KeepActivations::Disk { folder, .. }, Some(own)) => Some(folder.join(own.folder())),
            _ => None,
        };
        Ok(Self { model, points, saes, sample, options, checkpoint, files, info_model })
    }

    /// Makes the pass, or what is left of it.
    ///
    /// # Errors
    /// As [`SaeInfo::collect_all`](super::SaeInfo::collect_all).
    pub(super) fn run(self) -> Result<Vec<InfoParts>> {
        let mut found = Gathered::new(&self);
        let contexts = self.sample.contexts.len();
        let mut progress = Progress::new("errors of autoencoders", contexts as u64, "context");
        for unit in 0..self.sample.units() {
            found.add(&self.sample, unit, self.unit(unit)?);
            let (done, end) = (self.sample.unit(unit), self.sample.units());
            if progress.advance(done.len() as u64) && unit + 1 < end {
                return Err(self.stopped(done.end));
            }
        }
        progress.finish();
        found.finish(self)
    }

    fn stopped(&self, done: usize) -> Error {
        let what = "the pass over a text for the errors of autoencoders".to_owned();
        match &self.checkpoint {
            None => Error::Interrupted { what },
            Some(folder) => Error::Stopped {
                what: format!("{what} (at context {done} of {})", self.sample.contexts.len()),
                access: format!(
                    "What it found is kept in {}: the same call goes on.",
                    folder.path().display()
                ),
            },
        }
    }

    fn is_kept_in_memory(&self) -> bool {
        self.options.keep == KeepActivations::Memory
    }

    /// A unit: that of the checkpoint, or made now.
    fn unit(&self, number: usize) -> Result<InfoUnit> {
        let path = self.checkpoint.as_ref().map(|folder| folder.unit(number));
        let files = self.files_of(number);
        let is_whole = files.iter().all(|path| path.is_file());
        if let Some(path) = path.as_ref().filter(|path| is_whole && path.is_file()) {
            let rows = self.sample.kept(self.sample.unit(number)).len();
            return InfoUnit::load(path, rows, &self.saes, self.is_kept_in_memory());
        }
        let keep = self.options.keep != KeepActivations::Nothing;
        let mut unit =
            InfoUnit::of(self.model, (&self.points, &self.saes), &self.sample, number, keep)?;
        if let KeepActivations::Disk { dtype, .. } = &self.options.keep {
            for ((own, path), point) in unit.points.iter_mut().zip(&files).zip(&self.points) {
                let Some(rows) = own.rows.take() else { continue };
                let rows = rows.to_dtype(*dtype)?;
                check_finite(&format!("the activations at {point} as {}", dtype.as_str()), &rows)?;
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
                }
                save_exactly(path, &HashMap::from([(ACTIVATIONS.to_owned(), rows)]))?;
            }
        }
        if let Some(path) = path {
            unit.save(&path)?;
        }
        Ok(unit)
    }

    /// The file of each hook point's activations in a unit; none if they are not kept in files.
    fn files_of(&self, unit: usize) -> Vec<PathBuf> {
        let of = |folder: &PathBuf| {
            let file = |point: &HookPoint| unit_file(&folder.join(point.to_string()), unit);
            self.points.iter().map(file).collect()
        };
        self.files.as_ref().map(of).unwrap_or_default()
    }
}

/// The hook points that are needed, once each, and the autoencoders at them.
///
/// # Errors
/// [`Error::NotFound`] for an autoencoder without a place; [`Error::Invalid`] for a transcoder, a place
/// that the model does not have or of another width.
fn placed(
    model: &Decoder,
    saes: &[Sae],
    contexts: &Contexts,
) -> Result<(Vec<HookPoint>, Vec<PlacedSae>)> {
    let (mut points, mut found) = (Vec::new(), Vec::new());
    for sae in saes {
        let point = sae.point()?;
        let out = sae.origin().hook_out.as_ref().and_then(|name| name.parse().ok());
        let is_elsewhere = out.is_some_and(|out: HookPoint| out != point);
        if sae.architecture().transcoder || is_elsewhere || sae.d_out() != sae.d_model() {
            let expected = "one that writes where it reads: a transcoder has no such error";
            return Err(Error::invalid("the autoencoder", expected, sae.architecture()));
        }
        if let HookPoint::Scores(_) | HookPoint::Pattern(_) = point {
            let expected = "one with a vector per token: attention has one per pair of tokens";
            return Err(Error::invalid("the hook point", expected, point));
        }
        let at = points.iter().position(|own| *own == point).unwrap_or_else(|| {
            points.push(point);
            points.len() - 1
        });
        found.push(PlacedSae { sae: sae.clone(), point, at });
    }
    let first = Tensor::new(&contexts.as_slice()[..1], model.device())?;
    let cache = model.activations(&first, &points)?;
    for PlacedSae { sae, point, .. } in &found {
        let width = cache.get(*point)?.flatten(0, 1)?.flatten_from(1)?.dim(1)?;
        if width != sae.d_model() {
            let what = format!("the width of the autoencoder at {point}");
            let expected = format!("{width}, the width of the model's activations there");
            return Err(Error::invalid(what, expected, sae.d_model()));
        }
    }
    Ok((points, found))
}

/// What the units gave so far.
struct Gathered {
    tokens: InfoTokens,
    points: Vec<GatheredPoint>,
    saes: Vec<GatheredSae>,
}

#[derive(Default)]
struct GatheredPoint {
    squares: Vec<f64>,
    sums: Vec<f64>,
    rows: Vec<Tensor>,
}

#[derive(Default)]
struct GatheredSae {
    squared_errors: Vec<f64>,
    codes: Vec<Codes>,
}

impl Gathered {
    fn new(pass: &InfoPass<'_>) -> Self {
        Self {
            tokens: InfoTokens::default(),
            points: pass.points.iter().map(|_| GatheredPoint::default()).collect(),
            saes: pass.saes.iter().map(|_| GatheredSae::default()).collect(),
        }
    }

    fn add(&mut self, sample: &TextSample, number: usize, unit: InfoUnit) {
        self.tokens.add(sample, number, &unit.losses);
        for (all, own) in self.points.iter_mut().zip(unit.points) {
            all.squares.extend(own.squares);
            all.sums.extend(own.sums);
            all.rows.extend(own.rows);
        }
        for (all, own) in self.saes.iter_mut().zip(unit.saes) {
            all.squared_errors.extend(own.squared_errors);
            all.codes.push(own.codes);
        }
    }

    fn finish(self, pass: InfoPass<'_>) -> Result<Vec<InfoParts>> {
        let tokens = Arc::new(self.tokens);
        let mut points = Vec::new();
        for (at, GatheredPoint { squares, sums, rows }) in self.points.into_iter().enumerate() {
            let activations = match &pass.options.keep {
                KeepActivations::Memory => {
                    let width = sums.len() / pass.sample.contexts.len();
                    KeptActivations::Memory(joined(rows, tokens.tokens.len(), width)?)
                }
                KeepActivations::Disk { .. } => {
                    let units = 0..pass.sample.units();
                    let path = |unit| pass.files_of(unit).swap_remove(at);
                    KeptActivations::Files(units.map(path).collect())
                }
                KeepActivations::Nothing => KeptActivations::Nothing,
            };
            points.push((Arc::new(squares), Arc::new(sums), Arc::new(activations)));
        }
        let parts = pass.saes.iter().zip(self.saes).map(|(PlacedSae { sae, point, at }, own)| {
            let (squares, sums, activations) = points[*at].clone();
            let rows = own.codes.iter().flat_map(|codes| {
                (0..codes.rows()).map(move |row| codes.row(row).collect::<Vec<_>>())
            });
            Ok(InfoParts {
                name: default_name(sae, *point),
                sae: sae.clone(),
                point: *point,
                sample: pass.sample.clone(),
                tokens: Arc::clone(&tokens),
                squares,
                sums,
                codes: Codes::new(sae.features(), rows)?,
                squared_errors: own.squared_errors,
                activations,
                model: Arc::clone(&pass.info_model),
                folds: pass.options.folds,
                seed: pass.options.seed,
            })
        });
        parts.collect()
    }
}

/// The rows of all units in one tensor `[rows, width]`, with no unit held twice for long.
fn joined(units: Vec<Tensor>, rows: usize, width: usize) -> Result<Tensor> {
    let mut values = Vec::new();
    if values.try_reserve_exact(rows * width).is_err() {
        let expected = "in files or nowhere (KeepActivations): they do not fit into memory";
        return Err(Error::invalid("the activations", expected, format!("[{rows}, {width}]")));
    }
    for unit in units {
        values.extend(unit.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(Tensor::from_vec(values, (rows, width), &Device::Cpu)?)
}

/// What an autoencoder is called unless the user says otherwise.
fn default_name(sae: &Sae, point: HookPoint) -> String {
    match sae.k() {
        Some(k) => format!("{point}, {} features, k {k}", sae.features()),
        None => format!("{point}, {} features", sae.features()),
    }
}
