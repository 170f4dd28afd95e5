//! The texts that activate features most.

use std::path::{Path, PathBuf};

use crate::check::check_sizes;
use crate::data::text::Contexts;
use crate::harvest::{FeatureTable, HarvestOptions, Keep, Store};
use crate::model::Decoder;
use crate::sae::Sae;
use crate::{Error, Result};

/// How [`max_activations`] goes over a text.
#[derive(Debug, Clone)]
pub struct MaxOptions {
    /// Contexts that are kept per feature; 100, as in the published tables.
    pub examples: usize,
    /// Contexts that go through the model at a time; 16.
    pub batch: usize,
    /// A folder for what was found so far, a [`Store`] without activations and codes, from which a
    /// search that was cut off goes on; none. It stays, and the same call finds the answer in it.
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
/// It is a [`Store::harvest`] that keeps statistics and examples alone, in memory one batch of
/// activations at a time and `examples` numbers per feature. Harvest a store to keep more of one pass.
///
/// # Errors
/// - If there are no autoencoders, or ones that do not fit the model.
/// - If contexts are longer than the model's, of another vocabulary, or fewer than the examples.
/// - If the checkpoint is of another search, or cannot be written.
/// - [`Error::Stopped`] when Stop is pressed: with a checkpoint the same call goes on.
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
    if saes.is_empty() {
        return Err(Error::invalid("the autoencoders", "at least one", "none"));
    }
    if options.examples > contexts.len() {
        let expected = format!("at most {}, the contexts there are", contexts.len());
        return Err(Error::invalid("the number of examples", expected, options.examples));
    }
    let harvest = HarvestOptions {
        activations: Keep::None,
        codes: Keep::None,
        loss: false,
        examples: options.examples,
        batch: options.batch,
        unit: Some(options.batch.saturating_mul(options.save_every).min(contexts.len())),
        memory: usize::MAX,
        ..HarvestOptions::default()
    };
    let tables = |folder: &Path| {
        let store = Store::harvest(folder, model, saes, contexts, &harvest)?;
        store.run().saes.iter().map(|sae| store.table(&sae.key)).collect()
    };
    match &options.checkpoint {
        Some(folder) => tables(folder),
        None => {
            let folder = tempfile::tempdir();
            tables(folder.map_err(Error::io("create", &std::env::temp_dir()))?.path())
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::harvest::tests::{contexts, model, sae};
    use crate::model::HookPoint;

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
        let path = folder.path().join("search");
        let options =
            MaxOptions { examples: 5, batch: 7, checkpoint: Some(path.clone()), save_every: 2 };
        let plain = MaxOptions { checkpoint: None, ..options.clone() };
        let whole = max_activations(&model(), &saes(), &contexts(), &plain).unwrap();
        max_activations(&model(), &saes(), &contexts(), &options).unwrap();
        // As a crash before its end leaves it.
        for unit in ["000001", "000003"] {
            std::fs::remove_file(path.join(format!("commits/{unit}.json"))).unwrap();
        }
        let other = MaxOptions { examples: 4, ..options.clone() };
        let message = max_activations(&model(), &saes(), &contexts(), &other).unwrap_err();
        assert!(message.to_string().contains("`examples`"), "{message}");
        let resumed = max_activations(&model(), &saes(), &contexts(), &options).unwrap();
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
