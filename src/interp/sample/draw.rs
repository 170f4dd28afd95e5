//! The texts of one feature.

use std::collections::HashSet;

use super::options::Interp;
use super::pieces::pieces;
use super::planned::{Group, PlannedFeature, PlannedText};
use super::scan::{ActivePlace, FeatureActivity};
use super::shown_contexts::ShownContexts;
use crate::Result;
use crate::data::text::Tokenizer;
use crate::interp::prompts::ShownExcerpt;
use crate::random::Rng;

/// What texts are drawn from, and how.
#[derive(Debug)]
pub(super) struct TextDraw<'a> {
    pub(super) options: &'a Interp,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) shown: &'a ShownContexts,
}

/// Texts without a feature that its scores need, unless fewer are asked for.
const MIN_NEGATIVES: usize = 10;

/// What comes of a feature.
#[derive(Debug)]
pub(super) enum Drawn {
    Planned(PlannedFeature),
    /// It is active in so many contexts, which are too few.
    TooRare(usize),
    /// Too few contexts are without it.
    RarelySilent,
}

/// A context with the feature.
#[derive(Debug)]
struct PositiveContext {
    context: usize,
    /// Its number among those of the feature.
    at: usize,
    /// Where the excerpt around the peak begins.
    start: usize,
}

impl<'a> TextDraw<'a> {
    /// The texts of `feature`.
    ///
    /// # Errors
    /// None for tokens of the vocabulary.
    pub(super) fn feature(&self, feature: usize, activity: &FeatureActivity) -> Result<Drawn> {
        let options = self.options;
        let mut seen = HashSet::new();
        let positives = self.positives(activity, &mut seen);
        if positives.len() < options.min_contexts {
            return Ok(Drawn::TooRare(positives.len()));
        }
        let mut rng = Rng::stream(options.seed, feature as u64);
        let (strongest, rest) = positives.split_at(options.explained);
        let explained = strongest.iter().map(|own| self.positive_excerpt(activity, own));
        let explained = explained.collect::<Result<Vec<_>>>()?;
        let mut texts = Vec::new();
        for decile in 0..options.deciles {
            let edge = |decile: usize| decile * rest.len() / options.deciles;
            let group = &rest[edge(decile)..edge(decile + 1)];
            for own in rng.permutation(group.len()).into_iter().take(options.per_decile) {
                let own = &group[own as usize];
                let excerpt = self.positive_excerpt(activity, own)?;
                texts.push(PlannedText {
                    group: Group::Decile(decile),
                    context: own.context,
                    start: own.start,
                    marks: excerpt.activations.iter().map(|value| *value > 0.0).collect(),
                    marks_are_right: true,
                    excerpt,
                });
            }
        }
        // Groups are mixed, so that each has its share of what comes in turn.
        let turns = rng.permutation(texts.len());
        let negatives = self.negatives(activity, &texts, &turns, &mut seen, &mut rng)?;
        if negatives.len() < MIN_NEGATIVES.min(options.negatives) {
            return Ok(Drawn::RarelySilent);
        }
        let wrong = wrongly_marked(&texts, &turns, negatives.len(), &mut rng);
        let counts = [texts.len(), negatives.len(), wrong.len()];
        texts.extend(negatives);
        texts.extend(wrong);
        let [with, without, wrong] = counts;
        let mut shuffled = |places: Vec<usize>| -> Vec<Vec<usize>> {
            let order = rng.permutation(places.len()).into_iter().map(|at| places[at as usize]);
            let mut order: Vec<usize> = order.collect();
            keep_apart(&mut order, &texts, options.per_request);
            order.chunks(options.per_request).map(<[usize]>::to_vec).collect()
        };
        let detection = shuffled((0..with + without).collect());
        let behind = with + without;
        // A text with more marks than wrong ones can have would be known by that.
        let can_be_wrong = |at: &usize| {
            let marks = &texts[*at].marks;
            2 * marks.iter().filter(|mark| **mark).count() <= marks.len()
        };
        let right = (0..with).filter(can_be_wrong);
        let fuzzing = shuffled(right.chain(behind..behind + wrong).collect());
        let contexts = positives.len();
        Ok(Drawn::Planned(PlannedFeature {
            feature,
            contexts,
            explained,
            texts,
            detection,
            fuzzing,
        }))
    }

    /// The contexts with the feature, the strongest first, and of those with equal excerpts the first;
    /// `seen` gets the excerpts.
    fn positives(
        &self,
        activity: &FeatureActivity,
        seen: &mut HashSet<&'a [u32]>,
    ) -> Vec<PositiveContext> {
        let mut peaks: Vec<(f32, usize, usize)> = (0..activity.contexts().len())
            .map(|at| {
                // The first of equal ones.
                let largest = activity
                    .places(at)
                    .iter()
                    .fold((0, 0f32), |most, own| if own.1 > most.1 { *own } else { most });
                (largest.1, at, largest.0 as usize)
            })
            .collect();
        peaks.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let contexts = peaks.into_iter().map(|(_, at, place)| {
            let context = activity.contexts()[at];
            PositiveContext { context, at, start: self.shown.start_around(context, place) }
        });
        contexts.filter(|own| seen.insert(self.shown.excerpt(own.context, own.start))).collect()
    }

    /// Texts without the feature, each at the start of a positive, in turn.
    fn negatives(
        &self,
        activity: &FeatureActivity,
        positives: &[PlannedText],
        turns: &[u32],
        seen: &mut HashSet<&'a [u32]>,
        rng: &mut Rng,
    ) -> Result<Vec<PlannedText>> {
        let with: HashSet<usize> = activity.contexts().iter().copied().collect();
        let silent = self.shown.usable().iter().copied().filter(|own| !with.contains(own));
        let silent: Vec<usize> = silent.collect();
        let order = rng.permutation(silent.len());
        let mut left: Vec<usize> = order.into_iter().rev().map(|at| silent[at as usize]).collect();
        let mut found = Vec::new();
        for turn in turns.iter().cycle().take(self.options.negatives) {
            let start = positives[*turn as usize].start;
            // A context may be too short for this start, or equal to another text from there on.
            let fits = left.iter().rposition(|context| {
                let ids = self.shown.excerpt(*context, start);
                ids.len() == self.shown.length() && seen.insert(ids)
            });
            let Some(at) = fits else { continue };
            let context = left.remove(at);
            let excerpt = self.excerpt(context, start, &[])?;
            found.push(PlannedText {
                group: Group::Without,
                context,
                start,
                marks: vec![false; excerpt.tokens.len()],
                marks_are_right: false,
                excerpt,
            });
        }
        Ok(found)
    }

    fn positive_excerpt(
        &self,
        activity: &FeatureActivity,
        own: &PositiveContext,
    ) -> Result<ShownExcerpt> {
        self.excerpt(own.context, own.start, activity.places(own.at))
    }

    /// The excerpt of a context that begins at the place `start`, with the activations at `places`.
    fn excerpt(
        &self,
        context: usize,
        start: usize,
        places: &[ActivePlace],
    ) -> Result<ShownExcerpt> {
        let ids = self.shown.excerpt(context, start);
        let mut values = vec![0f32; ids.len()];
        for (place, value) in places {
            let own = (*place as usize).checked_sub(start).and_then(|at| values.get_mut(at));
            if let Some(own) = own {
                *own = *value;
            }
        }
        let (mut tokens, mut activations, mut at) = (Vec::new(), Vec::new(), 0);
        for (text, count) in pieces(self.tokenizer, ids)? {
            tokens.push(text);
            activations.push(values[at..at + count].iter().copied().fold(0.0, f32::max));
            at += count;
        }
        Ok(ShownExcerpt { tokens, activations })
    }
}

/// Up to `count` of some texts, in turn, each with as many marks as before, all on silent tokens; those
/// with too few of these are left out.
fn wrongly_marked(
    texts: &[PlannedText],
    turns: &[u32],
    count: usize,
    rng: &mut Rng,
) -> Vec<PlannedText> {
    let mut found = Vec::new();
    for turn in turns {
        let text = &texts[*turn as usize];
        let silent: Vec<usize> = (0..text.marks.len()).filter(|at| !text.marks[*at]).collect();
        let marked = text.marks.len() - silent.len();
        if found.len() == count {
            break;
        }
        if silent.len() < marked {
            continue;
        }
        let mut marks = vec![false; text.marks.len()];
        for at in rng.permutation(silent.len()).into_iter().take(marked) {
            marks[silent[at as usize]] = true;
        }
        let group = Group::Without;
        found.push(PlannedText { group, marks, marks_are_right: false, ..text.clone() });
    }
    found
}

/// Swaps texts until no request has a context twice, as far as that goes: right and wrong marks of a
/// text could be compared there.
fn keep_apart(order: &mut [usize], texts: &[PlannedText], per_request: usize) {
    let clashes = |order: &[usize], at: usize| {
        let first = at / per_request * per_request;
        let end = order.len().min(first.saturating_add(per_request));
        let context = |at: usize| texts[order[at]].context;
        (first..end).any(|other| other != at && context(other) == context(at))
    };
    for at in 0..order.len() {
        if !clashes(order, at) {
            continue;
        }
        for other in 0..order.len() {
            order.swap(at, other);
            if !clashes(order, at) && !clashes(order, other) {
                break;
            }
            order.swap(at, other);
        }
    }
}
