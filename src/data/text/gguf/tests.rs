use super::*;
use crate::gguf::tests::sample::Sample;

const TOKENS: [&str; 18] = [
    "<s>", "<user>", "a", "b", "c", "Ġ", "1", "2", "ab", "Ġa", "ĠĠ", "12", "'", "s", "'s", "abc",
    "Ċ", "</s>",
];

fn sample(pre: &str) -> Sample {
    let mut kinds = [1; 18];
    (kinds[0], kinds[1], kinds[17]) = (3, 4, 3);
    Sample::new()
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", pre)
        .texts("tokenizer.ggml.tokens", &TOKENS)
        .i32s("tokenizer.ggml.token_type", &kinds)
        .texts("tokenizer.ggml.merges", &["a b", "Ġ a", "Ġ Ġ", "1 2", "' s"])
        .u32("tokenizer.ggml.bos_token_id", 0)
        .u32("tokenizer.ggml.eos_token_id", 17)
}

fn tokenizer(sample: &Sample) -> Result<Tokenizer> {
    Gguf::parse("file.gguf", sample.bytes())?.tokenizer()
}

#[test]
fn words_are_cut_as_their_names_say() {
    let ids = |pre, text: &str| {
        let own = tokenizer(&sample(pre)).unwrap();
        let ids = own.encode(text).unwrap();
        let back = own.decode(&ids).unwrap();
        assert_eq!(back, text);
        ids
    };
    // Digits together or apart, and the spaces before one.
    assert_eq!(ids("gpt-2", "ab 12"), [8, 5, 11]);
    assert_eq!(ids("smollm", "ab 12"), [8, 5, 6, 7]);
    assert_eq!(ids("gpt-2", "a  12"), [2, 5, 5, 11]);
    assert_eq!(ids("smollm", "a  12"), [2, 10, 6, 7]);
    assert_eq!(ids("gpt-2", "a's a"), [2, 14, 9]);
    // A whole word that is a token, although no merge makes it; a start of its own.
    assert_eq!(ids("gpt-2", "abc"), [8, 4]);
    assert_eq!(ids("llama-bpe", "abc"), [0, 15]);
    assert_eq!(ids("llama-bpe", "a\n12 a"), [0, 2, 16, 11, 9]);
    assert_eq!(ids("tekken", "abc 12"), [0, 15, 5, 6, 7]);
    // Up to three digits together, or one.
    for (pre, expected) in [
        ("phi-2", &[8, 5, 11][..]),
        ("olmo", &[8, 5, 11]),
        ("dbrx", &[8, 5, 11]),
        ("gpt-4o", &[8, 5, 11]),
        ("qwen2", &[8, 5, 6, 7]),
        ("deepseek-r1-qwen", &[8, 5, 6, 7]),
        ("llama3", &[0, 8, 5, 11]),
        ("llama-v3", &[0, 8, 5, 11]),
        ("falcon3", &[0, 8, 5, 11]),
    ] {
        assert_eq!(ids(pre, "ab 12"), expected, "{pre}");
    }
    assert_eq!(ids("dbrx", "abc"), [8, 4]);
    // Composed letters, for which there is one token.
    let composed = |pre| {
        let tokens: Vec<&str> = TOKENS.into_iter().chain(["Ã©"]).collect();
        let sample = sample(pre)
            .texts("tokenizer.ggml.tokens", &[&tokens[..], &["Ã", "©"][..]].concat())
            .i32s("tokenizer.ggml.token_type", &[1; 21])
            .texts("tokenizer.ggml.merges", &["Ã ©"]);
        tokenizer(&sample).unwrap().encode("e\u{301}").unwrap()
    };
    assert_eq!((composed("qwen2"), composed("gpt-2")), (vec![18], Vec::new()));
}

#[test]
fn special_tokens_are_found_or_plain() {
    let own = tokenizer(&sample("smollm")).unwrap();
    assert_eq!(own.encode("a</s>b<user>").unwrap(), [2, 17, 3, 1]);
    // Letters without a token are dropped, as llama.cpp does it; `<user>` is not special.
    assert_eq!(own.encode_plain("a</s>b<user>").unwrap(), [2, 13, 3, 1]);
    assert_eq!(own.vocab(), TOKENS.len());
    let ends = sample("gpt-2")
        .flag("tokenizer.ggml.add_bos_token", true)
        .flag("tokenizer.ggml.add_eos_token", true);
    let own = tokenizer(&ends).unwrap();
    assert_eq!(own.encode("ab").unwrap(), [0, 8, 17]);
    assert_eq!(own.encode_plain("ab").unwrap(), [8]);
    assert_eq!(own.decode(&[0, 8, 17]).unwrap(), "ab");
    let none = sample("llama-bpe").flag("tokenizer.ggml.add_bos_token", false);
    assert_eq!(tokenizer(&none).unwrap().encode("ab").unwrap(), [8]);
}

/// As in Llama 3, whose texts end with a token that has no well-known name.
#[test]
fn first_and_last_tokens_are_those_with_the_numbers() {
    let key = |name: &str| format!("{PREFIX}{name}");
    let own = tokenizer(&sample("gpt-2")).unwrap();
    assert_eq!((own.bos(), own.eos()), (Some(0), Some(17)));
    let other = sample("gpt-2")
        .u32(&key("bos_token_id"), 16)
        .u32(&key("eos_token_id"), 9)
        .u32(&key("eot_token_id"), 10);
    let own = tokenizer(&other).unwrap();
    assert_eq!((own.bos(), own.ends().eos.as_slice()), (Some(16), &[9, 10][..]));
    assert!(!own.ends().bos_by_name && !own.ends().eos_by_name);
    let bare = sample("gpt-2").without(&key("bos_token_id")).without(&key("eos_token_id"));
    let own = tokenizer(&bare).unwrap();
    assert_eq!((own.bos(), own.eos()), (Some(0), Some(17)));
    assert!(own.ends().bos_by_name && own.ends().eos_by_name);
}

#[test]
fn what_is_unknown_or_does_not_fit_is_named() {
    let key = |name: &str| format!("{PREFIX}{name}");
    let whole = sample("smollm");
    let cases = [
        (sample("default"), "`default`"),
        (sample("deepseek-llm"), "`deepseek-llm`"),
        (whole.clone().without(&key("pre")), "tokenizer.ggml.pre"),
        (whole.clone().without(&key("pre")), "with_tokenizer"),
        (whole.clone().u32(&key("pre"), 1), "a text in `tokenizer.ggml.pre`"),
        (whole.clone().u32(&key("eos_token_id"), 18), "tokenizer.ggml.eos_token_id"),
        (whole.clone().text(&key("eom_token_id"), "a"), "tokenizer.ggml.eom_token_id"),
        (whole.clone().text(&key("model"), "t5"), "`t5`"),
        (whole.clone().without(&key("model")), "tokenizer.ggml.model"),
        (whole.clone().without(&key("merges")), "tokenizer.ggml.merges"),
        (whole.clone().texts(&key("tokens"), &["a", "b", "a"]), "\"a\" as numbers 0 and 2"),
        (whole.clone().texts(&key("tokens"), &[]), "tokenizer.ggml.tokens"),
        (whole.clone().i32s(&key("tokens"), &[1]), "tokenizer.ggml.tokens"),
        (whole.clone().texts(&key("merges"), &["a c"]), "\"a c\""),
        (whole.clone().texts(&key("merges"), &["abc"]), "\"abc\""),
        (whole.clone().texts(&key("merges"), &["a "]), "\"a \""),
        (whole.clone().i32s(&key("token_type"), &[1; 17]), "tokenizer.ggml.token_type"),
        (whole.clone().i32s(&key("token_type"), &[6; 18]), "6 for \"<s>\""),
        (whole.clone().i32s(&key("token_type"), &[-1; 18]), "-1 for \"<s>\""),
        (whole.clone().flag(&key("add_space_prefix"), true), "add_space_prefix"),
        (whole.clone().text(&key("precompiled_charsmap"), "x"), "precompiled_charsmap"),
        (whole.clone().u32(&key("add_bos_token"), 1), "true or false"),
        (
            whole.flag(&key("add_bos_token"), true).u32(&key("bos_token_id"), 18),
            "tokenizer.ggml.bos_token_id",
        ),
    ];
    for (sample, expected) in cases {
        let message = tokenizer(&sample).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(message.contains("file.gguf"), "{message}");
    }
}
