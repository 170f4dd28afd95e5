//! Tables of maximal activations in files.

use crate::display::show_as_text;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::Histogram;
use super::histogram::BINS;
use crate::hub::Repository;
use crate::model::HookPoint;
use crate::sae::folder_point;
use crate::store::{Tensors, save_exactly};
use crate::{Error, Result};

const FILE: &str = "top-activations.safetensors";

/// For each feature of an autoencoder, the contexts that activate it most. A cheap handle.
#[derive(Debug, Clone)]
pub struct FeatureTable {
    point: HookPoint,
    features: usize,
    /// `[examples, features]`, the most active context first.
    contexts: Arc<[u32]>,
    statistics: Option<Statistics>,
}

/// How often and how strongly features are active, over all tokens looked at.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// The share of tokens at which each feature is above zero.
    pub density: Arc<[f32]>,
    /// How strongly, each.
    pub histograms: Arc<[Histogram]>,
}

impl FeatureTable {
    /// A table `[examples, features]` of contexts for the features of an autoencoder at `point`.
    pub(super) fn new(
        point: HookPoint,
        features: usize,
        contexts: Vec<u32>,
        statistics: Option<Statistics>,
    ) -> Self {
        Self { point, features, contexts: contexts.into(), statistics }
    }

    /// Where the autoencoder reads.
    pub fn point(&self) -> HookPoint {
        self.point
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Contexts a feature.
    pub fn examples(&self) -> usize {
        self.contexts.len() / self.features.max(1)
    }

    /// The contexts of a feature, the most active first. Where fewer activate it at all, others
    /// fill up the end.
    ///
    /// # Errors
    /// A feature there is not.
    pub fn contexts(&self, feature: usize) -> Result<Vec<usize>> {
        if feature >= self.features {
            let expected = format!("below {}", self.features);
            return Err(Error::invalid("the feature", expected, feature));
        }
        let column = self.contexts.iter().skip(feature).step_by(self.features);
        Ok(column.map(|context| *context as usize).collect())
    }

    /// The largest context in the table.
    pub(crate) fn last_context(&self) -> usize {
        self.contexts.iter().max().copied().unwrap_or(0) as usize
    }

    /// Densities and histograms, if the file has them: those of the original do not.
    pub fn statistics(&self) -> Option<&Statistics> {
        self.statistics.as_ref()
    }

    /// The table of the autoencoder at `point` in the file `top-activations.safetensors` of a
    /// `-scope` repository.
    ///
    /// # Errors
    /// A file that is not there or damaged, or has no such table.
    pub fn from_repository(repository: &Repository, point: HookPoint) -> Result<Self> {
        let content = repository.open(FILE)?;
        let mut tensors = Tensors::parse(&content.path, &content.bytes, &Device::Cpu)?;
        take(&mut tensors, &content.path, point)
    }
}

/// Writes tables to `top-activations.safetensors` in `folder`: under `{layer}-{point}`, as the
/// published file has them, contexts i64 `[examples, features]`; under that name and `.density`,
/// `.histogram` and `.edge` the statistics. Most counts are small, so that histograms, feature by
/// feature, take a byte for every 7 bits of a count (LEB128), the lowest first.
///
/// # Errors
/// No tables, two of the same place, a place the layout has no name for; a folder that cannot be
/// written.
pub fn save_tables(folder: impl AsRef<Path>, tables: &[FeatureTable]) -> Result<()> {
    if tables.is_empty() {
        return Err(Error::invalid("the tables", "at least one", "none"));
    }
    let mut tensors = HashMap::new();
    for table in tables {
        let name = folder_point(table.point)?;
        let (m, cpu) = (table.features, &Device::Cpu);
        let wide: Vec<i64> = table.contexts.iter().map(|context| i64::from(*context)).collect();
        let contexts = Tensor::from_vec(wide, (table.examples(), m), cpu)?;
        if tensors.insert(name.clone(), contexts).is_some() {
            return Err(Error::invalid("the tables' places", "different ones", table.point));
        }
        if let Some(Statistics { density, histograms }) = &table.statistics {
            let counts = in_few_bytes(histograms.iter().flat_map(|histogram| histogram.counts));
            let bytes = counts.len();
            let edges: Vec<f32> = histograms.iter().map(|histogram| histogram.edge).collect();
            let parts = [
                ("density", Tensor::from_slice(density, m, cpu)?),
                ("histogram", Tensor::from_vec(counts, bytes, cpu)?),
                ("edge", Tensor::from_vec(edges, m, cpu)?),
            ];
            tensors.extend(parts.map(|(part, tensor)| (format!("{name}.{part}"), tensor)));
        }
    }
    let folder = folder.as_ref();
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    save_exactly(&folder.join(FILE), &tensors)
}

/// The tables in the folder `folder`, for autoencoders at `points`.
///
/// # Errors
/// As [`FeatureTable::from_repository`].
pub fn load_tables(folder: impl AsRef<Path>, points: &[HookPoint]) -> Result<Vec<FeatureTable>> {
    let repository = Repository::folder(folder.as_ref());
    points.iter().map(|point| FeatureTable::from_repository(&repository, *point)).collect()
}

fn take(tensors: &mut Tensors, path: &Path, point: HookPoint) -> Result<FeatureTable> {
    let name = folder_point(point)?;
    let table = tensors.any(&name).ok_or_else(|| Error::NotFound {
        what: format!("a table `{name}` in {}", path.display()),
        hint: "`max_activations` makes one, and `save_tables` writes it.".to_owned(),
    })?;
    let shape = match table.dims2() {
        Ok((examples, m)) if examples > 0 && m > 0 && table.dtype().is_int() => (examples, m),
        _ => {
            let found = format!("{} {:?}", table.dtype().as_str(), table.dims());
            return Err(Error::format(path, format!("`{name}` [examples, features]"), found));
        }
    };
    let wide: Vec<i64> = table.to_dtype(DType::I64)?.flatten_all()?.to_vec1()?;
    let narrow: std::result::Result<Vec<u32>, _> = wide.into_iter().map(u32::try_from).collect();
    let contexts = narrow.map_err(|_| {
        Error::format(path, format!("contexts in `{name}`"), "a negative number or a huge one")
    })?;
    let m = shape.1;
    let statistics = match tensors.any(&format!("{name}.histogram")) {
        None => None,
        Some(counts) => {
            let counts = match (counts.dtype(), counts.dims()) {
                // Files of earlier versions.
                (DType::U32, [rows, BINS]) if *rows == m => Some(counts.flatten_all()?.to_vec1()?),
                (DType::U8, [_]) => from_few_bytes(&counts.to_vec1()?, m * BINS),
                _ => None,
            };
            let Some(counts) = counts else {
                let expected = format!("`{name}.histogram`, {BINS} counts of {m} features");
                return Err(Error::format(path, expected, "something else"));
            };
            let density: Vec<f32> = tensors.take(&format!("{name}.density"), &[m])?.to_vec1()?;
            let edges: Vec<f32> = tensors.take(&format!("{name}.edge"), &[m])?.to_vec1()?;
            let histograms = edges.into_iter().zip(counts.as_chunks().0);
            let histograms = histograms.map(|(edge, counts)| Histogram { edge, counts: *counts });
            Some(Statistics { density: density.into(), histograms: histograms.collect() })
        }
    };
    Ok(FeatureTable::new(point, m, contexts, statistics))
}

/// Numbers in a byte for every 7 bits, the lowest first; all but the last byte of a number have their
/// highest bit set.
fn in_few_bytes(numbers: impl Iterator<Item = u32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut number in numbers {
        while number >= 1 << 7 {
            bytes.push(number as u8 | 1 << 7);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    bytes
}

/// So many numbers of [`in_few_bytes`]; none if the bytes are not of as many.
fn from_few_bytes(bytes: &[u8], count: usize) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    let (mut number, mut shift) = (0u64, 0);
    for byte in bytes {
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 1 << 7 == 0 {
            numbers.push(u32::try_from(number).ok()?);
            (number, shift) = (0, 0);
        } else if shift > 28 {
            return None;
        }
    }
    (shift == 0 && numbers.len() == count).then_some(numbers)
}

show_as_text!(FeatureTable);

impl fmt::Display for FeatureTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (features, examples) = (self.features, self.examples());
        write!(f, "{examples} examples of each of {features} features at {}", self.point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: HookPoint = HookPoint::MlpIn(3);

    fn table() -> FeatureTable {
        let mut histogram = Histogram::default();
        histogram.add(0.7);
        let statistics = Statistics {
            density: [0.5, 0.0, 0.25].into(),
            histograms: [histogram, Histogram::default(), Histogram::default()].into(),
        };
        FeatureTable::new(POINT, 3, vec![5, 1, 2, 0, 7, 1], Some(statistics))
    }

    #[test]
    fn saved_tables_come_back_in_the_published_layout() {
        let folder = tempfile::tempdir().unwrap();
        save_tables(folder.path(), &[table()]).unwrap();
        let tensors =
            candle_core::safetensors::load(folder.path().join(FILE), &Device::Cpu).unwrap();
        let published = tensors["3-mlp-in"].to_vec2::<i64>().unwrap();
        assert_eq!(published, [[5, 1, 2], [0, 7, 1]]);
        let loaded = load_tables(folder.path(), &[POINT]).unwrap().remove(0);
        assert_eq!((loaded.features(), loaded.examples(), loaded.last_context()), (3, 2, 7));
        assert_eq!(loaded.contexts(1).unwrap(), [1, 7]);
        let (found, made) = (loaded.statistics().unwrap(), table());
        let made = made.statistics().unwrap();
        assert_eq!((&found.density, &found.histograms), (&made.density, &made.histograms));
        assert!(loaded.contexts(3).unwrap_err().to_string().contains("below 3"));
    }

    #[test]
    fn counts_come_back_from_few_bytes_and_others_are_refused() {
        let numbers = [0, 1, 127, 128, 16_383, 16_384, u32::MAX];
        let bytes = in_few_bytes(numbers.into_iter());
        assert_eq!(bytes.len(), 1 + 1 + 1 + 2 + 2 + 3 + 5);
        assert_eq!(bytes[3..5], [0x80, 1]);
        assert_eq!(from_few_bytes(&bytes, 7), Some(numbers.to_vec()));
        assert_eq!((from_few_bytes(&bytes, 6), from_few_bytes(&bytes[..14], 7)), (None, None));
        // More than 32 bits, and a number without an end.
        assert_eq!(from_few_bytes(&[255, 255, 255, 255, 31], 1), None);
        assert_eq!(from_few_bytes(&[255; 9], 1), None);
        let folder = tempfile::tempdir().unwrap();
        save_tables(folder.path(), &[table()]).unwrap();
        let path = folder.path().join(FILE);
        let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        let wide: Vec<u32> = table().statistics().unwrap().histograms[0].counts.to_vec();
        let wide = Tensor::new([wide, vec![0; BINS], vec![0; BINS]].concat(), &Device::Cpu);
        for (counts, is_read) in [
            (wide.unwrap().reshape((3, BINS)).unwrap(), true),
            (Tensor::zeros((2, BINS), DType::U32, &Device::Cpu).unwrap(), false),
            (Tensor::zeros(2, DType::U8, &Device::Cpu).unwrap(), false),
        ] {
            tensors.insert("3-mlp-in.histogram".to_owned(), counts);
            save_exactly(&path, &tensors).unwrap();
            match load_tables(folder.path(), &[POINT]) {
                Ok(found) => {
                    let (found, made) = (found[0].statistics().unwrap(), table());
                    assert!(is_read);
                    assert_eq!(found.histograms, made.statistics().unwrap().histograms);
                }
                Err(error) => {
                    let error = error.to_string();
                    assert!(!is_read && error.contains("32 counts of 3 features"), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_published_file_has_no_statistics_and_damaged_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let message = |point| load_tables(folder.path(), &[point]).unwrap_err().to_string();
        assert!(message(POINT).contains("could not read"));
        let plain = Tensor::new(&[[1i64, 2], [3, 4], [0, 9]], &Device::Cpu).unwrap();
        save_exactly(&path, &HashMap::from([("3-mlp-in".to_owned(), plain.clone())])).unwrap();
        let loaded = load_tables(folder.path(), &[POINT]).unwrap().remove(0);
        assert_eq!((loaded.examples(), loaded.statistics().is_none()), (3, true));
        assert!(message(HookPoint::MlpOut(3)).contains("`3-mlp-out`"));
        let negative = Tensor::new(&[[1i64, -2]], &Device::Cpu).unwrap();
        let negative = HashMap::from([("3-mlp-in".to_owned(), negative)]);
        save_exactly(&path, &negative).unwrap();
        assert!(message(POINT).contains("a negative number"));
        let flat = HashMap::from([("3-mlp-in".to_owned(), plain.flatten_all().unwrap())]);
        save_exactly(&path, &flat).unwrap();
        assert!(message(POINT).contains("[examples, features]"));
        assert!(save_tables(folder.path(), &[]).is_err());
        let twice = save_tables(folder.path(), &[table(), table()]).unwrap_err().to_string();
        assert!(twice.contains("different"), "{twice}");
    }
}
