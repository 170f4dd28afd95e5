//! Texts of tokens.

use super::*;

#[test]
fn tokens_of_one_character_are_one_text() {
    let (tokenizer, [begin, ..]) = tokenizer();
    let texts = |ids: &[u32]| pieces(&tokenizer, ids).unwrap();
    let own = |text: &str, count: usize| (text.to_owned(), count);
    let ids = tokenizer.encode_plain("a中 😀b").unwrap();
    assert_eq!(ids.len(), 1 + 3 + 1 + 4 + 1);
    let whole = [own("a", 1), own("中", 3), own(" ", 1), own("😀", 4), own("b", 1)];
    assert_eq!(texts(&ids), whole);
    // A part of a character is told from the letters around it, and each byte stands for itself.
    assert_eq!(texts(&ids[2..5]), [own("\u{fffd}", 1), own("\u{fffd}", 1), own(" ", 1)]);
    assert_eq!(texts(&ids[..3]), [own("a", 1), own("\u{fffd}", 1), own("\u{fffd}", 1)]);
    // What has no bytes stands for itself too.
    let around = [&ids[..1], &[begin, 299], &ids[9..]].concat();
    let rows = tokenizer.for_rows(300);
    let found = pieces(&rows, &around).unwrap();
    assert_eq!(found, [own("a", 1), own("<s>", 1), own("[id 299]", 1), own("b", 1)]);
    assert!(pieces(&tokenizer, &[300]).is_err());
    assert!(texts(&[]).is_empty());
}

#[test]
fn every_text_has_all_tokens_once() {
    let (tokenizer, _) = tokenizer();
    let mut rng = Rng::seed(8);
    for _ in 0..300 {
        let ids: Vec<u32> = (0..20).map(|_| rng.below(259) as u32).collect();
        let found = pieces(&tokenizer, &ids).unwrap();
        assert_eq!(found.iter().map(|(_, count)| count).sum::<usize>(), 20);
        assert!(found.iter().all(|(text, _)| !text.is_empty()));
    }
}
