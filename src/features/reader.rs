//! What turns tokens into codes of features.

use std::fmt;

use candle_core::Tensor;

use crate::model::{Decoder, HookPoint};
use crate::sae::{Codes, ExcludedTokens, Sae};
use crate::{Error, Result};

/// What turns a model's tokens into codes of features: an autoencoder, a multi-layer one, one of a part
/// of an error.
///
/// ```
/// use eigenlens::features::FeatureReader;
/// use eigenlens::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
/// let sae = Tracer::from_pretrained(&model, 2, "x8-k16", "x8-k16")?.output().clone();
/// let reader: &dyn FeatureReader = &sae;
/// let tokens = model.tokens("She had been very happy")?;
/// let codes = reader.read(&model, &tokens)?;
/// assert_eq!((codes.rows(), codes.width()), (tokens.elem_count(), reader.features()));
/// # Ok(()) }
/// ```
pub trait FeatureReader: fmt::Debug + fmt::Display + Send + Sync {
    /// Number of features, n.
    fn features(&self) -> usize;

    /// The place whose vectors its decoder writes.
    ///
    /// # Errors
    /// A place that is not known, or that the model does not have.
    fn point(&self) -> Result<HookPoint>;

    /// Codes of tokens `[b, t]`: b · t rows of n features, positions of the first context first.
    ///
    /// # Errors
    /// Tokens that the model does not take; what it does not read.
    fn read(&self, model: &Decoder, tokens: &Tensor) -> Result<Codes>;

    /// Tokens whose positions took no part in its training; none by default.
    fn skipped(&self) -> &[u32] {
        &[]
    }
}

impl FeatureReader for Sae {
    fn features(&self) -> usize {
        Sae::features(self)
    }

    /// Where it predicts, for a transcoder.
    fn point(&self) -> Result<HookPoint> {
        match &self.origin().hook_out {
            Some(name) => name.parse(),
            None => Sae::point(self),
        }
    }

    fn read(&self, model: &Decoder, tokens: &Tensor) -> Result<Codes> {
        check_reads_activations(self)?;
        if self.origin().training.tuned_lens {
            let expected = "one that reads the stream itself: `Mlsae` puts the tuned lens before one \
                            that was trained behind it";
            return Err(Error::invalid("the autoencoder", expected, self.architecture()));
        }
        let point = Sae::point(self)?;
        let cache = model.activations(tokens, &[point])?;
        let x = cache.get(point)?;
        let codes = match self.origin().training.head {
            // Of [batch, positions, heads, d_head] it knows one head.
            Some(head) if x.rank() == 4 && x.dim(3)? == self.d_model() => {
                self.encode(&x.narrow(2, head, 1)?.squeeze(2)?)?
            }
            _ => self.encode(x)?,
        };
        if codes.rows() != tokens.elem_count() {
            let what = format!("the autoencoder at {point}");
            let expected = format!("of one vector a token, {} in all", tokens.elem_count());
            return Err(Error::invalid(what, expected, codes.rows()));
        }
        Ok(codes)
    }

    fn skipped(&self) -> &[u32] {
        match &self.origin().training.excluded_tokens {
            Some(ExcludedTokens::Ids(ids)) => ids,
            // Special tokens are known by the tokenizer.
            Some(ExcludedTokens::Special) | None => &[],
        }
    }
}

/// Fails for an autoencoder that was trained on something else than the activation at its point, and
/// would make other codes of that than it should.
pub(crate) fn check_reads_activations(sae: &Sae) -> Result<()> {
    match &sae.origin().training.reads {
        None => Ok(()),
        Some(reads) => {
            let expected = "one of the activation at its point (for a part of an error there is \
                            `PartReader`, which `Explained::reader` makes)";
            Err(Error::invalid("the autoencoder", expected, format!("one of {reads}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::harvest::tests::{contexts, model, sae};
    use crate::model::Hooks;
    use crate::random::Rng;
    use crate::sae::{Architecture, SaeWeights, TrainingRecord};

    const POINT: HookPoint = HookPoint::MlpOut(1);

    fn tokens() -> Tensor {
        contexts().batch(3, 5, &Device::Cpu).unwrap()
    }

    fn recorded(record: TrainingRecord) -> Sae {
        sae(POINT, 1).with_training_record(record)
    }

    #[test]
    fn codes_are_the_largest_answers_to_the_activations() {
        let sae = sae(POINT, 1);
        let codes = sae.read(&model(), &tokens()).unwrap();
        assert_eq!((codes.rows(), codes.width()), (5 * 6, FeatureReader::features(&sae)));
        let (_, cache) = model().run(&tokens(), &Hooks::new().capture(POINT)).unwrap();
        let all = sae.hidden_pre(cache.get(POINT).unwrap()).unwrap().to_vec2::<f32>().unwrap();
        for (row, all) in all.iter().enumerate() {
            let mut order: Vec<usize> = (0..24).collect();
            order.sort_by(|a, b| all[*b].total_cmp(&all[*a]));
            order.truncate(3);
            order.sort_unstable();
            let own: Vec<usize> = codes.row(row).map(|(feature, _)| feature as usize).collect();
            assert_eq!(own, order, "row {row}");
        }
    }

    #[test]
    fn an_autoencoder_of_something_else_is_refused() {
        let reads = Some("the nonlinear part of the error".to_owned());
        let part = recorded(TrainingRecord { reads, ..TrainingRecord::default() });
        let error = part.read(&model(), &tokens()).unwrap_err().to_string();
        assert!(error.contains("PartReader") && error.contains("the nonlinear part"), "{error}");
        let lens = recorded(TrainingRecord { tuned_lens: true, ..TrainingRecord::default() });
        let error = lens.read(&model(), &tokens()).unwrap_err().to_string();
        assert!(error.contains("Mlsae"), "{error}");
        let far = sae(HookPoint::MlpIn(2), 1);
        assert!(far.read(&model(), &tokens()).unwrap_err().to_string().contains("never fires"));
    }

    #[test]
    fn a_transcoder_writes_where_it_predicts() {
        let own = sae(POINT, 1);
        assert_eq!(FeatureReader::point(&own).unwrap(), POINT);
        let mut origin = own.origin().clone();
        origin.hook_out = Some("blocks.0.hook_mlp_out".to_owned());
        let other = own.with_origin(origin.clone());
        assert_eq!(FeatureReader::point(&other).unwrap(), HookPoint::MlpOut(0));
        origin.hook_out = Some("blocks.0.hook_nowhere".to_owned());
        assert!(FeatureReader::point(&other.with_origin(origin)).is_err());
    }

    #[test]
    fn one_head_is_read_if_the_record_says_which() {
        let point = HookPoint::Z(0);
        let decoder = Rng::seed(5).normal((4, 12), &Device::Cpu).unwrap();
        let encoder = decoder.t().unwrap().contiguous().unwrap();
        let bias = Rng::seed(6).normal(4, &Device::Cpu).unwrap();
        let weights = SaeWeights::new(encoder, decoder, bias);
        let sae = Sae::new(Architecture::top_k(3), weights).unwrap().at(point);
        let error = sae.read(&model(), &tokens()).unwrap_err().to_string();
        assert!(error.contains("one vector a token, 30 in all, found 60"), "{error}");
        let z = model().activations(&tokens(), &[point]).unwrap().tensor(point).unwrap();
        let z: Vec<Vec<f32>> = z.reshape((60, 4)).unwrap().to_vec2().unwrap();
        for head in 0..2 {
            let record = TrainingRecord { head: Some(head), ..TrainingRecord::default() };
            let codes = sae.with_training_record(record).read(&model(), &tokens()).unwrap();
            let own = z.iter().skip(head).step_by(2).flatten().copied().collect::<Vec<f32>>();
            let own = Tensor::from_vec(own, (30, 4), &Device::Cpu).unwrap();
            let expected = sae.encode(&own).unwrap();
            for row in 0..30 {
                assert!(codes.row(row).eq(expected.row(row)));
            }
        }
    }

    #[test]
    fn tokens_of_the_record_are_skipped() {
        let excluded = |excluded_tokens| {
            recorded(TrainingRecord { excluded_tokens, ..TrainingRecord::default() })
        };
        assert_eq!(excluded(Some(ExcludedTokens::Ids(vec![7, 3]))).skipped(), [7, 3]);
        assert!(excluded(Some(ExcludedTokens::Special)).skipped().is_empty());
        assert!(excluded(None).skipped().is_empty());
    }
}
