//! The corpus, and its split.

use std::path::Path;

use eigenlens::{Error, Result};

/// The texts that `eigenlens fetch corpus` leaves.
const TEXTS: [&str; 5] = ["sotu.txt", "austen.txt", "moby-dick.txt", "kjv.txt", "shakespeare.txt"];
/// Each text is cut into so many pieces, at ends of lines …
const PIECES: usize = 100;
/// … of which every so many-th is held out.
const HELD_OUT: usize = 20;

/// Pieces of text to train on, and pieces held out.
pub(crate) struct Corpus {
    pub(crate) train: Vec<String>,
    pub(crate) test: Vec<String>,
}

impl Corpus {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut corpus = Self { train: Vec::new(), test: Vec::new() };
        for name in TEXTS {
            let path = folder.join(name);
            let text = std::fs::read_to_string(&path).map_err(|_| Error::NotFound {
                what: format!("the text {}", path.display()),
                hint: "Fetch the corpus: cargo run --bin eigenlens -- fetch corpus".to_owned(),
            })?;
            for (i, piece) in pieces(&text).into_iter().enumerate() {
                let part =
                    if (i + 1) % HELD_OUT == 0 { &mut corpus.test } else { &mut corpus.train };
                part.push(piece.to_owned());
            }
        }
        Ok(corpus)
    }
}

/// Pieces of about the same length that end with lines.
fn pieces(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    for i in 1..=PIECES {
        let mut aim = text.len() * i / PIECES;
        while !text.is_char_boundary(aim) {
            aim += 1;
        }
        if aim < start {
            continue;
        }
        let end = text[aim..].find('\n').map_or(text.len(), |at| aim + at + 1);
        found.push(&text[start..end]);
        start = end;
    }
    found
}
