//! Features at a glance.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use super::gallery::{Example, FeatureView, Gallery};
use super::reader_table::reader_table;
use super::{Explanations, FeatureReader, FeatureTable, max_activations};
use crate::data::text::{Contexts, Tokenizer};
use crate::display::show_as_text;
use crate::model::{Decoder, HookPoint};
use crate::sae::Sae;
use crate::{Error, Result};

/// Tokens of logit influence that are shown, each way.
const TOKENS: usize = 8;

/// Shows what features of an autoencoder are about: the texts that activate them most, how often
/// and how strongly they are active, which tokens of the sample they promote, and what was said of
/// them. A cheap handle.
#[derive(Debug, Clone)]
pub struct Visualizer {
    model: Decoder,
    sae: Sae,
    /// What gives the activations, if that is not the autoencoder.
    reader: Option<Arc<dyn FeatureReader>>,
    point: HookPoint,
    contexts: Contexts,
    table: FeatureTable,
    tokenizer: Tokenizer,
    /// The tokens of the sample, in ascending order, each once.
    vocabulary: Arc<[u32]>,
    explanations: Arc<Explanations>,
}

impl Visualizer {
    /// A visualizer of `sae`, from a table that [`max_activations`] made of `contexts`.
    ///
    /// # Errors
    /// A table of another autoencoder or other contexts; a model without a tokenizer.
    pub fn new(
        model: &Decoder,
        sae: &Sae,
        contexts: &Contexts,
        table: &FeatureTable,
    ) -> Result<Self> {
        Self::at(sae.point()?, model, sae, contexts, table)
    }

    fn at(
        point: HookPoint,
        model: &Decoder,
        sae: &Sae,
        contexts: &Contexts,
        table: &FeatureTable,
    ) -> Result<Self> {
        if (table.point(), table.features()) != (point, sae.features()) {
            let expected = format!("of {} features at {point}", sae.features());
            let found = format!("{} at {}", table.features(), table.point());
            return Err(Error::invalid("the table of examples", expected, found));
        }
        if table.last_context() >= contexts.len() {
            let expected = format!("of contexts below {}", contexts.len());
            return Err(Error::invalid("the table of examples", expected, table.last_context()));
        }
        let tokenizer = model.tokenizer()?;
        let mut vocabulary = contexts.as_slice().to_vec();
        vocabulary.sort_unstable();
        vocabulary.dedup();
        let vocab = model.config().vocab;
        if let Some(token) = vocabulary.last().filter(|last| **last as usize >= vocab) {
            let expected = format!("below {vocab}, the model's vocabulary");
            return Err(Error::invalid("the contexts' tokens", expected, token));
        }
        Ok(Self {
            model: model.clone(),
            sae: sae.clone(),
            reader: None,
            point,
            contexts: contexts.clone(),
            table: table.clone(),
            tokenizer,
            vocabulary: vocabulary.into(),
            explanations: Arc::default(),
        })
    }

    /// A visualizer of a published autoencoder: the table is `top-activations.safetensors` in the
    /// model's `-scope` repository, and `contexts` names the data set that it was made of, such as
    /// `tdooms/fineweb-16k`.
    ///
    /// # Errors
    /// A model that was not loaded from a repository; a repository that is not there; as
    /// [`Visualizer::new`].
    pub fn from_pretrained(model: &Decoder, sae: &Sae, contexts: &str) -> Result<Self> {
        let table = FeatureTable::from_repository(&model.scope()?, sae.point()?)?;
        Self::new(model, sae, &Contexts::from_pretrained(contexts)?, &table)
    }

    /// The same, which shows explanations of features too.
    #[must_use]
    pub fn with_explanations(&self, explanations: &Explanations) -> Self {
        Self { explanations: Arc::new(explanations.clone()), ..self.clone() }
    }

    /// The explanations that it shows; none by default.
    pub fn explanations(&self) -> &Explanations {
        &self.explanations
    }

    /// The autoencoder.
    pub fn sae(&self) -> &Sae {
        &self.sae
    }

    /// The sample of text.
    pub fn contexts(&self) -> &Contexts {
        &self.contexts
    }

    /// How often and how strongly features are active.
    ///
    /// # Errors
    /// A table that does not say.
    pub fn statistics(&self) -> Result<&super::Statistics> {
        self.table.statistics().ok_or_else(|| Error::NotFound {
            what: "the features' statistics".to_owned(),
            hint: "The table of examples has none: make one with `max_activations`.".to_owned(),
        })
    }

    /// The features, each with up to `examples` texts.
    ///
    /// # Errors
    /// No feature, or one there is not; no examples, or more than the table holds.
    pub fn show(&self, features: &[usize], examples: usize) -> Result<Gallery> {
        if features.is_empty() {
            return Err(Error::invalid("the features", "at least one", "none"));
        }
        let most = self.table.examples();
        if examples == 0 || examples > most {
            let expected = format!("between 1 and {most}, those in the table");
            return Err(Error::invalid("the number of examples", expected, examples));
        }
        let views = features.iter().map(|feature| self.view(*feature, examples));
        Ok(Gallery::new(views.collect::<Result<_>>()?))
    }

    fn view(&self, feature: usize, examples: usize) -> Result<FeatureView> {
        let influence = self.sae.logit_influence(&self.model, feature)?.to_vec1::<f32>()?;
        // Tokens that never occur are pushed down by everything.
        let mut order: Vec<usize> = self.vocabulary.iter().map(|token| *token as usize).collect();
        order.sort_by(|a, b| influence[*b].total_cmp(&influence[*a]));
        let named = |token: &usize| -> Result<(String, f32)> {
            Ok((self.tokenizer.visible(*token as u32)?, influence[*token]))
        };
        let promoted = order.iter().take(TOKENS).map(named).collect::<Result<_>>()?;
        let suppressed = order.iter().rev().take(TOKENS).map(named).collect::<Result<_>>()?;
        let statistics = self.table.statistics();
        let contexts = self.table.contexts(feature)?;
        let mut shown = Vec::new();
        for context in &contexts[..examples] {
            let example = self.example(feature, *context)?;
            // Contexts that do not activate the feature fill up the table.
            if example.most() > 0.0 {
                shown.push(example);
            }
        }
        Ok(FeatureView {
            feature,
            point: self.point,
            examples: shown,
            promoted,
            suppressed,
            density: statistics.map(|own| own.density[feature]),
            histogram: statistics.map(|own| own.histograms[feature].clone()),
            explanation: self.explanations.get(feature).map(|own| own.text.clone()),
        })
    }

    fn example(&self, feature: usize, context: usize) -> Result<Example> {
        let tokens = self.contexts.batch(context, 1, self.model.device())?;
        let codes = match &self.reader {
            Some(reader) => reader.read(&self.model, &tokens)?,
            None => {
                let cache = self.model.activations(&tokens, &[self.point])?;
                self.sae.encode(cache.get(self.point)?)?
            }
        };
        let ids = self.contexts.get(context)?;
        let texts = ids.iter().map(|token| self.tokenizer.token(*token));
        Ok(Example {
            context,
            tokens: texts.collect::<Result<_>>()?,
            visible: self.tokenizer.visible_text(ids)?,
            activations: codes.feature(feature)?,
        })
    }
}

impl Visualizer {
    /// A visualizer of any autoencoder, from a search through `contexts` of its own; see
    /// [`max_activations`].
    ///
    /// # Errors
    /// As [`max_activations`] and [`Visualizer::new`].
    pub fn compute(
        model: &Decoder,
        sae: &Sae,
        contexts: &Contexts,
        examples: usize,
    ) -> Result<Self> {
        let options = super::MaxOptions { examples, ..super::MaxOptions::default() };
        let tables = max_activations(model, std::slice::from_ref(sae), contexts, &options)?;
        match &*tables {
            [table] => Self::new(model, sae, contexts, table),
            _ => Err(Error::invalid("the tables", "one", tables.len())),
        }
    }

    /// A visualizer of whatever reads features, such as an [`Mlsae`](crate::multilayer::Mlsae) or the
    /// [`PartReader`](crate::sae_error::PartReader) of a part of an error, from one pass of `reader`
    /// over all contexts, with a batch of codes and `examples` numbers per feature in memory. `sae`
    /// has the same features: its decoder tells which tokens they promote.
    ///
    /// # Errors
    /// - [`Error::Invalid`] for an autoencoder of another number of features, no examples, or more
    ///   than there are contexts.
    /// - [`Error::Interrupted`] when Stop is pressed.
    /// - Those of the reader, and of [`Visualizer::new`].
    pub fn read(
        model: &Decoder,
        reader: Arc<dyn FeatureReader>,
        sae: &Sae,
        contexts: &Contexts,
        examples: usize,
    ) -> Result<Self> {
        if reader.features() != sae.features() {
            let expected = format!("{}, those of the reader", reader.features());
            return Err(Error::invalid("the features of `sae`", expected, sae.features()));
        }
        let table = reader_table(model, &*reader, contexts, examples)?;
        let own = Self::at(reader.point()?, model, sae, contexts, &table)?;
        Ok(Self { reader: Some(reader), ..own })
    }
}

show_as_text!(Visualizer);

impl fmt::Display for Visualizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (examples, contexts) = (self.table.examples(), &self.contexts);
        match &self.reader {
            Some(reader) => write!(f, "{reader}")?,
            None => write!(f, "{}", self.sae)?,
        }
        write!(f, "; {examples} examples a feature, out of {contexts}")?;
        match self.explanations.len() {
            0 => Ok(()),
            count => write!(f, "; explanations: {count}"),
        }
    }
}
