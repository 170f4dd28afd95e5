//! Collecting examples, batch after batch.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::LayerExample;
use super::file::ExampleFile;
use super::list::{ExampleList, ExamplePeak, write_window};
use super::peaks::{ContextPeaks, ExampleBatch};
use super::rule::LayerExampleOptions;
use super::text::ExampleText;
use crate::data::text::Contexts;
use crate::display::show_as_text;
use crate::multilayer::codes::{LayerCodes, check_layers_and_latents};
use crate::text::thousands;
use crate::{Error, Result};

/// Rows of a file that are read in one go, if all are.
const ROWS_AT_A_TIME: usize = 1 << 14;

/// The best examples of every latent at every layer, each list bounded.
///
/// While they are collected they take 12 bytes each, and about 30 for the window at the default
/// width, whatever the length of the text: 6 layers · 32,768 latents · 32 examples are a quarter of a
/// gigabyte. [Saved](Self::save) and [opened](Self::open) they stay on disk, and a look-up reads a page
/// of each column.
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
#[derive(Debug, Clone)]
pub struct LayerExamples {
    layers: usize,
    latents: usize,
    options: LayerExampleOptions,
    text: Option<ExampleText>,
    kept: KeptExamples,
}

/// Where examples are.
#[derive(Debug, Clone)]
enum KeptExamples {
    /// A list for each layer and latent.
    Memory(Vec<ExampleList>),
    File(Arc<ExampleFile>),
}

impl LayerExamples {
    /// For so many layers and latents, before the first context.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no layers or latents, or for options that cannot be.
    pub fn new(layers: usize, latents: usize, options: LayerExampleOptions) -> Result<Self> {
        check_layers_and_latents(layers, latents)?;
        options.check()?;
        let lists = vec![ExampleList::default(); layers * latents];
        Ok(Self::of_lists([layers, latents], options, lists))
    }

    /// From a list for each layer and latent.
    pub(super) fn of_lists(
        [layers, latents]: [usize; 2],
        options: LayerExampleOptions,
        lists: Vec<ExampleList>,
    ) -> Self {
        Self { layers, latents, options, text: None, kept: KeptExamples::Memory(lists) }
    }

    /// Of a file, which stays where it is.
    pub(super) fn of_file(file: ExampleFile) -> Self {
        let header = file.header();
        Self {
            layers: header.layers,
            latents: header.latents,
            options: header.options(),
            text: header.text.clone(),
            kept: KeptExamples::File(Arc::new(file)),
        }
    }

    /// The same, as examples of contexts of `text`, by whose places contexts are numbered. By default
    /// the text is not known; [`Mlsae::examples`](crate::multilayer::Mlsae::examples) says it.
    #[must_use]
    pub fn with_text(self, text: &Contexts) -> Self {
        Self { text: Some(ExampleText::of(text)), ..self }
    }

    /// The lists in memory, read from the file first if need be.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn lists_mut(&mut self) -> Result<&mut Vec<ExampleList>> {
        if let KeptExamples::File(_) = &self.kept {
            let options = self.options;
            let mut lists = vec![ExampleList::default(); self.layers * self.latents];
            for example in self.iter() {
                let example = example?;
                let list = example.layer * self.latents + example.latent;
                put(&mut lists[list], &example, &options)?;
            }
            self.kept = KeptExamples::Memory(lists);
        }
        match &mut self.kept {
            KeptExamples::Memory(lists) => Ok(lists),
            // It was replaced above.
            KeptExamples::File(_) => Err(Error::invalid("the examples", "in memory", "a file")),
        }
    }

    /// Takes in a batch: `tokens` `[contexts, length]`, whose first context has the number `first`, and
    /// the codes of their positions, row by row.
    ///
    /// # Errors
    /// - [`Error::Shape`] unless there is a row of codes a token.
    /// - [`Error::Invalid`] for codes of another number of layers or latents, or a number of a context
    ///   from 2³² on.
    /// - If these are in a file that cannot be read.
    pub fn add(&mut self, first: u64, tokens: &Tensor, codes: &LayerCodes) -> Result<()> {
        codes.check(self.layers, self.latents)?;
        let length = match *tokens.dims() {
            [contexts, length] if contexts * length == codes.rows() && length > 0 => length,
            _ => {
                let expected = format!("[contexts, length], {} tokens", codes.rows());
                return Err(Error::shape("the tokens", expected, tokens.dims()));
            }
        };
        let last = first.saturating_add((codes.rows() / length) as u64);
        let first = match u32::try_from(last) {
            Ok(_) => first as u32,
            Err(_) => return Err(too_many(last)),
        };
        let tokens: Vec<u32> = tokens.to_dtype(DType::U32)?.flatten_all()?.to_vec1()?;
        let (latents, options) = (self.latents, self.options);
        let lists = self.lists_mut()?;
        let mut peaks = ContextPeaks::new(latents);
        let (mut window, mut values) = (Vec::new(), Vec::new());
        for (layer, codes) in codes.iter().enumerate() {
            let batch = ExampleBatch { length, tokens: &tokens, codes };
            batch.for_each_candidate(options.rule, &mut peaks, |latent, row, value| {
                let activation = options.activation(value);
                let list = &mut lists[layer * latents + latent];
                // Windows are laid out for those alone that have a chance.
                if activation > options.threshold && list.may_take(activation, options.examples) {
                    let (rows, start) = batch.window(row, &options);
                    let value = |row| options.activation(batch.value(row, latent));
                    window.clear();
                    values.clear();
                    values.extend(rows.clone().map(value));
                    write_window(&mut window, (start, tokens[row]), &tokens[rows], &values);
                    let context = first + (row / length) as u32;
                    let position = (row % length) as u32;
                    let peak = ExamplePeak { activation, context, position };
                    list.insert(peak, &window, options.examples, options.is_distinct());
                }
            });
        }
        Ok(())
    }

    /// Takes in what was found in another part of the text, whose contexts have other numbers. If these
    /// are in a file, they are read into memory first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of layers or latents, or other options; if a file cannot
    /// be read.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let of = |own: &Self| (own.layers, own.latents, own.options);
        if of(self) != of(other) {
            let expected = format!("of the same sizes and options as these: {self}");
            return Err(Error::invalid("the examples to merge", expected, other));
        }
        let (latents, options, is_empty) = (self.latents, self.options, self.is_empty());
        let lists = self.lists_mut()?;
        match &other.kept {
            KeptExamples::Memory(others) => {
                for (list, more) in lists.iter_mut().zip(others) {
                    for (peak, window) in more.iter() {
                        list.insert(peak, window, options.examples, options.is_distinct());
                    }
                }
            }
            KeptExamples::File(_) => {
                for example in other.iter() {
                    let example = example?;
                    put(&mut lists[example.layer * latents + example.latent], &example, &options)?;
                }
            }
        }
        self.text = match (self.text.take(), &other.text) {
            (None, Some(text)) if is_empty => Some(text.clone()),
            (Some(own), Some(text)) if own.is_same(text) => Some(own),
            (own, _) if other.is_empty() => own,
            _ => None,
        };
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

    /// The text whose contexts they are of, if it is known; that of data sets in the original's
    /// layout is not.
    pub fn text(&self) -> Option<&ExampleText> {
        self.text.as_ref()
    }

    /// Number of examples, over all latents and layers.
    pub fn len(&self) -> usize {
        match &self.kept {
            KeptExamples::Memory(lists) => lists.iter().map(ExampleList::len).sum(),
            KeptExamples::File(file) => file.rows(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The examples of a latent at a layer, the best first; by the place of the layer among those that
    /// were looked at.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer or a latent that there is not; if a file cannot be read.
    pub fn get(&self, layer: usize, latent: usize) -> Result<Vec<LayerExample>> {
        for (what, own, all) in
            [("the layer", layer, self.layers), ("the latent", latent, self.latents)]
        {
            if own >= all {
                return Err(Error::invalid(what, format!("below {all}"), own));
            }
        }
        match &self.kept {
            KeptExamples::Memory(lists) => {
                Ok(lists[layer * self.latents + latent].examples(layer, latent).collect())
            }
            KeptExamples::File(file) => file.list(layer * self.latents + latent),
        }
    }

    /// All examples, by layer, latent and rank. Only those of a file can be errors.
    pub fn iter(&self) -> impl Iterator<Item = Result<LayerExample>> {
        let (memory, file) = match &self.kept {
            KeptExamples::Memory(lists) => (&lists[..], None),
            KeptExamples::File(file) => (&[][..], Some(file)),
        };
        let memory = memory
            .iter()
            .enumerate()
            .flat_map(|(list, own)| own.examples(list / self.latents, list % self.latents).map(Ok));
        let parts = file.into_iter().flat_map(|file| {
            let starts = (0..file.rows()).step_by(ROWS_AT_A_TIME);
            starts.flat_map(|start| {
                let read = file.examples(start..file.rows().min(start + ROWS_AT_A_TIME));
                let (rows, error) = match read {
                    Ok(rows) => (rows, None),
                    Err(error) => (Vec::new(), Some(Err(error))),
                };
                rows.into_iter().map(Ok).chain(error)
            })
        });
        memory.chain(parts)
    }

    /// How many of the lists have examples.
    fn filled_lists(&self) -> usize {
        match &self.kept {
            KeptExamples::Memory(lists) => lists.iter().filter(|list| list.len() > 0).count(),
            KeptExamples::File(file) => file.filled_lists(),
        }
    }
}

/// Puts an example that was read into its list.
fn put(
    list: &mut ExampleList,
    example: &LayerExample,
    options: &LayerExampleOptions,
) -> Result<()> {
    let context = u32::try_from(example.context).map_err(|_| too_many(example.context))?;
    let position = example.position as u32;
    let peak = ExamplePeak { activation: example.activation, context, position };
    let mut window = Vec::new();
    let head = (example.start as u32, example.token);
    write_window(&mut window, head, &example.tokens, &example.activations);
    list.insert(peak, &window, options.examples, options.is_distinct());
    Ok(())
}

fn too_many(context: u64) -> Error {
    Error::invalid("the number of a context", "below 4,294,967,296", context)
}

show_as_text!(LayerExamples);

impl fmt::Display for LayerExamples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, latents) = (thousands(self.len()), thousands(self.latents));
        let (of, all) = (thousands(self.filled_lists()), thousands(self.layers * self.latents));
        write!(f, "{count} examples of {latents} latents at {} layers, ", self.layers)?;
        write!(f, "of {of} of {all} lists")?;
        match &self.kept {
            KeptExamples::Memory(_) => Ok(()),
            KeptExamples::File(file) => write!(f, ", in {}", file.path().display()),
        }
    }
}
