//! What was written about latents, by language models for the most part.

use std::sync::{Arc, PoisonError, RwLock};

use eigenlens::features::{Explanations, FeatureExplanation};
use eigenlens::{Error, Result};
use serde::Serialize;

/// Characters of an explanation on the page of its latent.
const MOST_CHARS: usize = 4_000;
/// Characters of one among many.
const LISTED_CHARS: usize = 300;
/// Characters of an author's name.
const NAME_CHARS: usize = 100;

/// Explanations of latents. A handle: while the page is served they can be replaced.
#[derive(Debug, Clone)]
pub(crate) struct Explained {
    latents: usize,
    own: Arc<RwLock<Arc<Explanations>>>,
}

/// An explanation as the page shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ShownExplanation {
    text: String,
    by: String,
    score: Option<f64>,
}

impl Explained {
    /// Explanations of some of so many latents.
    ///
    /// # Errors
    /// As [`Explained::set`].
    pub(crate) fn new(latents: usize, own: Explanations) -> Result<Self> {
        let found = Self { latents, own: Arc::default() };
        found.set(own)?;
        Ok(found)
    }

    /// Puts others in their place.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a latent that there is not.
    pub(crate) fn set(&self, new: Explanations) -> Result<()> {
        if let Some((beyond, _)) = new.iter().find(|(latent, _)| *latent >= self.latents) {
            let expected = format!("of latents below {}", self.latents);
            return Err(Error::invalid("the explanations", expected, format!("one of {beyond}")));
        }
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(())
    }

    /// Those that there are now.
    pub(crate) fn now(&self) -> Arc<Explanations> {
        Arc::clone(&self.own.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ShownExplanation {
    /// That of a latent, if there is one with words.
    pub(crate) fn of(all: &Explanations, latent: usize) -> Option<Self> {
        let FeatureExplanation { text, by, score } = all.get(latent)?;
        let text = shortened(text, MOST_CHARS);
        let (by, score) = (shortened(by, NAME_CHARS), score.filter(|own| own.is_finite()));
        (!text.is_empty()).then_some(Self { text, by, score })
    }
}

/// The words about a latent as a list has them, empty if there are none.
pub(crate) fn in_a_list(all: &Explanations, latent: usize) -> String {
    all.get(latent).map(|own| shortened(&own.text, LISTED_CHARS)).unwrap_or_default()
}

/// A text on one line, whose end may be left out.
fn shortened(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        None => line,
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explanations(text: &str, score: f64) -> Explanations {
        let own = FeatureExplanation {
            text: text.to_owned(),
            by: "judge".to_owned(),
            score: Some(score),
        };
        [(2, own)].into_iter().collect()
    }

    #[test]
    fn they_are_replaced_whole_and_only_by_those_of_latents_that_there_are() {
        let explained = Explained::new(3, explanations("months", 0.75)).unwrap();
        let handle = explained.clone();
        let before = explained.now();
        handle.set(explanations("days", 1.0)).unwrap();
        assert_eq!(in_a_list(&before, 2), "months");
        assert_eq!(in_a_list(&explained.now(), 2), "days");
        assert_eq!(in_a_list(&explained.now(), 1), "");
        let error = Explained::new(2, explanations("days", 1.0)).unwrap_err().to_string();
        assert!(error.contains("below 2") && error.contains("one of 2"), "{error}");
        handle.set(Explanations::new()).unwrap();
        assert!(explained.now().is_empty());
    }

    #[test]
    fn long_and_odd_ones_fit_into_an_answer() {
        let long = explanations(&"ä\n\tb ".repeat(3_000), f64::NAN);
        let shown = ShownExplanation::of(&long, 2).unwrap();
        assert_eq!((shown.text.chars().count(), shown.score), (MOST_CHARS + 1, None));
        assert!(shown.text.starts_with("ä b ä b") && shown.text.ends_with('…'));
        assert_eq!(in_a_list(&long, 2).chars().count(), LISTED_CHARS + 1);
        assert_eq!(ShownExplanation::of(&explanations(" \n", 1.0), 2), None);
        assert_eq!(ShownExplanation::of(&long, 1), None);
        let short = ShownExplanation::of(&explanations("<b>", 0.5), 2).unwrap();
        assert_eq!((&*short.text, &*short.by, short.score), ("<b>", "judge", Some(0.5)));
    }
}
