//! The texts that activate features most, whatever reads them.

use super::{FeatureReader, FeatureTable};
use crate::check::check_sizes;
use crate::data::text::Contexts;
use crate::harvest::{Tally, feature_table};
use crate::model::Decoder;
use crate::progress::Progress;
use crate::{Error, Result};

/// Contexts that go through the model at a time.
const BATCH: usize = 16;

/// What [`max_activations`](super::max_activations) finds for an autoencoder, for any reader: the
/// `examples` contexts with the largest activations of each feature, densities and histograms. In
/// memory there are the codes of one batch and `examples` numbers per feature.
///
/// # Errors
/// - [`Error::Invalid`] for no examples, or more than there are contexts.
/// - [`Error::Shape`] if the reader gives other codes than it says.
/// - [`Error::Interrupted`] when Stop is pressed; those of the reader.
pub(super) fn reader_table(
    model: &Decoder,
    reader: &dyn FeatureReader,
    contexts: &Contexts,
    examples: usize,
) -> Result<FeatureTable> {
    check_sizes(&[("the number of examples", examples)])?;
    if examples > contexts.len() {
        let expected = format!("at most {}, the contexts there are", contexts.len());
        return Err(Error::invalid("the number of examples", expected, examples));
    }
    let (point, features, length) = (reader.point()?, reader.features(), contexts.length());
    let mut tally = Tally::new(features, examples);
    let mut progress = Progress::new("reading features", contexts.len() as u64, "context");
    for first in (0..contexts.len()).step_by(BATCH) {
        let tokens = contexts.batch(first, BATCH, model.device())?;
        let (codes, rows) = (reader.read(model, &tokens)?, tokens.elem_count());
        if (codes.rows(), codes.width()) != (rows, features) {
            let expected = format!("{rows} rows of {features} features");
            let found = [codes.rows(), codes.width()];
            return Err(Error::shape(format!("what {reader} reads"), expected, found));
        }
        tally.add(&codes, first as u64, length, &vec![true; rows]);
        if progress.advance((rows / length) as u64) {
            return Err(Error::Interrupted { what: "reading the features".to_owned() });
        }
    }
    let tokens = contexts.as_slice().len() as u64;
    Ok(feature_table(&tally, point, examples, contexts.len(), tokens))
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use candle_core::Tensor;

    use super::super::{MaxOptions, max_activations};
    use super::*;
    use crate::harvest::tests::{contexts, model, sae};
    use crate::model::HookPoint;
    use crate::sae::Codes;

    #[test]
    fn the_table_of_an_autoencoder_is_that_of_a_search_through_a_store() {
        let sae = sae(HookPoint::MlpIn(1), 1);
        let options = MaxOptions { examples: 5, batch: 7, ..MaxOptions::default() };
        let expected =
            max_activations(&model(), std::slice::from_ref(&sae), &contexts(), &options).unwrap();
        let found = reader_table(&model(), &sae, &contexts(), 5).unwrap();
        assert_eq!((found.point(), found.features()), (HookPoint::MlpIn(1), 24));
        for feature in 0..24 {
            let same = expected[0].contexts(feature).unwrap();
            assert_eq!(found.contexts(feature).unwrap(), same, "feature {feature}");
        }
        let (found, expected) = (found.statistics().unwrap(), expected[0].statistics().unwrap());
        assert_eq!(found.density, expected.density);
        assert_eq!(found.histograms, expected.histograms);
    }

    /// Says that it has one feature more than it reads.
    #[derive(Debug)]
    struct Boasting;

    impl fmt::Display for Boasting {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a boast")
        }
    }

    impl FeatureReader for Boasting {
        fn features(&self) -> usize {
            3
        }

        fn point(&self) -> Result<HookPoint> {
            Ok(HookPoint::MlpIn(0))
        }

        fn read(&self, _: &Decoder, tokens: &Tensor) -> Result<Codes> {
            Codes::new(2, vec![Vec::new(); tokens.elem_count()])
        }
    }

    #[test]
    fn a_reader_that_gives_other_codes_is_refused() {
        let found = reader_table(&model(), &Boasting, &contexts(), 5).unwrap_err().to_string();
        assert!(found.contains("what a boast reads") && found.contains("3 features"), "{found}");
    }
}
