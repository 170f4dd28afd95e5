//! Features of an autoencoder of a part of an error, at the tokens of a text.

use std::fmt;

use candle_core::Tensor;

use super::explained::Explained;
use super::linear_map::LinearMap;
use super::part_sae::Part;
use crate::display::show_as_text;
use crate::features::FeatureReader;
use crate::model::{Decoder, HookPoint};
use crate::sae::{Codes, Sae};
use crate::{Error, Result};

/// Codes of an autoencoder of a [`Part`] of an error, for what looks at features through a
/// [`FeatureReader`], such as [`Visualizer::read`](crate::features::Visualizer::read):
///
/// ```text
/// tokens → x → e = x − x̂, x A + b or e − x A − b → codes
/// ```
///
/// with the model's activations x, what the first autoencoder makes of them, x̂, and the
/// [map of all rows](Explained::map). Made by [`Explained::reader`].
#[derive(Debug, Clone)]
pub struct PartReader {
    part: Part,
    point: HookPoint,
    /// The autoencoder that leaves the error.
    first: Sae,
    map: LinearMap,
    /// The autoencoder that reads the part.
    sae: Sae,
    skip_positions: usize,
}

impl Explained {
    /// A reader of the features of `sae`, which [`Explained::fit_sae`] trained on this part of the
    /// error. One of [`Explained::fit_gaussian`] is read in the same way, as the control: then its
    /// directions, which have seen no text, read the part in a text.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the model of the rows is not known, as those of
    /// [`SaeInfo`](super::SaeInfo) are, or the hook point of `sae`; [`Error::Shape`] for an autoencoder
    /// of another width, and [`Error::Invalid`] for one of another hook point or part.
    pub fn reader(&self, part: Part, sae: &Sae) -> Result<PartReader> {
        const WHAT: &str = "the autoencoder of a part of the error";
        let origin = self.known_origin()?;
        let (point, width) = (origin.sae.point()?, self.rows().width());
        let found = [sae.d_model(), sae.d_out()];
        if found != [width; 2] {
            let expected = format!("{width} dimensions, read and written, as the error has");
            return Err(Error::shape(WHAT, expected, found));
        }
        let own = sae.point()?;
        if own != point {
            let expected = format!("one for {point}, whose errors were taken apart");
            return Err(Error::invalid(WHAT, expected, format!("one for {own}")));
        }
        if let Some(reads) = &sae.origin().training.reads
            && ![part.reads(), part.reads_noise()].contains(reads)
        {
            return Err(Error::invalid(WHAT, format!("one of {part}"), format!("one of {reads}")));
        }
        let map = self.map().clone();
        Ok(PartReader { part, point, first: origin.sae, map, sae: sae.clone(), skip_positions: 0 })
    }
}

impl PartReader {
    /// The same reader, with no features at the first `positions` of each context; 0. Those that
    /// `skip_positions` of [`SaeOptions`](crate::sae::SaeOptions) kept from the training of the
    /// autoencoder are best kept from it here too.
    #[must_use]
    pub fn skip_positions(self, positions: usize) -> Self {
        Self { skip_positions: positions, ..self }
    }

    /// The part that is read.
    pub fn part(&self) -> Part {
        self.part
    }

    /// The autoencoder that reads it.
    pub fn sae(&self) -> &Sae {
        &self.sae
    }
}

impl FeatureReader for PartReader {
    fn features(&self) -> usize {
        self.sae.features()
    }

    fn point(&self) -> Result<HookPoint> {
        Ok(self.point)
    }

    fn read(&self, model: &Decoder, tokens: &Tensor) -> Result<Codes> {
        let cache = model.activations(tokens, &[self.point])?;
        let x = cache.get(self.point)?;
        let length = x.dim(1)?;
        let x = x.flatten(0, 1)?.flatten_from(1)?;
        let codes = self.sae.encode(&self.part.of(&self.first, &self.map, &x)?)?;
        if self.skip_positions == 0 {
            return Ok(codes);
        }
        let rows = (0..codes.rows()).map(|row| match row % length < self.skip_positions {
            true => Vec::new(),
            false => codes.row(row).collect(),
        });
        Codes::new(codes.width(), rows)
    }

    fn skipped(&self) -> &[u32] {
        self.sae.skipped()
    }
}

show_as_text!(PartReader);

impl fmt::Display for PartReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} features of {} at {}", self.sae.features(), self.part, self.point)?;
        match self.skip_positions {
            0 => Ok(()),
            first => write!(f, ", from position {first} on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{DType, Device};

    use super::*;
    use crate::harvest::tests::{contexts, model, sae};
    use crate::random::Rng;
    use crate::sae::{Architecture, ExcludedTokens, SaeWeights, TrainingRecord};
    use crate::sae_error::part_sae::tests::{POINT, explained};
    use crate::sae_error::rows::TensorRows;

    fn tokens() -> Tensor {
        contexts().batch(3, 4, &Device::Cpu).unwrap()
    }

    fn dense(codes: &Codes) -> Vec<f64> {
        let dense = codes.to_dense(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        dense.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn codes_are_those_of_the_part_computed_by_hand() {
        let (explained, own) = (explained(), sae(POINT, 5));
        let x = model().activations(&tokens(), &[POINT]).unwrap();
        let x = x.get(POINT).unwrap().flatten(0, 1).unwrap();
        let made = sae(POINT, 1).reconstruct(&x).unwrap().to_dtype(DType::F64).unwrap();
        let x = x.to_dtype(DType::F64).unwrap();
        let error = (&x - &made).unwrap();
        let matrix = explained.map().matrix(&Device::Cpu).unwrap();
        let intercept = explained.map().intercept().unwrap();
        let linear = x.matmul(&matrix).unwrap();
        let linear = linear.broadcast_add(&Tensor::new(intercept, &Device::Cpu).unwrap()).unwrap();
        let nonlinear = (&error - &linear).unwrap();
        let mut all: Vec<Vec<f64>> = Vec::new();
        for (part, expected) in
            [(Part::Error, error), (Part::Linear, linear), (Part::Nonlinear, nonlinear)]
        {
            let reader: Arc<dyn FeatureReader> = Arc::new(explained.reader(part, &own).unwrap());
            assert_eq!((reader.features(), reader.point().unwrap()), (24, POINT));
            let codes = reader.read(&model(), &tokens()).unwrap();
            assert_eq!((codes.rows(), codes.width()), (4 * 6, 24));
            let expected = own.encode(&expected.to_dtype(DType::F32).unwrap()).unwrap();
            let (found, expected) = (dense(&codes), dense(&expected));
            let largest = expected.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
            assert!(largest > 0.0);
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-4 * largest, "{part}: {found} {expected}");
            }
            assert!(!all.contains(&found), "{part} has the codes of another part");
            all.push(found);
        }
    }

    #[test]
    fn positions_that_are_skipped_have_no_features() {
        let reader = explained().reader(Part::Linear, &sae(POINT, 5)).unwrap();
        assert_eq!(
            reader.to_string(),
            "24 features of the linear part of the error at 0.resid_post"
        );
        assert_eq!((reader.part(), reader.sae().features()), (Part::Linear, 24));
        let whole = reader.read(&model(), &tokens()).unwrap();
        let later = reader.skip_positions(2);
        assert!(later.to_string().ends_with(", from position 2 on"), "{later}");
        let codes = later.read(&model(), &tokens()).unwrap();
        assert_eq!(codes.rows(), whole.rows());
        for row in 0..codes.rows() {
            let (found, all) = (codes.row(row), whole.row(row));
            assert_eq!(all.len(), 3);
            match row % 6 < 2 {
                true => assert_eq!(found.len(), 0),
                false => assert!(found.eq(all), "{row}"),
            }
        }
    }

    #[test]
    fn tokens_that_its_autoencoder_was_not_trained_on_are_known() {
        let excluded_tokens = Some(ExcludedTokens::Ids(vec![7, 3]));
        let record = TrainingRecord { excluded_tokens, ..TrainingRecord::default() };
        let own = sae(POINT, 5).with_training_record(record);
        assert_eq!(explained().reader(Part::Error, &own).unwrap().skipped(), [7, 3]);
    }

    #[test]
    fn autoencoders_that_do_not_fit_are_refused() {
        let message = |explained: &Explained, sae: &Sae| {
            explained.reader(Part::Error, sae).unwrap_err().to_string()
        };
        let mut rng = Rng::seed(3);
        let decoder = rng.normal((4, 12), &Device::Cpu).unwrap();
        let encoder = decoder.t().unwrap().contiguous().unwrap();
        let weights = SaeWeights::new(encoder, decoder, rng.normal(4, &Device::Cpu).unwrap());
        let narrow = Sae::new(Architecture::top_k(2), weights).unwrap().at(POINT);
        let error = message(&explained(), &narrow);
        assert!(error.contains("8 dimensions") && error.contains("[4, 4]"), "{error}");
        let error = message(&explained(), &sae(HookPoint::MlpOut(0), 5));
        assert!(error.contains("for 0.resid_post") && error.contains("for 0.mlp_out"), "{error}");
        let reads = Some(Part::Linear.reads());
        let other = sae(POINT, 5)
            .with_training_record(TrainingRecord { reads, ..TrainingRecord::default() });
        assert!(message(&explained(), &other).contains("one of the linear part of the error"));
        let reads = Some(Part::Error.reads_noise());
        let noise =
            other.with_training_record(TrainingRecord { reads, ..TrainingRecord::default() });
        explained().reader(Part::Error, &noise).unwrap();
        // Tensors do not know which model they come from.
        let x = rng.normal((200, 8), &Device::Cpu).unwrap();
        let noise = (rng.normal((200, 8), &Device::Cpu).unwrap() * 0.1).unwrap();
        let made = ((&x * 0.9).unwrap() + noise).unwrap();
        let rows = TensorRows::new(x, made, (0..200).map(|row| row / 10).collect()).unwrap();
        let alone = Explained::of(Arc::new(rows), &Default::default()).unwrap();
        let error = message(&alone, &sae(POINT, 5));
        assert!(error.contains("SaeInfo::collect"), "{error}");
    }
}
