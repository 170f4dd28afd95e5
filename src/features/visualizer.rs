//! Features at a glance.

use std::fmt;
use std::sync::Arc;

use super::gallery::{Example, FeatureView, Gallery};
use super::{FeatureTable, max_activations};
use crate::data::text::{Contexts, Tokenizer};
use crate::display::show_as_text;
use crate::model::Decoder;
use crate::sae::Sae;
use crate::{Error, Result};

/// Tokens of logit influence that are shown, each way.
const TOKENS: usize = 8;

/// Shows what features of an autoencoder are about: the texts that activate them most, how often
/// and how strongly they are active, and which tokens of the sample they promote. A cheap handle.
#[derive(Debug, Clone)]
pub struct Visualizer {
    model: Decoder,
    sae: Sae,
    contexts: Contexts,
    table: FeatureTable,
    tokenizer: Tokenizer,
    /// The tokens of the sample, in ascending order, each once.
    vocabulary: Arc<[u32]>,
}

impl Visualizer {
    /// A visualizer of `sae`, from a table that [`max_activations`] made of `contexts`.
    ///
    /// # Errors
    /// A table of another autoencoder or other contexts; a model without a tokenizer.
    pub fn new(
        model: &Decoder,
        sae: &Sae,
        contexts: &Contexts,
        table: &FeatureTable,
    ) -> Result<Self> {
        let point = sae.point()?;
        if (table.point(), table.features()) != (point, sae.features()) {
            let expected = format!("of {} features at {point}", sae.features());
            let found = format!("{} at {}", table.features(), table.point());
            return Err(Error::invalid("the table of examples", expected, found));
        }
        if table.last_context() >= contexts.len() {
            let expected = format!("of contexts below {}", contexts.len());
            return Err(Error::invalid("the table of examples", expected, table.last_context()));
        }
        let tokenizer = model.tokenizer()?;
        let mut vocabulary = contexts.as_slice().to_vec();
        vocabulary.sort_unstable();
        vocabulary.dedup();
        let vocab = model.config().vocab;
        if let Some(token) = vocabulary.last().filter(|last| **last as usize >= vocab) {
            let expected = format!("below {vocab}, the model's vocabulary");
            return Err(Error::invalid("the contexts' tokens", expected, token));
        }
        Ok(Self {
            model: model.clone(),
            sae: sae.clone(),
            contexts: contexts.clone(),
            table: table.clone(),
            tokenizer,
            vocabulary: vocabulary.into(),
        })
    }

    /// A visualizer of a published autoencoder: the table is `top-activations.safetensors` in the
    /// model's `-scope` repository, and `contexts` names the data set that it was made of, such as
    /// `tdooms/fineweb-16k`.
    ///
    /// # Errors
    /// A model that was not loaded from a repository; a repository that is not there; as
    /// [`Visualizer::new`].
    pub fn from_pretrained(model: &Decoder, sae: &Sae, contexts: &str) -> Result<Self> {
        let table = FeatureTable::from_repository(&model.scope()?, sae.point()?)?;
        Self::new(model, sae, &Contexts::from_pretrained(contexts)?, &table)
    }

    /// The autoencoder.
    pub fn sae(&self) -> &Sae {
        &self.sae
    }

    /// The sample of text.
    pub fn contexts(&self) -> &Contexts {
        &self.contexts
    }

    /// How often and how strongly features are active.
    ///
    /// # Errors
    /// A table that does not say.
    pub fn statistics(&self) -> Result<&super::Statistics> {
        self.table.statistics().ok_or_else(|| Error::NotFound {
            what: "the features' statistics".to_owned(),
            hint: "The table of examples has none: make one with `max_activations`.".to_owned(),
        })
    }

    /// The features, each with up to `examples` texts.
    ///
    /// # Errors
    /// No feature, or one there is not; no examples, or more than the table holds.
    pub fn show(&self, features: &[usize], examples: usize) -> Result<Gallery> {
        if features.is_empty() {
            return Err(Error::invalid("the features", "at least one", "none"));
        }
        let most = self.table.examples();
        if examples == 0 || examples > most {
            let expected = format!("between 1 and {most}, those in the table");
            return Err(Error::invalid("the number of examples", expected, examples));
        }
        let views = features.iter().map(|feature| self.view(*feature, examples));
        Ok(Gallery::new(views.collect::<Result<_>>()?))
    }

    fn view(&self, feature: usize, examples: usize) -> Result<FeatureView> {
        let influence = self.sae.logit_influence(&self.model, feature)?.to_vec1::<f32>()?;
        // Tokens that never occur are pushed down by everything.
        let mut order: Vec<usize> = self.vocabulary.iter().map(|token| *token as usize).collect();
        order.sort_by(|a, b| influence[*b].total_cmp(&influence[*a]));
        let named = |token: &usize| -> Result<(String, f32)> {
            Ok((self.tokenizer.visible(*token as u32)?, influence[*token]))
        };
        let promoted = order.iter().take(TOKENS).map(named).collect::<Result<_>>()?;
        let suppressed = order.iter().rev().take(TOKENS).map(named).collect::<Result<_>>()?;
        let statistics = self.table.statistics();
        let contexts = self.table.contexts(feature)?;
        let mut shown = Vec::new();
        for context in &contexts[..examples] {
            let example = self.example(feature, *context)?;
            // Contexts that do not activate the feature fill up the table.
            if example.most() > 0.0 {
                shown.push(example);
            }
        }
        Ok(FeatureView {
            feature,
            point: self.sae.point()?,
            examples: shown,
            promoted,
            suppressed,
            density: statistics.map(|own| own.density[feature]),
            histogram: statistics.map(|own| own.histograms[feature].clone()),
        })
    }

    fn example(&self, feature: usize, context: usize) -> Result<Example> {
        let tokens = self.contexts.batch(context, 1, self.model.device())?;
        let point = self.sae.point()?;
        let cache = self.model.activations(&tokens, &[point])?;
        let codes = self.sae.encode(cache.get(point)?)?;
        let ids = self.contexts.get(context)?;
        let texts = ids.iter().map(|token| self.tokenizer.token(*token));
        Ok(Example {
            context,
            tokens: texts.collect::<Result<_>>()?,
            visible: self.tokenizer.visible_text(ids)?,
            activations: codes.feature(feature)?,
        })
    }
}

impl Visualizer {
    /// A visualizer of any autoencoder, from a search through `contexts` of its own; see
    /// [`max_activations`].
    ///
    /// # Errors
    /// As [`max_activations`] and [`Visualizer::new`].
    pub fn compute(
        model: &Decoder,
        sae: &Sae,
        contexts: &Contexts,
        examples: usize,
    ) -> Result<Self> {
        let options = super::MaxOptions { examples, ..super::MaxOptions::default() };
        let tables = max_activations(model, std::slice::from_ref(sae), contexts, &options)?;
        match &*tables {
            [table] => Self::new(model, sae, contexts, table),
            _ => Err(Error::invalid("the tables", "one", tables.len())),
        }
    }
}

show_as_text!(Visualizer);

impl fmt::Display for Visualizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (examples, contexts) = (self.table.examples(), &self.contexts);
        write!(f, "{}; {examples} examples a feature, out of {contexts}", self.sae)
    }
}

#[cfg(test)]
mod tests {
    use crate::harvest::tests::{contexts, model, sae};
    use candle_core::{DType, Device};

    use super::super::{MaxOptions, save_tables};
    use super::*;
    use crate::bilinear::tracer::Tracer;
    use crate::hub::Repository;
    use crate::hub::tests::Server;
    use crate::model::HookPoint;
    use crate::provenance::Source;

    fn model_that_speaks() -> Decoder {
        let tokenizer = Tokenizer::train(["of the king and the sea; of the king"], 270).unwrap();
        model().with_tokenizer(&tokenizer).unwrap()
    }

    fn small_contexts() -> Contexts {
        let tokens = contexts().as_slice().iter().map(|token| token % 260).collect();
        Contexts::new(6, tokens).unwrap()
    }

    fn visualizer() -> Visualizer {
        let sae = sae(HookPoint::MlpOut(1), 4);
        Visualizer::compute(&model_that_speaks(), &sae, &small_contexts(), 4).unwrap()
    }

    #[test]
    fn it_shows_texts_from_the_most_active_down_with_values_and_tokens() {
        let visualizer = visualizer();
        let density = &visualizer.statistics().unwrap().density;
        let mut features: Vec<usize> = (0..24).collect();
        features.sort_by(|a, b| density[*b].total_cmp(&density[*a]));
        let gallery = visualizer.show(&features[..2], 3).unwrap();
        assert_eq!(gallery.views().len(), 2);
        for view in gallery.views() {
            let most: Vec<f32> = view.examples.iter().map(Example::most).collect();
            assert!(!most.is_empty() && most.is_sorted_by(|a, b| a >= b) && most[0] > 0.0);
            assert_eq!(view.examples[0].tokens.len(), 6);
            assert_eq!((view.promoted.len(), view.suppressed.len()), (8, 8));
            assert!(view.promoted[0].1 >= view.promoted[7].1);
            assert!(view.promoted[0].1 > view.suppressed[0].1);
        }
        let text = gallery.to_string();
        assert!(text.contains("of 1.mlp_out") && text.contains("density"), "{text}");
    }

    /// Cases 06 and 19: special tokens, ids without a text, and characters made of several tokens.
    #[test]
    fn every_token_of_a_page_can_be_seen() {
        let trained = Tokenizer::train(["of the king and the sea; of the king"], 256).unwrap();
        let mut file: serde_json::Value =
            serde_json::from_str(&trained.to_json().unwrap()).unwrap();
        file["added_tokens"] = serde_json::json!([{"id": 257, "content": "<eos>", "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}]);
        let tokenizer = crate::data::text::tests::json(&file);
        let mut ids = tokenizer.encode("中a\u{a0}").unwrap();
        ids.splice(0..0, [257, 256]);
        let count = ids.len();
        let all: Vec<u32> = ids.iter().copied().cycle().take(4 * count).collect();
        let contexts = Contexts::new(count, all).unwrap();
        let model = model().with_tokenizer(&tokenizer).unwrap();
        let sae = sae(HookPoint::MlpOut(1), 4);
        let visualizer = Visualizer::compute(&model, &sae, &contexts, 4).unwrap();
        let active = visualizer.statistics().unwrap().density.iter().position(|d| *d > 0.0);
        let gallery = visualizer.show(&[active.unwrap()], 1).unwrap();
        let example = &gallery.views()[0].examples[0];
        let text: String = example.visible.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(text, "<eos>[id 256]中◂◂a⍽◂");
        assert_eq!(example.tokens[..3], ["<eos>", "[id 256]", "<0xE4>"]);
        let promoted = &gallery.views()[0].promoted;
        assert!(promoted.iter().all(|(token, _)| !token.is_empty() && token != " "));
    }

    #[test]
    fn published_repositories_work_from_the_hub() {
        let server = Server::start();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let model = model_that_speaks();
        let saes = [sae(HookPoint::MlpIn(1), 1), sae(HookPoint::MlpOut(1), 2)];
        model.save(at("model")).unwrap();
        saes[0].save_scope(at("scope/1-mlp-in-x3-k3"), DType::F32).unwrap();
        saes[1].save_scope(at("scope/1-mlp-out-x3-k3"), DType::F32).unwrap();
        small_contexts().save(at("contexts")).unwrap();
        let options = MaxOptions { examples: 4, ..MaxOptions::default() };
        let tables = max_activations(&model, &saes, &small_contexts(), &options).unwrap();
        save_tables(at("scope"), &tables).unwrap();
        server.serve("owner/model", &at("model"));
        server.serve("owner/model-scope", &at("scope"));
        server.serve("datasets/owner/text-16k", &at("contexts"));

        let on = |name| Repository::on(server.hub.clone(), name);
        let loaded = Decoder::from_repository(&on("owner/model"), &Device::Cpu).unwrap();
        assert_eq!(loaded.source(), &Source::Hub("owner/model".to_owned()));
        let tracer = Tracer::from_pretrained(&loaded, 1, "x3-k3", "x3-k3").unwrap();
        let contexts = Contexts::from_repository(&on("datasets/owner/text-16k")).unwrap();
        let scope = loaded.scope().unwrap();
        let table = FeatureTable::from_repository(&scope, HookPoint::MlpOut(1)).unwrap();
        let visualizer = Visualizer::new(&loaded, tracer.output(), &contexts, &table).unwrap();
        let expected = Visualizer::new(&model, &saes[1], &small_contexts(), &tables[1]).unwrap();
        let shown = |visualizer: &Visualizer| visualizer.show(&[2, 5], 3).unwrap().to_string();
        assert_eq!(shown(&visualizer), shown(&expected));
        let again = Decoder::from_repository(&on("owner/model"), &Device::Cpu).unwrap();
        assert_eq!(again.source(), &Source::Cache("owner/model".to_owned()));
        let missing = Tracer::from_pretrained(&loaded, 0, "x3-k3", "x3-k3").unwrap_err();
        assert!(missing.to_string().contains("0-mlp-in-x3-k3/config.json"), "{missing}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let visualizer = visualizer();
        let message = |features: &[usize], examples| {
            visualizer.show(features, examples).unwrap_err().to_string()
        };
        assert!(message(&[], 2).contains("at least one"));
        assert!(message(&[24], 2).contains("below 24"));
        assert!(message(&[1], 5).contains("between 1 and 4"));
        let model = model_that_speaks();
        let few = Contexts::new(6, vec![0; 6]).unwrap();
        let error = Visualizer::new(&model, &visualizer.sae, &few, &visualizer.table).unwrap_err();
        assert!(error.to_string().contains("contexts below 1"), "{error}");
        let other = sae(HookPoint::MlpIn(0), 4);
        let error = Visualizer::new(&model, &other, &few, &visualizer.table).unwrap_err();
        assert!(error.to_string().contains("at 0.mlp_in"), "{error}");
        let error = Visualizer::from_pretrained(&model, &other, "x/y").unwrap_err().to_string();
        assert!(error.contains("repository"), "{error}");
    }
}
