//! A single prompt at every layer.

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

use super::codes::LayerCodes;
use super::distributions::LayerDistributions;
use super::evaluation::Evaluation;
use super::layer_views::LayerHeatMap;
use super::mlsae::Mlsae;
use super::pass::LayerBatch;
use super::scores::{EvaluatedLayer, LayerScores};
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

impl Mlsae {
    /// How well a prompt is reconstructed at each layer, special tokens left out: FVU, error, cosines
    /// and L0. What takes another run of the model, losses and logits, is not there. A prompt of one
    /// token has no variance, so its FVU is not a number or infinite.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a prompt of special tokens alone, or at other
    /// layers; as [`Mlsae::reconstruct`].
    pub fn evaluate_prompt(&self, prompt: &LayerPrompt) -> Result<Evaluation> {
        let batch = &prompt.batch;
        let codes = batch.kept_codes()?;
        let scores = self.layers().iter().enumerate().map(|(at, layer)| {
            let stream = self.stream_after(prompt, *layer)?;
            let own = self.decoded(*layer, batch.codes.layer(at)?, stream)?;
            LayerScores::of(&EvaluatedLayer {
                inputs: Some(batch.kept_rows(stream)?),
                reconstructions: Some(batch.kept_rows(&own)?),
                ..EvaluatedLayer::default()
            })
        });
        let mut found = Evaluation::new(codes.layers(), codes.width())?;
        found.add(&scores.collect::<Result<Vec<_>>>()?, &codes)?;
        Ok(found)
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

    /// Bytes that its streams and codes take.
    pub fn bytes(&self) -> usize {
        let size = |stream: &Tensor| stream.elem_count() * stream.dtype().size_in_bytes();
        let streams: usize = self.batch.streams.iter().map(size).sum();
        let entry = size_of::<(u32, f32)>();
        streams + self.codes().iter().map(|codes| codes.entries() * entry).sum::<usize>()
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
            // Two layers of eight dimensions in f32, and three entries each of eight bytes.
            assert_eq!(prompt.bytes(), tokens * 2 * (8 * 4 + 3 * 8));
            let scores = mlsae.evaluate_prompt(&prompt).unwrap().layers();
            let streams: Vec<Tensor> =
                (0..2).map(|layer| prompt.streams().unwrap().get(layer).unwrap()).collect();
            let found = mlsae.reconstruct(&streams).unwrap();
            let error = (&found[1] - &streams[1]).unwrap().sqr().unwrap().mean_all().unwrap();
            let error = f64::from(error.to_scalar::<f32>().unwrap());
            assert!((scores[1].mse / error - 1.0).abs() < 1e-5, "{} {error}", scores[1].mse);
            assert_eq!((scores[1].fvu.is_finite(), scores[1].rows), (tokens > 1, tokens as u64));
        }
        assert!(mlsae.prompt("o").unwrap().heat_map(1e9).is_err());
        assert!(mlsae.prompt("").is_err());
    }
}
