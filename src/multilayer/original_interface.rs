//! What the original's web interface answers.

use candle_core::Tensor;

use crate::Result;
use crate::model::Hooks;
use crate::multilayer::code_histograms::CodeHistograms;
use crate::multilayer::intervention::LatentIntervention;
use crate::multilayer::mlsae::Mlsae;
use crate::multilayer::prompt::LayerPrompt;
use crate::multilayer::steering::{SteeredLogits, logits_after};

/// Logits as the web interface of the original has them. It runs on from a layer without telling the
/// model where the tokens stand, so that in the remaining layers **every position is 0**; that goes for
/// the logits before the change too. Layer 0 is taken as not given and means the last one. A tuned lens
/// is left out.
impl Mlsae {
    /// The original's [`Mlsae::logits_of_reconstruction`].
    ///
    /// # Errors
    /// As [`Mlsae::logits_of_reconstruction`].
    pub fn original_logits_of_reconstruction(
        &self,
        prompt: &LayerPrompt,
        layer: usize,
    ) -> Result<SteeredLogits> {
        let (own, layer) = (self.without_lens(), self.original_layer(layer));
        let changed = own.reconstructed(layer, self.stream_after(prompt, layer)?)?;
        self.at_one_position(prompt, layer, &changed)
    }

    /// The original's steering: the column of `latent` in the decoder times `factor` is added to the
    /// stream after `layer`.
    ///
    /// # Errors
    /// As [`Mlsae::steer`].
    pub fn original_steer(
        &self,
        prompt: &LayerPrompt,
        latent: usize,
        layer: usize,
        factor: f64,
    ) -> Result<SteeredLogits> {
        let (own, layer) = (self.without_lens(), self.original_layer(layer));
        let stream = self.stream_after(prompt, layer)?;
        let changes = own.changes(&[LatentIntervention::add_column(latent, factor).at(layer)])?;
        let changed = changes
            .values()
            .try_fold(stream.clone(), |stream, change| own.changed(layer, &stream, change, 0))?;
        self.at_one_position(prompt, layer, &changed)
    }

    /// The layer that the original takes for `layer`.
    fn original_layer(&self, layer: usize) -> usize {
        if layer == 0 { self.last_layer() } else { layer }
    }

    fn at_one_position(
        &self,
        prompt: &LayerPrompt,
        layer: usize,
        changed: &Tensor,
    ) -> Result<SteeredLogits> {
        let model = self.model().at_one_position()?;
        let logits = |stream| logits_after(&model, layer, stream, &Hooks::new());
        let before = logits(self.stream_after(prompt, layer)?)?;
        SteeredLogits::new(&model, before, logits(changed)?)
    }
}

/// The original's histograms: zeros are in the first bin, and edges are rounded to three digits after
/// the point.
///
/// ```
/// use eigenlens::multilayer::{CodeHistograms, original_code_histograms};
/// let own = CodeHistograms {
///     values: vec![vec![1, 2]],
///     edges: vec![0.0, 0.123_456, 0.246_912],
///     zeros: vec![40],
/// };
/// let original = original_code_histograms(&own);
/// assert_eq!((original.values, original.edges), (vec![vec![41, 2]], vec![0.0, 0.123, 0.247]));
/// ```
pub fn original_code_histograms(own: &CodeHistograms) -> CodeHistograms {
    let mut found = own.clone();
    for (values, zeros) in found.values.iter_mut().zip(&mut found.zeros) {
        values.iter_mut().take(1).for_each(|first| *first += std::mem::take(zeros));
    }
    found.edges.iter_mut().for_each(|edge| *edge = (*edge * 1e3).round() / 1e3);
    found
}
