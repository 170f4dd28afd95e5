//! What a cluster of features writes at each token: points whose shape can be looked at.

mod classes;
mod collect;
mod components;
mod filing;
mod kept;
mod labels;
mod reducibility;
mod store;
#[cfg(test)]
pub(super) mod tests;
mod words;

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{Centring, cosines, mean_pairwise_cosine, singular_values};
use crate::data::text::{Contexts, Tokenizer};
use crate::display::show_as_text;
use crate::sae::Codes;
use crate::text::thousands;
use crate::{Error, Result};

pub use classes::TokenClasses;
pub use filing::{CloudOptions, Filing};
pub use labels::CloudLabels;
pub use reducibility::{CloudPlane, CloudReducibility};
pub use words::TokenWindow;

use filing::FoundRows;

/// Features that are listed.
const SHOWN: usize = 12;

/// What some features of a dictionary write together: for each token at which one of them is active,
/// the sum of their activations times their decoder columns. A cheap handle.
///
/// ```text
/// xₜ = Σ_{i in cluster} aₜᵢ dᵢ
/// ```
///
/// The activations are kept, m × g sparse, and not the points, m × d. [`FeatureCloud::from_codes`]
/// makes one of codes there are, [`FeatureCloud::collect`] those of many clusters in one pass of a
/// model, [`FeatureCloud::from_store`] one of a store.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::features::{CloudOptions, FeatureCloud};
/// # fn main() -> Result<()> {
/// let decoder = Tensor::new(&[[1f32, 0.], [0., 1.], [1., 1.]], &Device::Cpu)?; // [features, d]
/// let codes = Codes::new(3, [vec![(0, 2.0), (2, 9.0)], vec![(2, 1.0)], vec![(0, 1.0), (1, 3.0)]])?;
/// let cloud = FeatureCloud::from_codes(&codes, &decoder, &[0, 1], &CloudOptions::default())?;
/// assert_eq!(cloud.tokens(), [0, 2]); // the second row has neither feature
/// assert_eq!(cloud.points()?.to_vec2::<f32>()?, [[2., 0.], [1., 3.]]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct FeatureCloud {
    data: Arc<CloudData>,
    name: Option<Arc<str>>,
    text: Option<CloudText>,
    labels: Option<CloudLabels>,
}

#[derive(Debug)]
struct CloudData {
    members: Vec<usize>,
    /// Their decoder columns as rows, `[g, d]`, f32, on the CPU.
    columns: Tensor,
    /// A row a point, over the members by their place.
    codes: Codes,
    /// The number of each row's token in the text.
    tokens: Vec<usize>,
    /// Whether the pass over the text ended before its end.
    stopped: bool,
}

/// The text that a cloud is of.
#[derive(Debug, Clone)]
struct CloudText {
    contexts: Contexts,
    tokenizer: Option<Tokenizer>,
}

impl FeatureCloud {
    /// The cloud of the features `members`, from codes of the tokens of a text and the dictionary
    /// `decoder` `[features, d]`, a row a feature (`sae.w_dec().t()?`).
    ///
    /// # Errors
    /// - No members, one named twice, or one that the codes or the decoder do not have.
    /// - Codes and decoder of different numbers of features; a decoder with NaN.
    /// - A `checkpoint`.
    pub fn from_codes(
        codes: &Codes,
        decoder: &Tensor,
        members: &[usize],
        options: &CloudOptions,
    ) -> Result<Self> {
        match *decoder.dims() {
            [features, _] if features == codes.width() => {}
            _ => {
                let expected = format!("[{}, d], a row a feature of the codes", codes.width());
                return Err(Error::shape("the decoder", expected, decoder.dims()));
            }
        }
        options.check_not_kept()?;
        let mut collector = options.collector(codes.width(), &[members])?;
        for row in 0..codes.rows() {
            collector.take(row, codes.row(row));
            if collector.is_full() {
                break;
            }
        }
        let rows = collector.finish()?.swap_remove(0);
        Self::new(decoder, members, rows, false)
    }

    /// From rows that were found.
    fn new(decoder: &Tensor, members: &[usize], rows: FoundRows, stopped: bool) -> Result<Self> {
        let index: Vec<u32> = members.iter().map(|member| *member as u32).collect();
        let index = Tensor::new(index, decoder.device())?;
        let columns = decoder.contiguous()?.index_select(&index, 0)?;
        let columns = columns.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        crate::check::check_finite("the decoder", &columns)?;
        let FoundRows { codes, tokens } = rows;
        let members = members.to_vec();
        let data = Arc::new(CloudData { members, columns, codes, tokens, stopped });
        Ok(Self { data, name: None, text: None, labels: None })
    }

    /// The same cloud with a name, for tables and figures; none.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(Arc::from(name.into()));
        self
    }

    /// Its name, or a short one of its features.
    pub fn name(&self) -> String {
        match (&self.name, self.members()) {
            (Some(name), _) => name.to_string(),
            (None, [one]) => format!("feature {one}"),
            (None, members) => format!("{} features from {}", members.len(), members[0]),
        }
    }

    /// Number of points, m.
    pub fn len(&self) -> usize {
        self.data.tokens.len()
    }

    /// Whether none of its features was active.
    pub fn is_empty(&self) -> bool {
        self.data.tokens.is_empty()
    }

    /// Its features, g of them.
    pub fn members(&self) -> &[usize] {
        &self.data.members
    }

    /// The activations of its features, a row a point; feature i of the rows is the i-th of
    /// [`FeatureCloud::members`].
    pub fn codes(&self) -> &Codes {
        &self.data.codes
    }

    /// The decoder columns of its features as rows, `[g, d]`.
    pub fn columns(&self) -> &Tensor {
        &self.data.columns
    }

    /// The number of each point's token in the text: of contexts of L tokens, token p of context c is
    /// number c L + p.
    pub fn tokens(&self) -> &[usize] {
        &self.data.tokens
    }

    /// Whether Stop ended the pass over the text, so that there may be more points.
    pub fn was_stopped(&self) -> bool {
        self.data.stopped
    }

    /// The points, `[m, d]` in f32; summed in f64.
    ///
    /// # Errors
    /// A cloud without points.
    pub fn points(&self) -> Result<Tensor> {
        self.check_not_empty()?;
        let columns: Vec<Vec<f32>> = self.columns().to_vec2()?;
        let d = self.columns().dims()[1];
        let mut points = Vec::with_capacity(self.len() * d);
        let mut sum = vec![0f64; d];
        for row in 0..self.len() {
            sum.fill(0.0);
            for (member, value) in self.codes().row(row) {
                let column = &columns[member as usize];
                let terms = sum.iter_mut().zip(column);
                terms.for_each(|(sum, entry)| *sum += f64::from(value) * f64::from(*entry));
            }
            points.extend(sum.iter().map(|sum| *sum as f32));
        }
        Ok(Tensor::from_vec(points, (self.len(), d), &Device::Cpu)?)
    }

    /// The cosines of its features' decoder columns, `[g, g]`.
    ///
    /// # Errors
    /// Memory.
    pub fn cosines(&self) -> Result<Tensor> {
        cosines(self.columns())
    }

    /// The mean cosine of two of its features' decoder columns.
    ///
    /// # Errors
    /// A cluster of one feature.
    pub fn mean_cosine(&self) -> Result<f64> {
        mean_pairwise_cosine(self.columns())
    }

    /// The singular values of its features' decoder columns, from the largest down.
    ///
    /// # Errors
    /// As [`singular_values`].
    pub fn singular_values(&self, centring: Centring) -> Result<Vec<f64>> {
        singular_values(self.columns(), centring)
    }

    fn check_not_empty(&self) -> Result<()> {
        match self.is_empty() {
            true => Err(Error::invalid(
                format!("the cloud of {}", self.name()),
                "at least one point",
                "none: its features were not active in this text",
            )),
            false => Ok(()),
        }
    }
}

show_as_text!(FeatureCloud);

impl fmt::Display for FeatureCloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.members().iter().take(SHOWN).map(usize::to_string);
        let members: Vec<String> = members.collect();
        let more = if self.members().len() > SHOWN { ", …" } else { "" };
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        write!(
            f,
            "{} points of {} features ({}{more}) in {} dimensions",
            thousands(self.len()),
            self.members().len(),
            members.join(", "),
            self.columns().dims()[1]
        )?;
        if let Some(labels) = &self.labels {
            write!(f, "\n{labels}")?;
        }
        if self.was_stopped() {
            write!(f, "\nStop ended the pass over the text before its end")?;
        }
        Ok(())
    }
}
