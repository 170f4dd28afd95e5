//! Models in several files.

use std::path::Path;

use super::super::in_folder;
use super::sample::Sample;
use super::{CPU, Gguf};

/// Part `number`, from 0, of `count` with `tensors` tensors in all of them.
fn part(number: u16, count: u16, tensors: i32) -> Sample {
    Sample::new()
        .entry("split.no", 2, number.to_le_bytes().to_vec())
        .entry("split.count", 2, count.to_le_bytes().to_vec())
        .entry("split.tensors.count", 5, tensors.to_le_bytes().to_vec())
}

/// A part with a tensor of one number.
fn with_tensor(number: u16, count: u16, name: &str) -> Sample {
    part(number, count, 2).floats(name, &[1], &[f32::from(number)])
}

/// Three parts, of which the first has the metadata and no tensor.
fn parts() -> [Sample; 3] {
    let first = part(0, 3, 2).text("general.architecture", "sample").u32("sample.block_count", 1);
    [first, with_tensor(1, 3, "a"), with_tensor(2, 3, "b")]
}

fn name(number: usize, count: usize) -> String {
    format!("model-{number:05}-of-{count:05}.gguf")
}

fn write(folder: &Path, parts: &[Sample]) {
    for (i, part) in parts.iter().enumerate() {
        std::fs::write(folder.join(name(i + 1, parts.len())), part.bytes()).unwrap();
    }
}

fn message(parts: &[Sample]) -> String {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), parts);
    Gguf::open(folder.path().join(name(1, parts.len()))).unwrap_err().to_string()
}

#[test]
fn any_part_opens_all() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &parts());
    for number in 1..=3 {
        let path = folder.path().join(name(number, 3));
        let gguf = Gguf::open(&path).unwrap();
        assert_eq!(gguf.path(), path);
        assert_eq!(gguf.get("general.architecture").unwrap().as_str(), Some("sample"));
        let value = |name: &str| gguf.tensor(name, CPU).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!((value("a"), value("b")), (vec![1.], vec![2.]));
        let names: Vec<&str> = gguf.tensors().iter().map(|info| info.name()).collect();
        assert_eq!(names, ["a", "b"]);
    }
    // A model in one file may say that it is the only part, under any name.
    let one = folder.path().join("one.gguf");
    std::fs::write(&one, part(0, 1, 0).bytes()).unwrap();
    assert!(Gguf::open(&one).unwrap().tensors().is_empty());
}

#[test]
fn parts_that_are_missing_or_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &parts());
    std::fs::remove_file(folder.path().join(name(2, 3))).unwrap();
    let found = Gguf::open(folder.path().join(name(3, 3))).unwrap_err().to_string();
    assert!(found.contains("part 2 of 3") && found.contains(&name(2, 3)), "{found}");
    let other = |at: usize, part: Sample| {
        let mut all = parts();
        all[at] = part;
        message(&all)
    };
    let cases = [
        // Of another number, another count, another model, or none.
        (other(1, with_tensor(2, 3, "c")), "found part 3 of 3"),
        (other(1, with_tensor(1, 4, "c")), "found part 2 of 4"),
        (other(1, part(1, 3, 7).floats("c", &[1], &[0.])), "of a model of 7 tensors"),
        (other(1, Sample::new().floats("c", &[1], &[0.])), "one that is no part"),
        (other(2, with_tensor(2, 3, "a")), "`a`, which"),
        (other(2, part(2, 3, 2)), "2 tensors in all parts"),
        (
            other(1, with_tensor(1, 3, "a").text("general.architecture", "other")),
            "`general.architecture`, as in the first part",
        ),
        (other(1, with_tensor(1, 3, "a").without("split.no")), "`split.no`"),
        (other(0, part(5, 3, 2)), "a number below 3"),
        (other(0, parts()[0].clone().without("split.tensors.count")), "`split.tensors.count`"),
        (other(0, parts()[0].clone().text("split.count", "3")), "`split.count`"),
    ];
    for (found, expected) in cases {
        assert!(found.contains(expected), "{expected}: {found}");
        assert!(found.contains("model-0000"), "{found}");
    }
    // A damaged part.
    write(folder.path(), &parts());
    std::fs::write(folder.path().join(name(2, 3)), b"GGUF").unwrap();
    let found = Gguf::open(folder.path().join(name(1, 3))).unwrap_err().to_string();
    assert!(found.contains("truncated") && found.contains(&name(2, 3)), "{found}");
    // Names that do not tell the others.
    for name in ["model.gguf", "model-00001-of-00004.gguf", "model-x-of-00003.gguf"] {
        let path = folder.path().join(name);
        std::fs::write(&path, parts()[0].bytes()).unwrap();
        let found = Gguf::open(&path).unwrap_err().to_string();
        assert!(found.contains("`name-00001-of-00003.gguf`") && found.contains(name), "{found}");
    }
}

#[test]
fn a_folder_has_one_model_or_names_several() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(in_folder(folder.path()).unwrap(), None);
    std::fs::write(folder.path().join("README.md"), "").unwrap();
    write(folder.path(), &parts());
    let first = folder.path().join(name(1, 3));
    assert_eq!(in_folder(folder.path()).unwrap(), Some(first.clone()));
    // The first part is missing: opening says so.
    std::fs::remove_file(&first).unwrap();
    assert_eq!(in_folder(folder.path()).unwrap(), Some(first));
    std::fs::write(folder.path().join("other.GGUF"), "").unwrap();
    let found = in_folder(folder.path()).unwrap_err().to_string();
    assert!(found.contains("`other.GGUF`") && found.contains("`model-00001"), "{found}");
    assert!(in_folder(&folder.path().join("none")).is_err());
}
