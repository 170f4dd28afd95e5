//! Where features are active, found in one pass over the text.

use candle_core::Tensor;

use super::shown_contexts::ShownContexts;
use crate::features::FeatureReader;
use crate::model::Decoder;
use crate::progress::Progress;
use crate::{Error, Result};

/// What the pass is called.
const LABEL: &str = "looking where features are active";

/// A place in a context and the activation there.
pub(super) type ActivePlace = (u32, f32);

/// The contexts in which a feature is active, in ascending order, and where in them.
#[derive(Debug, Clone, Default)]
pub(super) struct FeatureActivity {
    contexts: Vec<usize>,
    /// Where each context begins in `places`.
    starts: Vec<usize>,
    places: Vec<ActivePlace>,
}

impl FeatureActivity {
    fn push(&mut self, context: usize, place: u32, value: f32) {
        if self.contexts.last() != Some(&context) {
            self.contexts.push(context);
            self.starts.push(self.places.len());
        }
        self.places.push((place, value));
    }

    /// The contexts.
    pub(super) fn contexts(&self) -> &[usize] {
        &self.contexts
    }

    /// The places in the context of that number in [`contexts`](Self::contexts), in ascending order.
    pub(super) fn places(&self, at: usize) -> &[ActivePlace] {
        let end = self.starts.get(at + 1).copied().unwrap_or(self.places.len());
        self.starts.get(at).map_or(&[], |start| &self.places[*start..end])
    }
}

/// Where each of `features` is above zero, among the places that are shown.
///
/// # Errors
/// What the model and the reader fail with; codes of another shape; [`Error::Interrupted`] when Stop
/// is pressed.
pub(super) fn scan(
    model: &Decoder,
    reader: &dyn FeatureReader,
    shown: &ShownContexts,
    features: &[usize],
    batch: usize,
) -> Result<Vec<FeatureActivity>> {
    let mut found = vec![FeatureActivity::default(); features.len()];
    let mut slots: Vec<Option<usize>> = vec![None; reader.features()];
    for (slot, feature) in features.iter().enumerate() {
        slots[*feature] = Some(slot);
    }
    let mut progress = Progress::new(LABEL, shown.usable().len() as u64, "context");
    for contexts in shown.usable().chunks(batch) {
        let ids: Vec<u32> =
            contexts.iter().flat_map(|context| shown.tokens(*context)).copied().collect();
        let length = ids.len() / contexts.len();
        let tokens = Tensor::from_vec(ids, (contexts.len(), length), model.device())?;
        let codes = reader.read(model, &tokens)?;
        if (codes.rows(), codes.width()) != (contexts.len() * length, slots.len()) {
            let expected = format!("{} rows of {}", contexts.len() * length, slots.len());
            return Err(Error::shape("the codes", expected, [codes.rows(), codes.width()]));
        }
        for (at, context) in contexts.iter().enumerate() {
            for (place, position) in (0..).zip(shown.positions(*context)) {
                for (feature, value) in codes.row(at * length + position) {
                    if let Some(slot) = slots[feature as usize].filter(|_| value > 0.0) {
                        found[slot].push(*context, place, value);
                    }
                }
            }
        }
        if progress.advance(contexts.len() as u64) {
            return Err(Error::Interrupted { what: LABEL.to_owned() });
        }
    }
    progress.finish();
    Ok(found)
}
