//! Collecting examples, batch after batch.

use std::cmp::Ordering;
use std::fmt;

use candle_core::{DType, Tensor};

use super::LayerExample;
use super::rule::{ExampleRule, LayerExampleOptions};
use crate::display::show_as_text;
use crate::multilayer::codes::{LayerCodes, check_layers_and_latents};
use crate::sae::Codes;
use crate::text::thousands;
use crate::{Error, Result};

/// The best examples of every latent at every layer, each list bounded: memory for about 130 bytes an
/// example at the default window, whatever the length of the text.
///
/// Examples are sorted by activation, equal ones by the number of the context, so that the result
/// does not depend on batches and parts of a text can be [merged](Self::merge).
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::multilayer::{LayerCodes, LayerExampleOptions, LayerExamples};
/// # fn main() -> Result<()> {
/// let tokens = Tensor::new(&[[7u32, 8, 9], [7, 7, 7]], &Device::Cpu)?;
/// let rows = [vec![], vec![(0, 2.0)], vec![], vec![], vec![], vec![(0, 3.0)]];
/// let codes = LayerCodes::new([Codes::new(1, rows)?])?;
/// let mut examples = LayerExamples::new(1, 1, LayerExampleOptions::default())?;
/// examples.add(0, &tokens, &codes)?;
/// let found = examples.get(0, 0)?;
/// assert_eq!((found[0].context, found[0].position, found[0].activation), (1, 2, 3.0));
/// assert_eq!(found[1].tokens, [7, 8, 9]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LayerExamples {
    layers: usize,
    latents: usize,
    options: LayerExampleOptions,
    /// For each layer and latent the best, the best first.
    lists: Vec<Vec<FoundExample>>,
}

/// An example as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundExample {
    pub(super) activation: f32,
    pub(super) context: u64,
    pub(super) position: u32,
    pub(super) token: u32,
    pub(super) start: u32,
    /// Tokens and activations.
    pub(super) window: Box<[(u32, f32)]>,
}

impl FoundExample {
    /// Better ones first.
    fn order(&self, other: &Self) -> Ordering {
        let by_activation = other.activation.total_cmp(&self.activation);
        by_activation.then(self.context.cmp(&other.context))
    }

    /// Whether the windows read the same, with the peak at the same place.
    fn reads_as(&self, other: &Self) -> bool {
        let tokens = |own: &Self| own.window.iter().map(|(token, _)| *token).collect::<Vec<_>>();
        self.position - self.start == other.position - other.start
            && self.window.len() == other.window.len()
            && tokens(self) == tokens(other)
    }
}

impl LayerExamples {
    /// For so many layers and latents, before the first context.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no layers or latents, or for options that cannot be.
    pub fn new(layers: usize, latents: usize, options: LayerExampleOptions) -> Result<Self> {
        check_layers_and_latents(layers, latents)?;
        options.check()?;
        Ok(Self { layers, latents, options, lists: vec![Vec::new(); layers * latents] })
    }

    /// Takes in a batch: `tokens` `[contexts, length]`, whose first context has the number `first`, and
    /// the codes of their positions, row by row.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is a row of codes a token; [`Error::Invalid`] for codes of
    /// another number of layers or latents.
    pub fn add(&mut self, first: u64, tokens: &Tensor, codes: &LayerCodes) -> Result<()> {
        codes.check(self.layers, self.latents)?;
        let length = match *tokens.dims() {
            [contexts, length] if contexts * length == codes.rows() && length > 0 => length,
            _ => {
                let expected = format!("[contexts, length], {} tokens", codes.rows());
                return Err(Error::shape("the tokens", expected, tokens.dims()));
            }
        };
        let tokens: Vec<u32> = tokens.to_dtype(DType::U32)?.flatten_all()?.to_vec1()?;
        let mut peaks = ContextPeaks::new(self.latents);
        for (layer, codes) in codes.iter().enumerate() {
            let batch = ExampleBatch { first, length, tokens: &tokens, codes };
            match self.options.rule {
                ExampleRule::Original => {
                    for row in 0..codes.rows() {
                        for (latent, value) in codes.row(row) {
                            self.offer(layer, latent as usize, row, value, &batch);
                        }
                    }
                }
                ExampleRule::Distinct | ExampleRule::Contexts => {
                    for start in (0..codes.rows()).step_by(length) {
                        for row in start..start + length {
                            codes
                                .row(row)
                                .for_each(|(latent, value)| peaks.add(latent, row, value));
                        }
                        for (latent, row, value) in peaks.take() {
                            self.offer(layer, latent as usize, row, value, &batch);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes in an activation, if it is one of the best so far.
    fn offer(
        &mut self,
        layer: usize,
        latent: usize,
        row: usize,
        value: f32,
        batch: &ExampleBatch<'_>,
    ) {
        let options = self.options;
        let activation = options.activation(value);
        let list = &self.lists[layer * self.latents + latent];
        let is_full = list.len() == options.examples;
        // Windows are laid out for those alone that have a chance.
        if activation <= options.threshold
            || is_full && list.last().is_some_and(|last| activation < last.activation)
        {
            return;
        }
        let window = options.window(row, batch.length, batch.tokens.len());
        // Where the window begins: in the context, or for the original in the batch.
        let origin = match options.rule {
            ExampleRule::Original => 0,
            ExampleRule::Distinct | ExampleRule::Contexts => row / batch.length * batch.length,
        };
        let found = FoundExample {
            activation,
            context: batch.first + (row / batch.length) as u64,
            position: (row % batch.length) as u32,
            token: batch.tokens[row],
            start: (window.start - origin) as u32,
            window: window
                .map(|row| (batch.tokens[row], options.activation(batch.value(row, latent))))
                .collect(),
        };
        self.insert(layer * self.latents + latent, found);
    }

    pub(super) fn insert(&mut self, list: usize, found: FoundExample) {
        let (most, list) = (self.options.examples, &mut self.lists[list]);
        if self.options.rule == ExampleRule::Distinct
            && let Some(same) = list.iter().position(|own| own.reads_as(&found))
        {
            if list[same].order(&found) != Ordering::Greater {
                return;
            }
            list.remove(same);
        }
        let place = list.partition_point(|own| own.order(&found) != Ordering::Greater);
        if place < most {
            list.truncate(most - 1);
            list.insert(place, found);
        }
    }

    /// Takes in what was found in another part of the text, whose contexts have other numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of layers or latents, or other options.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let of = |own: &Self| (own.layers, own.latents, own.options);
        if of(self) != of(other) {
            let expected = format!("of the same sizes and options as these: {self}");
            return Err(Error::invalid("the examples to merge", expected, other));
        }
        for (list, more) in other.lists.iter().enumerate() {
            more.iter().for_each(|found| self.insert(list, found.clone()));
        }
        Ok(())
    }

    /// Number of layers, L.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Number of latents, n.
    pub fn latents(&self) -> usize {
        self.latents
    }

    /// How they were collected.
    pub fn options(&self) -> &LayerExampleOptions {
        &self.options
    }

    /// Number of examples, over all latents and layers.
    pub fn len(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The examples of a latent at a layer, the best first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer or a latent that there is not.
    pub fn get(&self, layer: usize, latent: usize) -> Result<Vec<LayerExample>> {
        for (what, own, all) in
            [("the layer", layer, self.layers), ("the latent", latent, self.latents)]
        {
            if own >= all {
                return Err(Error::invalid(what, format!("below {all}"), own));
            }
        }
        Ok(self.list(layer, latent).collect())
    }

    /// All examples, by layer, latent and rank.
    pub fn iter(&self) -> impl Iterator<Item = LayerExample> {
        (0..self.layers)
            .flat_map(move |layer| (0..self.latents).map(move |latent| (layer, latent)))
            .flat_map(|(layer, latent)| self.list(layer, latent))
    }

    fn list(&self, layer: usize, latent: usize) -> impl Iterator<Item = LayerExample> {
        let list = self.lists[layer * self.latents + latent].iter().enumerate();
        list.map(move |(rank, found)| LayerExample {
            layer,
            latent,
            rank,
            context: found.context,
            position: found.position as usize,
            activation: found.activation,
            token: found.token,
            start: found.start as usize,
            tokens: found.window.iter().map(|(token, _)| *token).collect(),
            activations: found.window.iter().map(|(_, value)| *value).collect(),
        })
    }
}

/// What one layer of a batch is made of.
struct ExampleBatch<'a> {
    first: u64,
    length: usize,
    tokens: &'a [u32],
    codes: &'a Codes,
}

impl ExampleBatch<'_> {
    fn value(&self, row: usize, latent: usize) -> f32 {
        let own = self.codes.row(row).find(|(other, _)| *other as usize == latent);
        own.map_or(0.0, |(_, value)| value)
    }
}

/// The largest activation of each latent in a context, and the first row that has it.
struct ContextPeaks {
    /// No entry where a latent has none yet.
    best: Vec<Option<(usize, f32)>>,
    active: Vec<u32>,
}

impl ContextPeaks {
    fn new(latents: usize) -> Self {
        Self { best: vec![None; latents], active: Vec::new() }
    }

    fn add(&mut self, latent: u32, row: usize, value: f32) {
        match &mut self.best[latent as usize] {
            Some((_, best)) if value <= *best => {}
            Some(own) => *own = (row, value),
            none => {
                *none = Some((row, value));
                self.active.push(latent);
            }
        }
    }

    /// The peaks of the context that ends here.
    fn take(&mut self) -> Vec<(u32, usize, f32)> {
        let Self { best, active } = self;
        let peaks = active.drain(..).filter_map(|latent| {
            let (row, value) = best[latent as usize].take()?;
            Some((latent, row, value))
        });
        peaks.collect()
    }
}

show_as_text!(LayerExamples);

impl fmt::Display for LayerExamples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, latents) = (thousands(self.len()), thousands(self.latents));
        let of = self.lists.iter().filter(|list| !list.is_empty()).count();
        let all = thousands(self.lists.len());
        write!(f, "{count} examples of {latents} latents at {} layers, ", self.layers)?;
        write!(f, "of {} of {all} lists", thousands(of))
    }
}
