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

fn text(text: &[u8]) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text].concat()
}

/// What names the numbers of a tensor, of this type.
fn storage(class: &[u8]) -> Vec<u8> {
    [&b"("[..], &text(b"storage"), class, &text(b"0"), &text(b"cpu"), b"K\x01t"].concat()
}

/// A tensor of this shape and these steps; `more` are further arguments.
fn tensor(shape: &[u8], more: &[u8]) -> Vec<u8> {
    let storage = storage(b"ctorch\nFloatStorage\n");
    let call = b"ctorch._utils\n_rebuild_tensor_v2\n(";
    [&call[..], &storage, b"QK\x00", shape, shape, more, b"tR"].concat()
}

#[test]
fn what_is_copied_again_and_again_is_refused() {
    let many = |begin: &[u8], entry: &[u8], end: &[u8]| [begin, &entry.repeat(1_000), end].concat();
    let long = vec![b'm'; 10_000];
    let class = [&b"c"[..], &long, b"\nC\n"].concat();
    let pairs = many(b"(", b"K\x00K\x00\x86", b"l\x85");
    let wide = [&tensor(&many(b"(", b"K\x00", b"t"), b"")[..], b"\x85"].concat();
    let call: &[u8] = b"h\x01h\x00R";
    /// A name, what is kept as 0 and as 1, and steps that copy the first.
    type CopyCase<'a> = (&'a str, Vec<u8>, &'a [u8], &'a [u8]);
    let cases: [CopyCase<'_>; 7] = [
        ("an object", class.clone(), b"N", b"h\x00)\x81"),
        ("an old object", class.clone(), b"ccopy_reg\n_reconstructor\n", b"h\x01h\x00\x85R"),
        ("a name", text(&long), b"N", b"h\x00h\x00\x93"),
        ("a storage", storage(&class), b"N", b"h\x00Q"),
        ("a size", many(b"(", b"N", b"t"), b"ctorch\nSize\n", call),
        ("a dictionary", pairs, b"ccollections\nOrderedDict\n", call),
        ("a parameter", wide, b"ctorch._utils\n_rebuild_parameter\n", call),
    ];
    for (what, first, second, copy) in cases {
        let of = |times: usize| {
            let copies = copy.repeat(times);
            [&b"\x80\x02"[..], &first, b"q\x00", second, b"q\x01", &copies, b"."].concat()
        };
        assert!(Pickle::parse(&of(3)).is_ok(), "{what}");
        let found = message(&of(10_000));
        assert!(found.contains("again and again"), "{what}: {found}");
    }
}

#[test]
fn a_tensor_that_is_marked_as_another_is_refused() {
    let of = |metadata: &[u8]| {
        let hooks = b"\x89ccollections\nOrderedDict\n)R";
        let tensor = tensor(b"K\x01\x85", &[&hooks[..], metadata].concat());
        [&b"\x80\x02"[..], &tensor, b"."].concat()
    };
    let mark = |name: &[u8], value: &[u8]| [&b"}"[..], &text(name), value, b"s"].concat();
    let plain = Pickle::parse(&of(b"")).unwrap();
    for unmarked in [b"N".to_vec(), b"}".to_vec(), mark(b"neg", b"\x89")] {
        let pickle = Pickle::parse(&of(&unmarked)).unwrap();
        let PickleValue::Tensor(place) = pickle.value(pickle.root()) else { panic!() };
        assert_eq!((&place.shape[..], &place.steps[..]), (&[1][..], &[1][..]));
        assert!(matches!(plain.value(plain.root()), PickleValue::Tensor(_)));
    }
    for (name, value) in [("neg", b"\x88"), ("conj", b"\x88"), ("scale", b"N")] {
        let found = message(&of(&mark(name.as_bytes(), value)));
        assert!(found.contains(&format!("the mark `{name}`")), "{found}");
    }
    assert!(message(&of(b"K\x01")).contains("no dictionary"));
}
