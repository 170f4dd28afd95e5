use std::error::Error as _;

use serde_json::{Value, json as value};

use super::*;

const TEXT: &str = "It is a truth universally acknowledged, that a single man in possession of \
                    a good fortune, must be in want of a wife.\nIt is a truth.\n";

impl Tokenizer {
    /// The text of `tokenizer.json`.
    pub(crate) fn to_json(&self) -> Result<String> {
        let text = self.inner.tokenizer.to_string(false);
        text.map_err(|reason| Error::invalid("the tokenizer", "one with a text", reason))
    }
}

/// The tokenizer that a `tokenizer.json` describes.
pub(crate) fn json(file: &Value) -> Tokenizer {
    Tokenizer::new(
        super::super::files::backend(Path::new("tokenizer.json"), file.to_string().as_bytes())
            .unwrap(),
    )
}

fn added(id: u32, content: &str, special: bool) -> Value {
    value!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special})
}

fn file(model: Value, added_tokens: Vec<Value>) -> Value {
    value!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens,
            "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": model})
}

/// The file of a tokenizer of words between white space.
pub(crate) fn word_level_file(vocab: Value, special: &[&str]) -> Value {
    let special = special.iter().map(|text| {
        let id = vocab[*text].as_u64().unwrap();
        added(id as u32, text, true)
    });
    let special = special.collect();
    let mut file =
        file(value!({"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}), special);
    file["pre_tokenizer"] = value!({"type": "WhitespaceSplit"});
    file
}

pub(crate) fn word_level(vocab: Value, special: &[&str]) -> Tokenizer {
    json(&word_level_file(vocab, special))
}

/// The file of byte-pair encoding without pairs, with added tokens that are special or not.
pub(crate) fn bpe(vocab: Value, more: &[(&str, u32, bool)]) -> Value {
    let more = more.iter().map(|(text, id, special)| added(*id, text, *special)).collect();
    file(value!({"type": "BPE", "vocab": vocab, "merges": []}), more)
}

/// A template that puts the token `text` before a text.
pub(crate) fn template(text: &str, id: u32) -> Value {
    value!({"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": text, "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                     {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {text: {"id": text, "ids": [id], "tokens": [text]}}})
}

/// A folder with files of these names.
pub(crate) fn folder(files: &[(&str, &Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content.to_string()).unwrap();
    }
    folder
}

#[test]
fn texts_come_back_and_frequent_pairs_are_one_token() {
    let tokenizer = Tokenizer::train([TEXT, TEXT], 300).unwrap();
    let tokens = tokenizer.encode(TEXT).unwrap();
    assert!(tokens.len() < TEXT.len() / 2 && tokenizer.vocab() <= 300);
    assert_eq!(tokenizer.decode(&tokens).unwrap(), TEXT);
    let other = "Ünïcode — \u{1F40B}\n\n  spaces";
    assert_eq!(tokenizer.decode(&tokenizer.encode(other).unwrap()).unwrap(), other);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    tokenizer.save(&path).unwrap();
    assert_eq!(Tokenizer::from_file(&path).unwrap().encode(TEXT).unwrap(), tokens);
    assert_eq!(Tokenizer::train([TEXT, TEXT], 300).unwrap().encode(TEXT).unwrap(), tokens);
}

#[test]
fn bad_files_and_tokens_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    assert!(Tokenizer::from_file(&path).unwrap_err().to_string().contains("could not read"));
    std::fs::write(&path, "{\"model\": ").unwrap();
    let error = Tokenizer::from_file(&path).unwrap_err();
    assert!(error.to_string().contains("a tokenizer"), "{error}");
    let source = error.source().unwrap();
    assert!(source.is::<serde_json::Error>() && error.to_string().ends_with(&source.to_string()));
    let tokenizer = Tokenizer::train([TEXT], 256).unwrap();
    assert!(tokenizer.decode(&[256]).unwrap_err().to_string().contains("below 256"));
    assert!(tokenizer.token(256).unwrap_err().to_string().contains("below 256"));
    assert!(tokenizer.visible(256).is_err() && tokenizer.visible_text(&[256]).is_err());
    assert!(Tokenizer::train([TEXT], 255).is_err());
}

#[test]
fn special_tokens_are_decoded_when_asked() {
    let vocab = value!({"a": 0, "b": 1, "[UNK]": 2, "<eos>": 3, "<｜a▁b｜>": 4});
    let mut file = word_level_file(vocab, &["<eos>", "<｜a▁b｜>"]);
    let tokenizer = json(&file);
    assert_eq!(tokenizer.decode(&[0, 3, 1]).unwrap(), "a b");
    assert_eq!(tokenizer.decode_with_special(&[0, 3, 1]).unwrap(), "a <eos> b");
    // A decoder that turns U+2581 into spaces leaves the sign in a special token.
    file["decoder"] = value!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
                              "split": true});
    let tokenizer = json(&file);
    assert_eq!(tokenizer.decode_with_special(&[0, 4, 1]).unwrap(), "a<｜a▁b｜>b");
    assert_eq!(tokenizer.decode(&[0, 4, 1]).unwrap(), "ab");
}

/// Case 32: ids with holes.
#[test]
fn the_largest_id_counts_and_holes_have_a_sign() {
    let tokenizer = word_level(value!({"a": 0, "[UNK]": 1, "b": 7}), &[]);
    assert_eq!(tokenizer.encode("b").unwrap(), [7]);
    assert_eq!(tokenizer.decode(&[7]).unwrap(), "b");
    assert_eq!((tokenizer.vocab(), tokenizer.token(7).unwrap()), (8, "b".to_owned()));
    assert_eq!(tokenizer.token(4).unwrap(), "[id 4]");
    assert_eq!(tokenizer.visible(4).unwrap(), "[id 4]");
    assert_eq!(tokenizer.decode(&[0, 4, 7]).unwrap(), "a[id 4]b");
    assert!(tokenizer.decode(&[8]).unwrap_err().to_string().contains("below 8"));
    assert_eq!(tokenizer.to_string(), "a tokenizer of 3 tokens with ids below 8");
    // Rows of a model above the largest id.
    let wider = tokenizer.for_rows(10);
    assert_eq!(wider.decode(&[0, 9]).unwrap(), "a[id 9]");
    assert_eq!(wider.token(8).unwrap(), "[id 8]");
    assert!(wider.token(10).unwrap_err().to_string().contains("below 10"));
    assert!(!format!("{tokenizer:?}").contains("UNK"));
}

/// Case 32 for added tokens: each has the number that the file gives it.
#[test]
fn added_tokens_after_a_hole_keep_their_numbers() {
    let mut file = word_level_file(value!({"a": 0, "[UNK]": 1}), &[]);
    file["added_tokens"] = value!([added(5, "<s>", true), added(9, "<eos>", true)]);
    let tokenizer = json(&file);
    assert_eq!(tokenizer.encode("<s> a<eos>").unwrap(), [5, 0, 9]);
    assert_eq!((tokenizer.token(9).unwrap(), tokenizer.vocab()), ("<eos>".to_owned(), 10));
    assert_eq!(tokenizer.token(2).unwrap(), "[id 2]");
    assert_eq!(tokenizer.decode(&[5, 0, 9]).unwrap(), "a");
    // It is the same after a round trip.
    let again: Value = serde_json::from_str(&tokenizer.to_json().unwrap()).unwrap();
    assert_eq!(json(&again).encode("<s> a<eos>").unwrap(), [5, 0, 9]);
    // A list of pieces has no holes.
    file["model"] = value!({"type": "Unigram", "vocab": [["a", 0.0], ["b", -1.0]], "unk_id": 0});
    let wrong =
        super::super::files::backend(Path::new("tokenizer.json"), file.to_string().as_bytes());
    assert!(wrong.unwrap_err().to_string().contains("\"<s>\" as number 5"));
}

#[test]
fn a_hole_takes_no_space_from_the_text_around_it() {
    let mut file = bpe(value!({"▁a": 0, "▁b": 1, "c": 5}), &[]);
    file["decoder"] = value!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
                              "split": true});
    let tokenizer = json(&file);
    assert_eq!(tokenizer.decode(&[0, 1, 5]).unwrap(), "a bc");
    assert_eq!(tokenizer.decode(&[0, 3, 1, 5]).unwrap(), "a[id 3] bc");
}

/// Case 19: GPT-2's token for U+FFFD is not an undecodable piece.
#[test]
fn the_replacement_character_is_told_from_a_piece_of_one() {
    let mut file = bpe(value!({"ï¿½": 0, "ï": 1, "¿": 2, "Ġ": 3, "Ċ": 4}), &[]);
    file["pre_tokenizer"] = value!({"type": "ByteLevel", "add_prefix_space": false,
                                    "trim_offsets": true, "use_regex": true});
    let tokenizer = json(&file);
    let tokens: Vec<String> = (0..5).map(|id| tokenizer.token(id).unwrap()).collect();
    assert_eq!(tokens, ["\u{fffd}", "<0xEF>", "<0xBF>", " ", "\n"]);
    // A file without a decoder does not show the letters of the vocabulary either.
    assert_eq!(tokenizer.decode(&[3, 4]).unwrap(), " \n");
}

/// Case 10: truncation and padding in `tokenizer.json`.
#[test]
fn truncation_and_padding_do_not_act() {
    let mut file = word_level_file(value!({"a": 0, "b": 1, "[UNK]": 2, "<s>": 3}), &["<s>"]);
    file["truncation"] = value!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst",
                                 "stride": 0});
    file["padding"] = value!({"strategy": {"Fixed": 8}, "direction": "Right", "pad_id": 2,
        "pad_to_multiple_of": null, "pad_type_id": 0, "pad_token": "[UNK]"});
    file["post_processor"] = template("<s>", 3);
    let tokenizer = json(&file);
    let text = "a b a b a b";
    assert_eq!(tokenizer.encode(text).unwrap(), [3, 0, 1, 0, 1, 0, 1]);
    assert_eq!(tokenizer.encode_with_bos(text).unwrap(), [3, 0, 1, 0, 1, 0, 1]);
    assert_eq!(tokenizer.encode_plain(text).unwrap(), [0, 1, 0, 1, 0, 1]);
    assert_eq!(tokenizer.encode("").unwrap(), [3]);
}

/// Case 08: `tokenizer_config.json` and `tokenizer.json` disagree.
#[test]
fn first_and_last_tokens_are_those_of_transformers() {
    let vocab = value!({"a": 0, "b": 1, "[UNK]": 2, "<s>": 3, "</s>": 4});
    let plain = word_level_file(vocab.clone(), &["<s>", "</s>"]);
    let mut with_bos = plain.clone();
    with_bos["post_processor"] = template("<s>", 3);
    let mut offsets = plain.clone();
    offsets["post_processor"] = value!({"type": "ByteLevel", "add_prefix_space": false,
                                        "trim_offsets": true, "use_regex": true});
    let bos = value!({"__type": "AddedToken", "content": "<s>", "lstrip": false});
    let cases = [
        // (tokenizer.json, tokenizer_config.json, ids of "a b")
        (
            &plain,
            value!({"add_bos_token": true, "bos_token": "<s>",
                         "tokenizer_class": "LlamaTokenizerFast"}),
            vec![3, 0, 1],
        ),
        (
            &with_bos,
            value!({"add_bos_token": false, "bos_token": "<s>",
                            "tokenizer_class": "LlamaTokenizerFast"}),
            vec![0, 1],
        ),
        (
            &offsets,
            value!({"add_bos_token": true, "bos_token": bos,
                           "tokenizer_class": "LlamaTokenizer"}),
            vec![3, 0, 1],
        ),
        (
            &with_bos,
            value!({"add_bos_token": true, "add_eos_token": true, "eos_token": "</s>",
                            "tokenizer_class": "LlamaTokenizer"}),
            vec![3, 0, 1, 4],
        ),
        // A default of the class, where no template decides; a template, where no flag does.
        (&plain, value!({"tokenizer_class": "LlamaTokenizer"}), vec![3, 0, 1]),
        (&with_bos, value!({"tokenizer_class": "GPTNeoXTokenizer"}), vec![3, 0, 1]),
        (
            &plain,
            value!({"tokenizer_class": "GPTNeoXTokenizer", "add_bos_token": true,
                         "bos_token": "<s>"}),
            vec![3, 0, 1],
        ),
        (
            &with_bos,
            value!({"tokenizer_class": "GPTNeoXTokenizerFast", "add_eos_token": false,
                            "bos_token": "<s>"}),
            vec![0, 1],
        ),
        (&plain, value!({"tokenizer_class": "GemmaTokenizer", "bos_token": "<s>"}), vec![3, 0, 1]),
        // Classes that leave it to tokenizer.json.
        (
            &plain,
            value!({"add_bos_token": true, "bos_token": "<s>",
                         "tokenizer_class": "PreTrainedTokenizerFast"}),
            vec![0, 1],
        ),
        (
            &with_bos,
            value!({"add_bos_token": false, "bos_token": "<s>",
                            "tokenizer_class": "PreTrainedTokenizerFast"}),
            vec![3, 0, 1],
        ),
        (
            &plain,
            value!({"add_bos_token": true, "bos_token": "<s>",
                         "tokenizer_class": "GPT2Tokenizer"}),
            vec![0, 1],
        ),
        (
            &plain,
            value!({"add_bos_token": false, "bos_token": null,
                         "tokenizer_class": "Qwen2Tokenizer"}),
            vec![0, 1],
        ),
        (&plain, value!({}), vec![0, 1]),
    ];
    for (tokenizer, settings, expected) in cases {
        let folder = folder(&[("tokenizer.json", tokenizer), ("tokenizer_config.json", &settings)]);
        let found = Tokenizer::from_file(folder.path().join("tokenizer.json")).unwrap();
        assert_eq!(found.encode("a b").unwrap(), expected, "{settings}");
        assert_eq!(found.encode_plain("a b").unwrap(), [0, 1], "{settings}");
        let with_bos = found.encode_with_bos("a b").unwrap();
        assert_eq!(with_bos[..2], [3, 0], "{settings}");
        // What was read is what is saved.
        found.save_in(folder.path()).unwrap();
        let again = Tokenizer::from_file(folder.path()).unwrap();
        assert_eq!(again.encode("a b").unwrap(), expected, "{settings}");
        assert_eq!((again.bos(), again.eos()), (found.bos(), found.eos()), "{settings}");
    }
}

#[test]
fn flags_without_effect_and_missing_tokens_are_told() {
    let plain = word_level_file(value!({"a": 0, "[UNK]": 1, "<s>": 2}), &["<s>"]);
    let read = |settings: Value| {
        let folder = folder(&[("tokenizer.json", &plain), ("tokenizer_config.json", &settings)]);
        Tokenizer::from_file(folder.path())
    };
    let quiet = read(value!({"add_bos_token": true, "bos_token": "<s>",
                             "tokenizer_class": "GPT2Tokenizer"}));
    let quiet = quiet.unwrap().to_string();
    assert!(
        quiet.contains("`add_bos_token` true, and GPT2Tokenizer does not act on it"),
        "{quiet}"
    );
    let missing = read(value!({"add_bos_token": true, "bos_token": "<bos>",
                               "tokenizer_class": "LlamaTokenizer"}));
    let missing = missing.unwrap_err().to_string();
    assert!(missing.contains("`bos_token`") && missing.contains("\"<bos>\""), "{missing}");
    // A default that is not there adds nothing, and neither does a token that is null.
    let gemma = read(value!({"tokenizer_class": "GemmaTokenizer"})).unwrap();
    assert_eq!(gemma.encode("a").unwrap(), [0]);
    assert!(gemma.notes()[0].contains("GemmaTokenizer"), "{:?}", gemma.notes());
    let none = read(value!({"tokenizer_class": "LlamaTokenizer", "bos_token": null})).unwrap();
    assert_eq!(none.encode("a").unwrap(), [0]);
    let broken = folder(&[("tokenizer.json", &plain), ("tokenizer_config.json", &value!([]))]);
    let broken = Tokenizer::from_file(broken.path()).unwrap_err().to_string();
    assert!(
        broken.contains("tokenizer_config.json") && broken.contains("a JSON object"),
        "{broken}"
    );
}

#[test]
fn the_model_type_stands_for_a_class_that_is_not_named() {
    let plain = word_level_file(value!({"a": 0, "[UNK]": 1, "<s>": 2}), &["<s>"]);
    let settings = value!({"add_bos_token": true, "bos_token": "<s>"});
    let ids = |config: &Value| {
        let folder = folder(&[
            ("tokenizer.json", &plain),
            ("tokenizer_config.json", &settings),
            ("config.json", config),
        ]);
        Tokenizer::from_file(folder.path()).unwrap().encode("a").unwrap()
    };
    assert_eq!(ids(&value!({"model_type": "llama"})), [2, 0]);
    assert_eq!(ids(&value!({"model_type": "gpt2"})), [0]);
    assert_eq!(ids(&value!({"model_type": "gpt2", "tokenizer_class": "LlamaTokenizer"})), [2, 0]);
}

#[test]
fn tokens_of_tokenizer_config_become_special() {
    // Not added tokens in tokenizer.json: one of the vocabulary, one that follows it.
    let plain = word_level_file(value!({"a": 0, "[UNK]": 1, "<s>": 2}), &[]);
    let settings = value!({"bos_token": "<s>", "pad_token": "<pad>", "added_tokens_decoder": {
        "3": {"content": "<|user|>", "special": true, "lstrip": false, "rstrip": false,
              "normalized": false, "single_word": false},
        "9": {"content": "<|far|>", "special": true}}});
    let folder = folder(&[("tokenizer.json", &plain), ("tokenizer_config.json", &settings)]);
    let tokenizer = Tokenizer::from_file(folder.path()).unwrap();
    assert_eq!(tokenizer.encode("a<s>a<|user|>").unwrap(), [0, 2, 0, 3]);
    assert_eq!(
        (tokenizer.decode(&[0, 2, 3, 0]).unwrap(), tokenizer.bos()),
        ("a a".to_owned(), Some(2))
    );
    let notes = tokenizer.notes().join("; ");
    assert!(notes.contains("\"<|far|>\"") && notes.contains("\"<pad>\""), "{notes}");
}

#[test]
fn a_first_token_is_known_by_template_names_or_not_at_all() {
    let vocab = value!({"a": 0, "[UNK]": 1, "<q>": 2, "<|endoftext|>": 3});
    let mut file = word_level_file(vocab.clone(), &["<|endoftext|>"]);
    assert_eq!((json(&file).bos(), json(&file).eos()), (Some(3), Some(3)));
    assert_eq!(json(&file).encode_with_bos("a").unwrap(), [3, 0]);
    // A text that begins with it already.
    assert_eq!(json(&file).encode_with_bos("<|endoftext|>a").unwrap(), [3, 0]);
    file["post_processor"] = template("<q>", 2);
    assert_eq!(json(&file).bos(), Some(2));
    assert!(json(&file).to_string().ends_with("it begins a text with <q>"));
    // A word of the vocabulary that is not special is no sign.
    let none = word_level(vocab, &[]);
    assert_eq!((none.bos(), none.eos()), (None, None));
    assert!(none.encode_with_bos("a").unwrap_err().to_string().contains("(BOS) was not found"));
}

/// Case 37: folders with tokenizers in other formats.
#[test]
fn other_formats_are_named_with_the_way_out() {
    let message = |files: &[(&str, &[u8])]| {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let by_folder = Tokenizer::from_file(folder.path()).unwrap_err().to_string();
        assert!(by_folder.contains("save_pretrained"), "{by_folder}");
        assert!(by_folder.contains("with_tokenizer"), "{by_folder}");
        by_folder
    };
    let sentencepiece = b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02".as_slice();
    let tiktoken = b"IQ== 0\nIg== 1\n".as_slice();
    assert!(message(&[("tokenizer.model", sentencepiece)]).contains("SentencePiece"));
    assert!(message(&[("tokenizer.model", tiktoken)]).contains("tiktoken"));
    assert!(message(&[("tekken.json", b"{\"config\": {}, \"vocab\": []}")]).contains("Tekken"));
    assert!(message(&[("qwen.tiktoken", tiktoken)]).contains("tiktoken"));
    assert!(message(&[("vocab.txt", b"[PAD]\n[UNK]\n")]).contains("WordPiece"));
    let two = message(&[("vocab.json", b"{\"a\": 0}"), ("merges.txt", b"#version: 0.2\n")]);
    assert!(two.contains("vocab.json and merges.txt"), "{two}");
    assert!(message(&[]).contains("could not read"));

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let message = Tokenizer::from_file(path).unwrap_err().to_string();
        let way = ["save_pretrained", "git lfs pull", "Download the file itself"];
        assert!(way.iter().any(|way| message.contains(way)), "{message}");
        message
    };
    assert!(file("tokenizer.model", sentencepiece).contains("SentencePiece"));
    assert!(file("cl100k.tiktoken", tiktoken).contains("tiktoken"));
    assert!(file("vocab.json", b"{\"a\": 0, \"b\": 1}").contains("a vocab.json"));
    assert!(file("tokenizer_config.json", b"{\"bos_token\": \"<s>\"}").contains("no tokens"));
    assert!(file("config.json", b"{\"model_type\": \"gpt2\"}").contains("config.json"));
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    assert!(file("lfs.json", pointer).contains("git lfs pull"));
    assert!(file("page.json", b"<!DOCTYPE html><html></html>").contains("HTML"));
}

/// Case 37: the two files of GPT-2 are enough for its tokenizer.
#[test]
fn two_files_of_gpt2_make_its_tokenizer() {
    let folder = folder(&[
        ("vocab.json", &value!({"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4, "<|endoftext|>": 5})),
        ("config.json", &value!({"model_type": "gpt2"})),
        ("tokenizer_config.json", &value!({"model_max_length": 16})),
    ]);
    std::fs::write(folder.path().join("merges.txt"), "#version: 0.2\na b\nĠ ab\n").unwrap();
    let tokenizer = Tokenizer::from_file(folder.path()).unwrap();
    assert_eq!(tokenizer.encode("ab ab a<|endoftext|>").unwrap(), [3, 4, 2, 0, 5]);
    assert_eq!(tokenizer.decode(&[3, 4, 2, 0, 5]).unwrap(), "ab ab a");
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(5), Some(5)));
    // As for OPT.
    let settings = value!({"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true}).to_string();
    std::fs::write(folder.path().join("tokenizer_config.json"), settings).unwrap();
    let tokenizer = Tokenizer::from_file(folder.path()).unwrap();
    assert_eq!(tokenizer.encode("ab").unwrap(), [5, 3]);
    assert!(tokenizer.notes().is_empty(), "{:?}", tokenizer.notes());
    std::fs::write(folder.path().join("merges.txt"), "a\n").unwrap();
    let message = Tokenizer::from_file(folder.path()).unwrap_err().to_string();
    assert!(message.contains("merges.txt") && message.contains("\"a\""), "{message}");
    std::fs::write(folder.path().join("merges.txt"), b"\xff").unwrap();
    let error = Tokenizer::from_file(folder.path()).unwrap_err();
    let source = error.source().unwrap();
    assert!(source.is::<std::str::Utf8Error>(), "{error}");
    assert!(error.to_string().ends_with(&format!("expected UTF-8, found {source}")), "{error}");
}

#[test]
fn long_texts_have_the_tokens_of_their_lines() {
    let tokenizer = Tokenizer::train([TEXT], 300).unwrap();
    let text = TEXT.repeat(LONG / TEXT.len() + 2);
    let ids = tokenizer.encode(&text).unwrap();
    assert_eq!(ids, encode_by(&tokenizer.inner.tokenizer, &text).unwrap());
    assert_eq!(tokenizer.encode_plain(&text).unwrap(), ids);
    let many: Vec<u32> = ids.iter().copied().cycle().take(MANY_TOKENS + 1).collect();
    assert_eq!(tokenizer.decode(&many).unwrap(), tokenizer.inner.decode(&many, false).unwrap());
}
