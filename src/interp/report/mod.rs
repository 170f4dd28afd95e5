//! What an interpretation found: explanations, and how well each tells texts apart.

mod file;
mod scores;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::prompts::PROMPTS_VERSION;
use super::sample::{Plan, Scoring};
use crate::features::{Explanations, FeatureExplanation};
use crate::geometry::Interval;
use crate::sae_error::DetectionCounts;
use crate::{Error, Result};

pub(super) use scores::{JudgedText, JudgedTexts};

/// The confidence of intervals.
const CONFIDENCE: f64 = 0.95;
/// Draws of a bootstrap over features, and its seed: the same report has the same intervals.
const DRAWS: usize = 1_000;
const SEED: u64 = 0;
/// Ways of scoring, in the order in which they are shown.
const SCORINGS: [Scoring; 2] = [Scoring::Detection, Scoring::Fuzzing];

/// Explanations of features by a language model, and scores of how well they tell texts apart:
/// [`Plan::run`](super::Plan::run) makes one. A cheap handle.
///
/// An answer that could not be read, and not after asking once more either, is no answer: its texts
/// are left out of all scores, and [`Report::unparsed`] counts it. Intervals are bootstraps over
/// features, because answers about one feature share its explanation. Their ends are NaN where one
/// feature alone was scored.
#[derive(Debug, Clone)]
pub struct Report {
    data: Arc<ReportData>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct ReportData {
    /// The layout of the file.
    version: u32,
    /// The model that explained and judged.
    model: String,
    /// The version of the prompts.
    prompts: String,
    /// Groups of texts by activation.
    deciles: usize,
    /// How the explanations were scored.
    scorings: Vec<Scoring>,
    features: Vec<JudgedFeature>,
    /// Features that were left out, and how many contexts activate each.
    too_rare: Vec<(usize, usize)>,
    /// Features that were left out because they are active everywhere.
    rarely_silent: Vec<usize>,
}

/// A feature with its explanation, and what the model said of its texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct JudgedFeature {
    pub(super) feature: usize,
    /// None if the model's answer could not be read.
    pub(super) explanation: Option<String>,
    pub(super) detection: JudgedTexts,
    pub(super) fuzzing: JudgedTexts,
}

impl JudgedFeature {
    /// A feature of which nothing was asked yet but its explanation.
    pub(super) fn new(feature: usize, explanation: Option<String>) -> Self {
        let (detection, fuzzing) = (JudgedTexts::default(), JudgedTexts::default());
        Self { feature, explanation, detection, fuzzing }
    }

    /// What was said of its texts.
    pub(super) fn of_mut(&mut self, scoring: Scoring) -> &mut JudgedTexts {
        match scoring {
            Scoring::Detection => &mut self.detection,
            Scoring::Fuzzing => &mut self.fuzzing,
        }
    }

    fn of(&self, scoring: Scoring) -> &JudgedTexts {
        match scoring {
            Scoring::Detection => &self.detection,
            Scoring::Fuzzing => &self.fuzzing,
        }
    }
}

/// How well a feature's explanation tells texts apart. Scores are `None` where nothing could be read
/// or nothing was asked, and areas under the curve also where no log-probabilities came.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureScore {
    /// The feature.
    pub feature: usize,
    /// Its explanation; `None` if the model's answer could not be read.
    pub explanation: Option<String>,
    /// The balanced accuracy of detection: half of the share right among texts with the feature and
    /// half of the share right among texts without it.
    pub detection: Option<f64>,
    /// The balanced accuracy of fuzzing: the same of texts with right and with wrong marks.
    pub fuzzing: Option<f64>,
    /// P(p⁺ > p⁻) + ½ P(p⁺ = p⁻) of the probabilities in detection.
    pub detection_auroc: Option<f64>,
    /// The same of fuzzing.
    pub fuzzing_auroc: Option<f64>,
    /// Answers that could not be read, that with the explanation included.
    pub unparsed: usize,
}

impl Report {
    /// A report of the features of `plan`, which `model` explained and judged.
    pub(super) fn new(model: &str, plan: &Plan, features: Vec<JudgedFeature>) -> Self {
        let options = plan.options();
        let data = ReportData {
            version: file::VERSION,
            model: model.to_owned(),
            prompts: PROMPTS_VERSION.to_owned(),
            deciles: options.deciles,
            scorings: options.scores.clone(),
            features,
            too_rare: plan.too_rare().to_vec(),
            rarely_silent: plan.rarely_silent().to_vec(),
        };
        Self { data: Arc::new(data) }
    }

    /// The model that explained and judged.
    pub fn model(&self) -> &str {
        &self.data.model
    }

    /// The version of the prompts.
    pub fn prompts(&self) -> &str {
        &self.data.prompts
    }

    /// How the explanations were scored.
    pub fn scorings(&self) -> Vec<Scoring> {
        SCORINGS.into_iter().filter(|scoring| self.has(*scoring)).collect()
    }

    fn has(&self, scoring: Scoring) -> bool {
        self.data.scorings.contains(&scoring)
    }

    /// Number of groups of texts by activation.
    pub fn deciles(&self) -> usize {
        self.data.deciles
    }

    /// Features that were left out because too few contexts activate them, each with how many do.
    pub fn too_rare(&self) -> &[(usize, usize)] {
        &self.data.too_rare
    }

    /// Features that were left out because they are active in nearly every context.
    pub fn rarely_silent(&self) -> &[usize] {
        &self.data.rarely_silent
    }

    /// The explanations, with the balanced accuracy of detection as their scores, or that of fuzzing
    /// if detection was not asked for. Features whose explanation could not be read have none.
    pub fn explanations(&self) -> Explanations {
        let scored = self.data.features.iter().filter_map(|own| {
            let text = own.explanation.clone()?;
            let scores = self.scorings().into_iter().map(|scoring| own.of(scoring));
            let score = scores.take(1).find_map(JudgedTexts::balanced_accuracy);
            Some((own.feature, FeatureExplanation { text, by: self.data.model.clone(), score }))
        });
        scored.collect()
    }

    /// The explanation of a feature.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a feature that was not interpreted, [`Error::NotFound`] for one whose
    /// explanation could not be read.
    pub fn explanation(&self, feature: usize) -> Result<&str> {
        let features = &self.data.features;
        let own = features.iter().find(|own| own.feature == feature).ok_or_else(|| {
            let expected = format!("one of the {} that were interpreted", features.len());
            Error::invalid("the feature", expected, feature)
        })?;
        own.explanation.as_deref().ok_or_else(|| Error::NotFound {
            what: format!("an explanation of feature {feature}"),
            hint: format!("The answer of {} could not be read.", self.data.model),
        })
    }

    /// What the model answered in detection: for each feature of which an answer could be read, how
    /// many texts of each decile it took to have the feature, and of those without it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if detection was not asked for or no answer could be read;
    /// [`Error::Invalid`] if there is a decile of which no text could be read for any feature.
    pub fn detection(&self) -> Result<DetectionCounts> {
        self.counts(Scoring::Detection)
    }

    /// The same of fuzzing: how many texts of each decile with right marks the model took to be marked
    /// right, and of those with wrong marks.
    ///
    /// # Errors
    /// As [`Report::detection`].
    pub fn fuzzing(&self) -> Result<DetectionCounts> {
        self.counts(Scoring::Fuzzing)
    }

    fn counts(&self, scoring: Scoring) -> Result<DetectionCounts> {
        let judged = self.judged(scoring)?;
        let counts: Vec<Vec<[u64; 2]>> =
            judged.iter().map(|own| own.counts(self.data.deciles + 1)).collect();
        let deciles = |which: usize| -> Vec<Vec<u64>> {
            counts.iter().map(|own| own[1..].iter().map(|group| group[which]).collect()).collect()
        };
        let without =
            |which: usize| -> Vec<u64> { counts.iter().map(|own| own[0][which]).collect() };
        DetectionCounts::new(deciles(0), deciles(1), without(0), without(1))
    }

    /// What the model said, feature by feature, of those with an answer that could be read.
    fn judged(&self, scoring: Scoring) -> Result<Vec<&JudgedTexts>> {
        let what = || format!("a score by {scoring}");
        if !self.has(scoring) {
            let hint = "`Interp::scores` leaves it out: plan with it, and run the plan.".to_owned();
            return Err(Error::NotFound { what: what(), hint });
        }
        let all = || self.data.features.iter().map(|own| own.of(scoring));
        let judged: Vec<&JudgedTexts> = all().filter(|own| !own.texts.is_empty()).collect();
        if judged.is_empty() {
            let (unread, asked) = all()
                .fold((0, 0), |(unread, asked), own| (unread + own.unread, asked + own.answers));
            let hint = format!(
                "Of {asked} answers {unread} could not be read, and {} of {} features have no \
                 explanation.",
                self.data.features.iter().filter(|own| own.explanation.is_none()).count(),
                self.data.features.len()
            );
            return Err(Error::NotFound { what: what(), hint });
        }
        Ok(judged)
    }

    /// The share of right answers, pooled over features, with a 95 % interval: for texts without the
    /// feature (in fuzzing: with wrong marks), then for each decile, the strongest first.
    ///
    /// # Errors
    /// As [`Report::detection`].
    pub fn accuracies(&self, scoring: Scoring) -> Result<Vec<Interval>> {
        let counts = self.counts(scoring)?;
        let groups = counts.pooled().into_iter().enumerate();
        let shares = groups.map(|(group, [right, all])| {
            // One feature has no spread.
            let alone = |_| Interval::of_draws(right as f64 / all as f64, Vec::new(), CONFIDENCE);
            counts.accuracy(group, DRAWS, SEED).or_else(alone)
        });
        shares.collect()
    }

    /// The mean of the features' balanced accuracies, with a 95 % interval.
    ///
    /// # Errors
    /// As [`Report::detection`]; [`Error::NotFound`] if no feature has texts of both kinds.
    pub fn balanced_accuracy(&self, scoring: Scoring) -> Result<Interval> {
        let judged = self.judged(scoring)?;
        let found = mean(judged.iter().filter_map(|own| own.balanced_accuracy()).collect());
        found.ok_or_else(|| Error::NotFound {
            what: format!("a balanced accuracy of {scoring}"),
            hint: "No feature has answers about both kinds of texts that could be read.".to_owned(),
        })
    }

    /// The mean of the features' areas under the curve, with a 95 % interval; `None` unless
    /// log-probabilities came: see [`Interp::log_probabilities`](super::Interp::log_probabilities).
    pub fn auroc(&self, scoring: Scoring) -> Option<Interval> {
        mean(self.judged(scoring).ok()?.iter().filter_map(|own| own.auroc()).collect())
    }

    /// The scores of each feature, in the order of the plan.
    pub fn feature_scores(&self) -> Vec<FeatureScore> {
        let of = |own: &JudgedFeature| FeatureScore {
            feature: own.feature,
            explanation: own.explanation.clone(),
            detection: own.detection.balanced_accuracy(),
            fuzzing: own.fuzzing.balanced_accuracy(),
            detection_auroc: own.detection.auroc(),
            fuzzing_auroc: own.fuzzing.auroc(),
            unparsed: own.detection.unread
                + own.fuzzing.unread
                + usize::from(own.explanation.is_none()),
        };
        self.data.features.iter().map(of).collect()
    }

    /// Answers that could not be read, also after asking once more, and all answers: an explanation
    /// for each feature, and a list for each request about texts.
    pub fn unparsed(&self) -> (usize, usize) {
        let unread = self.feature_scores().iter().map(|own| own.unparsed).sum();
        let lists =
            self.data.features.iter().map(|own| own.detection.answers + own.fuzzing.answers);
        (unread, self.data.features.len() + lists.sum::<usize>())
    }
}

/// The mean of some features' scores with its interval: NaN for one of them, none without any.
fn mean(scores: Vec<f64>) -> Option<Interval> {
    if scores.is_empty() {
        return None;
    }
    let features: Vec<usize> = (0..scores.len()).collect();
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    Interval::bootstrap(&scores, &features, CONFIDENCE, DRAWS, SEED)
        .or_else(|_| Interval::of_draws(mean, Vec::new(), CONFIDENCE))
        .ok()
}
