//! What features are about, in words.

mod neuronpedia;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::check::check_all_finite;
use crate::display::{ShownCell, ShownColumn, ShownTable, rows_to_show};
use crate::store::parse_json;
use crate::{Error, Result};

/// The file's name beside an autoencoder.
const FILE: &str = "explanations.json";
/// The layout of the file.
const VERSION: u32 = 1;
/// Explanations that are shown of a longer list.
const MOST_ROWS: usize = 20;
/// Authors that are named.
const MOST_NAMES: usize = 3;
const EXPECTED: &str = "explanations as `Explanations::save` writes them \
                        (`Explanations::read_neuronpedia` reads Neuronpedia's)";

/// What a feature is about, in words.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureExplanation {
    /// The words.
    pub text: String,
    /// The model that wrote them; empty if nobody says.
    pub by: String,
    /// How well they tell texts with the feature from others, where it was measured: a balanced
    /// accuracy from 0 to 1 if [`Report::explanations`](crate::interp::Report::explanations) made it,
    /// and whatever the scorer gave if it was read from a file of another program.
    pub score: Option<f64>,
}

/// Explanations of some of an autoencoder's features, one a feature.
///
/// ```
/// use eigenlens::features::{Explanations, FeatureExplanation};
/// # fn main() -> eigenlens::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let folder = folder.path();
/// let mut found = Explanations::new();
/// let (text, by) = ("words for days of the week".to_owned(), "a person".to_owned());
/// found.insert(729, FeatureExplanation { text, by, score: None });
/// found.save(folder)?; // folder/explanations.json, beside the autoencoder
/// assert_eq!(Explanations::load(folder)?.find("Week days"), [729]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Explanations {
    by_feature: BTreeMap<usize, FeatureExplanation>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ExplanationsFile {
    version: u32,
    explanations: Vec<ExplanationEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ExplanationEntry {
    feature: usize,
    text: String,
    by: String,
    score: Option<f64>,
}

impl Explanations {
    /// No explanations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts in the explanation of a feature, and returns the one that was there.
    pub fn insert(
        &mut self,
        feature: usize,
        explanation: FeatureExplanation,
    ) -> Option<FeatureExplanation> {
        self.by_feature.insert(feature, explanation)
    }

    /// The explanation of a feature, if there is one.
    pub fn get(&self, feature: usize) -> Option<&FeatureExplanation> {
        self.by_feature.get(&feature)
    }

    /// The features with their explanations, in ascending order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (usize, &FeatureExplanation)> {
        self.by_feature.iter().map(|(feature, own)| (*feature, own))
    }

    /// Number of features that have one.
    pub fn len(&self) -> usize {
        self.by_feature.len()
    }

    /// Whether no feature has one.
    pub fn is_empty(&self) -> bool {
        self.by_feature.is_empty()
    }

    /// The features whose explanations hold every one of some words, in ascending order. Capital and
    /// small letters are the same, and a part of a word counts: "week" finds "weekdays". No words
    /// find nothing.
    pub fn find(&self, words: &str) -> Vec<usize> {
        let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
        let has_all = |own: &FeatureExplanation| {
            let text = own.text.to_lowercase();
            !words.is_empty() && words.iter().all(|word| text.contains(word.as_str()))
        };
        self.iter().filter(|(_, own)| has_all(own)).map(|(feature, _)| feature).collect()
    }

    /// Takes in others; where both have a feature, theirs counts.
    pub fn merge(&mut self, others: &Self) {
        self.by_feature.extend(others.by_feature.clone());
    }

    /// Writes `explanations.json` into a folder, that of the autoencoder for example, in the place of
    /// the one that is there. To add to that one, [`load`](Self::load) it and
    /// [`merge`](Self::merge) first.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for a score that is no number; [`Error::Io`] if the file cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let entries = self.iter().map(|(feature, FeatureExplanation { text, by, score })| {
            let (text, by) = (text.clone(), by.clone());
            ExplanationEntry { feature, text, by, score: *score }
        });
        let file = ExplanationsFile { version: VERSION, explanations: entries.collect() };
        let text = self.json(&file)?;
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let path = folder.join(FILE);
        eigenlens_common::files::write(&path, text).map_err(Error::io("write", &path))
    }

    /// JSON of these explanations in the form of `file`, in which NaN would become null.
    fn json(&self, file: &impl Serialize) -> Result<String> {
        let scores: Vec<f64> = self.by_feature.values().filter_map(|own| own.score).collect();
        check_all_finite("the scores of the explanations", &scores)?;
        serde_json::to_string_pretty(file).map_err(|reason| {
            Error::invalid("the explanations", "fit for JSON", &reason).caused_by(reason)
        })
    }

    /// Reads the file `path`, or `explanations.json` in the folder `path`, as
    /// [`Explanations::save`] writes it.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read; [`Error::Format`] if it is damaged, of a newer
    /// version or another kind, or has a feature twice.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let path = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        Self::parse(&path, &text)
    }

    fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        let value = parse_json(path, text, EXPECTED)?;
        let file: ExplanationsFile = serde_path_to_error::deserialize(value).map_err(|reason| {
            Error::format(path, EXPECTED, reason.to_string()).caused_by(reason)
        })?;
        if file.version != VERSION {
            let expected = format!("`version` {VERSION}, the only one that is known here");
            return Err(Error::format(path, expected, file.version.to_string()));
        }
        let mut found = Self::new();
        for ExplanationEntry { feature, text, by, score } in file.explanations {
            if found.insert(feature, FeatureExplanation { text, by, score }).is_some() {
                let twice = format!("feature {feature} twice");
                return Err(Error::format(path, "one explanation a feature", twice));
            }
        }
        Ok(found)
    }

    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        let shown = self.shown().caption(self.heading());
        shown.bundle(self.to_string()).show_as_result();
    }

    fn heading(&self) -> String {
        let authors: BTreeSet<&str> = self
            .by_feature
            .values()
            .map(|own| own.by.as_str())
            .filter(|by| !by.is_empty())
            .collect();
        let mut heading = format!("{} explanations", self.len());
        if !authors.is_empty() {
            let more = authors.len().saturating_sub(MOST_NAMES);
            let named: Vec<&str> = authors.into_iter().take(MOST_NAMES).collect();
            heading.push_str(&format!(", by {}", named.join(", ")));
            if more > 0 {
                heading.push_str(&format!(" and {more} more"));
            }
        }
        heading
    }

    fn shown(&self) -> ShownTable {
        let columns = [
            ShownColumn::right("feature"),
            ShownColumn::right("score"),
            ShownColumn::left("explanation").css("text-align:left"),
        ];
        let mut shown = ShownTable::new(columns);
        let all: Vec<(usize, &FeatureExplanation)> = self.iter().collect();
        for row in rows_to_show(all.len(), MOST_ROWS) {
            match row.and_then(|at| all.get(at)) {
                Some((feature, own)) => shown.push([
                    ShownCell::from(feature),
                    ShownCell::from(own.score.map_or_else(|| "–".to_owned(), in_two_digits)),
                    ShownCell::from(in_one_line(&own.text)),
                ]),
                None => shown.push_gap(None),
            }
        }
        shown
    }
}

fn in_two_digits(score: f64) -> String {
    format!("{score:.2}")
}

/// A text without line breaks, which would tear a table apart.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl FromIterator<(usize, FeatureExplanation)> for Explanations {
    /// Of two explanations of a feature the last counts.
    fn from_iter<I: IntoIterator<Item = (usize, FeatureExplanation)>>(pairs: I) -> Self {
        Self { by_feature: pairs.into_iter().collect() }
    }
}

impl fmt::Display for Explanations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.heading(), self.shown().text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn explanation(text: &str, score: Option<f64>) -> FeatureExplanation {
        FeatureExplanation { text: text.to_owned(), by: "judge".to_owned(), score }
    }

    fn explanations() -> Explanations {
        [
            (7, explanation("Days of the week", Some(0.875))),
            (2, explanation("numbers,\n\"quoted\" <b>", None)),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn what_is_saved_comes_back_from_the_folder_and_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let beside = folder.path().join("sae");
        explanations().save(&beside).unwrap();
        assert_eq!(Explanations::load(&beside).unwrap(), explanations());
        assert_eq!(Explanations::load(beside.join(FILE)).unwrap(), explanations());
        let features: Vec<usize> = explanations().iter().map(|(feature, _)| feature).collect();
        assert_eq!(features, [2, 7]);
        Explanations::new().save(&beside).unwrap();
        assert!(Explanations::load(&beside).unwrap().is_empty());
    }

    #[test]
    fn features_are_found_by_all_words_of_a_question() {
        let found = |words| explanations().find(words);
        assert_eq!(found("WEEK day"), [7]);
        assert_eq!(found("e"), [2, 7]);
        assert!(found("week numbers").is_empty());
        assert!(found("  ").is_empty());
    }

    #[test]
    fn damaged_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let message = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let message = Explanations::load(folder.path()).unwrap_err().to_string();
            assert!(message.contains("explanations.json"), "{message}");
            message
        };
        let entry = r#"{"feature": 3, "text": "a", "by": "b", "score": null}"#;
        let whole = format!(r#"{{"version": 1, "explanations": [{entry}]}}"#);
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(Explanations::load(&path).unwrap().len(), 1);
        assert!(message(&whole[..30]).contains("Explanations::save"));
        assert!(
            message(&whole.replace("[{", &format!("[{entry}, {{"))).contains("feature 3 twice")
        );
        assert!(message(&whole.replace("\"a\"", "[1]")).contains("explanations[0].text"));
        assert!(message(&whole.replace("3,", "-3,")).contains("explanations[0].feature"));
        assert!(message(&whole.replace("1,", "2,")).contains("`version` 1"));
        assert!(message("[]").contains("read_neuronpedia"));
        let none = Explanations::load(folder.path().join("none")).unwrap_err().to_string();
        assert!(none.contains("could not read"), "{none}");
        let bad: Explanations = [(0, explanation("a", Some(f64::NAN)))].into_iter().collect();
        let message = bad.save(folder.path()).unwrap_err().to_string();
        assert!(message.contains("the scores of the explanations"), "{message}");
    }

    #[test]
    fn a_table_has_scores_and_authors() {
        let text = explanations().to_string();
        assert!(text.starts_with("2 explanations, by judge\n"), "{text}");
        assert!(text.contains("7   0.88  Days of the week"), "{text}");
        assert!(text.contains("numbers, \"quoted\" <b>"), "{text}");
        assert!(explanations().shown().html().contains("&lt;b&gt;"));
        let many = (0..100).map(|feature| (feature, explanation(&feature.to_string(), None)));
        let many = many.collect::<Explanations>().to_string();
        assert!(many.contains("100 explanations") && many.lines().count() == 23, "{many}");
    }
}
