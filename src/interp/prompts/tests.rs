use super::shown::read_quoted;
use super::*;
use crate::interp::chat::{AnswerToken, ChatAnswer, ChatMessage, ChatRequest, ChatRole};
use crate::random::Rng;

/// Texts that could be taken for something else than texts.
const NASTY: [&str; 22] = [
    " a",
    "<",
    ">",
    "<<",
    ">>",
    "<<<",
    " >><< ",
    "\"",
    "\\",
    "\\u003c",
    "\n",
    "\r\n",
    "\t",
    "\u{0}",
    "\u{85}",
    "\u{2028}",
    "😀",
    "\u{fffd}",
    "2. \"b\"",
    "\nactivations: [[\"c\",3]]",
    "]",
    "é",
];

fn excerpt(tokens: &[&str], activations: &[f32]) -> ShownExcerpt {
    let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
    ShownExcerpt { tokens, activations: activations.to_vec() }
}

/// Some of the nasty texts, about half of them active.
fn nasty(rng: &mut Rng) -> ShownExcerpt {
    let tokens: Vec<&str> = (0..12).map(|_| NASTY[rng.below(NASTY.len())]).collect();
    let activations: Vec<f32> = (0..12).map(|_| (8.0 * rng.unit() - 4.0).max(0.0).ceil()).collect();
    excerpt(&tokens, &activations)
}

fn answer(text: &str) -> ChatAnswer {
    let (text, log_probabilities) = (text.to_owned(), None);
    ChatAnswer { text, prompt_tokens: 0, answer_tokens: 0, is_cut_off: false, log_probabilities }
}

fn task(request: &ChatRequest) -> &str {
    &request.messages[request.messages.len() - 1].content
}

#[test]
fn marks_are_told_from_a_texts_own_signs() {
    let mut rng = Rng::seed(1);
    let mut marked_some = 0;
    for _ in 0..2_000 {
        let own = nasty(&mut rng);
        let marks: Vec<bool> = own.tokens.iter().map(|_| rng.below(2) == 1).collect();
        let literal = own.marked(&marks);
        assert!(!literal.contains(['\n', '\r', '\u{2028}']), "{literal:?}");
        let chosen = own.tokens.iter().zip(&marks).filter(|(_, mark)| **mark);
        let chosen: Vec<String> = chosen.map(|(token, _)| token.clone()).collect();
        marked_some += chosen.len();
        assert_eq!(read_quoted(&literal), Some((own.tokens.concat(), chosen)), "{literal}");
        // Without marks it is JSON.
        let plain: String = serde_json::from_str(&own.plain()).unwrap();
        assert_eq!(plain, own.tokens.concat());
        assert!(!own.plain().contains("<<") && !own.plain().contains(">>"));
    }
    assert!(marked_some > 5_000);
    // Signs that could not be a mark stay as they are.
    assert_eq!(excerpt(&["<b>", "x", "</b>"], &[0.0; 3]).plain(), "\"<b>x</b>\"");
    assert_eq!(read_quoted("no string"), None);
    assert_eq!(read_quoted("\"<<open\""), None);
}

#[test]
fn an_explaining_prompt_is_as_described() {
    let first = excerpt(&["The", " king", " sat", " there"], &[0.0, 8.0, 4.8, 5.0]);
    let second = excerpt(&["a\n", "b"], &[2.0, 1.3]);
    let request = explain(&[first, second]);
    // 0.6 of the largest is the mark's threshold, 4.8 and 1.2; ten is the largest of all, 8.
    let expected = "1. \"The<< king>> sat<< there>>\"\nactivations: [[\" king\",10],[\" there\",6]]\n\
                    2. \"<<a\\n>><<b>>\"\nactivations: [[\"a\\n\",3],[\"b\",2]]\n\n\
                    What switches the feature on?";
    assert_eq!(task(&request), expected);
    assert_eq!((request.version, request.log_probabilities), (PROMPTS_VERSION, false));
    let own = |token: &str, number: f32| (token.to_owned(), number);
    let examples =
        vec![vec![own(" king", 10.0), own(" there", 6.0)], vec![own("a\n", 3.0), own("b", 2.0)]];
    assert_eq!(ReadPrompt::of(&request.messages), Some(ReadPrompt::Explain { examples }));
}

#[test]
fn every_prompt_comes_back_whatever_its_texts() {
    let mut rng = Rng::seed(2);
    let explanation = "the tokens [\"\\n\", \" <<\", \"1. \\\"\"]";
    for _ in 0..200 {
        let texts: Vec<ShownExcerpt> = (0..4).map(|_| nasty(&mut rng)).collect();
        let all: Vec<&ShownExcerpt> = texts.iter().collect();
        let plain: Vec<String> = texts.iter().map(|text| text.tokens.concat()).collect();
        let request = detect(explanation, &all);
        let expected =
            ReadPrompt::Detect { explanation: explanation.to_owned(), texts: plain.clone() };
        assert_eq!(ReadPrompt::of(&request.messages), Some(expected.clone()));
        // The task is still the task when it is asked for once more.
        let again = repaired(&request, "1. \"no list\"", 4);
        assert_eq!(ReadPrompt::of(&again.messages), Some(expected));
        assert!(task(&again).contains("4 numbers"), "{}", task(&again));

        let marks: Vec<Vec<bool>> = texts
            .iter()
            .map(|text| text.activations.iter().map(|own| *own > 0.0).collect())
            .collect();
        let marked: Vec<(&ShownExcerpt, &[bool])> =
            texts.iter().zip(&marks).map(|(text, marks)| (text, marks.as_slice())).collect();
        let tokens = marked.iter().map(|(text, marks)| {
            let own = text.tokens.iter().zip(*marks).filter(|(_, mark)| **mark);
            own.map(|(token, _)| token.clone()).collect::<Vec<_>>()
        });
        let texts = plain.iter().cloned().zip(tokens).collect();
        let expected = ReadPrompt::Fuzz { explanation: explanation.to_owned(), texts };
        assert_eq!(ReadPrompt::of(&fuzz(explanation, &marked).messages), Some(expected));

        let largest = all.iter().map(|text| text.largest()).fold(0.0, f32::max);
        let examples = all.iter().map(|text| {
            let own = text.tokens.iter().zip(&text.activations);
            let own = own.filter(|(_, value)| **value > 0.6 * text.largest());
            own.map(|(token, value)| (token.clone(), (10.0 * value / largest).round())).collect()
        });
        let expected = ReadPrompt::Explain { examples: examples.collect() };
        let shown: Vec<ShownExcerpt> = all.iter().map(|text| (*text).clone()).collect();
        assert_eq!(ReadPrompt::of(&explain(&shown).messages), Some(expected));
    }
}

#[test]
fn an_explanation_of_two_lines_stays_one_line() {
    let text = excerpt(&["x"], &[0.0]);
    let request = detect(" a\r\nb ", &[&text]);
    let read = ReadPrompt::of(&request.messages);
    let texts = vec!["x".to_owned()];
    assert_eq!(read, Some(ReadPrompt::Detect { explanation: "a  b".to_owned(), texts }));
}

#[test]
fn the_examples_in_a_prompt_are_answered_as_is_asked() {
    let text = excerpt(&["x", "y"], &[1.0, 0.0]);
    let requests = [
        explain(std::slice::from_ref(&text)),
        detect("x", &[&text]),
        fuzz("x", &[(&text, &[true, false])]),
    ];
    for (kind, request) in requests.iter().enumerate() {
        let messages = &request.messages;
        assert_eq!(messages[0].role, ChatRole::System);
        assert!(messages.len() >= 6 && messages.len().is_multiple_of(2), "{}", messages.len());
        for pair in messages[1..messages.len() - 1].chunks(2) {
            assert_eq!([pair[0].role, pair[1].role], [ChatRole::User, ChatRole::Assistant]);
            let read = ReadPrompt::of(&[messages[0].clone(), pair[0].clone()]).unwrap();
            let own = answer(&pair[1].content);
            match (kind, read) {
                (0, ReadPrompt::Explain { examples }) => {
                    assert!(examples.len() == 3 && examples.iter().all(|own| !own.is_empty()));
                    assert!(read_explanation(&own.text).unwrap().len() > 10);
                }
                (1, ReadPrompt::Detect { texts, .. }) => {
                    let labels = read_labels(&own, texts.len()).unwrap();
                    assert!(labels.contains(&true) && labels.contains(&false));
                }
                (2, ReadPrompt::Fuzz { texts, .. }) => {
                    assert!(texts.iter().all(|(_, marked)| !marked.is_empty()));
                    assert!(read_labels(&own, texts.len()).is_some());
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(messages[messages.len() - 1].role, ChatRole::User);
    }
    assert_eq!(ReadPrompt::of(&requests[0].messages[1..]), None);
    let other = [ChatMessage::system("Be brief."), requests[0].messages[1].clone()];
    assert_eq!(ReadPrompt::of(&other), None);
}

#[test]
fn a_repair_says_what_was_answered_and_what_is_asked() {
    let request = explain(&[excerpt(&["x"], &[1.0])]);
    let again = repaired(&request, "It is about x.", 0);
    let more = &again.messages[request.messages.len()..];
    assert_eq!(more[0], ChatMessage::assistant("It is about x."));
    assert!(more.len() == 2 && more[1].content.contains("[EXPLANATION]:"));
    assert!(!repaired(&request, " \n", 0).messages[request.messages.len()].content.is_empty());
}

#[test]
fn explanations_are_found_among_other_words() {
    for (text, expected) in [
        ("[EXPLANATION]: names of kings", "names of kings"),
        ("Let me see.\n\n**[EXPLANATION]:** names of kings\n\nHope this helps.", "names of kings"),
        ("[Explanation]:\nnames of kings  \n", "names of kings"),
        ("[EXPLANATION]: a\n[EXPLANATION]: names of kings", "names of kings"),
        ("I would say [EXPLANATION]: names of kings", "names of kings"),
        ("<think>[EXPLANATION]: wrong</think>\n[EXPLANATION]: names of kings", "names of kings"),
        (
            "[EXPLANATION]: the tokens [\"[EXPLANATION]:\", \" x\"]",
            "the tokens [\"[EXPLANATION]:\", \" x\"]",
        ),
    ] {
        assert_eq!(read_explanation(text).as_deref(), Some(expected), "{text}");
    }
    for text in ["", "names of kings", "EXPLANATION: names", "[EXPLANATION]:", "[EXPLANATION]: \n "]
    {
        assert_eq!(read_explanation(text), None, "{text}");
    }
}

#[test]
fn lists_are_read_as_they_are_and_never_guessed() {
    let good = Some(vec![true, false, false, true]);
    for text in [
        "[1, 0, 0, 1]",
        " [1,0,0,1] ",
        "```json\n[1, 0, 0, 1]\n```",
        "```json\n[\n  1,\n  0,\n  0,\n  1\n]\n``` The second text [2] has nothing.",
        "Text [1] fits: [1, 0, 0, 1], I am sure.",
        "[1, 0, 0, 1]\n\nSo, once more: [1, 0, 0, 1]",
        "<think>[0, 0, 0, 0] or [1, 1, 1, 1]</think>[1, 0, 0, 1]",
    ] {
        assert_eq!(read_labels(&answer(text), 4), good, "{text}");
    }
    for text in [
        "",
        "1, 0, 0, 1",
        "[1, 0, 0]",
        "[1, 0, 0, 1, 1]",
        "[1, 0, 2, 1]",
        "[1, 0, 0, -1]",
        "[1.5, 0, 0, 1]",
        "[[1, 0, 0, 1]]",
        "[[1, 0], [0, 1]]",
        "[[1], [0], [0], [1]]",
        "[\"1\", \"0\", \"0\", \"1\"]",
        "[true, false, false, true]",
        "[1, 0, 0, 1",
        "{\"labels\": 1001}",
        "[1, 0, 0, 1] or [1, 0, 0, 0]",
    ] {
        assert_eq!(read_labels(&answer(text), 4), None, "{text}");
    }
    assert_eq!(read_labels(&answer("[1]"), 1), Some(vec![true]));
}

#[test]
fn probabilities_are_those_at_the_labels() {
    let token = |token: &str, alternatives: &[(&str, f64)]| AnswerToken {
        token: token.to_owned(),
        alternatives: alternatives.iter().map(|(own, p)| ((*own).to_owned(), p.ln())).collect(),
    };
    let of = |tokens: Vec<AnswerToken>| {
        let text: String = tokens.iter().map(|token| token.token.as_str()).collect();
        ChatAnswer { log_probabilities: Some(tokens), ..answer(&text) }
    };
    let (open, comma, close) =
        (token("[", &[("[", 1.0)]), token(",", &[(",", 1.0)]), token("]", &[("]", 1.0)]));
    let first = token("1", &[("1", 0.7), ("0", 0.2), ("yes", 0.1)]);
    let second = token(" 0", &[(" 0", 0.6), ("1", 0.3), ("0", 0.1)]);
    let before = token("Of 2 texts: ", &[("Of 2 texts: ", 1.0)]);
    let list =
        vec![before, open.clone(), first.clone(), comma.clone(), second.clone(), close.clone()];
    let found = read_probabilities(&of(list.clone()), 2).unwrap();
    assert!((found[0] - 0.7 / 0.9).abs() < 1e-12 && (found[1] - 0.3).abs() < 1e-12, "{found:?}");
    // Signs of the list may stand in the token of a label.
    let joined = vec![
        token("[1", &[("[1", 0.75), ("[0", 0.25)]),
        token(",0]", &[(",0]", 0.8), (",1]", 0.2)]),
    ];
    let found = read_probabilities(&of(joined), 2).unwrap();
    assert!((found[0] - 0.75).abs() < 1e-12 && (found[1] - 0.2).abs() < 1e-12, "{found:?}");
    // Where no number holds the probabilities, the label says all.
    let tiny = vec![open.clone(), token("1", &[("1", 0.0)]), close.clone()];
    assert_eq!(read_probabilities(&of(tiny), 1), Some(vec![1.0]));
    let both = vec![open, token("1, 0", &[("1, 0", 1.0)]), close];
    assert_eq!(read_probabilities(&of(both), 2), None);
    assert_eq!(read_probabilities(&of(list.clone()), 3), None);
    assert_eq!(read_probabilities(&answer("[1, 0]"), 2), None);
    let other = ChatAnswer { text: "[0, 0]".to_owned(), ..of(list) };
    assert_eq!(read_probabilities(&other, 2), None);
}
