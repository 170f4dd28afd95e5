pub(crate) mod sample;
mod split;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, ggml_file::qtensor_from_ggml};

use self::sample::{Sample, array, text};
use super::Gguf;
use super::types::{ALL, TensorType};
use crate::random::Rng;
use crate::store::UnknownFields;

const CPU: &Device = &Device::Cpu;

/// A file with every type of value, and two tensors.
fn sample() -> Sample {
    let nested = array(9, &[array(1, &[vec![255]]), array(8, &[text("a"), text("")])]);
    Sample::new()
        .text("general.architecture", "sample")
        .u32("general.alignment", 32)
        .entry("u8", 0, vec![200])
        .entry("i8", 1, vec![200])
        .entry("u16", 2, vec![1, 2])
        .entry("i16", 3, vec![255, 255])
        .entry("i32", 5, (-3i32).to_le_bytes().to_vec())
        .f32("f32", 0.5)
        .flag("flag", true)
        .entry("nested", 9, nested)
        .entry("u64", 10, u64::MAX.to_le_bytes().to_vec())
        .entry("i64", 11, i64::MIN.to_le_bytes().to_vec())
        .entry("f64", 12, 0.25f64.to_le_bytes().to_vec())
        .texts("texts", &["one", "two", "three", "four", "five"])
        .floats("b", &[2, 3], &[1., 2., 3., 4., 5., 6.])
        .tensor("a", &[32], 8, [vec![0, 0x3c], (0..32).collect()].concat())
}

fn message(bytes: impl Into<Vec<u8>>) -> String {
    let error = Gguf::parse("file.gguf", bytes).unwrap_err().to_string();
    assert!(error.contains("file.gguf"), "{error}");
    error
}

#[test]
fn a_file_says_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.gguf");
    std::fs::write(&path, sample().bytes()).unwrap();
    for gguf in [Gguf::open(&path).unwrap(), Gguf::parse(&path, sample().bytes()).unwrap()] {
        assert_eq!((gguf.version(), gguf.metadata().count()), (3, 14));
        let whole = |key: &str| gguf.get(key).unwrap().as_u64();
        assert_eq!([whole("u8"), whole("u16"), whole("u64")], [200, 513, u64::MAX].map(Some));
        assert_eq!([whole("i8"), whole("i16"), whole("i64"), whole("f32")], [None; 4]);
        assert_eq!(gguf.get("f64").unwrap().as_f64(), Some(0.25));
        assert_eq!(gguf.get("flag").unwrap().as_bool(), Some(true));
        let texts = gguf.get("texts").unwrap().as_array().unwrap();
        assert_eq!(texts.strings().unwrap().collect::<Vec<_>>()[3..], ["four", "five"]);
        let b = gguf.tensor("b", CPU).unwrap();
        assert_eq!(b.to_vec2::<f32>().unwrap(), [[1., 2., 3.], [4., 5., 6.]]);
        let a: Vec<f32> = gguf.tensor("a", CPU).unwrap().to_vec1().unwrap();
        assert_eq!((a[0], a[31]), (0., 31.));
        let missing = gguf.tensor("c", CPU).unwrap_err().to_string();
        assert!(missing.contains("sample.gguf") && missing.contains("`c`"), "{missing}");
        let shown = gguf.to_string();
        for line in [
            "sample.gguf, GGUF 3, 2 tensors",
            "  nested                2 arrays: 1 numbers: -1, 2 texts: \"a\", \"\"\n",
            "  texts                 5 texts: \"one\", \"two\", \"three\", \"four\", …\n",
            "  b  F32      [2, 3]\n  a  Q8_0     [32]\n",
        ] {
            assert!(shown.contains(line), "{shown}");
        }
    }
    let second = Sample { version: 2, ..sample() };
    assert_eq!(Gguf::parse("2", second.bytes()).unwrap().version(), 2);
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let whole = sample().bytes();
    let changed = |at: usize, new: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        message(bytes)
    };
    assert!(message(&whole[..whole.len() - 40]).contains("truncated"));
    assert!(message(&whole[..100]).contains("truncated"));
    assert!(message(*b"").contains("truncated"));
    assert!(changed(0, b"PK").contains("`GGUF`"));
    assert!(changed(4, &[1]).contains("version 1"));
    assert!(changed(4, &[0, 0, 0, 3]).contains("big-endian"));
    assert!(changed(8, &[255; 8]).contains("18446744073709551615 tensors"));
    assert!(changed(16, &[255; 7]).contains("entries of metadata"));
    let cases = [
        (sample().entry("x", 13, vec![]), "type 13"),
        (sample().entry("x", 7, vec![2]), "0 or 1 at `x`"),
        (sample().entry("x", 9, array(7, &[vec![1], vec![3]])), "0 or 1 at `x`"),
        (sample().entry("x", 8, [&text("")[..7], &[127]].concat()), "the text at `x`"),
        (sample().entry("x", 8, [&1u64.to_le_bytes()[..], &[255]].concat()), "UTF-8"),
        (sample().entry("x", 9, [&[10u8, 0, 0, 0][..], &[255; 8]].concat()), "values at `x`"),
        (sample().u32("general.alignment", 0), "a power of two"),
        (sample().u32("general.alignment", 48), "a power of two"),
        (sample().u32("general.alignment", 4096), "a multiple of 4096"),
        (sample().text("general.alignment", "32"), "a power of two"),
        (sample().tensor("c", &[33], 8, vec![0; 34]), "rows of 32 values"),
        (sample().tensor("c", &[32], 4, vec![0; 34]), "type 4"),
        (sample().tensor("c", &[1, 1, 1, 1, 1], 0, vec![0; 4]), "at most 4 dimensions"),
        (sample().tensor("c", &[4, 0], 0, vec![]), "[0, 4]"),
        (sample().tensor("c", &[1 << 40, 1 << 40], 0, vec![]), "`c`"),
        (sample().tensor("c", &[u64::MAX / 4], 0, vec![]), "`c`"),
        (sample().tensor("c", &[1 << 40], 0, vec![0; 4]), "truncated"),
    ];
    for (sample, expected) in cases {
        let error = message(sample.bytes());
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let mut twice = sample();
    twice.entries.push(("u8".to_owned(), 0, vec![1]));
    assert!(message(twice.bytes()).contains("`u8` twice"));
    let mut twice = sample();
    twice.tensors.push(twice.tensors[0].clone());
    assert!(message(twice.bytes()).contains("`b` twice"));
    let deep = (0..5).fold(array(0, &[]), |inner, _| array(9, &[inner]));
    assert!(message(sample().entry("x", 9, deep).bytes()).contains("arrays in each other"));
    // The last tensor's place is the last thing before the data: move it onto the first's, and off.
    let place = whole.windows(8).rposition(|part| part == 32u64.to_le_bytes()).unwrap();
    assert!(changed(place, &[0]).contains("`b` and `a` in the same place"));
    assert!(changed(place, &[33]).contains("a multiple of 32"));
    assert!(changed(place, &[0, 0, 0, 0, 0, 0, 0, 255]).contains("truncated"));
    assert!(changed(place, &[0xe0, 255, 255, 255, 255, 255, 255, 255]).contains("far outside"));
    let missing = Gguf::open("/no/such.gguf").unwrap_err().to_string();
    assert!(missing.contains("could not read /no/such.gguf"), "{missing}");
    assert!(Gguf::open(std::env::temp_dir()).is_err());
}

#[test]
fn tensors_that_make_no_sense_are_named() {
    let gguf = sample().tensor("odd", &[256], 16, vec![0; 66]).floats("nan", &[1], &[f32::NAN]);
    let gguf = Gguf::parse("file.gguf", gguf.bytes()).unwrap();
    let error = gguf.tensor("odd", CPU).unwrap_err().to_string();
    assert!(error.contains("`odd`") && error.contains("IQ2_XXS"), "{error}");
    let error = gguf.tensor("nan", CPU).unwrap_err().to_string();
    assert!(error.contains("`nan`") && error.contains("file.gguf"), "{error}");
}

/// A header longer than what is read at first.
#[test]
fn a_long_header_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.gguf");
    let long = "x".repeat(3 << 20);
    let file = sample().text("long", &long).bytes();
    std::fs::write(&path, &file).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.get("long").unwrap().as_str(), Some(long.as_str()));
    assert_eq!(gguf.tensor("b", CPU).unwrap().dims(), [2, 3]);
    std::fs::write(&path, &file[..file.len() - 40]).unwrap();
    assert!(Gguf::open(&path).unwrap_err().to_string().contains("truncated"));
    // One that shrinks after it was opened.
    std::fs::write(&path, &file).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    std::fs::write(&path, b"GGUF").unwrap();
    assert!(gguf.tensor("b", CPU).unwrap_err().to_string().contains("could not read"));
}

/// Truncated at every byte, every bit flipped, every byte replaced, every eight bytes made huge.
#[test]
fn no_damage_makes_a_panic_or_a_wait() {
    let start = std::time::Instant::now();
    let whole = sample().bytes();
    let look = |bytes: &[u8]| {
        if let Ok(gguf) = Gguf::parse("damaged", bytes) {
            // Damage to names and values may leave a sound file: all of it can be looked at.
            assert!(gguf.to_string().len() < 1 << 20);
            for info in gguf.tensors() {
                let _ = gguf.tensor(info.name(), CPU);
            }
            assert!(
                gguf.tokenizer().is_err()
                    && crate::model::GgufModel::new(&gguf, UnknownFields::Refuse).is_err()
            );
        }
    };
    // Behind the 34 bytes of the last tensor there is nothing but padding.
    for end in 0..whole.len() - 30 {
        assert!(message(&whole[..end]).contains("truncated"), "{end}");
    }
    for at in 0..whole.len() {
        for new in (0..8).map(|bit| whole[at] ^ 1 << bit).chain([0, 1, 9, 127, 128, 254, 255]) {
            let mut bytes = whole.clone();
            bytes[at] = new;
            look(&bytes);
        }
        let values = [u64::MAX, 1 << 63, 1 << 62, 1 << 32, u64::from(u32::MAX), 1 << 40];
        for value in values.into_iter().chain([whole.len() as u64, 0]) {
            let mut bytes = whole.clone();
            let end = whole.len().min(at + 8);
            bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            look(&bytes);
        }
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

/// Noise behind a sound start.
#[test]
fn noise_is_refused_or_read() {
    let mut rng = Rng::seed(5);
    let whole = sample().bytes();
    for _ in 0..2000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + rng.below(20) {
            let at = rng.below(bytes.len());
            bytes[at] = rng.below(256) as u8;
        }
        if let Ok(gguf) = Gguf::parse("noise", bytes) {
            assert_eq!(gguf.version() | 1, 3);
        }
    }
}

/// Bytes of finite blocks: scales are f16 of moderate size, all else anything.
fn blocks(kind: TensorType, count: usize, rng: &mut Rng) -> Vec<u8> {
    let (_, bytes) = kind.block();
    let scales: &[usize] = match kind {
        TensorType::F16 | TensorType::Q4_0 | TensorType::Q5_0 | TensorType::Q8_0 => &[0],
        TensorType::Q2_K => &[80, 82],
        TensorType::Q3_K => &[108],
        TensorType::Q6_K => &[208],
        TensorType::F32 | TensorType::BF16 => &[],
        _ => &[0, 2],
    };
    let mut out = Vec::new();
    for _ in 0..count {
        let mut block: Vec<u8> = (0..bytes).map(|_| rng.below(256) as u8).collect();
        for at in scales {
            // Any sign, an exponent that is not the largest, any fraction.
            let half = (rng.below(2) << 15 | rng.below(31) << 10 | rng.below(1024)) as u16;
            block[*at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
        match kind {
            TensorType::F32 => block[3] &= 0xbf,
            TensorType::BF16 => block[1] &= 0xbf,
            _ => {}
        }
        out.extend(block);
    }
    out
}

#[test]
fn every_type_that_is_read_gives_candles_numbers_bit_for_bit() {
    let mut rng = Rng::seed(11);
    let pairs = [
        (TensorType::F32, GgmlDType::F32),
        (TensorType::F16, GgmlDType::F16),
        (TensorType::BF16, GgmlDType::BF16),
        (TensorType::Q4_0, GgmlDType::Q4_0),
        (TensorType::Q4_1, GgmlDType::Q4_1),
        (TensorType::Q5_0, GgmlDType::Q5_0),
        (TensorType::Q5_1, GgmlDType::Q5_1),
        (TensorType::Q8_0, GgmlDType::Q8_0),
        (TensorType::Q2_K, GgmlDType::Q2K),
        (TensorType::Q3_K, GgmlDType::Q3K),
        (TensorType::Q4_K, GgmlDType::Q4K),
        (TensorType::Q5_K, GgmlDType::Q5K),
        (TensorType::Q6_K, GgmlDType::Q6K),
    ];
    assert_eq!(ALL.iter().filter(|(_, kind)| kind.is_readable()).count(), pairs.len());
    for (kind, theirs) in pairs {
        let (size, count) = (kind.block().0 as usize, 700);
        let bytes = blocks(kind, count, &mut rng);
        let expected = qtensor_from_ggml(theirs, &bytes, vec![count, size], CPU).unwrap();
        let expected = expected.dequantize(CPU).unwrap().flatten_all().unwrap();
        let expected: Vec<f32> = expected.to_vec1().unwrap();
        let number = ALL.iter().find(|(_, own)| *own == kind).unwrap().0;
        let shape = [count as u64, size as u64];
        let gguf = Sample::new().tensor("x", &shape, number, bytes).bytes();
        let found = Gguf::parse("x", gguf).unwrap().tensor("x", CPU).unwrap();
        assert_eq!(found.dims(), [count, size]);
        let found: Vec<f32> = found.flatten_all().unwrap().to_vec1().unwrap();
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.to_bits(), expected.to_bits(), "{kind} at {i}: {found} {expected}");
        }
    }
}

/// The formats' definitions, written down number by number.
#[test]
fn blocks_mean_what_their_definitions_say() {
    // d = 2, m = -1: halves of bytes, low ones first.
    let quants: Vec<u8> = (0..16).map(|i| i | (15 - i) << 4).collect();
    let q4_1 = [&[0x00, 0x40, 0x00, 0xbc], &quants[..]].concat();
    let found = TensorType::Q4_1.dequantise(&q4_1).unwrap();
    let expected = (0..32).map(|i: u8| 2. * f32::from(if i < 16 { i } else { 31 - i }) - 1.);
    assert_eq!(found, expected.collect::<Vec<_>>());
    let q4_0 = [&[0x00, 0x40], &quants[..]].concat();
    let found = TensorType::Q4_0.dequantise(&q4_0).unwrap();
    assert_eq!((found[0], found[15], found[16], found[31]), (-16., 14., 14., -16.));
    // Fifth bits of numbers 0 and 31 set.
    let q5_0 = [&[0x00, 0x40, 1, 0, 0, 0x80], &quants[..]].concat();
    let found = TensorType::Q5_0.dequantise(&q5_0).unwrap();
    assert_eq!((found[0], found[1], found[31]), (0., -30., 0.));
    // Q4_K: scales 1 to 8 of six bits, minima 2 to 16 where they fit in the first form.
    let mut q4_k = vec![0x00, 0x3c, 0x00, 0x38];
    q4_k.extend([1, 2, 3, 4 | 1 << 6, 5, 6, 7, 8 | 2 << 6, 9 | 1 << 4, 0, 0, 1 | 3 << 4]);
    q4_k.extend([0x21; 128]);
    let found = TensorType::Q4_K.dequantise(&q4_k).unwrap();
    assert_eq!((found[0], found[32], found[96]), (1. - 2.5, 2. * 2. - 3., 4. * 2. - 4.));
    // Part 4: scale 9, minimum 1; part 7: scale 1 + 16, minimum 3 + 32.
    assert_eq!((found[128], found[224]), (9. - 0.5, 17. * 2. - 17.5));
    // Q2_K: d = 2, dmin = 0.5; scales 1 to 16 less 16, minima 15 to 0; numbers 0 to 3 by group of 32.
    let mut q2_k: Vec<u8> = (0..16).map(|i| ((i + 1) & 15) | (15 - i) << 4).collect();
    q2_k.extend([0b11_10_01_00; 64]);
    q2_k.extend([0x00, 0x40, 0x00, 0x38]);
    let found = TensorType::Q2_K.dequantise(&q2_k).unwrap();
    assert_eq!((found[0], found[16], found[32]), (-7.5, -7., 2. * 3. - 6.5));
    assert_eq!((found[100], found[160], found[255]), (2. * 7. * 3. - 4.5, 2. * 11. - 2.5, 0.));
    // Q3_K: d = 1; scales 32 + k; third bits of the first half alone.
    let mut q3_k = vec![0x0f; 32];
    q3_k.extend([0b11_10_01_00; 64]);
    // Six bits 32 + k: the low four are k, the upper two are 2.
    q3_k.extend((0..8).map(|k: u8| k | (k + 8) << 4));
    q3_k.extend([0b10_10_10_10; 4]);
    q3_k.extend([0x00, 0x3c]);
    let found = TensorType::Q3_K.dequantise(&q3_k).unwrap();
    assert_eq!((found[0], found[16], found[32], found[127]), (0., 0., 2., 7. * 3.));
    assert_eq!((found[128], found[160], found[255]), (8. * -4., 10. * -3., -15.));
    let mut q6_k = vec![0x10; 128];
    q6_k.extend([0b11_10_01_00; 64]);
    q6_k.extend((0..16).map(|i: i8| (i - 8).cast_unsigned()));
    q6_k.extend([0x00, 0x3c]);
    let found = TensorType::Q6_K.dequantise(&q6_k).unwrap();
    // Low halves 0, high halves 1; upper bits 0 to 3 by group of 32.
    assert_eq!((found[0], found[16], found[32]), (-8. * -32., -7. * -32., -6. * -16.));
    assert_eq!((found[64], found[255]), (-4. * 1., 7. * 17.));
}

#[test]
fn every_f16_is_widened_as_candle_does() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let found = TensorType::F16.dequantise(&bytes).unwrap();
    let theirs = qtensor_from_ggml(GgmlDType::F16, &bytes, vec![1 << 16], CPU).unwrap();
    let expected: Vec<f32> = theirs.dequantize(CPU).unwrap().to_vec1().unwrap();
    for (bits, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
        assert!(same, "{bits:#06x}: {found} {expected}");
    }
}

#[test]
fn numbers_of_types_are_their_own() {
    for (number, kind) in ALL {
        assert_eq!(TensorType::from_number(*number), Some(*kind));
    }
    assert_eq!(TensorType::from_number(4), None);
    assert_eq!(TensorType::from_number(u32::MAX), None);
}
