//! Galleries of small autoencoders.

use crate::harvest::tests::{contexts, model, sae};
use candle_core::{DType, Device};

use super::super::{FeatureExplanation, MaxOptions, save_tables};
use super::*;
use crate::bilinear::tracer::Tracer;
use crate::hub::Repository;
use crate::hub::tests::Server;
use crate::provenance::Source;
use crate::sae::Codes;

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

/// An autoencoder's features, twice as strong.
#[derive(Debug)]
struct Doubled(Sae);

impl fmt::Display for Doubled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "twice the codes of {}", self.0)
    }
}

impl FeatureReader for Doubled {
    fn features(&self) -> usize {
        self.0.features()
    }

    fn point(&self) -> Result<HookPoint> {
        self.0.point()
    }

    fn read(&self, model: &Decoder, tokens: &candle_core::Tensor) -> Result<Codes> {
        let codes = FeatureReader::read(&self.0, model, tokens)?;
        Ok(codes.map(|_, value| Some(2.0 * value)))
    }
}

#[test]
fn whatever_reads_features_is_shown_with_its_own_activations() {
    let (model, sae) = (model_that_speaks(), sae(HookPoint::MlpOut(1), 4));
    let reader = Arc::new(Doubled(sae.clone()));
    let read = |features: &Sae, examples| {
        Visualizer::read(&model, reader.clone(), features, &small_contexts(), examples)
    };
    let (found, plain) = (read(&sae, 4).unwrap(), visualizer());
    assert_eq!(
        found.statistics().unwrap().density,
        plain.statistics().unwrap().density,
        "twice as strong is as often"
    );
    let features: Vec<usize> = (0..24).collect();
    let (found, plain) = (found.show(&features, 4).unwrap(), plain.show(&features, 4).unwrap());
    for (found, plain) in found.views().iter().zip(plain.views()) {
        assert_eq!(found.examples.len(), plain.examples.len());
        for (found, plain) in found.examples.iter().zip(&plain.examples) {
            assert_eq!(found.context, plain.context);
            let doubled: Vec<f32> = plain.activations.iter().map(|own| 2.0 * own).collect();
            assert_eq!(found.activations, doubled);
        }
        assert_eq!(found.promoted, plain.promoted, "the decoder is the same");
    }
    assert!(read(&sae, 4).unwrap().to_string().starts_with("twice the codes of"));
    assert!(read(&sae, 0).unwrap_err().to_string().contains("the number of examples"));
    assert!(read(&sae, 51).unwrap_err().to_string().contains("at most 50"));
}

#[test]
fn explanations_are_shown_with_their_features() {
    let mut explanations = Explanations::new();
    let (text, by) = ("kings <and> seas".to_owned(), "a person".to_owned());
    explanations.insert(3, FeatureExplanation { text: text.clone(), by, score: Some(0.9) });
    let visualizer = visualizer().with_explanations(&explanations);
    let gallery = visualizer.show(&[3, 4], 1).unwrap();
    assert_eq!(gallery.views()[0].explanation, Some(text));
    assert_eq!(gallery.views()[1].explanation, None);
    assert!(gallery.to_string().contains("\"kings <and> seas\""));
    assert!(visualizer.to_string().ends_with("; explanations: 1"));
    assert_eq!(visualizer.explanations(), &explanations);
}

/// Cases 06 and 19: special tokens, ids without a text, and characters made of several tokens.
#[test]
fn every_token_of_a_page_can_be_seen() {
    let trained = Tokenizer::train(["of the king and the sea; of the king"], 256).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&trained.to_json().unwrap()).unwrap();
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
    let message =
        |features: &[usize], examples| visualizer.show(features, examples).unwrap_err().to_string();
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
