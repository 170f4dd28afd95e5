//! What a model answered about texts, and how right that was.

use serde::{Deserialize, Serialize};

/// A text that a model was asked about, and what it said.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct JudgedText {
    /// 0 if the text is not as the explanation says: without the feature, or marked elsewhere. Else
    /// the decile of the feature's activation, 1 the strongest.
    pub(crate) group: usize,
    /// Whether the model said that it is.
    pub(crate) said: bool,
    /// How probable the model found that, where log-probabilities came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) probability: Option<f64>,
}

impl JudgedText {
    /// Whether the text is as the explanation says.
    fn is_positive(&self) -> bool {
        self.group > 0
    }

    fn is_right(&self) -> bool {
        self.said == self.is_positive()
    }
}

/// What a model said of the texts of one feature, by one way of scoring.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct JudgedTexts {
    /// Answers that were asked for, each about some texts.
    pub(crate) answers: usize,
    /// Those of them that could not be read; their texts are left out.
    pub(crate) unread: usize,
    pub(crate) texts: Vec<JudgedText>,
}

impl JudgedTexts {
    /// Texts of each group that were said to be as the explanation says, and all.
    pub(super) fn counts(&self, groups: usize) -> Vec<[u64; 2]> {
        let mut counts = vec![[0; 2]; groups];
        for text in &self.texts {
            if let Some([said, all]) = counts.get_mut(text.group) {
                *said += u64::from(text.said);
                *all += 1;
            }
        }
        counts
    }

    /// (share right of positives + share right of negatives)/2; none unless there are both.
    pub(super) fn balanced_accuracy(&self) -> Option<f64> {
        let share = |positive: bool| {
            let own = || self.texts.iter().filter(move |text| text.is_positive() == positive);
            let right = own().filter(|text| text.is_right()).count();
            (own().count() > 0).then(|| right as f64 / own().count() as f64)
        };
        Some((share(true)? + share(false)?) / 2.0)
    }

    /// P(p⁺ > p⁻) + ½ P(p⁺ = p⁻) over pairs of a positive and a negative text with probabilities; none
    /// unless there are both.
    pub(super) fn auroc(&self) -> Option<f64> {
        let of = |positive: bool| -> Vec<f64> {
            let own = self.texts.iter().filter(|text| text.is_positive() == positive);
            own.filter_map(|text| text.probability).collect()
        };
        let (positives, negatives) = (of(true), of(false));
        let above = |a: &f64, b: &f64| match a.total_cmp(b) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        };
        let pairs = positives.len() * negatives.len();
        let sum: f64 =
            positives.iter().flat_map(|a| negatives.iter().map(move |b| above(a, b))).sum();
        (pairs > 0).then(|| sum / pairs as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(texts: &[(usize, bool, Option<f64>)]) -> JudgedTexts {
        let text = |&(group, said, probability)| JudgedText { group, said, probability };
        let texts = texts.iter().map(text).collect();
        JudgedTexts { answers: 1, unread: 0, texts }
    }

    #[test]
    fn positives_and_negatives_weigh_the_same() {
        let own = judged(&[
            (1, true, None),
            (1, false, None),
            (3, true, None),
            (2, true, None),
            (0, true, None),
            (0, false, None),
        ]);
        // 3 of 4, and 1 of 2.
        assert_eq!(own.balanced_accuracy(), Some(0.625));
        assert_eq!(own.counts(4), [[1, 2], [1, 2], [1, 1], [1, 1]]);
        assert_eq!(own.auroc(), None, "no probabilities came");
        assert_eq!(judged(&[(1, true, None)]).balanced_accuracy(), None);
        assert_eq!(JudgedTexts::default().balanced_accuracy(), None);
    }

    #[test]
    fn the_area_under_the_curve_counts_pairs() {
        let own = judged(&[
            (1, true, Some(0.9)),
            (2, true, Some(0.5)),
            (2, true, None),
            (0, false, Some(0.5)),
            (0, false, Some(0.1)),
        ]);
        // Of four pairs three are in order and one is equal.
        assert_eq!(own.auroc(), Some(0.875));
        assert_eq!(judged(&[(1, true, Some(0.9)), (0, true, None)]).auroc(), None);
    }
}
