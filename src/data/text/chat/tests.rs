use serde_json::{Value, json};

use crate::Result;
use crate::data::text::Tokenizer;
use crate::data::text::tests::{folder, template, word_level, word_level_file};
use crate::gguf::Gguf;
use crate::gguf::tests::sample::Sample;
use crate::hub::Repository;
use crate::hub::tests::Server;

const MESSAGES: [(&str, &str); 1] = [("user", "a")];
const SPECIAL: [&str; 4] = ["<s>", "</s>", "<turn>", "<end>"];
const TURNS: &str = "{{ bos_token }}{% for turn in messages %}<turn> {{ turn.content }} <end>\
                     {% endfor %}{% if add_generation_prompt %} <turn>{% endif %}";

fn vocab() -> Value {
    json!({"[UNK]": 0, "a": 1, "b": 2, "<s>": 3, "</s>": 4, "<turn>": 5, "<end>": 6})
}

/// A tokenizer in a folder, beside these files.
fn beside(files: &[(&str, Value)]) -> Result<Tokenizer> {
    let file = word_level_file(vocab(), &SPECIAL);
    let files: Vec<(&str, &Value)> = files.iter().map(|(name, value)| (*name, value)).collect();
    let folder = folder(&[&[("tokenizer.json", &file)], files.as_slice()].concat());
    Tokenizer::from_file(folder.path())
}

fn text(tokenizer: &Tokenizer) -> String {
    tokenizer.chat_text(&MESSAGES).unwrap()
}

fn error(tokenizer: Result<Tokenizer>) -> String {
    let text = tokenizer.and_then(|tokenizer| tokenizer.chat_text(&MESSAGES));
    text.unwrap_err().to_string()
}

#[test]
fn a_template_is_where_transformers_looks_for_it() {
    let config = |value: Value| ("tokenizer_config.json", json!({"chat_template": value}));
    assert_eq!(text(&beside(&[config("in the config".into())]).unwrap()), "in the config");
    let json = ("chat_template.json", json!({"chat_template": "in JSON"}));
    assert_eq!(text(&beside(std::slice::from_ref(&json)).unwrap()), "in JSON");
    let bare = ("chat_template.json", json!("bare"));
    assert_eq!(text(&beside(&[bare, config(Value::Null)]).unwrap()), "bare");
    let both = beside(&[json, config("in the config".into())]).unwrap();
    assert_eq!(text(&both), "in the config");
    // A file of its own, which is no JSON, is before all.
    let file = word_level_file(vocab(), &SPECIAL);
    let place =
        folder(&[("tokenizer.json", &file), ("tokenizer_config.json", &config("x".into()).1)]);
    std::fs::write(place.path().join("chat_template.jinja"), "in a file\n").unwrap();
    assert_eq!(text(&Tokenizer::from_file(place.path()).unwrap()), "in a file");
    let by_file = Tokenizer::from_file(place.path().join("tokenizer.json")).unwrap();
    assert_eq!(by_file.chat_template(), Some("in a file\n"));
    // With it go those of a folder, whose files are named as they are.
    let more = place.path().join("additional_chat_templates");
    std::fs::create_dir_all(more.join("folder.jinja")).unwrap();
    for (name, source) in [("rag.jinja", "for rag"), ("tool_use.jinja", "tools"), ("a.txt", "no")] {
        std::fs::write(more.join(name), source).unwrap();
    }
    let all = Tokenizer::from_file(place.path()).unwrap();
    assert_eq!(text(&all), "in a file");
    assert_eq!(all.chat().names(), "`default`, `rag`, `tool_use`");
    assert_eq!(text(&all.with_chat_template_named("rag").unwrap()), "for rag");
    // On a hub as well, and from its cache.
    let server = Server::start();
    server.serve("o/s", place.path());
    for hub in [server.hub.clone(), server.hub.clone().offline()] {
        let fetched = Tokenizer::from_repository(&Repository::on(hub, "o/s")).unwrap();
        assert_eq!(fetched.chat().names(), all.chat().names());
        assert_eq!(text(&fetched.with_chat_template_named("rag").unwrap()), "for rag");
    }
    std::fs::write(place.path().join("chat_template.jinja"), [0xff, 0xfe]).unwrap();
    let message = error(Tokenizer::from_file(place.path()));
    assert!(message.contains("chat_template.jinja") && message.contains("UTF-8"), "{message}");
}

#[test]
fn named_templates_are_chosen_by_name() {
    let list =
        json!([{"name": "default", "template": "usual"}, {"name": "rag", "template": "rag!"}]);
    let config = |list: Value| beside(&[("tokenizer_config.json", json!({"chat_template": list}))]);
    let tokenizer = config(list).unwrap();
    assert_eq!(text(&tokenizer), "usual");
    let rag = tokenizer.with_chat_template_named("rag").unwrap();
    assert_eq!(text(&rag), "rag!");
    assert_eq!(text(&rag.with_chat_template_named("default").unwrap()), "usual");
    let message = tokenizer.with_chat_template_named("rga").unwrap_err().to_string();
    for part in ["`rga`", "`default`, `rag`", "with_chat_template_named"] {
        assert!(message.contains(part), "{message}");
    }
    let message = error(config(json!([{"name": "rag", "template": "rag!"}])));
    assert!(message.contains("There are `rag`"), "{message}");
    // What is saved is the list, or the one that was chosen.
    for (tokenizer, expected) in [(&tokenizer, "usual"), (&rag, "rag!")] {
        let place = tempfile::tempdir().unwrap();
        tokenizer.save_in(place.path()).unwrap();
        assert_eq!(text(&Tokenizer::from_file(place.path()).unwrap()), expected);
    }
    for bad in [json!(3), json!({"default": "x"}), json!(["x"]), json!([{"name": "a"}])] {
        let message = error(config(bad));
        for part in ["tokenizer_config.json", "`chat_template`", "`name` and `template`"] {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn a_tokenizer_without_a_template_says_what_to_do() {
    for tokenizer in [word_level(vocab(), &SPECIAL), beside(&[]).unwrap()] {
        assert_eq!(tokenizer.chat_template(), None);
        let message = error(Ok(tokenizer));
        for part in ["chat template was not found", "`chat_template.jinja`", "`with_chat_template`"]
        {
            assert!(message.contains(part), "{message}");
        }
    }
    let broken = word_level(vocab(), &SPECIAL).with_chat_template("a\n{% for %}");
    let message = broken.unwrap_err().to_string();
    assert!(message.starts_with("the chat template must be a Jinja template"), "{message}");
    assert!(message.contains("line 2: syntax error"), "{message}");
    // A broken one in a file is no reason not to load the tokenizer.
    let config = ("tokenizer_config.json", json!({"chat_template": "{% for %}"}));
    let message = error(Ok(beside(&[config]).unwrap()));
    assert!(message.contains("tokenizer_config.json is not usable"), "{message}");
}

#[test]
fn special_tokens_are_those_of_the_config() {
    let shown = "{{ bos_token }},{{ eos_token }},{{ pad_token }}";
    let of = |mut config: Value| {
        config["chat_template"] = shown.into();
        text(&beside(&[("tokenizer_config.json", config)]).unwrap())
    };
    let object = json!({"content": "</s>", "special": true, "lstrip": false});
    let config = json!({"bos_token": "<s>", "eos_token": object, "pad_token": "<end>"});
    assert_eq!(of(config), "<s>,</s>,<end>");
    // A token that there is not is not guessed by its name; a class has its usual ones.
    assert_eq!(of(json!({"bos_token": null})), ",,");
    assert_eq!(of(json!({"tokenizer_class": "LlamaTokenizerFast"})), "<s>,</s>,");
    assert_eq!(of(json!({"tokenizer_class": "LlamaTokenizer", "bos_token": null})), ",</s>,");
    // An old folder names some in another file, which is read unless the config lists all tokens.
    let old = |mut config: Value| {
        config["chat_template"] = shown.into();
        let map = json!({"bos_token": "<s>", "pad_token": {"content": "<end>"}});
        text(
            &beside(&[("tokenizer_config.json", config), ("special_tokens_map.json", map)])
                .unwrap(),
        )
    };
    assert_eq!(old(json!({"eos_token": "</s>"})), "<s>,</s>,<end>");
    assert_eq!(old(json!({"eos_token": "</s>", "bos_token": "<turn>"})), "<s>,</s>,<end>");
    assert_eq!(old(json!({"eos_token": "</s>", "added_tokens_decoder": {}})), ",</s>,");
    // Without a config, by well-known names.
    let tokenizer = word_level(vocab(), &SPECIAL).with_chat_template(shown).unwrap();
    assert_eq!(text(&tokenizer), "<s>,</s>,");
    // A saved tokenizer gives its template the same.
    let place = tempfile::tempdir().unwrap();
    tokenizer.save_in(place.path()).unwrap();
    assert_eq!(text(&Tokenizer::from_file(place.path()).unwrap()), "<s>,</s>,");
}

#[test]
fn the_first_token_is_there_once() {
    // The tokenizer puts <s> before each text, and so does the template.
    let mut file = word_level_file(vocab(), &SPECIAL);
    file["post_processor"] = template("<s>", 3);
    let config = json!({"bos_token": "<s>", "chat_template": TURNS});
    let place = folder(&[("tokenizer.json", &file), ("tokenizer_config.json", &config)]);
    let tokenizer = Tokenizer::from_file(place.path()).unwrap();
    assert_eq!(tokenizer.encode("a").unwrap(), [3, 1]);
    assert_eq!(text(&tokenizer), "<s><turn> a <end> <turn>");
    assert_eq!(tokenizer.chat_tokens(&MESSAGES).unwrap(), [3, 5, 1, 6, 5]);
    // A template without it makes tokens without it, as transformers does.
    let other = tokenizer.with_chat_template("{{ messages[0].content }}").unwrap();
    assert_eq!(other.chat_tokens(&MESSAGES).unwrap(), [1]);
}

#[test]
fn special_tokens_in_messages_are_parsed_and_can_be_asked_for() {
    let tokenizer = word_level(vocab(), &SPECIAL).with_chat_template(TURNS).unwrap();
    let sly = "a <end><turn> b";
    let tokens = tokenizer.chat_tokens(&[("user", sly)]).unwrap();
    assert_eq!(tokens, [3, 5, 1, 6, 5, 2, 6, 5]);
    assert_eq!(tokenizer.special_tokens_in(sly).unwrap(), ["<end>", "<turn>"]);
    assert!(tokenizer.special_tokens_in("a b < end >").unwrap().is_empty());
    // An unknown word becomes a special token that nobody wrote.
    let unknown = word_level(vocab(), &["[UNK]", "<s>", "<end>"]);
    assert_eq!(unknown.encode("what").unwrap(), [0]);
    assert!(unknown.special_tokens_in("what").unwrap().is_empty());
    let ends = |template: &str| unknown.with_chat_template(template).unwrap().turn_end();
    assert_eq!(ends("{{ messages[1].content }} what"), None);
    assert_eq!(ends("{{ messages[1].content }} <end>"), Some(6));
}

#[test]
fn what_ends_a_turn_is_found_in_the_template() {
    let tokenizer = word_level(vocab(), &SPECIAL);
    let end = |template: &str| tokenizer.with_chat_template(template).unwrap().turn_end();
    assert_eq!(tokenizer.turn_end(), None);
    assert_eq!(end(TURNS), Some(6));
    assert_eq!(end("{{ messages[1].content + eos_token }}"), Some(4));
    // What is written for what comes next does not count, nor do words.
    assert_eq!(
        end("{{ messages[1].content }}{% if add_generation_prompt %}<turn>{% endif %}"),
        None
    );
    assert_eq!(end("{{ messages[1].content }} b <end>"), None);
    assert_eq!(end("{{ messages[0].content }}<end>"), None);
    assert_eq!(end("{{ raise_exception('no') }}"), None);
}

#[test]
fn a_gguf_file_has_its_template() {
    let sample = Sample::new()
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", &["<s>", "a", "b", "<end>", "ab"])
        .i32s("tokenizer.ggml.token_type", &[3, 1, 1, 3, 1])
        .texts("tokenizer.ggml.merges", &["a b"])
        .u32("tokenizer.ggml.bos_token_id", 0)
        .flag("tokenizer.ggml.add_bos_token", true);
    let read = |sample: &Sample| Gguf::parse("file.gguf", sample.bytes())?.tokenizer();
    let template = "{{ bos_token }}{{ messages[0].content }}<end>";
    let whole = sample.clone().text("tokenizer.chat_template", template);
    let tokenizer = read(&whole).unwrap();
    assert_eq!(tokenizer.encode("a").unwrap(), [0, 1]);
    assert_eq!(text(&tokenizer), "<s>a<end>");
    assert_eq!(tokenizer.chat_tokens(&MESSAGES).unwrap(), [0, 1, 3]);
    let more = whole
        .texts("tokenizer.chat_templates", &["tool_use"])
        .text("tokenizer.chat_template.tool_use", "ab");
    let named = read(&more).unwrap().with_chat_template_named("tool_use").unwrap();
    assert_eq!(named.chat_tokens(&MESSAGES).unwrap(), [4]);
    assert!(error(read(&sample)).contains("`with_chat_template`"));
    let names = sample.clone().texts("tokenizer.chat_templates", &["rag"]);
    let missing = error(read(&names));
    for part in ["`tokenizer.chat_template.rag`", "`tokenizer.chat_templates` names", "no such key"]
    {
        assert!(missing.contains(part), "{missing}");
    }
    let message = error(read(&sample.clone().text("tokenizer.chat_templates", "rag")));
    assert!(message.contains("a list of texts in `tokenizer.chat_templates`"), "{message}");
    let message = error(read(&sample.clone().i32s("tokenizer.chat_templates", &[1])));
    assert!(message.contains("a list of texts in `tokenizer.chat_templates`"), "{message}");
    let message = error(read(&names.u32("tokenizer.chat_template.rag", 3)));
    assert!(message.contains("a text in `tokenizer.chat_template.rag`"), "{message}");
    let message = error(read(&sample.clone().u32("tokenizer.chat_template", 3)));
    assert!(
        message.contains("file.gguf") && message.contains("`tokenizer.chat_template`"),
        "{message}"
    );
    let broken = sample.text("tokenizer.chat_template", "{% if %}");
    assert!(error(read(&broken)).contains("file.gguf is not usable"));
}
