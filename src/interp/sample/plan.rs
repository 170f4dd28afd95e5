//! All texts of all features, drawn once.

use std::fmt;
use std::sync::Arc;

use super::draw::{Drawn, TextDraw};
use super::options::{Interp, Scoring};
use super::planned::PlannedFeature;
use super::scan::scan;
use super::shown_contexts::ShownContexts;
use crate::data::text::{Contexts, Tokenizer};
use crate::display::show_as_text;
use crate::features::FeatureReader;
use crate::model::Decoder;
use crate::progress::Progress;
use crate::random::Rng;
use crate::text::thousands;
use crate::{Error, Result};

/// Features that are looked at, for each one that is asked for.
const LOOKED_AT: usize = 4;
/// The stream of random numbers that chooses features; those below choose their texts.
const CHOICE: u64 = u64::MAX;
/// Features that are listed.
const LISTED: usize = 12;

/// What a language model will be asked about some features: texts to explain, and texts to judge by the
/// explanations. A cheap handle.
///
/// [`Interp::plan`] makes one. See what it would cost with [`Plan::estimate`], what it would ask with
/// [`Plan::dry_run`], and run it with [`Plan::run`].
#[derive(Debug, Clone)]
pub struct Plan(Arc<PlanData>);

#[derive(Debug)]
struct PlanData {
    options: Interp,
    reader: String,
    tokenizer: Tokenizer,
    features: Vec<PlannedFeature>,
    too_rare: Vec<(usize, usize)>,
    rarely_silent: Vec<usize>,
    contexts: usize,
    /// Contexts that are too short, and those that are equal to an earlier one.
    left_out: [usize; 2],
    /// Tokens of a text.
    length: usize,
}

impl Interp {
    /// Draws the texts of features of `reader` from `contexts`, in one pass of the model.
    ///
    /// Features are taken in a random order until [`features`](Self::features) of them are active in
    /// [`min_contexts`](Self::min_contexts) different contexts; those that are not are listed in
    /// [`Plan::too_rare`]. The same options give the same plan.
    ///
    /// # Errors
    /// - [`Error::Invalid`] for options that cannot be, and contexts of special tokens alone.
    /// - [`Error::NotFound`] if no feature is active in enough contexts.
    /// - As [`Decoder::tokenizer`] and [`FeatureReader::read`].
    /// - [`Error::Interrupted`] when Stop is pressed.
    pub fn plan(
        &self,
        model: &Decoder,
        reader: &dyn FeatureReader,
        contexts: &Contexts,
    ) -> Result<Plan> {
        let all = reader.features();
        self.check(all)?;
        let tokenizer = model.tokenizer()?;
        let hidden = self.hidden(model, reader, &tokenizer)?;
        let shown = ShownContexts::new(contexts, &tokenizer, &hidden, self.excerpt)?;
        let looked_at: Vec<usize> = match &self.only {
            Some(only) => only.clone(),
            None => {
                let order = Rng::stream(self.seed, CHOICE).permutation(all).into_iter();
                order
                    .take(self.features.saturating_mul(LOOKED_AT))
                    .map(|own| own as usize)
                    .collect()
            }
        };
        let wanted = if self.only.is_some() { looked_at.len() } else { self.features };
        let activities = scan(model, reader, &shown, &looked_at, self.batch)?;
        let draw = TextDraw { options: self, tokenizer: &tokenizer, shown: &shown };
        let (mut features, mut too_rare, mut rarely_silent) = (Vec::new(), Vec::new(), Vec::new());
        let mut progress = Progress::new("drawing texts", looked_at.len() as u64, "feature");
        for (feature, activity) in looked_at.iter().zip(&activities) {
            if features.len() == wanted {
                break;
            }
            match draw.feature(*feature, activity)? {
                Drawn::Planned(planned) => features.push(planned),
                Drawn::TooRare(contexts) => too_rare.push((*feature, contexts)),
                Drawn::RarelySilent => rarely_silent.push(*feature),
            }
            if progress.advance(1) {
                return Err(Error::Interrupted { what: "drawing texts".to_owned() });
            }
        }
        progress.finish();
        let data = PlanData {
            options: self.clone(),
            reader: reader.to_string().lines().next().unwrap_or_default().to_owned(),
            tokenizer,
            features,
            too_rare,
            rarely_silent,
            contexts: contexts.len(),
            left_out: shown.left_out(),
            length: shown.length(),
        };
        match data.features.is_empty() {
            true => Err(data.nothing()),
            false => Ok(Plan(Arc::new(data))),
        }
    }

    /// Tokens that are not shown, beside special ones.
    fn hidden(
        &self,
        model: &Decoder,
        reader: &dyn FeatureReader,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<u32>> {
        if let Some(tokens) = &self.skip_tokens {
            return Ok(tokens.clone());
        }
        let mut hidden = model.end_tokens()?;
        hidden.extend([tokenizer.bos(), tokenizer.eos()].into_iter().flatten());
        hidden.extend_from_slice(reader.skipped());
        Ok(hidden)
    }
}

impl PlanData {
    /// The error of a plan without features.
    fn nothing(&self) -> Error {
        let Interp { min_contexts, .. } = self.options;
        let hint = match self.too_rare.iter().max_by_key(|(_, contexts)| *contexts) {
            Some((feature, contexts)) => format!(
                "Of {}, {feature} is active in the most, {contexts}: take more contexts, or lower \
                 `min_contexts`.",
                features(self.too_rare.len() + self.rarely_silent.len())
            ),
            None => "They are active in nearly every context: take shorter or more different ones."
                .into(),
        };
        let what = format!(
            "a feature that is active in {min_contexts} different contexts, not in nearly all"
        );
        Error::NotFound { what, hint }
    }
}

impl Plan {
    /// The features, in the order in which they are asked about.
    pub fn features(&self) -> Vec<usize> {
        self.0.features.iter().map(|own| own.feature).collect()
    }

    /// Features that were looked at and are active in too few different contexts, each with their
    /// number.
    pub fn too_rare(&self) -> &[(usize, usize)] {
        &self.0.too_rare
    }

    /// Features that were looked at and are silent in too few contexts, fewer than ten or than
    /// `negatives`, so that there is too little to tell their texts from.
    pub fn rarely_silent(&self) -> &[usize] {
        &self.0.rarely_silent
    }

    /// The options.
    pub(in crate::interp) fn options(&self) -> &Interp {
        &self.0.options
    }

    /// The features with their texts.
    pub(in crate::interp) fn planned(&self) -> &[PlannedFeature] {
        &self.0.features
    }

    /// The tokenizer of the model that the features are of.
    pub(super) fn tokenizer(&self) -> &Tokenizer {
        &self.0.tokenizer
    }
}

show_as_text!(Plan);

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlanData { options, features: planned, too_rare, rarely_silent, .. } = &*self.0;
        writeln!(f, "plan for {} of {}", features(planned.len()), self.0.reader)?;
        write!(f, "texts of {} tokens", self.0.length)?;
        if self.0.length < options.excerpt {
            write!(f, ", because one context in ten has no more")?;
        }
        write!(f, ", from {} contexts", thousands(self.0.contexts))?;
        let [short, equal] = self.0.left_out;
        for (count, why) in [(equal, "equal to others"), (short, "too short")] {
            if count > 0 {
                write!(f, ", {} of them left out as {why}", thousands(count))?;
            }
        }
        let mean = |count: &dyn Fn(&PlannedFeature) -> usize| {
            planned.iter().map(count).sum::<usize>() as f64 / planned.len() as f64
        };
        let requests = |scoring: Scoring| mean(&|own| own.batches(scoring).len());
        write!(f, "\na feature has 1 request to explain {} texts", options.explained)?;
        for scoring in &options.scores {
            let texts = mean(&|own| own.batches(*scoring).iter().map(Vec::len).sum());
            write!(f, ", {:.0} for {scoring} of {texts:.0}", requests(*scoring))?;
        }
        if options.only.is_none() && planned.len() < options.features {
            let looked_at = planned.len() + too_rare.len() + rarely_silent.len();
            write!(f, "\nonly {} of {looked_at} that were looked at", features(planned.len()))?;
        }
        if !too_rare.is_empty() {
            let least = options.min_contexts;
            let names =
                too_rare.iter().map(|(feature, contexts)| format!("{feature} ({contexts})"));
            let count = features(too_rare.len());
            write!(f, "\n{count} active in fewer than {least} contexts: {}", listed(names))?;
        }
        if !rarely_silent.is_empty() {
            let count = features(rarely_silent.len());
            let names = rarely_silent.iter().map(ToString::to_string);
            write!(f, "\n{count} silent in too few contexts: {}", listed(names))?;
        }
        Ok(())
    }
}

fn features(count: usize) -> String {
    format!("{} feature{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// The first names, and a sign for the others.
fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = if names.len() > LISTED { ", …" } else { "" };
    format!("{}{more}", names.take(LISTED).collect::<Vec<_>>().join(", "))
}
