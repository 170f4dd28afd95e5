//! The texts that activate features most.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

use super::histogram::BINS;
use super::{FeatureTable, Histogram, Statistics};
use crate::check::check_sizes;
use crate::data::text::Contexts;
use crate::model::{Decoder, HookPoint};
use crate::progress::{Progress, StopShield};
use crate::sae::{Codes, Sae};
use crate::store::{Tensors, save_exactly};
use crate::{Error, Result};

/// How [`max_activations`] goes over a text.
#[derive(Debug, Clone)]
pub struct MaxOptions {
    /// Contexts that are kept a feature; 100, as in the published tables.
    pub examples: usize,
    /// Contexts that go through the model at a time; 16.
    pub batch: usize,
    /// A file to save to every `save_every` batches, and to go on from; none.
    pub checkpoint: Option<PathBuf>,
    /// Batches between two savings; 64.
    pub save_every: usize,
}

impl Default for MaxOptions {
    fn default() -> Self {
        Self { examples: 100, batch: 16, checkpoint: None, save_every: 64 }
    }
}

/// For every feature of `saes`, the contexts with its largest activation at any position, with
/// densities and histograms: a table for each autoencoder.
///
/// It holds one batch of activations at a time, and `examples` numbers a feature. With a
/// checkpoint, a run that was cut off goes on where it last saved; when all is done the checkpoint
/// is removed.
///
/// # Errors
/// No autoencoders, or ones that do not fit the model; contexts longer than the model's, or of
/// another vocabulary; a checkpoint of another run; [`Error::Interrupted`] when Stop is pressed.
pub fn max_activations(
    model: &Decoder,
    saes: &[Sae],
    contexts: &Contexts,
    options: &MaxOptions,
) -> Result<Vec<FeatureTable>> {
    check_sizes(&[
        ("the number of examples", options.examples),
        ("the batch", options.batch),
        ("the batches between savings", options.save_every),
    ])?;
    if options.examples > contexts.len() {
        let expected = format!("at most {}, the contexts there are", contexts.len());
        return Err(Error::invalid("the number of examples", expected, options.examples));
    }
    let points: Vec<HookPoint> = saes.iter().map(Sae::point).collect::<Result<_>>()?;
    let mut scan = Scan {
        done: 0,
        identity: match options.checkpoint {
            Some(_) => identity(model, saes, contexts, options.examples)?,
            None => Vec::new(),
        },
        collectors: saes
            .iter()
            .map(|sae| Collector::new(sae.features(), options.examples))
            .collect(),
    };
    if let Some(path) = options.checkpoint.as_ref().filter(|path| path.is_file()) {
        scan.restore(path)?;
    }
    let left = contexts.len() - scan.done;
    let mut progress = Progress::new("looking for examples", left as u64, "context");
    let mut batches = 0;
    let _shield = StopShield::new();
    while scan.done < contexts.len() {
        let tokens = contexts.batch(scan.done, options.batch, model.device())?;
        let count = tokens.dim(0)?;
        let cache = model.activations(&tokens, &points)?;
        for (sae, collector) in saes.iter().zip(&mut scan.collectors) {
            let codes = sae.encode(&cache.get(sae.point()?)?.flatten_from(2)?)?;
            collector.add(&codes, scan.done, contexts.length());
        }
        scan.done += count;
        batches += 1;
        let stopped = progress.advance(count as u64) && scan.done < contexts.len();
        let due = batches % options.save_every == 0 && scan.done < contexts.len();
        if let Some(path) = options.checkpoint.as_ref().filter(|_| stopped || due) {
            scan.save(path)?;
        }
        if stopped {
            return Err(Error::Interrupted { what: "the search for examples".to_owned() });
        }
    }
    let tokens = contexts.as_slice().len();
    let tables = points
        .iter()
        .zip(scan.collectors)
        .map(|(point, collector)| collector.finish(*point, contexts.len(), tokens))
        .collect();
    if let Some(path) = &options.checkpoint {
        let _ = std::fs::remove_file(path);
    }
    Ok(tables)
}

/// What makes two runs the same.
fn identity(
    model: &Decoder,
    saes: &[Sae],
    contexts: &Contexts,
    examples: usize,
) -> Result<Vec<u8>> {
    let mut hash = Sha256::new();
    hash.update(format!("{:?} {examples} {}", model.config(), contexts.length()));
    contexts.as_slice().iter().for_each(|token| hash.update(token.to_le_bytes()));
    let mut add = |tensor: &Tensor| -> Result<()> {
        let values: Vec<f32> =
            tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?;
        values.iter().for_each(|value| hash.update(value.to_le_bytes()));
        Ok(())
    };
    for (_, weight) in model.weights() {
        add(&weight)?;
    }
    for sae in saes {
        sae.weights().tensors().into_iter().try_for_each(&mut add)?;
    }
    for sae in saes {
        hash.update(format!("{:?} at {}\n", sae.architecture(), sae.point()?));
    }
    Ok(hash.finalize().to_vec())
}

struct Scan {
    /// Contexts that were looked at.
    done: usize,
    identity: Vec<u8>,
    collectors: Vec<Collector>,
}

/// What is kept of an autoencoder's features.
struct Collector {
    features: usize,
    examples: usize,
    /// For each feature its best activations, above zero, from the largest down, and where.
    best: Vec<Vec<(f32, u32)>>,
    histograms: Vec<Histogram>,
}

/// Larger activations first, and of equal ones the earlier context.
fn order(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

impl Collector {
    fn new(features: usize, examples: usize) -> Self {
        Self {
            features,
            examples,
            best: vec![Vec::new(); features],
            histograms: vec![Histogram::default(); features],
        }
    }

    /// Codes of whole contexts of `length` rows, of which the first is number `start`.
    fn add(&mut self, codes: &Codes, start: usize, length: usize) {
        let mut most = vec![0f32; self.features];
        for context in 0..codes.rows() / length {
            let mut active = Vec::new();
            for row in context * length..(context + 1) * length {
                for (feature, value) in codes.row(row).filter(|(_, value)| *value > 0.0) {
                    let feature = feature as usize;
                    self.histograms[feature].add(value);
                    if most[feature] == 0.0 {
                        active.push(feature);
                    }
                    most[feature] = most[feature].max(value);
                }
            }
            for feature in active {
                let found = (std::mem::take(&mut most[feature]), (start + context) as u32);
                let best = &mut self.best[feature];
                let place = best.partition_point(|own| order(own, &found).is_lt());
                if place < self.examples {
                    best.truncate(self.examples - 1);
                    best.insert(place, found);
                }
            }
        }
    }

    fn finish(self, point: HookPoint, contexts: usize, tokens: usize) -> FeatureTable {
        let mut table = vec![0u32; self.examples * self.features];
        for (feature, best) in self.best.iter().enumerate() {
            let active = best.iter().map(|(_, context)| *context);
            let inactive =
                (0..contexts as u32).filter(|context| !best.iter().any(|own| own.1 == *context));
            for (row, context) in active.chain(inactive).take(self.examples).enumerate() {
                table[row * self.features + feature] = context;
            }
        }
        let density =
            self.histograms.iter().map(|own| own.total() as f32 / tokens as f32).collect();
        let statistics = Statistics { density, histograms: self.histograms.into() };
        FeatureTable::new(point, self.features, table, Some(statistics))
    }

    /// Activations `[features, examples]`, 0 where there is none, their contexts, counts and edges.
    fn tensors(&self) -> Result<[Tensor; 4]> {
        let (m, k, cpu) = (self.features, self.examples, &Device::Cpu);
        let (mut values, mut places) = (vec![0f32; m * k], vec![0u32; m * k]);
        for (feature, best) in self.best.iter().enumerate() {
            for (at, (value, context)) in best.iter().enumerate() {
                values[feature * k + at] = *value;
                places[feature * k + at] = *context;
            }
        }
        let counts: Vec<u32> = self.histograms.iter().flat_map(|own| own.counts).collect();
        let edges: Vec<f32> = self.histograms.iter().map(|own| own.edge).collect();
        Ok([
            Tensor::from_vec(values, (m, k), cpu)?,
            Tensor::from_vec(places, (m, k), cpu)?,
            Tensor::from_vec(counts, (m, BINS), cpu)?,
            Tensor::from_vec(edges, m, cpu)?,
        ])
    }

    fn restore(&mut self, [values, places, counts, edges]: [Tensor; 4]) -> Result<()> {
        let values: Vec<Vec<f32>> = values.to_vec2()?;
        let places: Vec<Vec<u32>> = places.to_vec2()?;
        for (best, (values, places)) in self.best.iter_mut().zip(values.iter().zip(&places)) {
            let pairs = values.iter().copied().zip(places.iter().copied());
            *best = pairs.take_while(|(value, _)| *value > 0.0).collect();
        }
        let counts: Vec<u32> = counts.flatten_all()?.to_vec1()?;
        let edges: Vec<f32> = edges.to_vec1()?;
        let histograms = edges.into_iter().zip(counts.as_chunks().0);
        self.histograms =
            histograms.map(|(edge, counts)| Histogram { edge, counts: *counts }).collect();
        Ok(())
    }
}

const PARTS: [&str; 4] = ["values", "contexts", "counts", "edges"];

impl Scan {
    fn save(&self, path: &Path) -> Result<()> {
        let cpu = &Device::Cpu;
        let mut tensors = HashMap::from([
            ("done".to_owned(), Tensor::new(&[self.done as u32], cpu)?),
            ("identity".to_owned(), Tensor::new(&*self.identity, cpu)?),
        ]);
        for (i, collector) in self.collectors.iter().enumerate() {
            let parts = PARTS.iter().zip(collector.tensors()?);
            tensors.extend(parts.map(|(part, tensor)| (format!("{i}.{part}"), tensor)));
        }
        save_exactly(path, &tensors)
    }

    fn restore(&mut self, path: &Path) -> Result<()> {
        let mut tensors = Tensors::open(path, &Device::Cpu)?;
        let broken = || Error::format(path, "a checkpoint of this search", "something else");
        let identity = tensors.any("identity").ok_or_else(broken)?;
        if identity.to_vec1::<u8>().map_err(|_| broken())? != self.identity {
            let expected = "a checkpoint of this model, these autoencoders and contexts";
            return Err(Error::format(path, expected, "that of another search; remove it"));
        }
        let done: Vec<u32> = tensors.any("done").ok_or_else(broken)?.to_vec1()?;
        for (i, collector) in self.collectors.iter_mut().enumerate() {
            let mut part = |name: &str| tensors.any(&format!("{i}.{name}")).ok_or_else(broken);
            let [values, places, counts, edges] = PARTS;
            collector.restore([part(values)?, part(places)?, part(counts)?, part(edges)?])?;
        }
        self.done = done.first().copied().unwrap_or(0) as usize;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Config;
    use crate::random::Rng;
    use crate::sae::{Architecture, SaeWeights};

    pub(in crate::features) fn model() -> Decoder {
        let config = Config { vocab: 300, context: 8, ..Config::bilinear(2, 2, 8, 16) };
        let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
        for var in model.variables() {
            var.set(&(var.as_tensor() * 20.0).unwrap()).unwrap();
        }
        model
    }

    pub(in crate::features) fn sae(point: HookPoint, seed: u64) -> Sae {
        let mut rng = Rng::seed(seed);
        let decoder = rng.normal((8, 24), &Device::Cpu).unwrap();
        let encoder = decoder.t().unwrap().contiguous().unwrap();
        let weights = SaeWeights::new(encoder, decoder, rng.normal(8, &Device::Cpu).unwrap());
        Sae::new(Architecture::signed_top_k(3), weights).unwrap().at(point)
    }

    pub(in crate::features) fn contexts() -> Contexts {
        let mut rng = Rng::seed(9);
        Contexts::new(6, (0..6 * 50).map(|_| rng.below(300) as u32).collect()).unwrap()
    }

    fn saes() -> [Sae; 2] {
        [sae(HookPoint::MlpIn(1), 1), sae(HookPoint::MlpOut(0), 2)]
    }

    #[test]
    fn tables_hold_what_a_look_at_everything_finds() {
        let options = MaxOptions { examples: 5, batch: 7, ..MaxOptions::default() };
        let tables = max_activations(&model(), &saes(), &contexts(), &options).unwrap();
        for (sae, table) in saes().iter().zip(&tables) {
            let tokens = contexts().batch(0, 50, &Device::Cpu).unwrap();
            let cache = model().activations(&tokens, &[sae.point().unwrap()]).unwrap();
            let dense = sae.encode(cache.get(sae.point().unwrap()).unwrap()).unwrap();
            for feature in 0..24 {
                let values = dense.feature(feature).unwrap();
                let most: Vec<f32> = values
                    .chunks(6)
                    .map(|context| context.iter().fold(0f32, |most, value| most.max(*value)))
                    .collect();
                let mut expected: Vec<usize> = (0..50).collect();
                expected.sort_by(|a, b| most[*b].total_cmp(&most[*a]));
                assert_eq!(table.contexts(feature).unwrap(), expected[..5]);
                let active = values.iter().filter(|value| **value > 0.0).count();
                let statistics = table.statistics().unwrap();
                assert_eq!(statistics.histograms[feature].total(), active as u64);
                assert!((statistics.density[feature] - active as f32 / 300.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_search_that_was_cut_off_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("search.safetensors");
        let options =
            MaxOptions { examples: 5, batch: 7, checkpoint: Some(path.clone()), save_every: 2 };
        let plain = MaxOptions { checkpoint: None, ..options.clone() };
        let whole = max_activations(&model(), &saes(), &contexts(), &plain).unwrap();
        // As a crash in mid-search leaves it.
        let mut scan = Scan {
            done: 28,
            identity: identity(&model(), &saes(), &contexts(), 5).unwrap(),
            collectors: vec![Collector::new(24, 5), Collector::new(24, 5)],
        };
        for (sae, collector) in saes().iter().zip(&mut scan.collectors) {
            let tokens = contexts().batch(0, 28, &Device::Cpu).unwrap();
            let cache = model().activations(&tokens, &[sae.point().unwrap()]).unwrap();
            collector.add(&sae.encode(cache.get(sae.point().unwrap()).unwrap()).unwrap(), 0, 6);
        }
        scan.save(&path).unwrap();
        let other = MaxOptions { examples: 4, ..options.clone() };
        let message = max_activations(&model(), &saes(), &contexts(), &other).unwrap_err();
        assert!(message.to_string().contains("another search"), "{message}");
        let resumed = max_activations(&model(), &saes(), &contexts(), &options).unwrap();
        assert!(!path.exists());
        for (a, b) in whole.iter().zip(&resumed) {
            for feature in 0..24 {
                assert_eq!(a.contexts(feature).unwrap(), b.contexts(feature).unwrap());
            }
            assert_eq!(a.statistics().unwrap().histograms, b.statistics().unwrap().histograms);
        }
    }

    #[test]
    fn bad_requests_are_refused() {
        let message = |saes: &[Sae], contexts: &Contexts, options: MaxOptions| {
            max_activations(&model(), saes, contexts, &options).unwrap_err().to_string()
        };
        let few = MaxOptions { examples: 5, ..MaxOptions::default() };
        assert!(message(&saes(), &contexts(), MaxOptions::default()).contains("at most 50"));
        assert!(message(&[], &contexts(), few.clone()).contains("at least one"));
        let long = Contexts::new(9, vec![0; 90]).unwrap();
        assert!(message(&saes(), &long, few.clone()).contains("at most 8"));
        let foreign = Contexts::new(6, vec![300; 60]).unwrap();
        assert!(message(&saes(), &foreign, few.clone()).contains("below 300"));
        let far = sae(HookPoint::MlpIn(2), 1);
        assert!(message(&[far], &contexts(), few).contains("never fires"));
    }
}
