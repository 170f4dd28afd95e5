//! Fields that are read, refused and told.

use serde::Deserialize;
use serde_json::json;

use super::super::{MustBe, Off, Size, nullable};
use super::*;

const LOADER: &str = "the loader's `.allow_unknown_fields()`";

#[derive(Debug, Default, Deserialize)]
struct NoFields {}

#[derive(Debug, Deserialize)]
struct OuterFields {
    lr: Option<f64>,
    width: Option<Size>,
    metadata: Option<InnerFields>,
}

#[derive(Debug, Deserialize)]
struct InnerFields {
    depth: Size,
    flat: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct OtherFields {
    metadata: Option<ModelFields>,
}

#[derive(Debug, Deserialize)]
struct ModelFields {
    model: Option<String>,
}

fn document(value: Value) -> Document {
    Document::parse(Path::new("cfg.json"), value.to_string().as_bytes()).unwrap()
}

fn message<T: DeserializeOwned + std::fmt::Debug>(value: Value) -> String {
    document(value).read::<T>().unwrap_err().to_string()
}

#[test]
fn values_that_are_off_are_no_reason_to_refuse() {
    let off = json!({
        "a": null, "b": false, "c": {}, "d": [], "e": "", "f": {"g": null, "h": {"i": false}},
        "seqpos": [null, null], "attn_pdrop": 0.0, "noise": 0, "aux_loss_coefficient": 0.0,
    });
    for read in [true, false] {
        let mut document = document(off.clone());
        if read {
            document.read::<NoFields>().unwrap();
        }
        let left = document.finish(|_| false, UnknownFields::Refuse, LOADER).unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn zero_is_off_only_where_it_means_none() {
    for (name, value) in [("layer", json!(0)), ("temperature", json!(0.0)), ("x", json!([0]))] {
        assert!(!is_off(name, &value), "{name}");
    }
    assert!(!is_off("noise", &json!(0.1)) && !is_off("use_noise", &json!(true)));
}

#[test]
fn everything_unknown_is_in_one_error_with_the_way_on() {
    let fields = json!({
        "lr": 1, "zoo": "lion", "gain": 2, "off": false, "seed": 5,
        "metadata": {"glow": 3, "depth": 1},
    });
    let read = || {
        let mut document = document(fields.clone());
        assert_eq!(document.read::<OuterFields>().unwrap().lr, Some(1.0));
        document
    };
    let harmless = |name: &str| name == "seed";
    let message = read().finish(harmless, UnknownFields::Refuse, LOADER).unwrap_err();
    let message = message.to_string();
    for part in ["`zoo`: \"lion\"", "`gain`: 2", "`metadata.glow`: 3", "allow_unknown_fields"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(!["lr", "off`", "seed", "depth"].iter().any(|name| message.contains(name)));
    let mut ignored = read().finish(harmless, UnknownFields::Allow, LOADER).unwrap();
    ignored.sort();
    assert_eq!(ignored, ["gain: 2", "metadata.glow: 3", "zoo: \"lion\""]);
}

#[test]
fn a_field_is_known_where_one_of_several_types_has_it() {
    let fields = json!({"zoo": 1, "metadata": {"depth": 2, "model": "gpt2", "glow": 3}});
    let mut ab = document(fields.clone());
    let outer: OuterFields = ab.read().unwrap();
    let other: OtherFields = ab.read().unwrap();
    let inner = outer.metadata.unwrap();
    assert_eq!((outer.lr, outer.width, inner.depth.0, inner.flat), (None, None, 2, None));
    assert_eq!(other.metadata.unwrap().model.as_deref(), Some("gpt2"));
    let mut ba = document(fields);
    ba.read::<OtherFields>().unwrap();
    ba.read::<NoFields>().unwrap();
    ba.read::<OuterFields>().unwrap();
    for document in [ab, ba] {
        let mut left = document.finish(|_| false, UnknownFields::Allow, LOADER).unwrap();
        left.sort();
        assert_eq!(left, ["metadata.glow: 3", "zoo: 1"]);
    }
}

#[test]
fn an_object_within_is_a_document_of_its_own_and_comes_back() {
    let mut outer = document(json!({"zoo": 1, "text": {"lr": 1, "glow": 2, "width": true}}));
    outer.read::<NoFields>().unwrap();
    let mut inner = outer.inner("text").unwrap();
    let message = inner.read::<OuterFields>().unwrap_err().to_string();
    assert!(message.contains("a size in `text.width`, found true"), "{message}");
    let message = inner.missing("depth", "a size").to_string();
    assert!(message.contains("the field `text.depth`, a size"), "{message}");
    assert!(inner.wrong("lr", "0", 1).to_string().contains("0 in `text.lr`, found 1"));
    let message = inner.agreed(("lr", Some(1)), ("width", Some(2))).unwrap_err().to_string();
    assert!(message.contains("in `text.lr` and `text.width`, found 1 and true"), "{message}");
    let message = outer.agreed(("zoo", Some(1)), ("text.glow", Some(2))).unwrap_err().to_string();
    assert!(message.contains("in `zoo` and `text.glow`, found 1 and 2"), "{message}");
    for wrong in ["zoo", "none"] {
        assert!(outer.inner(wrong).unwrap_err().to_string().contains("an object"));
    }
    let fields = json!({"zoo": 1, "text": {"lr": 1, "glow": 2, "metadata": {"x": 3}}});
    let mut outer = document(fields);
    inner = outer.inner("text").unwrap();
    inner.read::<NoFields>().unwrap();
    inner.read::<OuterFields>().unwrap_err();
    #[derive(Debug, Deserialize)]
    struct Rate {
        lr: f64,
    }
    assert_eq!(inner.read::<Rate>().unwrap().lr, 1.0);
    outer.join("text", inner);
    let mut left = outer.finish(|_| false, UnknownFields::Allow, LOADER).unwrap();
    left.sort();
    assert_eq!(left, ["text.glow: 2", "text.metadata: {\"x\":3}", "zoo: 1"]);
}

#[test]
fn a_wrong_value_is_told_with_its_place_and_what_was_expected() {
    for (value, expected) in [
        (json!({"lr": "high"}), "expected a number in `lr`, found \"high\""),
        (json!({"width": 1.5}), "expected a size in `width`, found 1.5"),
        (json!({"width": -3}), "expected a size in `width`, found -3"),
        (json!({"metadata": 3}), "expected an object in `metadata`, found 3"),
        (json!({"metadata": [1, true]}), "expected an object in `metadata`, found [1,true]"),
        (json!({"metadata": {}}), "expected the field `metadata.depth`, a size, found no such"),
        (
            json!({"metadata": {"depth": 1, "flat": 0}}),
            "expected true or false in `metadata.flat`, found 0",
        ),
    ] {
        let message = message::<OuterFields>(value);
        assert!(message.starts_with("cfg.json is not usable: "), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let long = message::<OuterFields>(json!({"lr": "x".repeat(200)}));
    assert!(long.len() < 200 && long.ends_with('…'), "{long}");
    let text = message::<ModelFields>(json!({"model": true}));
    assert!(text.contains("expected a text in `model`, found true"), "{text}");
    let error = Document::parse(Path::new("cfg.json"), b"[1]").unwrap_err().to_string();
    assert!(error.contains("expected a JSON object, found other JSON"), "{error}");
}

#[test]
fn a_name_that_is_none_of_a_list_is_told_with_the_list() {
    #[derive(Debug, Deserialize)]
    struct KindField {
        kind: Animal,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Animal {
        Cat,
        Dog,
    }
    let mut pets: Vec<Animal> = Vec::new();
    for name in ["cat", "dog"] {
        pets.push(document(json!({"kind": name})).read::<KindField>().unwrap().kind);
    }
    assert_eq!(pets, [Animal::Cat, Animal::Dog]);
    let text = message::<KindField>(json!({"kind": "lion"}));
    assert!(text.contains("expected `cat` or `dog` in `kind`, found \"lion\""), "{text}");
    let text = message::<KindField>(json!({"kind": 3}));
    assert!(text.contains("expected a name in `kind`, found 3"), "{text}");
}

#[test]
fn a_whole_number_may_have_a_point_and_null_is_as_nothing() {
    let mut document = document(json!({"width": 4.0, "lr": null, "metadata": null}));
    let outer: OuterFields = document.read().unwrap();
    assert_eq!(outer.width.map(usize::from), Some(4));
    assert!(outer.lr.is_none() && outer.metadata.is_none());
}

#[test]
fn what_cannot_be_applied_is_refused_unless_it_is_off() {
    #[derive(Debug, Deserialize)]
    struct RefusedFields {
        shift: Option<Off>,
        fixed: Option<MustBe<true>>,
    }
    for off in [json!(false), json!(null), json!(""), json!({}), json!([])] {
        let parts: RefusedFields = document(json!({"shift": off, "fixed": true})).read().unwrap();
        assert!(parts.fixed.is_some());
        assert!(parts.shift.is_none() || off != json!(null));
    }
    let text = message::<RefusedFields>(json!({"shift": 2}));
    assert!(text.contains("nothing or an off value in `shift`, found 2"), "{text}");
    let text = message::<RefusedFields>(json!({"fixed": false}));
    assert!(text.contains("expected true in `fixed`, found false"), "{text}");
}

#[test]
fn two_names_of_a_field_have_one_value_and_left_out_is_not_null() {
    #[derive(Debug, Deserialize)]
    struct Window {
        #[serde(default, deserialize_with = "nullable")]
        window: Option<Option<Size>>,
    }
    for (value, expected) in [
        (json!({}), None),
        (json!({"window": null}), Some(None)),
        (json!({"window": 3}), Some(Some(Size(3)))),
    ] {
        assert_eq!(document(value).read::<Window>().unwrap().window, expected);
    }
    let fields = document(json!({"n_ctx": 3, "length": [4, {"a": "b"}]}));
    let agreed = |a, b| fields.agreed(("n_ctx", a), ("length", b));
    assert_eq!(agreed(None, Some(3)).unwrap(), Some(3));
    assert_eq!(agreed(Some(3), Some(3)).unwrap(), Some(3));
    let message = agreed(Some(3), Some(4)).unwrap_err().to_string();
    assert!(message.contains("the same in `n_ctx` and `length`, found 3 and [4,{"), "{message}");
}
