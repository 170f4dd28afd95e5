//! Pickles that are read, and those that are refused.

use super::*;

fn message(bytes: &[u8]) -> String {
    Pickle::parse(bytes).unwrap_err().to_string()
}

#[test]
fn data_of_all_kinds_is_read() {
    // {'a': [1, -2, 3.5, True, None], 'b': ('x', b'y'), 'l': 2**40}, protocol 2
    let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x0c\x00\x00\x00\x00\x00\x00\x88NeX\x01\x00\x00\x00bq\x03X\x01\x00\x00\x00xq\x04C\x01y\x86q\x05X\x01\x00\x00\x00lq\x06\x8a\x06\x00\x00\x00\x00\x00\x01u.";
    let pickle = Pickle::parse(bytes).unwrap();
    let root = pickle.root();
    let PickleValue::List(list) = pickle.value(pickle.field(root, "a").unwrap()) else { panic!() };
    let list: Vec<_> = list.iter().map(|id| pickle.value(*id).clone()).collect();
    let expected = [
        PickleValue::Int(1),
        PickleValue::Int(-2),
        PickleValue::Float(3.5),
        PickleValue::Bool(true),
        PickleValue::None,
    ];
    assert_eq!(list, expected);
    assert_eq!(*pickle.value(pickle.field(root, "l").unwrap()), PickleValue::Int(1 << 40));
    let PickleValue::Tuple(pair) = pickle.value(pickle.field(root, "b").unwrap()) else { panic!() };
    assert_eq!(*pickle.value(pair[0]), PickleValue::Text("x".to_owned()));
}

#[test]
fn an_object_of_an_unknown_class_is_its_fields() {
    let bytes = b"\x80\x02cmod\nCfg\n)\x81}(X\x01\x00\x00\x00dK\x07ub.";
    let pickle = Pickle::parse(bytes).unwrap();
    let PickleValue::Object(class, _) = pickle.value(pickle.root()) else { panic!() };
    assert_eq!(class, "mod.Cfg");
    assert_eq!(*pickle.value(pickle.field(pickle.root(), "d").unwrap()), PickleValue::Int(7));
}

#[test]
fn calls_are_refused_by_name() {
    let call = message(b"\x80\x02cbuiltins\nprint\nX\x02\x00\x00\x00hi\x85R.");
    assert!(call.contains("builtins.print") && call.contains("executed"), "{call}");
    assert!(message(b"(S'ls'\nios\nsystem\n.").contains("0x69"));
}

#[test]
fn damaged_pickles_are_refused() {
    assert!(message(b"").contains("cut short"));
    assert!(message(b"\x80\x02X\xff\xff\xff\xffab").contains("cut short"));
    assert!(message(b"\x80\x02.").contains("more values"));
    assert!(message(b"\x80\x02K\x01h\x05.").contains("recalls"));
    assert!(message(b"\x80\x02K\x01K\x02s.").contains("without a value"));
    assert!(message(b"\x80\x02K\x01K\x01K\x02s.").contains("no dictionary"));
    assert!(message(b"\x80\x02(0.").contains("more values"));
    assert!(message(b"\x80\x02\x8a\x09aaaaaaaaa.").contains("64 bits"));
}

#[test]
fn what_is_shared_again_and_again_takes_no_room() {
    // Each list holds the one before twice: written out, 2^60 values.
    let mut bytes = b"\x80\x02]q\x00".to_vec();
    for i in 0u8..60 {
        bytes.extend([b']', b'q', i + 1, b'(', b'h', i, b'h', i, b'e']);
    }
    bytes.push(b'.');
    let pickle = Pickle::parse(&bytes).unwrap();
    assert_eq!(pickle.values.len(), 61);
}
