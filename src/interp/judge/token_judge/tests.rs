use super::*;
use crate::interp::chat::ChatRequest;
use crate::interp::prompts::{self, ShownExcerpt};

/// Tokens with quotes, brackets, marks and line breaks.
const ODD_TOKENS: [&str; 8] = [" \"", "\n", "<<", ">>", "]", "\\n", "\u{2028}é", "\",\""];

fn of_words(words: &[&str]) -> TokenJudge {
    TokenJudge::new(&Tokenizer::of_words("<s>", words.iter().copied()).unwrap()).unwrap()
}

/// A judge whose tokens are bytes and the frequent parts of a text.
fn of_text(text: &str) -> TokenJudge {
    TokenJudge::new(&Tokenizer::train([text], 300).unwrap()).unwrap()
}

fn marked(tokens: &[(&str, f32)]) -> Vec<(String, f32)> {
    tokens.iter().map(|(token, activation)| ((*token).to_owned(), *activation)).collect()
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn excerpt(tokens: &[(&str, f32)]) -> ShownExcerpt {
    let (tokens, activations) = marked(tokens).into_iter().unzip();
    ShownExcerpt { tokens, activations }
}

fn body(request: &ChatRequest) -> Value {
    json!({
        "messages": request.messages,
        "logprobs": request.log_probabilities,
    })
}

fn labels(judge: &TokenJudge, explanation: &str, texts: &[&str]) -> String {
    let (explanation, texts) = (explanation.to_owned(), owned(texts));
    judge.answer_to(&ReadPrompt::Detect { explanation, texts }).unwrap().text()
}

/// Status and message of a refusal.
fn refusal(result: Result<impl std::fmt::Debug, ServerReply>) -> (u16, String) {
    let reply = result.unwrap_err();
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    (reply.status, body["error"]["message"].as_str().unwrap().to_owned())
}

#[test]
fn an_explanation_names_the_five_types_with_the_largest_sums() {
    let judge = of_words(&["the"]);
    let examples = vec![
        marked(&[(" the", 10.0), (" cat", 4.0)]),
        marked(&[(" the", 8.0), ("\n", 9.0), (" sat", 1.0)]),
        marked(&[("\"", 3.0), ("<<", 2.0), (" cat", 4.0)]),
    ];
    // the 18, line break 9, cat 8, quote 3, marks 2, sat 1.
    let answer = judge.answer_to(&ReadPrompt::Explain { examples }).unwrap().text();
    let expected = r#"[EXPLANATION]: the tokens [" the", "\n", " cat", "\"", "<<"]"#;
    assert_eq!(answer, expected);
}

#[test]
fn equal_sums_keep_the_order_in_which_they_were_seen() {
    let examples = [
        marked(&[("b", 1.0), ("a", 2.0)]),
        marked(&[("c", f32::INFINITY), ("b", 1.0), ("d", f32::NAN), ("e", 2.0)]),
    ];
    assert_eq!(strongest_types(&examples), ["b", "a", "e"]);
    assert!(strongest_types(&[]).is_empty());
}

#[test]
fn types_come_back_out_of_an_explanation() {
    let expected: HashSet<String> = ODD_TOKENS.iter().map(|token| (*token).to_owned()).collect();
    let explanation = explanation_by(&ODD_TOKENS);
    assert!(!explanation.contains('\n'), "an answer is read line by line");
    assert_eq!(types_of(&explanation).unwrap(), expected);
    assert_eq!(types_of(&format!("  {explanation}\n")).unwrap(), expected);
    for foreign in [
        "words about cats",
        "the tokens",
        "the tokens \" a\", \" b\"",
        "the tokens [1, 2]",
        "the tokens [\" a\"] and others",
        "",
    ] {
        let (status, message) = refusal(types_of(foreign));
        assert_eq!(status, 422);
        assert!(message.contains(&quoted(foreign)), "{message}");
    }
}

#[test]
fn odd_tokens_come_back_out_of_whole_prompts() {
    let judge = of_words(&["the"]);
    let shown: Vec<(&str, f32)> = ODD_TOKENS[..5].iter().map(|token| (*token, 10.0)).collect();
    let answer = judge.answer(&body(&prompts::explain(&[excerpt(&shown)]))).unwrap();
    let answer = answer["choices"][0]["message"]["content"].as_str().unwrap();
    let explanation = prompts::read_explanation(answer).unwrap();
    let expected: HashSet<String> = owned(&ODD_TOKENS[..5]).into_iter().collect();
    assert_eq!(types_of(&explanation).unwrap(), expected);
    // In one text tokens of these types are marked, in the other two of no type.
    let (own, other) = (excerpt(&shown), excerpt(&[(" a", 0.0), (" b", 0.0), (" <<", 0.0)]));
    let marks = [[true, true, true, true, false], [true, true, false, false, false]];
    let texts = [(&own, &marks[0][..]), (&other, &marks[1][..3])];
    let answer = judge.answer(&body(&prompts::fuzz(&explanation, &texts))).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "[1, 0]");
}

#[test]
fn a_text_has_a_feature_if_one_of_its_tokens_is_of_a_type() {
    let judge = of_words(&["the", "then", "cat", "sat"]);
    let texts = [" the cat", " then cat", " cat sat the", " cat", "the cat", "then"];
    assert_eq!(labels(&judge, "the tokens [\" the\"]", &texts), "[1, 0, 1, 0, 1, 0]");
    assert_eq!(labels(&judge, "the tokens [\" sat\", \" then\"]", &texts), "[0, 1, 1, 0, 0, 1]");
    assert_eq!(labels(&judge, "the tokens []", &texts[..2]), "[0, 0]");
    assert_eq!(labels(&judge, "the tokens [\" the\"]", &[]), "[]");
}

#[test]
fn types_are_found_as_tokens_of_byte_pair_encoding_too() {
    let text = "in the end then the den then the end then x<<y x<<y\n".repeat(3);
    let judge = of_text(&text);
    for one in [" the", " then", "<<", "\n", "\""] {
        assert_eq!(judge.tokenizer.encode_plain(one).unwrap().len(), 1, "{one:?} is one token");
    }
    let texts = ["in the end", "in then", "the end", "x<<y", "a\nb", "x \"y\"", "x < y"];
    for (kind, expected) in [
        (" the", "[1, 0, 0, 0, 0, 0, 0]"),
        (" then", "[0, 1, 0, 0, 0, 0, 0]"),
        ("<<", "[0, 0, 0, 1, 0, 0, 0]"),
        ("\n", "[0, 0, 0, 0, 1, 0, 0]"),
        ("\"", "[0, 0, 0, 0, 0, 1, 0]"),
    ] {
        assert_eq!(labels(&judge, &explanation_by(&[kind]), &texts), expected, "{kind:?}");
    }
}

#[test]
fn tokens_that_make_a_character_together_are_one() {
    // A token a byte.
    let judge = TokenJudge::new(&Tokenizer::train(["a"], 256).unwrap()).unwrap();
    let texts = ["a中b", "中", "a文b", "ab"];
    assert_eq!(labels(&judge, &explanation_by(&["中"]), &texts), "[1, 1, 0, 0]");
    assert_eq!(labels(&judge, &explanation_by(&["b"]), &texts), "[1, 0, 1, 1]");
}

#[test]
fn marks_are_right_if_at_least_half_of_them_are_of_the_types() {
    let judge = of_words(&["the"]);
    let text = |tokens: &[&str]| (tokens.concat(), owned(tokens));
    let texts = vec![
        text(&[" the"]),
        text(&[" the", " cat"]),
        text(&[" the", " cat", " on"]),
        text(&[" a", " the", " cat", " on"]),
        text(&[" then", " on"]),
        text(&[]),
    ];
    let explanation = "the tokens [\" the\", \" a\"]".to_owned();
    let answer = judge.answer_to(&ReadPrompt::Fuzz { explanation, texts }).unwrap();
    assert_eq!(answer.text(), "[1, 1, 0, 1, 0, 0]");
}

#[test]
fn log_probabilities_are_nine_to_one_and_their_tokens_make_the_answer() {
    let judge = of_words(&["the", "cat"]);
    let (own, other) = (excerpt(&[(" the", 0.0)]), excerpt(&[(" cat", 0.0)]));
    let mut request = prompts::detect("the tokens [\" the\"]", &[&own, &other]);
    let plain = judge.answer(&body(&request)).unwrap();
    assert_eq!(plain["choices"][0]["logprobs"], Value::Null);
    request.log_probabilities = true;
    let answer = judge.answer(&body(&request)).unwrap();
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "[1, 0]");
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    let texts: Vec<&str> = tokens.iter().map(|own| own["token"].as_str().unwrap()).collect();
    assert_eq!(texts, ["[", "1", ", ", "0", "]"]);
    for own in tokens {
        let alternatives = own["top_logprobs"].as_array().unwrap();
        let odds = |own: &Value| own["logprob"].as_f64().unwrap().exp();
        let sum: f64 = alternatives.iter().map(odds).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        assert_eq!((&own["token"], &own["logprob"], &own["bytes"]), {
            let first = &alternatives[0];
            (&first["token"], &first["logprob"], &first["bytes"])
        });
        if alternatives.len() == 2 {
            assert!((odds(own) - 0.9).abs() < 1e-12);
            assert_ne!(alternatives[1]["token"], own["token"]);
        }
    }
    let lengths = tokens.iter().map(|own| own["top_logprobs"].as_array().unwrap().len());
    assert_eq!(lengths.collect::<Vec<_>>(), [1, 2, 1, 2, 1]);
}

#[test]
fn usage_is_counted_by_the_tokenizer() {
    let request = prompts::explain(&[excerpt(&[(" the", 2.0), (" café", 1.0)])]);
    let count = |judge: &TokenJudge| {
        let answer = judge.answer(&body(&request)).unwrap();
        let usage = ["prompt_tokens", "completion_tokens", "total_tokens"]
            .map(|name| answer["usage"][name].as_u64().unwrap());
        (usage, answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned())
    };
    // A token a byte.
    let (usage, text) = count(&TokenJudge::new(&Tokenizer::train(["a"], 256).unwrap()).unwrap());
    let bytes = |texts: &[&str]| texts.iter().map(|text| text.len() as u64).sum::<u64>();
    let contents: Vec<&str> = request.messages.iter().map(|own| own.content.as_str()).collect();
    let [asked, answered] = [bytes(&contents), bytes(&[text.as_str()])];
    assert_eq!(usage, [asked, answered, asked + answered]);
    // Words that the tokenizer does not have.
    let (usage, text) = count(&of_words(&["the"]));
    assert_eq!((usage[1], text.as_str()), (5, "[EXPLANATION]: the tokens [\" the\"]"));
}

#[test]
fn what_is_no_prompt_of_ours_is_refused_with_what_is_understood() {
    let judge = of_words(&["the"]);
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    for body in [
        json!({"messages": []}),
        user("What is the capital of France?".into()),
        user("".into()),
        user("1".into()),
        user("Explanation: ".into()),
        user("\u{0}\n\n<<>>".into()),
        user(Value::Null),
        user(json!([{"type": "text", "text": "hello"}])),
        json!({"messages": [{"role": "tool", "content": "a"}]}),
        json!({"messages": [7]}),
    ] {
        let (status, message) = refusal(judge.answer(&body));
        assert_eq!(status, 422, "{body}: {message}");
        assert!(message.contains("answers prompts of eigenlens's `Interp` alone"), "{message}");
    }
    let (status, message) = refusal(judge.answer(&user("x".repeat(1000).into())));
    assert!(status == 422 && message.ends_with("…\"") && message.len() < 400, "{message}");
    for body in [json!({}), json!({"messages": "hello"}), json!({"messages": null})] {
        assert_eq!(refusal(judge.answer(&body)).0, 400, "{body}");
    }
    let named = json!({"model": "gpt-2", "messages": []});
    let (status, message) = refusal(judge.answer(&named));
    let expected = format!("the model must be {:?}, found \"gpt-2\"", judge.name());
    assert_eq!((status, message), (404, expected));
    // Answers of other tokens are kept under another name.
    assert_ne!(judge.name(), of_words(&["another"]).name());
    let streamed = json!({"model": judge.name(), "messages": [], "stream": true});
    assert!(refusal(judge.answer(&streamed)).1.contains("`stream`"));
}

#[test]
fn what_cannot_be_judged_is_no_answer() {
    let judge = of_words(&["the"]);
    let explanation = "the tokens [\" the\"]".to_owned();
    let texts = owned(&[" the", " unheard"]);
    let detect = ReadPrompt::Detect { explanation, texts };
    let (status, message) = refusal(judge.answer_to(&detect));
    assert!(status == 422 && message.starts_with("a text could not be tokenized"), "{message}");
    let explain = ReadPrompt::Explain { examples: vec![Vec::new()] };
    let (status, message) = refusal(judge.answer_to(&explain));
    assert!(status == 422 && message.contains("without a marked token"), "{message}");
    let stopped = refused_text(Error::Interrupted { what: "encoding".to_owned() });
    assert_eq!(stopped.status, 503);
}
