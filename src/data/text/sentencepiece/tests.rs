use super::super::Tokenizer;
use super::*;
use crate::gguf::Gguf;
use crate::gguf::tests::sample::Sample;
use crate::random::Rng;

/// Where the bytes begin in [`vocabulary`].
const BYTES: u32 = 3;

/// Text, score, kind.
type ListedPiece = (String, f32, u64);

fn listed(text: &str, score: f32, kind: u64) -> ListedPiece {
    (text.to_owned(), score, kind)
}

/// Ends, bytes, and from number 259 on a few pieces of a, b, c and spaces.
fn vocabulary() -> Vec<ListedPiece> {
    let mut all = vec![listed("<unk>", 0., 2), listed("<s>", 0., 3), listed("</s>", 0., 3)];
    all.extend((0..=255).map(|byte| listed(&format!("<0x{byte:02X}>"), 0., 6)));
    let usual = [("▁", -5.), ("a", -6.), ("b", -7.), ("c", -8.), ("ab", -1.), ("▁a", -2.)];
    all.extend(usual.map(|(text, score)| listed(text, score, 1)));
    all.extend([listed("bc", -0.5, 1), listed("▁ab", -3., 1)]);
    all.extend([listed("<u>", 0., 4), listed("<u>x", 0., 4), listed("  ", 0., 4)]);
    all
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn pieces(all: &[ListedPiece]) -> Vec<u8> {
    let message = |(text, score, kind): &ListedPiece| {
        let score = [varint(2 << 3 | 5), score.to_le_bytes().to_vec()].concat();
        bytes(1, &[bytes(1, text.as_bytes()), score, number(3, *kind)].concat())
    };
    all.iter().flat_map(message).collect()
}

/// A `tokenizer.model` with these fields of `trainer_spec` and `normalizer_spec`.
fn file(all: &[ListedPiece], trainer: &[u8], normalizer: &[u8]) -> Vec<u8> {
    [pieces(all), bytes(2, trainer), bytes(3, normalizer)].concat()
}

/// Merges, no spaces dropped, and a space before texts or not.
fn merged(all: &[ListedPiece], space_before: bool) -> Vec<u8> {
    let normalizer = [number(3, space_before.into()), number(4, 0)].concat();
    file(all, &number(3, 2), &normalizer)
}

/// The tokenizer in a file of this name, with others in its folder.
fn open(name: &str, content: &[u8], others: &[(&str, &str)]) -> Result<Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    for (other, text) in others {
        std::fs::write(folder.path().join(other), text).unwrap();
    }
    Tokenizer::from_file(path)
}

fn tokenizer(content: &[u8]) -> Tokenizer {
    open("tokenizer.model", content, &[]).unwrap()
}

fn gguf(all: &[ListedPiece]) -> Sample {
    let texts: Vec<&str> = all.iter().map(|(text, ..)| text.as_str()).collect();
    let scores: Vec<f32> = all.iter().map(|(_, score, _)| *score).collect();
    let kinds: Vec<i32> = all.iter().map(|(.., kind)| *kind as i32).collect();
    Sample::new()
        .text("tokenizer.ggml.model", "llama")
        .text("tokenizer.ggml.pre", "default")
        .texts("tokenizer.ggml.tokens", &texts)
        .f32s("tokenizer.ggml.scores", &scores)
        .i32s("tokenizer.ggml.token_type", &kinds)
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2)
}

fn in_gguf(sample: &Sample) -> Result<Tokenizer> {
    Gguf::parse("file.gguf", sample.bytes())?.tokenizer()
}

#[test]
fn pairs_of_the_highest_score_are_merged_and_the_rest_are_bytes() {
    let own = tokenizer(&merged(&vocabulary(), true));
    let byte = |byte: u8| BYTES + u32::from(byte);
    for (text, ids) in [
        // bc before ab before ▁a.
        ("abc", vec![264, 265]),
        ("ab", vec![266]),
        ("a b", vec![264, 259, 261]),
        ("é", vec![259, byte(0xC3), byte(0xA9)]),
        // The longest of the user's pieces; what follows begins with a space again, as in llama.cpp.
        ("a<u>xb", vec![264, 268, 259, 261]),
        ("a   b", vec![264, 269, 259, 259, 261]),
        // A piece for a byte that is typed is its letters.
        ("<0x41>", vec![259, 0x3C + 3, 0x30 + 3, 0x78 + 3, 0x34 + 3, 0x31 + 3, 0x3E + 3]),
    ] {
        assert_eq!(own.encode(text).unwrap(), ids, "{text}");
    }
    for text in ["abc", " é a", "ab\n\tc", "<s> <0x41>"] {
        let ids = own.encode_plain(text).unwrap();
        assert_eq!(own.decode(&ids).unwrap(), text);
    }
    assert!(own.notes().is_empty(), "{:?}", own.notes());
    let mut tied = vocabulary();
    tied[264].1 = tied[263].1;
    let tied = tokenizer(&merged(&tied, true));
    let note = &tied.notes()[0];
    assert!(note.contains("the score of another (1 times)"), "{note}");
    // Without the space.
    let bare = tokenizer(&merged(&vocabulary(), false));
    assert_eq!(bare.encode("ab c").unwrap(), [263, 259, 262]);
    assert_eq!(bare.encode("a<u>b").unwrap(), [260, 267, 261]);
    assert_eq!(bare.decode(&[263, 259, 262]).unwrap(), "ab c");
    assert_eq!(bare.decode(&[259, 260]).unwrap(), " a");
}

#[test]
fn special_pieces_are_parsed_or_typed_and_ends_are_those_of_the_files() {
    let content = merged(&vocabulary(), false);
    let own = tokenizer(&content);
    assert_eq!(own.encode("<s>a").unwrap(), [1, 260]);
    let typed = [0x3C + 3, 0x73 + 3, 0x3E + 3, 260];
    assert_eq!(own.encode_plain("<s>a").unwrap(), typed);
    assert_eq!((own.bos(), own.eos()), (Some(1), Some(2)));
    assert_eq!(own.encode_with_bos("a").unwrap(), [1, 260]);
    // Llama's and Gemma's classes put the first token there; no class is known of a bare file.
    let config = ("config.json", r#"{"model_type": "llama"}"#);
    let llama = open("tokenizer.model", &content, &[config]).unwrap();
    assert_eq!(llama.encode("a").unwrap(), [1, 260]);
    let other = open("other.model", &content, &[]).unwrap();
    assert_eq!((other.encode("a").unwrap(), other.bos()), (vec![260], Some(1)));
    // The pieces at the ends have other names.
    let mut renamed = vocabulary();
    (renamed[1].0, renamed[2].0) = ("[X]".to_owned(), "[Y]".to_owned());
    let trainer = [number(3, 2), bytes(46, b"[X]"), bytes(47, b"[Y]")].concat();
    let own = tokenizer(&file(&renamed, &trainer, &number(4, 0)));
    assert_eq!((own.bos(), own.eos()), (Some(1), Some(2)));
}

#[test]
fn a_gguf_file_has_the_same_tokenizer() {
    let bare = gguf(&vocabulary()).flag("tokenizer.ggml.add_space_prefix", false);
    let own = in_gguf(&bare).unwrap();
    assert_eq!(own.encode("ab c").unwrap(), [1, 263, 259, 262]);
    assert_eq!(own.encode_plain("ab c").unwrap(), [263, 259, 262]);
    assert_eq!(own.decode(&[1, 263, 259, 262]).unwrap(), "ab c");
    let none = bare.clone().flag("tokenizer.ggml.add_bos_token", false);
    assert_eq!(in_gguf(&none).unwrap().encode("a").unwrap(), [260]);
    let spaced = in_gguf(&gguf(&vocabulary())).unwrap();
    assert_eq!(spaced.encode("abc").unwrap(), [1, 264, 265]);
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let mut wrong_kind = vocabulary();
    wrong_kind[5].2 = 7;
    let cases = [
        (bare.clone().without(&key("scores")), "tokenizer.ggml.scores"),
        (bare.clone().f32s(&key("scores"), &[0.; 3]), "tokenizer.ggml.scores"),
        (bare.clone().without(&key("token_type")), "tokenizer.ggml.token_type"),
        (gguf(&wrong_kind), "7 for \"<0x02>\""),
        (bare.clone().flag(&key("remove_extra_whitespaces"), true), "remove_extra_whitespaces"),
        (bare.clone().text(&key("precompiled_charsmap"), "x"), "precompiled_charsmap"),
        (bare.clone().u32(&key("add_space_prefix"), 1), "true or false"),
        (bare.clone().u32(&key("bos_token_id"), 300), "tokenizer.ggml.bos_token_id"),
        (bare.clone().u32(&key("eot_token_id"), 270), "tokenizer.ggml.eot_token_id"),
    ];
    for (sample, expected) in cases {
        let message = in_gguf(&sample).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(message.contains("file.gguf"), "{message}");
    }
}

/// Gemma's files spell spaces in pieces of the user as ▁, and so do GGUF files of before July 2024.
#[test]
fn spaces_in_pieces_of_the_user_are_found_in_texts() {
    let mut all = vocabulary();
    all[269].0 = "▁▁".to_owned();
    let content = merged(&all, false);
    let settings = r#"{"added_tokens_decoder": {"269": {"content": "▁▁", "normalized": false,
                       "special": false}}}"#;
    let bare = gguf(&all)
        .flag("tokenizer.ggml.add_space_prefix", false)
        .flag("tokenizer.ggml.add_bos_token", false);
    for own in [
        tokenizer(&content),
        open("tokenizer.model", &content, &[("tokenizer_config.json", settings)]).unwrap(),
        in_gguf(&bare).unwrap(),
    ] {
        assert_eq!(own.encode("a  b").unwrap(), [260, 269, 261]);
        assert_eq!(own.decode(&[260, 269, 261]).unwrap(), "a  b");
        assert_eq!((own.vocab(), own.notes().len()), (270, 0), "{:?}", own.notes());
    }
    // Two spellings of one piece.
    all.push(listed("  ", 0., 4));
    let message = super::super::files::read_pieces(&merged(&all, false)).unwrap_err().to_string();
    assert!(message.contains("\"  \" as numbers 269 and 270"), "{message}");
}

/// As `LlamaTokenizer` of transformers 4 converts `tokenizer.model`.
#[test]
fn settings_say_before_what_a_space_comes() {
    let content = merged(&vocabulary(), true);
    let ids = |settings: &str| {
        let class = r#""tokenizer_class": "LlamaTokenizer", "add_bos_token": false"#;
        let settings = format!("{{{class}{settings}}}");
        let others = [("tokenizer_config.json", settings.as_str())];
        let own = open("tokenizer.model", &content, &others).unwrap();
        ["a</s>b", "a<u>b", "</s>a", " a"].map(|text| own.encode(text).unwrap())
    };
    let each = [vec![264, 2, 259, 261], vec![264, 267, 259, 261], vec![2, 264], vec![259, 264]];
    assert_eq!(ids(""), each);
    assert_eq!(ids(r#", "legacy": true"#), each);
    assert_eq!(ids(r#", "legacy": null, "add_prefix_space": true"#), each);
    let first = [vec![264, 2, 261], vec![264, 267, 261], vec![2, 260], vec![264]];
    assert_eq!(ids(r#", "legacy": false"#), first);
    let never = [vec![260, 2, 261], vec![260, 267, 261], vec![2, 260], vec![264]];
    assert_eq!(ids(r#", "add_prefix_space": false"#), never);
    assert_eq!(ids(r#", "add_prefix_space": false, "legacy": false"#), never);
    let own = tokenizer(&merged(&vocabulary(), false));
    assert_eq!(own.encode("a</s>b").unwrap(), [260, 2, 261]);
}

#[test]
fn tokens_in_added_tokens_json_follow_those_of_the_model() {
    let content = merged(&vocabulary(), false);
    let with = |added: &str| {
        let names = r#"{"additional_special_tokens": ["<|im_end|>"]}"#;
        let others = [("added_tokens.json", added), ("special_tokens_map.json", names)];
        open("tokenizer.model", &content, &others)
    };
    let own = with(r#"{"<|im_start|>": 271, "<|im_end|>": 270, "<u>": 267}"#).unwrap();
    assert_eq!(own.encode("<|im_start|>a<|im_end|>").unwrap(), [271, 260, 270]);
    assert_eq!(own.decode(&[271, 260, 270]).unwrap(), "<|im_start|>a");
    assert_eq!((own.vocab(), own.notes().len()), (272, 0), "{:?}", own.notes());
    for (added, expected) in [
        (r#"{"<|im_start|>": 271}"#, "\"<|im_start|>\" as number 271"),
        (r#"{"<|im_start|>": 270, "<|im_end|>": 272}"#, "\"<|im_end|>\" as number 272"),
        (r#"{"<|im_start|>": 270, "<|im_end|>": 270}"#, "\"<|im_start|>\" as number 270"),
        (r#"{"<u>": 270}"#, "which has number 267"),
        (r#"{"<|im_start|>": "270"}"#, "\"270\" as the number"),
        (r#"[270]"#, "a JSON object"),
    ] {
        let message = with(added).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(message.contains("added_tokens.json"), "{message}");
    }
    // Newer folders list all tokens in the settings.
    let settings = ("tokenizer_config.json", r#"{"added_tokens_decoder": {}}"#);
    let others = [("added_tokens.json", r#"{"<x>": 300}"#), settings];
    assert_eq!(open("tokenizer.model", &content, &others).unwrap().vocab(), 270);
}

#[test]
fn a_token_that_is_missing_is_missed_in_the_file_by_its_name() {
    let settings = ("tokenizer_config.json", r#"{"pad_token": "<pad>"}"#);
    let own = open("tokenizer.model", &merged(&vocabulary(), false), &[settings]).unwrap();
    assert!(own.notes()[0].ends_with("\"<pad>\", which is not in tokenizer.model"));
}

/// Phi-3's tokens take white space along, which GGUF files do not say.
#[test]
fn white_space_after_special_pieces_of_phi3_is_theirs() {
    let sample = gguf(&vocabulary()).flag("tokenizer.ggml.add_bos_token", false);
    let ids = |architecture: &str, text: &str| {
        let sample = sample.clone().text("general.architecture", architecture);
        in_gguf(&sample).unwrap().encode(text).unwrap()
    };
    assert_eq!(ids("phi3", "</s> a"), [2, 264]);
    assert_eq!(ids("phi3", "<u> \n a"), [267, 264]);
    assert_eq!(ids("phi3", "<s> a"), [1, 259, 264]);
    assert_eq!(ids("llama", "</s> a"), [2, 259, 264]);
}

#[test]
fn pieces_out_of_use_that_merging_meets_are_noted() {
    let notes = |unused: &[&str]| {
        let all = vocabulary().into_iter();
        let more = unused.iter().map(|text| listed(text, -9., 5));
        let all: Vec<ListedPiece> = all.chain(more).collect();
        tokenizer(&merged(&all, false)).notes().to_vec()
    };
    // Padding, which no pieces make.
    assert_eq!(notes(&["[PAD1]", "[PAD2]"]), [""; 0]);
    // One character; ab and c; abc, which is out of use, and a.
    let found = notes(&["d", "abc", "abca", "[PAD1]"]);
    assert!(found.len() == 1 && found[0].contains("3 that others make"), "{found:?}");
}

/// The algorithm as it is defined: again and again the pair of the highest score.
fn merged_by_hand(all: &[ListedPiece], text: &str) -> Vec<String> {
    let scores: HashMap<&str, f32> = all
        .iter()
        .filter(|(.., kind)| *kind == 1)
        .map(|(text, score, _)| (text.as_str(), *score))
        .collect();
    let mut parts: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let mut best: Option<(f32, usize)> = None;
        for i in 1..parts.len() {
            let union = format!("{}{}", parts[i - 1], parts[i]);
            if let Some(score) = scores.get(union.as_str())
                && best.is_none_or(|(most, _)| *score > most)
            {
                best = Some((*score, i));
            }
        }
        let Some((_, i)) = best else { return parts };
        let right = parts.remove(i);
        parts[i - 1].push_str(&right);
    }
}

/// Vocabularies that grow as in training: each new piece is the union of two, with a lower score than
/// all before it.
#[test]
fn a_list_of_pairs_gives_what_scores_give() {
    let mut rng = Rng::seed(3);
    for _ in 0..30 {
        let mut all: Vec<ListedPiece> = vec![listed("<unk>", 0., 2)];
        let letters = ["a", "b", "c", "d", "e"];
        all.extend(letters.iter().zip(1u8..).map(|(a, i)| listed(a, -1000. - f32::from(i), 1)));
        while all.len() < 60 {
            let [a, b] = [0; 2].map(|_| all[1 + rng.below(all.len() - 1)].0.clone());
            let union = format!("{a}{b}");
            if union.len() < 9 && all.iter().all(|(text, ..)| *text != union) {
                let score = -(all.len() as f32);
                all.push(listed(&union, score, 1));
            }
        }
        let own = tokenizer(&merged(&all, false));
        for _ in 0..100 {
            let text: String = (0..40).map(|_| letters[rng.below(letters.len())]).collect();
            let ids = own.encode(&text).unwrap();
            let found: Vec<&str> = ids.iter().map(|id| all[*id as usize].0.as_str()).collect();
            assert_eq!(found, merged_by_hand(&all, &text), "{text}");
        }
    }
}

#[test]
fn models_that_change_texts_or_are_damaged_are_refused_by_name() {
    let all = vocabulary();
    let with = |change: fn(&mut Vec<ListedPiece>)| {
        let mut all = vocabulary();
        change(&mut all);
        merged(&all, true)
    };
    let (merges, kept) = (number(3, 2), number(4, 0));
    let whole = merged(&all, true);
    let cases = [
        (file(&all, &number(3, 1), &kept), "a model of unigrams"),
        (file(&all, &[], &kept), "a model of unigrams"),
        (file(&all, &number(3, 3), &kept), "a model of words"),
        (file(&all, &number(3, 4), &kept), "a model of characters"),
        (file(&all, &bytes(3, b"x"), &kept), "`trainer_spec.model_type`"),
        (
            file(&all, &[merges.clone(), number(24, 1)].concat(), &kept),
            "treat_whitespace_as_suffix",
        ),
        (file(&all, &merges, &[]), "remove_extra_whitespaces"),
        (file(&all, &merges, &[kept.clone(), number(5, 0)].concat()), "escape_whitespaces"),
        (file(&all, &merges, &[kept.clone(), bytes(2, b"map")].concat()), "one of 3 bytes"),
        ([whole.clone(), bytes(5, &bytes(2, b"map"))].concat(), "`denormalizer_spec`"),
        (with(|all| all[5].2 = 9), "a kind (1 to 6) of piece 5"),
        (with(|all| all[260].1 = f32::NAN), "NaN for \"a\""),
        (with(|all| all[260].0 = "b".to_owned()), "\"b\" as numbers 260 and 261"),
        (with(|all| all[260].0 = "x".repeat(513)), "number 260 of 513 bytes"),
        (with(|all| all[260].0 = String::new()), "none for number 260"),
        (with(|all| all[9].2 = 1), "no \"<0x06>\""),
        (with(|all| drop(all.drain(..259))), "neither"),
        (with(Vec::clear), "with pieces"),
        (whole[..whole.len() - 1].to_vec(), "truncated"),
        ([whole.clone(), vec![0x0b]].concat(), "kind 3"),
        ([whole.clone(), vec![0xff; 12]].concat(), "at most ten bytes"),
        ([whole.clone(), bytes(1, &bytes(1, &[0xff]))].concat(), "UTF-8"),
        ([whole.clone(), bytes(1, &number(2, 1))].concat(), "score of piece 270 as f32"),
    ];
    for (content, expected) in cases {
        let message = super::super::files::read_pieces(&content).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(message.contains("tokenizer.model"), "{message}");
    }
}
