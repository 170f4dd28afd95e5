//! What a plan asks, and what that costs.

use super::*;
use crate::interp::chat::{ChatRequest, Limits};
use crate::interp::judge;
use crate::interp::prompts::{ReadPrompt, read_explanation};

fn small() -> Interp {
    Interp { only: Some(vec![1, 4]), ..options() }
}

/// Tokens of a request, counted message by message.
fn tokens(world: &PlantedWorld, request: &ChatRequest) -> u64 {
    let count = |text: &str| world.tokenizer.encode_plain(text).unwrap().len() as u64 + 4;
    request.messages.iter().map(|message| count(&message.content)).sum()
}

#[test]
fn requests_show_the_texts_that_are_planned() {
    let world = world();
    let plan = world.plan(&small());
    let own = &plan.planned()[1];
    let Some(ReadPrompt::Explain { examples }) = ReadPrompt::of(&own.explain_request().messages)
    else {
        panic!("no prompt")
    };
    for (example, shown) in examples.iter().zip(&own.explained) {
        let largest = shown.activations.iter().copied().fold(0f32, f32::max);
        let marked = shown.tokens.iter().zip(&shown.activations);
        let marked = marked.filter(|(_, value)| **value > 0.6 * largest);
        let expected: Vec<&String> = marked.map(|(token, _)| token).collect();
        assert_eq!(example.iter().map(|(token, _)| token).collect::<Vec<_>>(), expected);
    }
    for places in own.batches(Scoring::Detection) {
        let request = own.score_request(Scoring::Detection, places, "so", true);
        assert!(request.log_probabilities);
        let expected = places.iter().map(|place| own.texts[*place].excerpt.tokens.concat());
        let expected =
            ReadPrompt::Detect { explanation: "so".to_owned(), texts: expected.collect() };
        assert_eq!(ReadPrompt::of(&request.messages), Some(expected));
    }
    for places in own.batches(Scoring::Fuzzing) {
        let request = own.score_request(Scoring::Fuzzing, places, "so", false);
        assert!(!request.log_probabilities);
        let expected = places.iter().map(|place| {
            let PlannedText { excerpt, marks, .. } = &own.texts[*place];
            let marked = excerpt.tokens.iter().zip(marks).filter(|(_, mark)| **mark);
            (excerpt.tokens.concat(), marked.map(|(token, _)| token.clone()).collect())
        });
        let expected = ReadPrompt::Fuzz { explanation: "so".to_owned(), texts: expected.collect() };
        assert_eq!(ReadPrompt::of(&request.messages), Some(expected));
    }
}

#[test]
fn an_estimate_counts_what_is_left() {
    let world = world();
    let plan = world.plan(&small());
    let folder = tempfile::tempdir().unwrap();
    let server = judge::serve(&world.tokenizer).unwrap();
    let chat = server.chat().unwrap().answers(folder.path());
    let before = plan.estimate(&chat).unwrap();
    // One to explain, and two times seven to score, for each feature.
    assert_eq!((before.requests, before.cached), (30, 0));
    assert_eq!((before.cost, before.minutes), (None, None));
    let [first, second] = plan.planned() else { panic!("two features") };
    let mut left: Vec<ChatRequest> = plan.dry_run().requests().into_iter().cloned().collect();
    left.push(second.explain_request());
    for scoring in [Scoring::Detection, Scoring::Fuzzing] {
        for places in second.batches(scoring) {
            let words = super::super::planned::NOT_YET_KNOWN;
            left.push(second.score_request(scoring, places, words, false));
        }
    }
    let sum =
        |requests: &[ChatRequest]| requests.iter().map(|own| tokens(&world, own)).sum::<u64>();
    assert_eq!(before.prompt_tokens, sum(&left));
    let answers: u64 = left.iter().map(|own| u64::from(own.max_tokens)).sum();
    assert_eq!(before.answer_tokens, answers);
    assert_eq!(server.requests(), 0, "nothing is sent");

    // An explanation and two of its scores are there.
    let answer = chat.ask(&first.explain_request()).unwrap();
    let explanation = read_explanation(&answer.text).unwrap();
    for places in &first.batches(Scoring::Detection)[..2] {
        chat.ask(&first.score_request(Scoring::Detection, places, &explanation, false)).unwrap();
    }
    let limits = Limits { requests_a_minute: Some(9), ..Limits::default() };
    let priced = chat.clone().prices(3.0, 15.0).limits(limits);
    let after = plan.estimate(&priced).unwrap();
    assert_eq!((after.requests, after.cached), (30, 3));
    assert!(after.prompt_tokens < before.prompt_tokens);
    let cost = (3.0 * after.prompt_tokens as f64 + 15.0 * after.answer_tokens as f64) / 1e6;
    assert!((after.cost.unwrap() - cost).abs() < 1e-9 * cost);
    assert!((after.minutes.unwrap() - 27.0 / 9.0).abs() < 1e-12);
    let limits =
        Limits { tokens_a_minute: Some(100), requests_a_minute: Some(9), ..Limits::default() };
    let slower = plan.estimate(&chat.prices(3.0, 15.0).limits(limits)).unwrap();
    let by_tokens = (after.prompt_tokens + after.answer_tokens) as f64 / 100.0;
    assert!((slower.minutes.unwrap() - by_tokens).abs() < 1e-9 * by_tokens);
    let text = after.to_string();
    assert!(text.starts_with("30 requests, 3 of them answered already; about "), "{text}");
    assert!(text.contains("at least 3.0 minutes"), "{text}");
    assert_eq!(server.requests(), 3);
}

#[test]
fn a_dry_run_shows_every_prompt_of_the_first_feature() {
    let world = world();
    let plan = world.plan(&small());
    let dry = plan.dry_run();
    let own = &plan.planned()[0];
    let mut expected = vec![own.explain_request()];
    for scoring in [Scoring::Detection, Scoring::Fuzzing] {
        let words = super::super::planned::NOT_YET_KNOWN;
        let batches = own.batches(scoring).iter();
        expected.extend(batches.map(|places| own.score_request(scoring, places, words, false)));
    }
    assert_eq!(dry.requests(), expected.iter().collect::<Vec<_>>());
    // In text, those that are the first of their kind, whole.
    let text = dry.to_string();
    assert!(text.starts_with("15 prompts of feature 1, the first of 2\n"), "{text}");
    for at in [0, 1, 8] {
        for message in &expected[at].messages {
            assert!(text.contains(&message.content), "{}", message.content);
        }
    }
    let html = dry.html();
    let count = |part: &str| html.matches(part).count();
    assert_eq!((count("<details"), count("</details>"), count("<details open>")), (15, 15, 3));
    let whole: usize = [0, 1, 8].iter().map(|at| expected[*at].messages.len()).sum();
    assert_eq!((count("<pre"), count("</pre>")), (whole + 12, whole + 12));
    assert!(html.contains("&lt;&lt;") && !html.contains("<<"));
    assert!(html.contains("<summary>detection, 7 of 7</summary>"), "{html}");
}

#[test]
fn scores_that_are_not_asked_for_cost_nothing() {
    let world = world();
    let plan = world.plan(&Interp { scores: vec![Scoring::Fuzzing], ..small() });
    let folder = tempfile::tempdir().unwrap();
    let server = judge::serve(&world.tokenizer).unwrap();
    let chat = server.chat().unwrap().answers(folder.path());
    assert_eq!(plan.estimate(&chat).unwrap().requests, 2 * (1 + 7));
    assert_eq!(plan.dry_run().requests().len(), 1 + 7);
    assert!(!plan.to_string().contains("detection"), "{plan}");
}
