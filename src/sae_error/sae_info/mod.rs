//! What an autoencoder makes of each token of a text.

mod checkpoint;
mod collect;
mod data;
mod features;
mod model;
mod name;
mod options;
mod rows;
mod sample;
mod save;
#[cfg(test)]
mod tests;
mod unit;

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

pub use self::features::FeatureStatistics;
pub use self::name::SaeName;
pub use self::options::{InfoOptions, KeepActivations};
pub(super) use self::save::save_sae;

use self::collect::InfoPass;
use self::data::{InfoData, InfoParts};
use self::rows::InfoRows;
use super::explained::{ExplainOptions, Explained};
use super::rows::ErrorRows;
use super::window::Window;
use crate::data::text::Contexts;
use crate::display::show_as_text;
use crate::geometry::Interval;
use crate::model::{Decoder, HookPoint};
use crate::sae::{Codes, Sae};
use crate::{Error, Result};

/// An autoencoder on a sample of text: for each token of the window its loss, the features in its
/// code, and the error `e = x − x̂` that the autoencoder makes. A cheap handle.
///
/// [`SaeInfo::collect`] makes it in one pass over the text, [`SaeInfo::collect_all`] does so for many
/// autoencoders at any places. [`SaeInfo::explain`] takes the error apart.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::sae_error::{InfoOptions, SaeInfo};
/// # fn main() -> Result<()> {
/// let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
/// let sae = Tracer::from_pretrained(&model, 2, "x8-k16", "x8-k16")?.output().clone();
/// let text = Contexts::from_pretrained("eigenlens/classics-4k")?;
/// # let text = Contexts::new(text.length(), text.as_slice()[..4 * text.length()].to_vec())?;
/// let info = SaeInfo::collect(&model, &sae, &text, &InfoOptions::default())?;
/// assert_eq!(info.positions()[0], 25); // first positions are left out
/// assert!(info.l0().iter().all(|l0| *l0 <= 16));
/// assert_eq!(info.errors()?.dims(), [info.len(), sae.d_model()]);
/// # Ok(()) }
/// ```
///
/// The study's info object has the same under other names: `sae_error_norms` are
/// [`squared_error_norms`](Self::squared_error_norms), `sae_error_vecs` are minus
/// [`errors`](Self::errors), `active_sae_features` are [`codes`](Self::codes), `act_norm` is
/// [`activation_norms`](Self::activation_norms), and `get_feature_freqs` counts as
/// [`features`](Self::features) does.
#[derive(Debug, Clone)]
pub struct SaeInfo(Arc<InfoData>);

impl SaeInfo {
    /// Looks at a text with one autoencoder.
    ///
    /// # Errors
    /// As [`SaeInfo::collect_all`].
    pub fn collect(
        model: &Decoder,
        sae: &Sae,
        contexts: &Contexts,
        options: &InfoOptions,
    ) -> Result<Self> {
        let mut all = Self::collect_all(model, std::slice::from_ref(sae), contexts, options)?;
        all.pop().ok_or_else(|| Error::invalid("the autoencoders", "at least one", "none"))
    }

    /// Looks at a text with many autoencoders at any hook points, in one pass of the model over it.
    /// Beside activations, which are kept as the options say, what is held is less than 100 bytes a
    /// token and autoencoder, 8 bytes an entry of a code, and `8 d` bytes a context and hook point.
    /// Norms are sums in f64.
    ///
    /// # Errors
    /// - [`Error::NotFound`] for an autoencoder that does not say where it reads.
    /// - [`Error::Invalid`] for a transcoder, an autoencoder of another width than its place, no
    ///   autoencoders, a window without positions, contexts that are longer than the model's.
    /// - [`Error::NonFinite`] for NaN in activations.
    /// - [`Error::Format`] for a `checkpoint` of another model, text, autoencoder or window.
    /// - [`Error::Interrupted`] when Stop is pressed, or [`Error::Stopped`] with a checkpoint, from
    ///   which the same call goes on.
    pub fn collect_all(
        model: &Decoder,
        saes: &[Sae],
        contexts: &Contexts,
        options: &InfoOptions,
    ) -> Result<Vec<Self>> {
        let parts = InfoPass::new(model, saes, contexts, options)?.run()?;
        parts.into_iter().map(Self::of).collect()
    }

    fn of(parts: InfoParts) -> Result<Self> {
        Ok(Self(Arc::new(InfoData::new(parts)?)))
    }

    fn parts(&self) -> &InfoParts {
        &self.0.parts
    }

    /// The same under another name, by which figures and tables call it; the place and the number of
    /// features by default.
    ///
    /// # Errors
    /// None for an info that there is.
    pub fn with_name(&self, name: impl Into<String>) -> Result<Self> {
        Self::of(InfoParts { name: name.into(), ..self.parts().clone() })
    }

    /// The same with its model at hand, for one that was loaded and whose activations are not kept.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another model.
    pub fn with_model(&self, model: &Decoder) -> Result<Self> {
        let model = Arc::new(self.parts().model.given(model)?);
        Self::of(InfoParts { model, ..self.parts().clone() })
    }

    /// Number of tokens, n.
    pub fn len(&self) -> usize {
        self.tokens().len()
    }

    /// Whether there is none; there always is one.
    pub fn is_empty(&self) -> bool {
        self.tokens().is_empty()
    }

    /// The tokens, context after context.
    pub fn tokens(&self) -> &[u32] {
        &self.parts().tokens.tokens
    }

    /// The position of each token in its context.
    pub fn positions(&self) -> &[u32] {
        &self.parts().tokens.positions
    }

    /// The number of the context of each token in [`contexts`](Self::contexts).
    pub fn context_of(&self) -> &[u32] {
        &self.parts().tokens.contexts
    }

    /// What tells the tokens from those of another text, window or choice.
    fn places(&self) -> [&[u32]; 3] {
        [self.tokens(), self.positions(), self.context_of()]
    }

    /// The model's surprise at the token after each, `−ln p`, nats.
    pub fn model_loss(&self) -> &[f32] {
        &self.parts().tokens.losses
    }

    /// Active features of each token.
    pub fn l0(&self) -> &[u32] {
        &self.0.l0
    }

    /// `‖x − x̂‖` of each token.
    pub fn error_norms(&self) -> &[f64] {
        &self.0.error_norms
    }

    /// `‖x − x̂‖²` of each token: what the study calls error norms.
    pub fn squared_error_norms(&self) -> &[f64] {
        &self.parts().squared_errors
    }

    /// `‖x‖` of each token.
    pub fn activation_norms(&self) -> &[f64] {
        &self.0.activation_norms
    }

    /// `‖f‖` of each token's code f.
    pub fn code_norms(&self) -> &[f64] {
        &self.0.code_norms
    }

    /// The codes, a row a token.
    pub fn codes(&self) -> &Codes {
        &self.parts().codes
    }

    /// The activations x, `[n, d]`, f32, heads side by side.
    ///
    /// # Errors
    /// If they are not kept, those of the model; of files, if they are not there or damaged; memory.
    pub fn activations(&self) -> Result<Tensor> {
        let mut all = Vec::new();
        InfoRows(Arc::clone(&self.0)).for_each_activations(|_, rows| {
            all.push(rows);
            Ok(())
        })?;
        Ok(Tensor::cat(&all, 0)?)
    }

    /// What the autoencoder makes of them, x̂ `[n, d]`.
    ///
    /// # Errors
    /// As [`SaeInfo::activations`].
    pub fn reconstructions(&self) -> Result<Tensor> {
        let mut all = Vec::new();
        self.rows().for_each_block(&mut |block| {
            all.push(block.reconstructions);
            Ok(())
        })?;
        Ok(Tensor::cat(&all, 0)?)
    }

    /// The errors `e = x − x̂`, `[n, d]`. The study stores `x̂ − x`.
    ///
    /// # Errors
    /// As [`SaeInfo::activations`].
    pub fn errors(&self) -> Result<Tensor> {
        let mut all = Vec::new();
        self.rows().for_each_block(&mut |block| {
            all.push(block.errors()?);
            Ok(())
        })?;
        Ok(Tensor::cat(&all, 0)?)
    }

    /// Activations and reconstructions, to be read in blocks.
    pub fn rows(&self) -> Arc<dyn ErrorRows> {
        Arc::new(InfoRows(Arc::clone(&self.0)))
    }

    /// How often and how strongly each feature is active.
    pub fn features(&self) -> FeatureStatistics {
        FeatureStatistics::of(self.codes())
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.parts().name
    }

    /// The layer of the hook point; none outside of layers.
    pub fn layer(&self) -> Option<usize> {
        self.point().layer()
    }

    /// Number of features of the autoencoder.
    pub fn width(&self) -> usize {
        self.sae().features()
    }

    /// Where the activations come from.
    pub fn point(&self) -> HookPoint {
        self.parts().point
    }

    /// Mean of the active features of a token.
    pub fn mean_l0(&self) -> f64 {
        self.l0().iter().map(|l0| f64::from(*l0)).sum::<f64>() / self.len() as f64
    }

    /// The fraction of variance unexplained, `Σ‖x − x̂‖² / Σ‖x − x̄‖²`, with the interval of a bootstrap
    /// over contexts; its ends are NaN for a single context, and all of it for activations that do
    /// not vary.
    pub fn fvu(&self) -> Interval {
        self.0.fvu()
    }

    /// [`SaeInfo::fvu`] in each of `draws` draws of a bootstrap over contexts; [`SaeInfo::fvu_draws_of`]
    /// does so for several infos.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no draws and for fewer than two contexts.
    pub fn fvu_draws(&self, draws: usize, seed: u64) -> Result<Vec<f64>> {
        self.0.fvu_draws(draws, seed)
    }

    /// [`SaeInfo::fvu_draws`] of each of `infos`, with the same contexts in a draw, so that what follows
    /// from several of them can be resampled too:
    /// [`PowerLaw::resampled`](crate::sae_error::PowerLaw::resampled) takes it.
    ///
    /// # Errors
    /// As [`SaeInfo::fvu_draws`]; [`Error::Invalid`] for infos that are not of the same tokens:
    /// contexts, `window` and `skip_tokens` must agree.
    pub fn fvu_draws_of(infos: &[Self], draws: usize, seed: u64) -> Result<Vec<Vec<f64>>> {
        if let Some(first) = infos.first()
            && let Some(other) = infos.iter().find(|info| info.places() != first.places())
        {
            let expected = format!(
                "of the tokens of `{}`, with the same contexts, `window` and `skip_tokens`",
                first.name()
            );
            return Err(Error::invalid(format!("`{}`", other.name()), expected, "other tokens"));
        }
        infos.iter().map(|info| info.fvu_draws(draws, seed)).collect()
    }

    /// The mean over tokens of `‖x − x̂‖² / ‖x‖²`, of those whose activation is not 0.
    pub fn normalized_mse(&self) -> f64 {
        let pairs = self.parts().squared_errors.iter().zip(self.parts().squares.iter());
        let shares =
            pairs.filter(|(_, square)| **square > 0.0).map(|(error, square)| error / square);
        let (sum, count) = shares.fold((0.0, 0.0), |(sum, count), own| (sum + own, count + 1.0));
        sum / count
    }

    /// The positions of each context that are looked at.
    pub fn window(&self) -> Window {
        let range = &self.parts().sample.window;
        Window { from: range.start, to: Some(range.end) }
    }

    /// The tokens that were left out, wherever they stand.
    pub fn skip_tokens(&self) -> &[u32] {
        &self.parts().sample.skip_tokens
    }

    /// The mean activation x̄, `[d]`.
    pub(super) fn mean_activation(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.sae().d_model()];
        for sum in self.parts().sums.chunks(mean.len()) {
            mean.iter_mut().zip(sum).for_each(|(mean, x)| *mean += x);
        }
        let tokens = self.len() as f64;
        mean.iter_mut().for_each(|mean| *mean /= tokens);
        mean
    }

    /// The autoencoder.
    pub fn sae(&self) -> &Sae {
        &self.parts().sae
    }

    /// The contexts that were looked at.
    pub fn contexts(&self) -> &Contexts {
        &self.parts().sample.contexts
    }

    /// Takes the error apart into what the activation predicts linearly and the rest, with the folds
    /// and the seed that the info was collected with; [`Explained::of`] takes other ones.
    ///
    /// # Errors
    /// As [`Explained::of`] and [`SaeInfo::activations`].
    pub fn explain(&self) -> Result<Explained> {
        let InfoParts { folds, seed, .. } = *self.parts();
        Explained::of(self.rows(), &ExplainOptions { folds, seed, ..ExplainOptions::default() })
    }
}

show_as_text!(SaeInfo);

impl fmt::Display for SaeInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (range, contexts) = (&self.parts().sample.window, self.contexts().len());
        writeln!(f, "{}: {} features at {}", self.name(), self.width(), self.point())?;
        writeln!(
            f,
            "{} tokens: positions {} to {} of {contexts} contexts",
            self.len(),
            range.start,
            range.end - 1
        )?;
        let loss = self.model_loss().iter().map(|loss| f64::from(*loss)).sum::<f64>();
        write!(
            f,
            "L0 {:.1}, FVU {}, normalised squared error {:.4}, model's loss {:.3}",
            self.mean_l0(),
            self.fvu(),
            self.normalized_mse(),
            loss / self.len() as f64
        )
    }
}
