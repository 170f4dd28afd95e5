//! Data sets of distributions in the original's layout.

use crate::data::ColumnFile;
use crate::hub::Content;
use crate::store::Blob;
use crate::{Error, Result};

/// Rows that are read at a time.
const ROWS_AT_A_TIME: usize = 1 << 14;

/// The number of layers, and the counts and sums `[L, n]`, row by row, in the parts of a data set with
/// a row for each latent: `latent`, and the lists `counts` and `totals` by layer. Rows are in any
/// order, and other columns follow from these.
///
/// # Errors
/// [`Error::Format`] for files that cannot be read, for a column that is missing or holds something
/// else, or for latents that are not there once each.
pub(super) fn read(parts: &[Content<Blob>]) -> Result<(usize, Vec<u64>, Vec<f64>)> {
    let files = parts.iter().map(|part| {
        ColumnFile::open(
            &part.path,
            part.bytes.clone(),
            "a Parquet file of published distributions",
        )
    });
    let files: Vec<ColumnFile> = files.collect::<Result<_>>()?;
    let latents: usize = files.iter().map(ColumnFile::rows).sum();
    // For each latent its counts and sums by layer, once they were read.
    let mut found: Vec<Option<(Vec<u64>, Vec<f64>)>> = vec![None; latents];
    let mut layers = None;
    for file in &files {
        for first in (0..file.rows()).step_by(ROWS_AT_A_TIME) {
            let rows = first..file.rows().min(first + ROWS_AT_A_TIME);
            let own = file.integers("latent", rows.clone())?;
            let counts = file.number_lists("counts", rows.clone())?;
            let totals = file.number_lists("totals", rows)?;
            for (at, latent) in own.into_iter().enumerate() {
                let wrong = |expected: &str, found: String| {
                    let found = format!("{found} in row {}", first + at);
                    Error::format(file.path(), expected, found)
                };
                let (counts, totals) = (counts.get(at), totals.get(at));
                let layers = *layers.get_or_insert(counts.len());
                if layers == 0 || counts.len() != layers || totals.len() != layers {
                    let expected = format!("{layers} `counts` and `totals`, as in the first row");
                    let found = format!("{} and {}", counts.len(), totals.len());
                    return Err(wrong(&expected, found));
                }
                let is_count = |count: &&f64| **count >= 0.0 && count.fract() == 0.0;
                if let Some(bad) = counts.iter().find(|count| !is_count(count)) {
                    return Err(wrong("`counts`, whole and not negative", bad.to_string()));
                }
                if let Some(bad) = totals.iter().find(|total| !total.is_finite()) {
                    return Err(wrong("finite `totals`", bad.to_string()));
                }
                let place = usize::try_from(latent).ok().and_then(|latent| found.get_mut(latent));
                match place {
                    Some(place @ None) => {
                        let counts = counts.iter().map(|count| *count as u64).collect();
                        *place = Some((counts, totals.to_vec()));
                    }
                    _ => {
                        let expected = format!("every `latent` below {latents} once");
                        return Err(wrong(&expected, latent.to_string()));
                    }
                }
            }
        }
    }
    let (Some(layers), Some(found)) = (layers, found.into_iter().collect::<Option<Vec<_>>>())
    else {
        let path = parts.first().map(|part| part.path.clone()).unwrap_or_default();
        return Err(Error::format(&path, "a row for each latent", "no rows"));
    };
    let by_layer = |layer: usize| found.iter().map(move |(counts, _)| counts[layer]);
    let counts = (0..layers).flat_map(by_layer).collect();
    let by_layer = |layer: usize| found.iter().map(move |(_, totals)| totals[layer]);
    let totals = (0..layers).flat_map(by_layer).collect();
    Ok((layers, counts, totals))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Tensor;

    use super::super::LayerDistributions;
    use super::super::distributions::tests::random_distributions;
    use crate::data::tests::{WrittenColumns, write_columns};
    use crate::hub::Repository;
    use crate::hub::tests::Server;

    /// Lists by layer of some latents.
    fn by_latent(matrix: &Tensor, latents: std::ops::Range<usize>) -> Vec<Vec<f64>> {
        let matrix = matrix.to_dtype(candle_core::DType::F64).unwrap().t().unwrap();
        matrix.to_vec2().unwrap()[latents].to_vec()
    }

    /// The columns of some latents, as the original publishes them.
    fn columns(found: &LayerDistributions, latents: std::ops::Range<usize>) -> WrittenColumns {
        let part = |all: Vec<f64>| all[latents.clone()].to_vec();
        let lists = |matrix: Tensor| by_latent(&matrix, latents.clone());
        WrittenColumns::default()
            .integers("latent", latents.clone().map(|latent| latent as i64).collect())
            .numbers("count", part(found.count().iter().map(|count| *count as f64).collect()))
            .numbers("total", part(found.total()))
            .numbers("mean", part(found.mean()))
            .numbers("layer_mean", part(found.mean_layer()))
            .numbers("layer_var", part(found.variance()))
            .numbers("layer_std", part(found.std()))
            .lists("counts", lists(found.counts().unwrap()))
            .lists("totals", lists(found.totals().unwrap()))
            .lists("means", lists(found.means().unwrap()))
            .lists("probs", lists(found.probabilities().unwrap()))
    }

    fn put(folder: &Path, name: &str, columns: &WrittenColumns) {
        let folder = folder.join("data");
        std::fs::create_dir_all(&folder).unwrap();
        write_columns(&folder.join(name), columns);
    }

    #[test]
    fn a_published_data_set_is_read_from_the_hub_and_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let found = random_distributions();
        // Parts, and latents in any order.
        put(folder.path(), "train-00000-of-00002.parquet", &columns(&found, 10..30));
        put(folder.path(), "train-00001-of-00002.parquet", &columns(&found, 0..10));
        let server = Server::start();
        server.serve("datasets/owner/mlsae-dists", folder.path());
        let place = Repository::on(server.hub.clone(), "datasets/owner/mlsae-dists");
        assert_eq!(LayerDistributions::from_repository(&place).unwrap(), found);
        // From the cache, without asking.
        let offline = Repository::on(server.hub.clone().offline(), "datasets/owner/mlsae-dists");
        assert_eq!(LayerDistributions::from_repository(&offline).unwrap(), found);
        let name = folder.path().to_str().unwrap();
        assert_eq!(LayerDistributions::from_pretrained(name).unwrap(), found);
        // The original's name for those of an autoencoder, with its language model or without.
        for name in ["owner/mlsae-tfm", "owner/mlsae"] {
            let place = Repository::on(server.hub.clone(), name);
            let place = place.or_data_beside("dists.safetensors", "-dists").unwrap();
            assert_eq!(place.name(), "datasets/owner/mlsae-dists");
            assert_eq!(LayerDistributions::from_repository(&place).unwrap(), found);
        }
        // A file in the library's own layout is served too.
        found.save(folder.path().join("dists.safetensors")).unwrap();
        server.serve("owner/mlsae", folder.path());
        let place = Repository::on(server.hub.clone(), "owner/mlsae");
        assert_eq!(LayerDistributions::from_repository(&place).unwrap(), found);
        let own = place.or_data_beside("dists.safetensors", "-dists").unwrap();
        assert_eq!(own.name(), "owner/mlsae");
        let none = Repository::on(server.hub.clone(), "datasets/owner/name");
        let error = LayerDistributions::from_repository(&none).unwrap_err().to_string();
        assert!(error.contains("dists.safetensors"), "{error}");
    }

    #[test]
    fn what_is_wrong_in_a_data_set_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let found = random_distributions();
        let message = |columns: WrittenColumns| {
            put(folder.path(), "train-00000-of-00001.parquet", &columns);
            let name = folder.path().to_str().unwrap();
            LayerDistributions::from_pretrained(name).unwrap_err().to_string()
        };
        let whole = columns(&found, 0..30);
        for name in ["latent", "counts", "totals"] {
            let error = message(whole.clone().without(name));
            assert!(error.contains(&format!("a column `{name}` of")), "{error}");
        }
        let changed = |name: &str, change: fn(&mut Vec<Vec<f64>>)| {
            let matrix = match name {
                "counts" => found.counts(),
                _ => found.totals(),
            };
            let mut lists = by_latent(&matrix.unwrap(), 0..30);
            change(&mut lists);
            message(whole.clone().without(name).lists(name, lists))
        };
        let error = changed("counts", |own| own[3][1] = 0.5);
        assert!(error.contains("`counts`, whole and not negative, found 0.5 in row 3"), "{error}");
        let error = changed("counts", |own| own[0][0] = -1.0);
        assert!(error.contains("found -1 in row 0"), "{error}");
        let error = changed("totals", |own| own[4][0] = f64::NAN);
        assert!(error.contains("numbers in `totals`, found NaN"), "{error}");
        let error = changed("totals", |own| own[4][0] = f64::INFINITY);
        assert!(error.contains("finite `totals`, found inf in row 4"), "{error}");
        let error = changed("totals", |own| own[5].truncate(2));
        assert!(error.contains("5 `counts` and `totals`, as in the first row"), "{error}");
        let plain = message(whole.clone().without("totals").numbers("totals", vec![0.0; 30]));
        assert!(plain.contains("`totals` of lists of numbers, found no lists"), "{plain}");
        let texts = vec!["[1]".to_owned(); 30];
        let error = message(whole.clone().without("latent").texts("latent", texts));
        assert!(error.contains("integers in `latent`"), "{error}");
        let error = message(whole.without("latent").integers("latent", vec![2; 30]));
        assert!(error.contains("every `latent` below 30 once, found 2 in row 1"), "{error}");
    }
}
