//! The shape of a representation: does a feature with two dimensions need both?
//!
//! A two-dimensional feature is *reducible* if it is two one-dimensional ones in disguise: either
//! a **mixture** (a share of the points lies on a line, where one of the two is silent) or
//! **separable** (in some rotation the two coordinates are independent). After Engels, Liao,
//! Michaud, Gurnee and Tegmark, "Not All Language Model Features Are Linear" (2024), section 2 and
//! its appendix. Two numbers tell how far from it some points are:
//!
//! ```text
//! M_ε = max over v, c of P(|v·x + c| ≤ ε √⟨(v·x + c)²⟩)
//! S   = min over θ of I((R_θ x)₁ ; (R_θ x)₂)
//! ```
//!
//! A feature that cannot be reduced has a small mixture index `M` and a large separability index
//! `S`. [`Reducibility::of`] finds both, [`Reducibility::plot`] shows them.
//!
//! - [`Cloud`]: four synthetic data sets whose answer is known;
//! - [`Mixture`]: `M` by gradient ascent ([`Ascent`]), and the best band there is ([`BestBand`]);
//! - [`Separability`]: the information at every rotation, under two ways of binning;
//! - [`Regression`]: which named functions of the inputs explain a representation, one after
//!   another.
//!
//! Where the answer is a circle or a line of classes (section 4 of the same work):
//!
//! - [`Targets`] are places of classes, and a [`Probe`] reads them from principal components. It has
//!   a [`Subspace`], is tested on rows and classes held out, and is compared with other orders of the
//!   classes ([`NullDistribution`]), without which its R² says little. An [`InverseProbe`] explains
//!   the activations by other functions first;
//! - [`FourierPower`]: how often class means go around;
//! - [`Interval`]: means with Student's t, or a bootstrap over groups.
//!
//! ```
//! use eigenlens::prelude::*;
//! # fn main() -> Result<()> {
//! let circle = Cloud::Circle.points(1_000, 0)?;
//! let lines = Cloud::Lines.points(1_000, 0)?;
//! let options = MixtureOptions { steps: 500, ..MixtureOptions::default() };
//! let circle = Reducibility::with(&circle, &options)?;
//! let lines = Reducibility::with(&lines, &options)?;
//! assert!(lines.mixture().best().fraction > 0.25); // 30 % of the points are on each line
//! assert!(circle.separability().index() > lines.separability().index());
//! # Ok(())
//! # }
//! ```

mod ascent;
mod band;
mod best_band;
mod datasets;
mod explanatory;
mod fourier;
mod held_out;
mod information;
mod interval;
mod inverse_probe;
mod mixture;
mod mixture_options;
mod order_null;
mod points;
mod principal;
mod probe;
mod probe_orders;
mod probe_parts;
mod reducibility;
mod regression;
mod search;
mod separability;
mod student;
mod subspace;
mod targets;
#[cfg(test)]
mod tests;

pub use ascent::Ascent;
pub use band::Band;
pub use best_band::BestBand;
pub use datasets::Cloud;
pub use explanatory::Explanatory;
pub use fourier::FourierPower;
pub use held_out::{Folds, HeldOut};
pub use information::{grassberger, mutual_information};
pub use interval::Interval;
pub use inverse_probe::{InverseProbe, InverseProbeOptions};
pub use mixture::Mixture;
pub use mixture_options::MixtureOptions;
pub use order_null::{NullDistribution, OrderNull};
pub use principal::Colouring;
pub use probe::{Probe, ProbeOptions};
pub use reducibility::Reducibility;
pub use regression::{Regression, Step};
pub use search::SearchEnd;
pub use separability::{BinRange, Binning, Separability};
pub(crate) use student::{two_sided_quantile, two_sided_tail};
pub use subspace::Subspace;
pub use targets::Targets;
