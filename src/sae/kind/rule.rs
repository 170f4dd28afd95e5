//! How codes come from h on the host, and the gradients through them in closed form.

use rayon::prelude::*;

use super::code::{Each, EntrywiseCode};

/// One feature in the code of one activation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CodeEntry {
    pub(crate) feature: u32,
    /// What the encoder computes.
    pub(crate) h: f32,
    /// What the code holds; 0 where only a threshold is near.
    pub(crate) value: f32,
    /// The squared error's gradient with respect to `value`.
    pub(crate) pull: f32,
}

impl CodeEntry {
    /// A feature of which the code holds h.
    pub(crate) fn new(feature: u32, h: f32) -> Self {
        Self { feature, h, value: h, pull: 0.0 }
    }
}

/// The codes of a batch, a row per activation.
pub(crate) type CodeRows = Vec<Vec<CodeEntry>>;

/// The loss's gradient through one entry.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gradient {
    /// With respect to h.
    pub(crate) h: f32,
    /// With respect to up to two weights of the feature, which [`SaeKind::extra_gradients`] names.
    pub(crate) extras: [f32; 2],
}

/// A penalty of a batch, summed over its activations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Penalty {
    pub(crate) value: f64,
    /// The gradient of its mean with respect to what it penalises of one entry.
    pub(crate) slope: f64,
}

impl Penalty {
    /// `λ s` with the sum s of what is penalised in the entries of `rows` activations.
    pub(crate) fn linear(lambda: f64, sum: f64, rows: usize) -> Self {
        Self { value: lambda * sum, slope: lambda / rows as f64 }
    }
}

/// A second code of the same activations, with a squared error of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Auxiliary {
    /// What that error weighs.
    pub(crate) weight: f64,
    pub(crate) explains: Explains,
}

/// What an auxiliary code is to reconstruct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Explains {
    /// The target, through a decoder and a bias that are taken as constants.
    Target,
    /// What the code leaves of the target, taken as a constant, through the decoder without its bias.
    Error,
}

/// How codes come from h in one step, and the gradients through them.
pub(crate) trait TrainingRule: Sync {
    /// The same entry by entry, of kinds in which h of a feature decides alone.
    type Each: TrainedEntry;
    /// Whether there are gradients with respect to [`Gradient::extras`].
    const HAS_EXTRAS: bool = false;
    /// Whether the penalty's slope depends on all entries of the batch.
    const PENALTY_NEEDS_SUM: bool = false;

    /// The same entry by entry, where that is how it is.
    fn each(&self) -> Option<&Self::Each> {
        None
    }

    /// Writes the codes of `h` `[n, features]` to `rows`. Returns the smallest value of all if they
    /// were chosen from the batch together.
    fn choose(&self, h: &[f32], features: usize, rows: &mut CodeRows) -> Option<f32>;

    /// Writes the auxiliary codes to `rows`, if there are any.
    fn choose_auxiliary(
        &self,
        _h: &[f32],
        _features: usize,
        _dead: &[u32],
        _rows: &mut CodeRows,
    ) -> Option<Auxiliary> {
        None
    }

    /// The gradient through an entry of the codes, with the penalty's slope `lambda`.
    #[inline(always)]
    fn gradient(&self, entry: &CodeEntry, _lambda: f32) -> Gradient {
        Gradient { h: entry.pull, ..Gradient::default() }
    }

    /// The gradient with respect to h through an entry of the auxiliary codes.
    #[inline(always)]
    fn auxiliary_gradient(&self, entry: &CodeEntry, _lambda: f32) -> f32 {
        entry.pull
    }

    /// What is penalised of an entry of the codes.
    #[inline(always)]
    fn penalised(&self, _entry: &CodeEntry) -> f32 {
        0.0
    }

    /// What is penalised of an entry of the auxiliary codes.
    #[inline(always)]
    fn auxiliary_penalised(&self, _entry: &CodeEntry) -> f32 {
        0.0
    }

    /// The penalty of `rows` activations of which `sum` is penalised.
    fn penalty(&self, lambda: f64, sum: f64, rows: usize) -> Penalty {
        Penalty::linear(lambda, sum, rows)
    }
}

/// An [`EntrywiseCode`] rule in training. All of it is without branches, so that matrices of codes are
/// gone through eight features at a time.
pub(crate) trait TrainedEntry: EntrywiseCode + Copy {
    /// Whether there are auxiliary codes; they explain the target.
    const HAS_AUXILIARY: bool = false;
    /// [`TrainingRule::HAS_EXTRAS`].
    const HAS_EXTRAS: bool = false;
    /// [`TrainingRule::PENALTY_NEEDS_SUM`].
    const PENALTY_NEEDS_SUM: bool = false;

    /// The same for the first `features`, which spares loops over them checks of bounds.
    fn cut(self, features: usize) -> Self;

    /// Whether there is a gradient through this entry.
    #[inline(always)]
    fn touches(&self, feature: usize, h: f32) -> bool {
        self.value(feature, h) != 0.0
    }

    /// The value of the auxiliary code, 0 if the feature is not in it.
    #[inline(always)]
    fn auxiliary_value(&self, _feature: usize, _h: f32) -> f32 {
        0.0
    }

    /// The gradient through the code, with the squared error's gradient `pull` with respect to the
    /// value and the penalty's slope `lambda`.
    fn gradient(&self, feature: usize, h: f32, pull: f32, lambda: f32) -> Gradient;

    /// The gradient with respect to h through the auxiliary code.
    #[inline(always)]
    fn auxiliary_gradient(&self, _feature: usize, _h: f32, _pull: f32, _lambda: f32) -> f32 {
        0.0
    }

    /// What is penalised of a value of the code.
    #[inline(always)]
    fn penalised(&self, _value: f32) -> f32 {
        0.0
    }

    /// What is penalised of a value of the auxiliary code.
    #[inline(always)]
    fn auxiliary_penalised(&self, _value: f32) -> f32 {
        0.0
    }

    /// [`TrainingRule::penalty`].
    fn penalty(&self, lambda: f64, sum: f64, rows: usize) -> Penalty {
        Penalty::linear(lambda, sum, rows)
    }
}

impl<E: TrainedEntry> TrainingRule for Each<E> {
    type Each = E;
    const HAS_EXTRAS: bool = E::HAS_EXTRAS;
    const PENALTY_NEEDS_SUM: bool = E::PENALTY_NEEDS_SUM;

    fn each(&self) -> Option<&E> {
        Some(&self.0)
    }

    fn choose(&self, h: &[f32], features: usize, rows: &mut CodeRows) -> Option<f32> {
        choose_rows(h, features, rows, |h, row| {
            let rule = self.0.cut(h.len());
            for (at, h) in h.iter().enumerate().filter(|(at, h)| rule.touches(*at, **h)) {
                row.push(CodeEntry { value: rule.value(at, *h), ..CodeEntry::new(at as u32, *h) });
            }
        });
        None
    }

    fn choose_auxiliary(
        &self,
        h: &[f32],
        features: usize,
        _dead: &[u32],
        rows: &mut CodeRows,
    ) -> Option<Auxiliary> {
        if !E::HAS_AUXILIARY {
            return None;
        }
        choose_rows(h, features, rows, |h, row| {
            let rule = self.0.cut(h.len());
            for (at, h) in h.iter().enumerate() {
                let value = rule.auxiliary_value(at, *h);
                if value != 0.0 {
                    row.push(CodeEntry { value, ..CodeEntry::new(at as u32, *h) });
                }
            }
        });
        Some(Auxiliary { weight: 1.0, explains: Explains::Target })
    }

    #[inline(always)]
    fn gradient(&self, entry: &CodeEntry, lambda: f32) -> Gradient {
        self.0.gradient(entry.at(), entry.h, entry.pull, lambda)
    }

    #[inline(always)]
    fn auxiliary_gradient(&self, entry: &CodeEntry, lambda: f32) -> f32 {
        self.0.auxiliary_gradient(entry.at(), entry.h, entry.pull, lambda)
    }

    #[inline(always)]
    fn penalised(&self, entry: &CodeEntry) -> f32 {
        self.0.penalised(entry.value)
    }

    #[inline(always)]
    fn auxiliary_penalised(&self, entry: &CodeEntry) -> f32 {
        self.0.auxiliary_penalised(entry.value)
    }

    fn penalty(&self, lambda: f64, sum: f64, rows: usize) -> Penalty {
        self.0.penalty(lambda, sum, rows)
    }
}

impl CodeEntry {
    /// Its feature, as an index.
    #[inline(always)]
    pub(crate) fn at(&self) -> usize {
        self.feature as usize
    }
}

/// Writes the rows of codes of `h` `[n, features]`, each by `choose`.
pub(crate) fn choose_rows(
    h: &[f32],
    features: usize,
    rows: &mut CodeRows,
    choose: impl Fn(&[f32], &mut Vec<CodeEntry>) + Sync,
) {
    rows.resize_with(h.len() / features, Vec::new);
    rows.par_iter_mut().zip(h.par_chunks(features)).for_each(|(row, h)| {
        row.clear();
        choose(h, row);
    });
}

/// What is entry by entry in kinds whose features compete: nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NoEntry {}

impl EntrywiseCode for NoEntry {
    fn floor(&self, _feature: usize) -> f32 {
        match *self {}
    }

    fn value(&self, _feature: usize, _h: f32) -> f32 {
        match *self {}
    }
}

impl TrainedEntry for NoEntry {
    fn cut(self, _features: usize) -> Self {
        match self {}
    }

    fn gradient(&self, _feature: usize, _h: f32, _pull: f32, _lambda: f32) -> Gradient {
        match *self {}
    }
}
