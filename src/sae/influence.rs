//! What a feature says about the next token.

use candle_core::Tensor;

use super::Sae;
use crate::model::Decoder;
use crate::{Error, Result};

impl Sae {
    /// How much a feature moves each logit when it writes straight to the unembedding,
    /// `W_u D[:, feature]`, `[vocab]`: the norm before it and everything in between left out.
    ///
    /// # Errors
    /// A feature there is not; a model of another width.
    pub fn logit_influence(&self, model: &Decoder, feature: usize) -> Result<Tensor> {
        self.check_features(&[feature])?;
        let unembed = model.w_u();
        if unembed.dim(1)? != self.d_model() {
            let expected = format!("[vocab, {}], as the autoencoder", self.d_model());
            return Err(Error::shape("the unembedding", expected, unembed.dims()));
        }
        let direction = self.w_dec().narrow(1, feature, 1)?.t()?.contiguous()?;
        Ok(model.through_unembedding(&direction)?.squeeze(0)?)
    }
}
