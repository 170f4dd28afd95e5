//! What the page is about: a model, an autoencoder, and what is known of its latents.

use std::sync::OnceLock;

use eigenlens::data::text::Contexts;
use eigenlens::features::FeatureTable;
use eigenlens::multilayer::{LayerDistributions, LayerExamples, Mlsae, RankedLogit};
use eigenlens::prelude::Tensor;
use eigenlens::sae::SaeActivation;
use eigenlens::{Error, Result};

use crate::directions::Directions;
use crate::fault::Fault;
use crate::statistics::LatentStatistics;
use crate::table::{LatentTable, bests};
use crate::texts::Texts;

/// Promoted tokens of a latent that a list shows.
pub(crate) const PROMOTED: usize = 5;
/// Multiplications that a search may take to learn what all latents promote.
const SEARCH_COST: usize = 100_000_000_000;
/// Latents whose logits are in memory at a time.
const LATENTS_AT_A_TIME: usize = 64;

/// A model, its autoencoder, and what was measured before.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) mlsae: Mlsae,
    pub(crate) name: String,
    pub(crate) examples: Option<LayerExamples>,
    pub(crate) contexts: Option<Contexts>,
    pub(crate) statistics: Option<LatentStatistics>,
    /// Tokens of a prompt at most.
    pub(crate) context: usize,
    pub(crate) table: LatentTable,
    pub(crate) texts: Texts,
    pub(crate) directions: KnownDirections,
    /// What a search looks through, in small letters: for each latent its promoted tokens and its best
    /// examples.
    searched: OnceLock<Vec<String>>,
}

/// Directions of latents and of tokens.
#[derive(Debug)]
pub(crate) struct KnownDirections {
    pub(crate) decoder: Directions,
    pub(crate) encoder: Directions,
    /// Of tokens that come in.
    pub(crate) input: Directions,
    /// Of tokens that are predicted.
    pub(crate) output: Directions,
}

impl KnownDirections {
    fn of(mlsae: &Mlsae) -> Result<Self> {
        let (sae, model) = (mlsae.sae(), mlsae.model());
        Ok(Self {
            decoder: Directions::columns(sae.w_dec().clone()),
            // An encoder of two maps has the second below the first.
            encoder: Directions::rows(sae.w_enc().narrow(0, 0, sae.features())?),
            input: Directions::rows(model.w_e()),
            output: Directions::rows(model.w_u()),
        })
    }
}

impl Subject {
    pub(crate) fn new(
        mlsae: Mlsae,
        name: Option<String>,
        distributions: Option<&LayerDistributions>,
        examples: Option<LayerExamples>,
        contexts: Option<Contexts>,
        tables: Option<&[FeatureTable]>,
        context: usize,
    ) -> Result<Self> {
        let sizes = (mlsae.layers().len(), mlsae.sae().features());
        let check = |what: &str, found: (usize, usize)| match found == sizes {
            true => Ok(()),
            false => {
                let of = |(layers, latents)| format!("of {layers} layers and {latents} latents");
                Err(Error::invalid(what, of(sizes), of(found)))
            }
        };
        if let Some(own) = distributions {
            check("the distributions", (own.layers(), own.latents()))?;
        }
        if let Some(own) = &examples {
            check("the examples", (own.layers(), own.latents()))?;
        }
        // Windows of another text would look right.
        if let (Some(own), Some(contexts)) =
            (examples.as_ref().and_then(LayerExamples::text), &contexts)
        {
            own.check(contexts)?;
        }
        // A row has k active latents, but for those that are not above zero.
        let k = match mlsae.sae().architecture().activation {
            SaeActivation::TopK { k, relu: true } => Some(k),
            _ => None,
        };
        let table = LatentTable::new(sizes.1, k, distributions, examples.as_ref())?;
        let statistics = tables.map(|own| LatentStatistics::new(own, mlsae.layers(), sizes.1));
        let statistics = statistics.transpose()?;
        let (texts, directions) = (Texts::of(&mlsae)?, KnownDirections::of(&mlsae)?);
        let name = name.or_else(|| mlsae.name().map(str::to_owned));
        let name = name.unwrap_or_else(|| "an autoencoder in memory".to_owned());
        let context = context.min(mlsae.model().config().context);
        let searched = OnceLock::new();
        Ok(Self {
            mlsae,
            name,
            examples,
            contexts,
            statistics,
            context,
            table,
            texts,
            directions,
            searched,
        })
    }

    /// Number of latents.
    pub(crate) fn latents(&self) -> usize {
        self.mlsae.sae().features()
    }

    /// Fails for a latent that there is not.
    pub(crate) fn check_latent(&self, latent: usize) -> Result<(), Fault> {
        match latent < self.latents() {
            true => Ok(()),
            false => {
                let expected = format!("below {}", self.latents());
                Err(Fault::missing(format!("the latent {latent}"), expected))
            }
        }
    }

    /// The place of a layer of the model among those of the autoencoder.
    pub(crate) fn place_of(&self, layer: usize) -> Result<usize, Fault> {
        let layers = self.mlsae.layers();
        layers
            .iter()
            .position(|own| *own == layer)
            .ok_or_else(|| Fault::invalid("the layer", format!("one of {layers:?}"), layer))
    }

    /// Fails for a text that is too long or has no tokens; else returns them.
    pub(crate) fn tokens(&self, text: &str) -> Result<Vec<u32>, Fault> {
        let tokens: Vec<u32> = match text.is_empty() {
            true => Vec::new(),
            false => self.mlsae.model().tokenizer()?.encode(text)?,
        };
        match tokens.len() {
            0 => Err(Fault::invalid("the prompt", "at least one token", "none")),
            length if length > self.context => {
                let expected = format!("at most {} tokens", self.context);
                Err(Fault::invalid("the prompt", expected, length).hint("Shorten it."))
            }
            _ => Ok(tokens),
        }
    }

    /// The `count` tokens whose logits each latent's direction raises most, or lowers most if not
    /// `rises`, with what it adds to them.
    pub(crate) fn promoted(
        &self,
        latents: &[usize],
        count: usize,
        rises: bool,
    ) -> Result<Vec<Vec<(u32, f32)>>> {
        let ids: Vec<u32> = latents.iter().map(|latent| *latent as u32).collect();
        let decoder = self.mlsae.sae().w_dec();
        let ids = Tensor::new(ids, decoder.device())?;
        let directions = decoder.index_select(&ids, 1)?.t()?.contiguous()?;
        let logits = self.mlsae.model().direct_logits(&directions)?;
        let sign = if rises { 1.0 } else { -1.0 };
        let count = count.min(logits.dim(1)?);
        let rows = RankedLogit::largest(&(logits * f64::from(sign))?, count)?.into_iter();
        let signed = |own: RankedLogit| (own.token, sign * own.logit as f32);
        Ok(rows.map(|row| row.into_iter().map(signed).collect()).collect())
    }

    /// Whether a search looks through promoted tokens too, or whether that would take too long.
    pub(crate) fn searches_promoted(&self) -> bool {
        let config = self.mlsae.model().config();
        self.latents().saturating_mul(config.vocab).saturating_mul(config.d_model) <= SEARCH_COST
    }

    /// What a search looks through, by latent. The first call takes a while.
    pub(crate) fn searched(&self) -> Result<&[String]> {
        if let Some(found) = self.searched.get() {
            return Ok(found);
        }
        let mut found = vec![String::new(); self.latents()];
        if self.searches_promoted() {
            let all: Vec<usize> = (0..self.latents()).collect();
            for latents in all.chunks(LATENTS_AT_A_TIME) {
                for (latent, tokens) in latents.iter().zip(self.promoted(latents, PROMOTED, true)?)
                {
                    for (token, _) in tokens {
                        found[*latent].push_str(&self.texts.one(token).to_lowercase());
                        found[*latent].push('\n');
                    }
                }
            }
        }
        if let Some(examples) = &self.examples {
            for best in bests(examples) {
                let best = best?;
                let text = &mut found[best.latent];
                text.push_str(&self.texts.running(&best.tokens).to_lowercase());
                text.push('\n');
            }
        }
        Ok(self.searched.get_or_init(|| found))
    }
}
