//! The contexts that activate each latent most, at each layer.

mod collect;
mod file;
mod header;
mod list;
mod peaks;
mod published;
mod rule;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod write;

pub use collect::LayerExamples;
pub use rule::{ExampleRule, LayerExampleOptions};
pub use text::ExampleText;

use std::fmt;

use crate::display::show_as_text;

/// An example of a latent at a layer: where it is active, and the text around.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerExample {
    /// The layer's place among those that were looked at.
    pub layer: usize,
    /// The latent.
    pub latent: usize,
    /// Its place among the examples of this latent at this layer, the best first.
    pub rank: usize,
    /// The number of the context; of data sets that the original published, which do not tell it, the
    /// number of the row.
    pub context: u64,
    /// The position of the peak in the context.
    pub position: usize,
    /// The activation at the peak.
    pub activation: f32,
    /// The token at the peak.
    pub token: u32,
    /// The position of the window's first token. The original's windows may begin in an earlier
    /// context: then it counts from the start of their batch.
    pub start: usize,
    /// The tokens of the window.
    pub tokens: Vec<u32>,
    /// The activations of the latent at the tokens of the window.
    pub activations: Vec<f32>,
}

impl LayerExample {
    /// The position after the window's last token.
    pub fn end(&self) -> usize {
        self.start + self.tokens.len()
    }
}

show_as_text!(LayerExample);

impl fmt::Display for LayerExample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layer, latent, rank, context, position, activation, token, .. } = self;
        write!(
            f,
            "latent {latent} at layer {layer}, rank {rank}: {activation:.3} at token {token}, \
             position {position} of context {context}"
        )
    }
}
