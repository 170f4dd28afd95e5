//! A single prompt at every layer.

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

use super::codes::LayerCodes;
use super::distributions::LayerDistributions;
use super::layer_views::LayerHeatMap;
use super::mlsae::Mlsae;
use super::pass::LayerBatch;
use crate::Result;
use crate::display::show_as_text;

/// A prompt with its residual stream and its codes after each layer. [`Mlsae::prompt`] makes one.
#[derive(Debug, Clone)]
pub struct LayerPrompt {
    text: String,
    batch: LayerBatch,
    tokens: Vec<u32>,
    layers: Arc<[usize]>,
}

impl Mlsae {
    /// Codes of a prompt at every layer. One token is enough.
    ///
    /// # Errors
    /// As [`Decoder::tokens`](crate::model::Decoder::tokens), for a text without tokens too, and as
    /// [`Mlsae::for_each_batch`].
    pub fn prompt(&self, text: &str) -> Result<LayerPrompt> {
        let tokens = self.model().tokens(text)?;
        let ids = tokens.flatten_all()?.to_vec1()?;
        Ok(LayerPrompt {
            text: text.to_owned(),
            batch: self.batch(0, tokens)?,
            tokens: ids,
            layers: self.layers().into(),
        })
    }
}

impl LayerPrompt {
    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The tokens, T of them.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The layers, by their numbers in the model.
    pub fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// The residual stream after each layer, `[1, T, d]`.
    pub(super) fn raw_streams(&self) -> &[Tensor] {
        &self.batch.streams
    }

    /// Codes of all positions.
    pub fn codes(&self) -> &LayerCodes {
        &self.batch.codes
    }

    /// The residual stream after each layer, `[L, T, d]`.
    ///
    /// # Errors
    /// Memory.
    pub fn streams(&self) -> Result<Tensor> {
        let streams = self.batch.streams.iter().map(|stream| stream.squeeze(0));
        Ok(Tensor::stack(&streams.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
    }

    /// How the activations of each latent are distributed over layers, without special tokens.
    ///
    /// # Errors
    /// None for a prompt that there is.
    pub fn distributions(&self) -> Result<LayerDistributions> {
        let codes = self.batch.kept_codes()?;
        let mut found = LayerDistributions::new(codes.layers(), codes.width())?;
        found.add(&codes)?;
        Ok(found)
    }

    /// The heat map of the latents whose activations, summed over the prompt, are above `threshold` at
    /// some layer, sorted by descending mean layer; the original has 1e-3.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if there is no such latent.
    pub fn heat_map(&self, threshold: f64) -> Result<LayerHeatMap> {
        self.distributions()?.heat_map_above(threshold)
    }
}

show_as_text!(LayerPrompt);

impl fmt::Display for LayerPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.text, self.codes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::mlsae::tests::small;
    use super::*;
    use crate::data::text::Tokenizer;

    #[test]
    fn prompts_of_one_token_and_more_have_heat_maps() {
        let tokenizer = Tokenizer::train(["one two three"], 270).unwrap();
        let small = small();
        let model = small.model().with_tokenizer(&tokenizer).unwrap();
        let mlsae = Mlsae::new(&model, small.sae(), &[0, 1]).unwrap();
        for (text, tokens) in [("o", 1), ("one two", model.tokens("one two").unwrap().elem_count())]
        {
            let prompt = mlsae.prompt(text).unwrap();
            assert_eq!((prompt.tokens().len(), prompt.text()), (tokens, text));
            assert_eq!(prompt.streams().unwrap().dims(), [2, tokens, 8]);
            let map = prompt.heat_map(1e-3).unwrap();
            let sums: Vec<f64> = map.probabilities.sum(0).unwrap().to_vec1().unwrap();
            assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-12));
            assert!(prompt.to_string().contains("at 2 layers"), "{prompt}");
        }
        assert!(mlsae.prompt("o").unwrap().heat_map(1e9).is_err());
        assert!(mlsae.prompt("").is_err());
    }
}
