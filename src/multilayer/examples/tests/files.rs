//! Files of examples: whole, damaged and foreign.

use std::path::{Path, PathBuf};

use super::*;
use crate::data::text::Contexts;
use crate::hub::Repository;

/// The text as a data set in a folder.
fn saved_text(folder: &Path) -> (Contexts, String) {
    let text = Contexts::new(LENGTH, tokens().flatten_all().unwrap().to_vec1().unwrap()).unwrap();
    let path = folder.join("text");
    text.save(&path).unwrap();
    (text, path.to_str().unwrap().to_owned())
}

fn written(folder: &Path, rule: ExampleRule) -> (LayerExamples, PathBuf) {
    let examples = collected(rule, &random_codes(2, SIZES), 8);
    let path = folder.join("examples.parquet");
    examples.save(&path).unwrap();
    (examples, path)
}

#[test]
fn files_give_what_was_saved_list_by_list() {
    let folder = tempfile::tempdir().unwrap();
    for rule in [ExampleRule::Contexts, ExampleRule::Distinct, ExampleRule::Original] {
        let (examples, path) = written(folder.path(), rule);
        for read in [LayerExamples::open(&path).unwrap(), LayerExamples::load(&path).unwrap()] {
            assert_eq!((read.layers(), read.latents(), read.len()), (3, 6, examples.len()));
            assert_eq!((read.options(), read.text()), (examples.options(), None));
            assert_eq!(all(&read), all(&examples));
            for layer in 0..3 {
                for latent in 0..6 {
                    let own = read.get(layer, latent).unwrap();
                    assert_eq!(own, examples.get(layer, latent).unwrap());
                }
            }
            assert!(read.get(3, 0).unwrap_err().to_string().contains("below 3"));
            assert!(read.to_string().starts_with(&examples.to_string()), "{read}");
        }
        let table = examples.table().unwrap();
        assert_eq!((table.len(), table.names().len()), (examples.len(), 10));
        examples.save(folder.path().join("examples.csv")).unwrap();
    }
}

#[test]
fn tokens_can_come_from_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let (text, name) = saved_text(folder.path());
    let (examples, _) = written(folder.path(), ExampleRule::Distinct);
    let path = folder.path().join("without.parquet");
    let error = examples.save_without_tokens(&path, &name).unwrap_err().to_string();
    assert!(error.contains("the text of the examples must be known"), "{error}");
    let examples = examples.with_text(&text);
    examples.save_without_tokens(&path, &name).unwrap();
    let read = LayerExamples::open(&path).unwrap();
    assert_eq!(all(&read), all(&examples));
    let about = read.text().unwrap();
    assert_eq!((about.contexts, about.length, &about.name), (8, LENGTH, &Some(name.clone())));
    assert_eq!(about.read().unwrap().as_slice(), text.as_slice());
    let place = Repository::find(folder.path().to_str().unwrap()).unwrap();
    std::fs::rename(&path, folder.path().join("examples.parquet")).unwrap();
    assert_eq!(all(&LayerExamples::from_repository(&place).unwrap()), all(&examples));
    // Another text under the same name.
    Contexts::new(LENGTH, vec![1; 8 * LENGTH]).unwrap().save(&name).unwrap();
    let error = LayerExamples::from_repository(&place).unwrap_err().to_string();
    assert!(error.contains("the text must be the 8 contexts of 11 tokens"), "{error}");
    let original = collected(ExampleRule::Original, &random_codes(2, SIZES), 8).with_text(&text);
    let error = original.save_without_tokens(&path, &name).unwrap_err().to_string();
    assert!(error.contains("`rule` must be `Distinct`"), "{error}");
}

#[test]
fn a_file_that_is_cut_short_is_named_so() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = written(folder.path(), ExampleRule::Distinct);
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = LayerExamples::open(&path).unwrap_err().to_string();
        assert!(error.contains("examples.parquet is not usable"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(LayerExamples::open(&path).unwrap_err().to_string().contains("could not read"));
}

#[test]
fn changed_bytes_are_told_or_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (examples, path) = written(folder.path(), ExampleRule::Distinct);
    let (whole, expected) = (std::fs::read(&path).unwrap(), all(&examples));
    let mut told = 0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).unwrap();
        let read = LayerExamples::open(&path)
            .and_then(|examples| examples.iter().collect::<crate::Result<Vec<_>>>());
        match read {
            Ok(read) => assert_eq!(read, expected, "byte {at}"),
            Err(error) => {
                told += 1;
                let message = error.to_string();
                assert!(message.contains("examples.parquet is not usable"), "{at}: {message}");
            }
        }
    }
    assert!(told > whole.len() / 2, "{told} of {}", whole.len());
}

#[test]
fn foreign_files_are_called_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (examples, path) = written(folder.path(), ExampleRule::Distinct);
    let message = || LayerExamples::open(&path).unwrap_err().to_string();
    examples.table().unwrap().save(&path).unwrap();
    let found = message();
    assert!(found.contains("a file that LayerExamples::save wrote"), "{found}");
    assert!(found.contains("another Parquet file, with the columns layer, latent"), "{found}");
    std::fs::write(&path, "{\"layers\": 3}").unwrap();
    assert!(message().contains("a whole Parquet file of examples"), "{}", message());
    assert!(LayerExamples::open(folder.path()).is_err());
    let place = tempfile::tempdir().unwrap();
    let error = LayerExamples::from_pretrained(place.path().to_str().unwrap()).unwrap_err();
    assert!(error.to_string().contains("examples.parquet"), "{error}");
}
