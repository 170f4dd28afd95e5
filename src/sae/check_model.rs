//! Whether an autoencoder fits a model.

use candle_core::{DType, Tensor};

use super::record::{CENTRED, model_name};
use super::{Normalization, Sae};
use crate::Result;
use crate::model::{Config, Decoder, HookPoint, KnownModel, Norm};

/// The mean over the dimensions, as a share of the root mean square, from which activations are not
/// centred.
const OFF_CENTRE: f64 = 1e-3;

impl Sae {
    /// What differs between the model and the one that the autoencoder's files tell of: name, layers,
    /// width at its place, the BOS token in front of texts, the length of contexts, and how weights
    /// were processed. Each difference is a sentence; there is none if nothing is known to differ.
    ///
    /// [`Sae::check`] tells from activations what no file does.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// use eigenlens::sae::{Architecture, SaeWeights};
    /// # fn main() -> Result<()> {
    /// let matrix = |rows, columns| Tensor::randn(0f32, 1., (rows, columns), &Device::Cpu);
    /// let bias = Tensor::zeros(4, DType::F32, &Device::Cpu)?;
    /// let weights = SaeWeights::new(matrix(16, 4)?, matrix(4, 16)?, bias);
    /// let sae = Sae::new(Architecture::top_k(3), weights)?.at(HookPoint::ResidPost(1));
    /// let config = Config { vocab: 9, ..Config::llama(1, 2, 8, 16) };
    /// let model = Decoder::random(config, 0, &Device::Cpu)?;
    /// for difference in sae.check_model(&model) {
    ///     println!("{difference}");
    /// }
    /// assert_eq!(sae.check_model(&model).len(), 2);
    /// # Ok(()) }
    /// ```
    pub fn check_model(&self, model: &Decoder) -> Vec<String> {
        let mut differences = self.check_place(model);
        differences.extend(self.check_bos(model));
        // TransformerLens centres models with LayerNorms alone.
        let centred = model.is_centred()
            || !has_layer_norms(model)
            || self.architecture().normalization == Normalization::Centre;
        let processing = self.origin().training.processing().into_iter();
        differences.extend(processing.filter(|own| !(centred && own.contains(CENTRED))));
        differences
    }

    /// What differs in the model's name, at the place that is read, and in the contexts.
    pub(super) fn check_place(&self, model: &Decoder) -> Vec<String> {
        let mut differences = Vec::new();
        let (origin, config) = (self.origin(), model.config());
        if let (Some(own), Some(other)) = (origin.model_at_revision(), model_name(model))
            && plain(&own) != plain(&other)
        {
            differences.push(format!("it was trained on {own}, and the model is {other}"));
        }
        if let Some(point) = origin.point {
            if let Some(layer) = point.layer().filter(|layer| *layer >= config.layers) {
                differences.push(format!(
                    "it reads layer {layer} ({point}), and the model has the layers below {}",
                    config.layers
                ));
            } else if !model.points().contains(&point) {
                differences.push(format!("it reads {point}, which the model does not have"));
            }
            let heads = match point {
                HookPoint::K(_) | HookPoint::V(_) => config.kv_heads(),
                _ => config.heads,
            };
            if let Some(head) = origin.training.head.filter(|head| *head >= heads) {
                differences.push(format!(
                    "it reads head {head} at {point}, and the model has the heads below {heads}"
                ));
            }
            let width = width(config, point).map(|width| match origin.training.head {
                Some(_) if matches!(point, HookPoint::Z(_)) => width / config.heads,
                _ => width,
            });
            if let Some(width) = width.filter(|width| *width != self.d_model()) {
                differences.push(format!(
                    "it reads {} dimensions, and the model has {width} at {point}",
                    self.d_model()
                ));
            }
        }
        let training = &origin.training;
        if let Some(size) = training.context_size.filter(|size| *size > config.context) {
            differences.push(format!(
                "it was trained on contexts of {size} tokens, and the model takes {}",
                config.context
            ));
        }
        if let Some(positions) = training.positions {
            differences.push(format!(
                "it was trained on positions {positions} of each context: leave the others out"
            ));
        }
        differences
    }

    /// A hint where its record says that the model's weights were centred, and these activations have
    /// a mean over their dimensions.
    pub(super) fn not_centred(&self, x: &Tensor) -> Result<Option<String>> {
        let options = &self.origin().training.model_options;
        let asked = options.get(CENTRED).is_some_and(|value| value == "true");
        if !asked || self.architecture().normalization == Normalization::Centre {
            return Ok(None);
        }
        let rows = x.reshape(((), self.d_model()))?.to_dtype(DType::F64)?;
        let mean = |squares: Tensor| squares.mean_all()?.to_scalar::<f64>();
        let share = (mean(rows.mean(1)?.sqr()?)? / mean(rows.sqr()?)?).sqrt();
        Ok((share > OFF_CENTRE).then(|| {
            format!(
                "the activations have a mean over their dimensions, {:.1} % of their size, and were \
                 centred where it was trained ({CENTRED}), if the model has LayerNorms: take them \
                 from `model.centred_writing()?` then, or use `sae.with_centred_inputs()?`",
                100.0 * share
            )
        }))
    }

    /// What differs in the token that begins a context.
    fn check_bos(&self, model: &Decoder) -> Option<String> {
        let text = match (self.origin().training.prepend_bos, adds_bos(model)) {
            (Some(true), Some(false)) => {
                "its training contexts began with a BOS token, and the model's tokenizer puts none \
                 in front of a text: use `model.tokens_with_bos(text)`"
            }
            (Some(false), Some(true)) => {
                "its training contexts had no BOS token in front, and the model's tokenizer puts one \
                 there: leave the first position out"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// Whether the model's norms take the mean off, which centring its weights relies on.
pub(super) fn has_layer_norms(model: &Decoder) -> bool {
    matches!(model.config().norm, Norm::LayerNorm { .. })
}

/// Whether the model's tokenizer puts a token in front of a text, if it has a tokenizer.
fn adds_bos(model: &Decoder) -> Option<bool> {
    let tokenizer = model.tokenizer().ok()?;
    let (whole, plain) = (tokenizer.encode("a").ok()?, tokenizer.encode_plain("a").ok()?);
    Some(whole.len() > plain.len() && whole.first() != plain.first())
}

/// A model's name without its owner and the ways of writing it; a revision other than `main` is part
/// of it.
fn plain(name: &str) -> String {
    let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
    let known = KnownModel::find(name);
    let name = known.as_ref().map_or(name, KnownModel::repository);
    let name = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let mut plain: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
    if revision != "main" {
        plain.push('@');
        plain.push_str(revision);
    }
    plain
}

/// How many numbers a position has at `point`, if that is plain.
fn width(config: &Config, point: HookPoint) -> Option<usize> {
    match point {
        HookPoint::Embed
        | HookPoint::PosEmbed
        | HookPoint::ResidPre(_)
        | HookPoint::ResidMid(_)
        | HookPoint::ResidPost(_)
        | HookPoint::AttnOut(_)
        | HookPoint::MlpIn(_)
        | HookPoint::MlpOut(_)
        | HookPoint::Ln1Normalized(_)
        | HookPoint::Ln2Normalized(_)
        | HookPoint::LnFinalNormalized => Some(config.d_model),
        HookPoint::Z(_) => Some(config.heads * config.d_head()),
        HookPoint::MlpMid(_) | HookPoint::MlpLnNormalized(_) | HookPoint::MlpPost(_) => {
            Some(config.d_hidden)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::data::text::Tokenizer;
    use crate::sae::{Architecture, SaeWeights, TrainingRecord};

    fn sae(d: usize, point: HookPoint) -> Sae {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let weights = SaeWeights::new(zeros(&[3, d]), zeros(&[d, 3]), zeros(&[d]));
        Sae::new(Architecture::standard(), weights).unwrap().at(point)
    }

    fn model() -> Decoder {
        let config = Config { vocab: 260, context: 16, ..Config::gpt2(2, 2, 8, 12) };
        let tokenizer = Tokenizer::train(["it is"], 257).unwrap();
        let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
        model.with_tokenizer(&tokenizer).unwrap()
    }

    #[test]
    fn nothing_differs_where_nothing_does() {
        for (d, point) in
            [(8, HookPoint::ResidPost(1)), (8, HookPoint::Z(0)), (12, HookPoint::MlpPost(1))]
        {
            assert_eq!(sae(d, point).check_model(&model()), Vec::<String>::new());
        }
        let head = TrainingRecord { head: Some(1), ..TrainingRecord::default() };
        let of_head = sae(4, HookPoint::Z(0)).with_training_record(head);
        assert_eq!(of_head.check_model(&model()), Vec::<String>::new());
        let beyond = TrainingRecord { head: Some(2), ..TrainingRecord::default() };
        let beyond = sae(4, HookPoint::Z(0)).with_training_record(beyond);
        let told = beyond.check_model(&model()).join("\n");
        assert!(told.contains("head 2 at 0.z") && told.contains("heads below 2"), "{told}");
    }

    #[test]
    fn layers_widths_and_contexts_are_compared() {
        let differences = |sae: Sae| sae.check_model(&model()).join("\n");
        let layer = differences(sae(8, HookPoint::ResidPost(2)));
        assert!(layer.contains("layer 2") && layer.contains("below 2"), "{layer}");
        let width = differences(sae(9, HookPoint::ResidPost(1)));
        assert!(width.contains("9 dimensions") && width.contains("8 at 1.resid_post"), "{width}");
        let rotary = differences(sae(8, HookPoint::RotQ(0)));
        assert!(rotary.contains("does not have"), "{rotary}");
        let record = TrainingRecord {
            prepend_bos: Some(true),
            context_size: Some(128),
            model_options: [("center_writing_weights".to_owned(), "true".to_owned())].into(),
            ..TrainingRecord::default()
        };
        let other = differences(sae(8, HookPoint::ResidPost(1)).with_training_record(record));
        for part in ["128 tokens, and the model takes 16", "tokenizer puts none", "less their mean"]
        {
            assert!(other.contains(part), "{part} in {other}");
        }
    }

    #[test]
    fn a_centred_model_is_what_a_record_of_centring_asks_for() {
        let record = TrainingRecord {
            model_options: [(CENTRED.to_owned(), "true".to_owned())].into(),
            ..TrainingRecord::default()
        };
        let own = sae(8, HookPoint::ResidPost(1)).with_training_record(record);
        let differences = own.check_model(&model());
        assert!(differences.len() == 1 && differences[0].contains("Decoder::centred_writing"));
        assert_eq!(own.check_model(&model().centred_writing().unwrap()), Vec::<String>::new());
        // TransformerLens leaves models with RMS norms as they are.
        let config = Config { vocab: 9, ..Config::llama(2, 2, 8, 16) };
        let other = Decoder::random(config, 0, &Device::Cpu).unwrap();
        assert_eq!(own.check_model(&other), Vec::<String>::new());
    }

    #[test]
    fn activations_with_a_mean_are_told_of_if_the_record_says_they_had_none() {
        let record = TrainingRecord {
            model_options: [(CENTRED.to_owned(), "true".to_owned())].into(),
            ..TrainingRecord::default()
        };
        let plain = sae(8, HookPoint::ResidPost(1));
        let own = plain.with_training_record(record);
        let rows: Vec<f32> = (0..40).map(|i| (i * i % 7) as f32).collect();
        let x = Tensor::from_vec(rows, (5, 8), &Device::Cpu).unwrap();
        let hint = |sae: &Sae, x: &Tensor| {
            sae.check(x).unwrap().warnings.iter().any(|text| {
                text.contains("centred_writing()?") && text.contains("if the model has LayerNorms")
            })
        };
        assert!(hint(&own, &x) && !hint(&plain, &x));
        assert!(!hint(&own.with_centred_inputs().unwrap(), &x));
        let centred = x.broadcast_sub(&x.mean_keepdim(1).unwrap()).unwrap();
        assert!(!hint(&own, &centred));
    }

    #[test]
    fn names_are_compared_without_owner_and_spelling() {
        assert_eq!(plain("gpt2-small"), plain("openai-community/gpt2"));
        assert_eq!(plain("pythia-70m-deduped"), plain("EleutherAI/Pythia-70m_deduped"));
        assert_ne!(plain("gemma-2b"), plain("google/gemma-2-2b"));
        assert_eq!(plain("gpt2-small@main"), plain("gpt2"));
        assert_eq!(plain("gpt2-small@step1"), plain("openai-community/gpt2@step1"));
        assert_ne!(plain("gpt2-small@step1"), plain("gpt2-small"));
    }
}
