//! Runs of plans whose features are known sets of tokens, by the token judge and by servers that fail.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use candle_core::Tensor;
use serde_json::Value;

use super::*;
use crate::data::text::{Contexts, Tokenizer};
use crate::features::FeatureReader;
use crate::harvest::tests::model;
use crate::interp::chat::{Limits, Retries};
use crate::interp::judge::{ChatServer, Fault, completion, serve};
use crate::interp::sample::Interp;
use crate::model::{Decoder, HookPoint};
use crate::progress::in_background;
use crate::random::Rng;
use crate::sae::Codes;
use crate::sae_error::DetectionCounts;

const BOTH: [Scoring; 2] = [Scoring::Detection, Scoring::Fuzzing];
/// Tokens of a context, of which the first is no word.
const LENGTH: usize = 12;
const WORDS: u32 = 60;
/// Requests of [`plan`]: for each of two features an explanation and ten lists by either scoring.
const REQUESTS: usize = 2 * (1 + 2 * 10);

/// Features that are active at some tokens, with the activation that each token has.
#[derive(Debug)]
struct PlantedTokens(Vec<HashMap<u32, f32>>);

impl fmt::Display for PlantedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sets of tokens", self.0.len())
    }
}

impl FeatureReader for PlantedTokens {
    fn features(&self) -> usize {
        self.0.len()
    }

    fn point(&self) -> Result<HookPoint> {
        Ok(HookPoint::ResidPost(0))
    }

    fn read(&self, _: &Decoder, tokens: &Tensor) -> Result<Codes> {
        let ids: Vec<u32> = tokens.flatten_all()?.to_vec1()?;
        let rows = ids.iter().map(|id| {
            let sets = (0..).zip(&self.0);
            sets.filter_map(|(feature, set)| Some((feature, *set.get(id)?))).collect()
        });
        Codes::new(self.0.len(), rows)
    }
}

fn tokenizer() -> Tokenizer {
    let words: Vec<String> = (1..=WORDS).map(|word| format!("w{word}")).collect();
    Tokenizer::of_words("<s>", words.iter().map(String::as_str)).unwrap()
}

fn speaker() -> Decoder {
    model().with_tokenizer(&tokenizer()).unwrap()
}

/// Contexts of words from 20 on, in which `plant` puts others.
fn planted(count: usize, mut plant: impl FnMut(usize, &mut [u32], &mut Rng)) -> Contexts {
    let mut rng = Rng::seed(5);
    let mut tokens = Vec::new();
    for context in 0..count {
        let mut own: Vec<u32> = (0..LENGTH).map(|_| 20 + rng.below(41) as u32).collect();
        own[0] = 0;
        plant(context, &mut own, &mut rng);
        tokens.extend(own);
    }
    Contexts::new(LENGTH, tokens).unwrap()
}

fn options() -> Interp {
    Interp {
        explained: 10,
        deciles: 4,
        per_decile: 5,
        negatives: 20,
        per_request: 4,
        min_contexts: 100,
        excerpt: 8,
        seed: 3,
        ..Interp::default()
    }
}

/// Feature 0 is active at w10 in 60 contexts and, a tenth as much, at w11 in 50; feature 1 is active at
/// w9 in 110; 80 contexts have neither.
fn plan_with(options: &Interp) -> Plan {
    let reader =
        PlantedTokens(vec![HashMap::from([(10, 10.0), (11, 1.0)]), HashMap::from([(9, 5.0)])]);
    let contexts = planted(300, |context, own, rng| {
        let word = match context {
            0..60 => 10,
            60..110 => 11,
            110..220 => 9,
            _ => return,
        };
        own[1 + rng.below(LENGTH - 1)] = word;
    });
    let options = Interp { only: Some(vec![0, 1]), ..options.clone() };
    options.plan(&speaker(), &reader, &contexts).unwrap()
}

fn plan() -> Plan {
    plan_with(&options())
}

/// A client that waits for nothing.
fn chat(server: &ChatServer, answers: &Path) -> ChatModel {
    let retries =
        Retries { attempts: 2, first: Duration::from_millis(1), longest: Duration::from_millis(2) };
    let chat = ChatModel::new(&server.base_url(), "test").unwrap();
    chat.answers(answers).retries(retries)
}

/// Whether a request asks for an explanation.
fn asks_to_explain(body: &Value) -> bool {
    body["messages"][0]["content"].as_str().unwrap().contains("[EXPLANATION]:")
}

/// An explanation, or four times no.
fn denial(body: &Value) -> Value {
    completion(if asks_to_explain(body) { "[EXPLANATION]: numbers" } else { "[0, 0, 0, 0]" })
}

#[test]
fn planted_features_have_the_scores_that_follow_from_their_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let judge = serve(&tokenizer()).unwrap();
    let chat = judge.chat().unwrap().answers(folder.path());
    let plan = plan_with(&Interp { log_probabilities: true, ..options() });
    assert_eq!(plan.features(), [0, 1]);
    let report = plan.run(&chat).unwrap();
    assert_eq!((report.model(), report.unparsed()), (chat.model(), (0, REQUESTS)));
    assert_eq!(judge.requests(), REQUESTS);
    // The ten strongest texts of feature 0 all have w10, so the judge does not know w11, which the two
    // weaker groups have.
    assert_eq!(report.explanation(0).unwrap(), "the tokens [\" w10\"]");
    assert_eq!(report.explanation(1).unwrap(), "the tokens [\" w9\"]");
    let expected = DetectionCounts::new(
        vec![vec![5, 5, 0, 0], vec![5; 4]],
        vec![vec![5; 4]; 2],
        vec![0; 2],
        vec![20; 2],
    );
    let expected = expected.unwrap();
    assert_eq!(report.detection().unwrap(), expected);
    assert_eq!(report.fuzzing().unwrap(), expected);
    for scoring in BOTH {
        let shares = report.accuracies(scoring).unwrap();
        let means: Vec<f64> = shares.iter().map(|own| own.mean).collect();
        assert_eq!(means, [1.0, 1.0, 1.0, 0.5, 0.5]);
        assert_eq!(report.balanced_accuracy(scoring).unwrap().mean, 0.875);
        // Of answers that are all equally sure it is the balanced accuracy.
        assert!((report.auroc(scoring).unwrap().mean - 0.875).abs() < 1e-12);
    }
    let scores = report.feature_scores();
    assert_eq!((scores[0].detection, scores[0].fuzzing), (Some(0.75), Some(0.75)));
    assert_eq!((scores[1].detection, scores[1].fuzzing), (Some(1.0), Some(1.0)));
    assert_eq!(report.explanations().get(0).unwrap().score, Some(0.75));

    let again = plan.run(&chat).unwrap();
    assert_eq!(judge.requests(), REQUESTS, "the second run sends nothing");
    assert_eq!(again.feature_scores(), scores);
    drop(judge);
    let offline = ChatModel::new("http://127.0.0.1:1/v1", chat.model()).unwrap().only_cached();
    let cached = plan.run(&offline.clone().answers(folder.path())).unwrap();
    assert_eq!(cached.feature_scores(), scores);
    let empty = tempfile::tempdir().unwrap();
    let missing = plan.run(&offline.answers(empty.path())).unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    let saved = empty.path().join("report.json");
    report.save(&saved).unwrap();
    assert_eq!(Report::load(&saved).unwrap().to_string(), report.to_string());
}

/// The types that the judge names: the five with the largest sums of the numbers that its prompt has.
fn named_types(planned: &PlannedFeature) -> Vec<String> {
    let largest = planned.explained.iter().flat_map(|own| own.activations.iter());
    let largest = largest.copied().fold(0f32, f32::max);
    let mut sums: Vec<(String, f64)> = Vec::new();
    for own in &planned.explained {
        let peak = own.activations.iter().copied().fold(0f32, f32::max);
        for (token, activation) in own.tokens.iter().zip(&own.activations) {
            if *activation <= 0.6 * peak {
                continue;
            }
            let number = f64::from((10.0 * activation / largest).round());
            match sums.iter_mut().find(|(own, _)| own == token) {
                Some((_, sum)) => *sum += number,
                None => sums.push((token.clone(), number)),
            }
        }
    }
    sums.sort_by(|a, b| b.1.total_cmp(&a.1));
    sums.into_iter().take(5).map(|(token, _)| token).collect()
}

/// What follows for the texts of a plan by one scoring, without a server or a prompt.
fn computed(plan: &Plan, scoring: Scoring, deciles: usize) -> DetectionCounts {
    let (mut positives, mut totals) = (Vec::new(), Vec::new());
    let (mut negative_positives, mut negative_totals) = (Vec::new(), Vec::new());
    for planned in plan.planned() {
        let types = named_types(planned);
        let mut counts = vec![[0u64; 2]; deciles + 1];
        for place in planned.batches(scoring).iter().flatten() {
            let text = &planned.texts[*place];
            let is_named: Vec<bool> =
                text.excerpt.tokens.iter().map(|token| types.contains(token)).collect();
            let said = match scoring {
                Scoring::Detection => is_named.contains(&true),
                Scoring::Fuzzing => {
                    let marked = is_named.iter().zip(&text.marks).filter(|(_, marked)| **marked);
                    let (named, all) = marked.fold((0, 0), |(named, all), (own, _)| {
                        (named + usize::from(*own), all + 1)
                    });
                    2 * named >= all
                }
            };
            let own = &mut counts[group_of(text)];
            *own = [own[0] + u64::from(said), own[1] + 1];
        }
        negative_positives.push(counts[0][0]);
        negative_totals.push(counts[0][1]);
        positives.push(counts[1..].iter().map(|own| own[0]).collect());
        totals.push(counts[1..].iter().map(|own| own[1]).collect());
    }
    DetectionCounts::new(positives, totals, negative_positives, negative_totals).unwrap()
}

#[test]
fn features_of_many_tokens_have_the_scores_that_are_computed() {
    let mut rng = Rng::seed(11);
    // Six tokens each of the words 1 to 18, which are nowhere but where they are put.
    let sets = (0..3).map(|feature| {
        let tokens = 1 + 6 * feature..7 + 6 * feature;
        tokens.map(|token| (token, 1.0 + rng.below(10) as f32)).collect()
    });
    let reader = PlantedTokens(sets.collect());
    let contexts = planted(400, |_, own, rng| {
        for _ in 0..3 {
            own[1 + rng.below(LENGTH - 1)] = 1 + rng.below(18) as u32;
        }
    });
    let options = Interp { features: 3, ..options() };
    let plan = options.plan(&speaker(), &reader, &contexts).unwrap();
    assert_eq!(plan.features().len(), 3);
    let folder = tempfile::tempdir().unwrap();
    let judge = serve(&tokenizer()).unwrap();
    let report = plan.run(&judge.chat().unwrap().answers(folder.path())).unwrap();
    let detection = report.detection().unwrap();
    assert_eq!(detection, computed(&plan, Scoring::Detection, 4));
    assert_eq!(report.fuzzing().unwrap(), computed(&plan, Scoring::Fuzzing, 4));
    let wrong = detection.pooled().iter().map(|[right, all]| all - right).sum::<u64>();
    assert!(wrong > 0, "the judge knows strong tokens alone: {detection}");
}

#[test]
fn lists_that_cannot_be_read_are_counted_and_never_scored() {
    let folder = tempfile::tempdir().unwrap();
    let server = ChatServer::start(|body| match asks_to_explain(body) {
        true => completion("[EXPLANATION]: numbers"),
        false => completion("[1, 0, 1, 0, 1, 0, 1]"),
    });
    let server = server.unwrap();
    let report = plan().run(&chat(&server, folder.path())).unwrap();
    assert_eq!(report.unparsed(), (REQUESTS - 2, REQUESTS));
    // Each list is asked for once more.
    assert_eq!(server.seen().len(), 2 + 2 * (REQUESTS - 2));
    for scoring in BOTH {
        assert!(report.accuracies(scoring).is_err() && report.balanced_accuracy(scoring).is_err());
        assert!(report.auroc(scoring).is_none());
    }
    let scores = report.feature_scores();
    assert!(scores.iter().all(|own| own.detection.is_none() && own.fuzzing.is_none()));
    assert_eq!(scores[0].unparsed, 20);
    assert_eq!(report.explanations().get(1).unwrap().text, "numbers");
    assert_eq!(report.explanations().get(1).unwrap().score, None);
    let text = report.to_string();
    assert!(text.contains("40 of 42 answers could not be read"), "{text}");
    assert!(report.plot().is_err());
}

#[test]
fn a_feature_without_an_explanation_is_not_scored() {
    let folder = tempfile::tempdir().unwrap();
    let server = ChatServer::start(|_| completion("I would rather not.")).unwrap();
    let report = plan().run(&chat(&server, folder.path())).unwrap();
    assert_eq!(report.unparsed(), (2, 2));
    assert_eq!(server.seen().len(), 4, "each is asked for once more, and nothing else");
    assert!(report.explanations().is_empty());
    assert_eq!(report.feature_scores()[0].explanation, None);
    let told = report.detection().unwrap_err().to_string();
    assert!(told.contains("2 of 2 features have no explanation"), "{told}");
}

#[test]
fn an_answer_that_is_read_when_asked_for_once_more_counts() {
    let folder = tempfile::tempdir().unwrap();
    let server = ChatServer::start(|body| {
        let messages = body["messages"].as_array().unwrap();
        let is_repair = messages[messages.len() - 2]["content"] == "Well …";
        if is_repair { denial(body) } else { completion("Well …") }
    });
    let server = server.unwrap();
    let report = plan().run(&chat(&server, folder.path())).unwrap();
    assert_eq!(report.unparsed(), (0, REQUESTS));
    assert_eq!(server.seen().len(), 2 * REQUESTS);
    assert_eq!(report.explanation(0).unwrap(), "numbers");
    // Who always says no is right about all texts without, and about none with.
    for own in report.feature_scores() {
        assert_eq!((own.detection, own.fuzzing, own.unparsed), (Some(0.5), Some(0.5), 0));
    }
    assert!(report.auroc(Scoring::Detection).is_none(), "no log-probabilities were asked for");
}

#[test]
fn an_outage_is_an_error_and_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let server = ChatServer::start(denial).unwrap();
    let failure = Fault::Status(500, Vec::new(), "out of order".to_owned());
    server.script(vec![failure; 1_000]);
    let error = plan().run(&chat(&server, folder.path())).unwrap_err().to_string();
    assert!(error.contains("500") && error.contains("out of order"), "{error}");
    // Two attempts of at most as many requests as there are at once, of two features.
    assert!(server.seen().len() <= 4);
}

#[test]
fn a_run_that_was_stopped_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (raised, count) = (Arc::clone(&stop), AtomicUsize::new(0));
    let server = ChatServer::start(move |body| {
        if count.fetch_add(1, Ordering::Relaxed) == 9 {
            raised.store(true, Ordering::Relaxed);
            // Longer than it takes to see that.
            std::thread::sleep(Duration::from_secs(1));
        }
        denial(body)
    });
    let server = server.unwrap();
    let limits = Limits { at_once: 1, ..Limits::default() };
    let chat = chat(&server, folder.path()).limits(limits);
    let plan = plan();
    let error = in_background(&stop, || plan.run(&chat)).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("answers are kept") && text.contains("the same call goes on"), "{text}");
    assert_eq!(server.seen().len(), 10);
    let report = plan.run(&chat).unwrap();
    assert_eq!(report.unparsed(), (0, REQUESTS));
    // The answer that Stop cut off may have been asked for again.
    assert!((REQUESTS..=REQUESTS + 1).contains(&server.seen().len()), "{}", server.seen().len());
}
