//! The tables `statistics` and `examples`: what is known of each feature after a unit.

use super::Histogram;
use super::commit::StoredFile;
use super::folder::StoreFolder;
use super::histogram::BINS;
use super::run::RunSae;
use super::table_file::{ColumnType, TableColumn, TableReader, TableWriter, Values};
use super::tally::{FeatureSums, Peak, Tally};
use crate::{Error, Result};

/// Writes both tables of a unit.
///
/// # Errors
/// If the store cannot be written.
pub(super) fn write_tally(
    tally: &Tally,
    place: &StoreFolder,
    unit: usize,
    sae: &RunSae,
) -> Result<[StoredFile; 2]> {
    Ok([write_statistics(tally, place, unit, sae)?, write_examples(tally, place, unit, sae)?])
}

fn write_statistics(
    tally: &Tally,
    place: &StoreFolder,
    unit: usize,
    sae: &RunSae,
) -> Result<StoredFile> {
    use ColumnType::{F32, F64, I32, I32List, I64, Text};
    let columns = vec![
        TableColumn::new("sae", Text),
        TableColumn::new("layer", I32),
        TableColumn::new("feature", I32),
        TableColumn::new("count", I64),
        TableColumn::new("contexts", I64),
        TableColumn::new("sum", F64),
        TableColumn::new("sum_squares", F64),
        TableColumn::new("max", F32),
        TableColumn::new("edge", F32),
        TableColumn::new("histogram", I32List(BINS)),
    ];
    let own = &tally.features;
    let features: Vec<i32> = (0..own.len() as i32).collect();
    let counts: Vec<i64> = own.iter().map(|sums| sums.count as i64).collect();
    let contexts: Vec<i64> = own.iter().map(|sums| sums.contexts as i64).collect();
    let sum: Vec<f64> = own.iter().map(|sums| sums.sum).collect();
    let squares: Vec<f64> = own.iter().map(|sums| sums.sum_squares).collect();
    let max: Vec<f32> = own.iter().map(|sums| sums.max).collect();
    let edges: Vec<f32> = own.iter().map(|sums| sums.histogram.edge).collect();
    let bins = own.iter().flat_map(|sums| sums.histogram.counts);
    let bins: Vec<i32> = bins.map(|count| i32::try_from(count).unwrap_or(i32::MAX)).collect();
    let mut writer = TableWriter::new(place, columns, &["feature"])?;
    let values = [
        Values::Text(&sae.key),
        Values::SameI32(sae.layer),
        Values::I32(&features),
        Values::I64(&counts),
        Values::I64(&contexts),
        Values::F64(&sum),
        Values::F64(&squares),
        Values::F32(&max),
        Values::F32(&edges),
        Values::I32Lists(&bins),
    ];
    writer.write_group(own.len(), &values)?;
    let written = writer.finish(&format!("statistics/{}/{unit:06}", sae.key))?;
    Ok(StoredFile::new("statistics", &sae.key, own.len() as u64, written))
}

fn write_examples(
    tally: &Tally,
    place: &StoreFolder,
    unit: usize,
    sae: &RunSae,
) -> Result<StoredFile> {
    use ColumnType::{F32, I32, I64, Text};
    let columns = vec![
        TableColumn::new("sae", Text),
        TableColumn::new("layer", I32),
        TableColumn::new("feature", I32),
        TableColumn::new("rank", I32),
        TableColumn::new("context", I64),
        TableColumn::new("position", I32),
        TableColumn::new("value", F32),
    ];
    let rows: Vec<(usize, usize, Peak)> = (0..)
        .zip(&tally.best)
        .flat_map(|(feature, best)| (0..).zip(best).map(move |(rank, peak)| (feature, rank, *peak)))
        .collect();
    let features: Vec<i32> = rows.iter().map(|(feature, ..)| *feature as i32).collect();
    let ranks: Vec<i32> = rows.iter().map(|(_, rank, _)| *rank as i32).collect();
    let contexts: Vec<i64> = rows.iter().map(|(.., peak)| peak.context as i64).collect();
    let positions: Vec<i32> = rows.iter().map(|(.., peak)| peak.position as i32).collect();
    let peaks: Vec<f32> = rows.iter().map(|(.., peak)| peak.value).collect();
    let mut writer = TableWriter::new(place, columns, &["feature", "rank"])?;
    let values = [
        Values::Text(&sae.key),
        Values::SameI32(sae.layer),
        Values::I32(&features),
        Values::I32(&ranks),
        Values::I64(&contexts),
        Values::I32(&positions),
        Values::F32(&peaks),
    ];
    if !rows.is_empty() {
        writer.write_group(rows.len(), &values)?;
    }
    let written = writer.finish(&format!("examples/{}/{unit:06}", sae.key))?;
    Ok(StoredFile::new("examples", &sae.key, rows.len() as u64, written))
}

/// What a unit knows of its features.
#[derive(Debug)]
pub(super) struct UnitTally {
    features: Vec<(usize, FeatureSums)>,
    peaks: Vec<(usize, Peak)>,
}

impl UnitTally {
    /// Reads both tables of a unit, whose autoencoder has `features` features.
    ///
    /// # Errors
    /// If a file cannot be read or is of another autoencoder.
    pub(super) fn read(
        place: &StoreFolder,
        statistics: &StoredFile,
        examples: &StoredFile,
        features: usize,
    ) -> Result<Self> {
        let own = Self {
            features: read_statistics(place, statistics)?,
            peaks: read_peaks(place, examples)?,
        };
        let beyond = |file: &StoredFile| {
            let expected = "features of the store's autoencoder";
            Error::format(&place.path(&file.path), expected, "one beyond its last")
        };
        if own.features.iter().any(|(feature, _)| *feature >= features) {
            return Err(beyond(statistics));
        }
        if own.peaks.iter().any(|(feature, _)| *feature >= features) {
            return Err(beyond(examples));
        }
        Ok(own)
    }

    /// Adds it to what other units know.
    pub(super) fn merge_into(&self, tally: &mut Tally) {
        self.features.iter().for_each(|(feature, sums)| tally.features[*feature].merge(sums));
        self.peaks.iter().for_each(|(feature, peak)| tally.insert(*feature, *peak));
    }
}

fn read_statistics(place: &StoreFolder, file: &StoredFile) -> Result<Vec<(usize, FeatureSums)>> {
    let table = TableReader::open(place, &file.path)?;
    let mut all = Vec::with_capacity(file.rows as usize);
    for group in 0..table.groups() {
        let features = table.i32(group, "feature")?;
        let (counts, contexts) = (table.i64(group, "count")?, table.i64(group, "contexts")?);
        let (sum, squares) = (table.f64(group, "sum")?, table.f64(group, "sum_squares")?);
        let (max, edges) = (table.f32(group, "max")?, table.f32(group, "edge")?);
        let bins = table.i32(group, "histogram")?;
        if bins.len() != features.len() * BINS {
            let expected = format!("histograms of {BINS} bins");
            return Err(Error::format(&place.path(&file.path), expected, "others"));
        }
        all.extend(features.iter().enumerate().map(|(at, feature)| {
            let count = |bin: usize| bins[at * BINS + bin].max(0) as u32;
            let sums = FeatureSums {
                count: counts[at] as u64,
                contexts: contexts[at] as u64,
                sum: sum[at],
                sum_squares: squares[at],
                max: max[at],
                histogram: Histogram { edge: edges[at], counts: std::array::from_fn(count) },
            };
            (*feature as usize, sums)
        }));
    }
    Ok(all)
}

/// The features and peaks in the `examples` of a unit, in the order of features and, of each, the best
/// first.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn read_peaks(place: &StoreFolder, file: &StoredFile) -> Result<Vec<(usize, Peak)>> {
    let table = TableReader::open(place, &file.path)?;
    let mut all = Vec::with_capacity(file.rows as usize);
    for group in 0..table.groups() {
        let features = table.i32(group, "feature")?;
        let (contexts, positions) = (table.i64(group, "context")?, table.i32(group, "position")?);
        let values = table.f32(group, "value")?;
        all.extend(features.iter().enumerate().map(|(at, feature)| {
            let (context, position) = (contexts[at] as u64, positions[at] as u32);
            (*feature as usize, Peak { context, position, value: values[at] })
        }));
    }
    Ok(all)
}
