//! Figures: what a notebook shows.
//!
//! Every chart function returns a [`Figure`], every option is a method of it, and figures put
//! together are a figure again:
//!
//! | function | draws |
//! | --- | --- |
//! | [`imshow`] | a matrix `[h, w]`, or matrices `[n, h, w]` with one colour scale |
//! | [`line()`], [`bar`], [`scatter`] | curves, bars, points |
//! | [`grid`], [`beside`], [`stack`] | figures of figures |
//! | [`plot_eigenspectrum`] | eigenvalues with their strongest eigenvectors |
//! | [`plot_explanation`] | what eigenvectors contribute to a sample's logits |
//! | [`plot_directions`], [`plot_samples`] | vectors in three dimensions, and samples of them |
//! | [`plot_recovery`] | atoms that approach them over training, an animation |
//! | [`plot_heat_maps`] | matrices with scales of their own and numbers in the cells |
//! | [`Figure::from_trace`] | any trace of the [`plotly`] crate |
//!
//! Colours follow plotly express: with a midpoint `m`, the scale covers `[m − r, m + r]` with
//! `r = max |v − m|` over all facets, red below, white at and blue above `m`. Figures are see-through
//! and their text is a grey that reads on light and dark pages.
//!
//! In JupyterLab and VS Code a figure is drawn by plotly and can be zoomed and hovered; a still SVG
//! picture comes with it for viewers that cannot, and [`Figure::save_html`] writes a page of its own.
//!
//! ```
//! use eigenlens::plot::imshow;
//! use eigenlens::random::Rng;
//! use eigenlens::prelude::*;
//!
//! let interactions = Rng::seed(0).normal((6, 8, 8), &Device::Cpu)?;
//! let figure = imshow(&interactions)?
//!     .midpoint(0.0)
//!     .facet_col_wrap(3)?
//!     .facet_titles(["and", "or", "xor", "nand", "nor", "xnor"])?
//!     .title("Interactions");
//! assert_eq!(figure.to_string(), "Figure \"Interactions\": 6 images of 8 × 8");
//! # Ok::<(), eigenlens::Error>(())
//! ```

mod animate;
mod arrange;
mod charts;
mod compose;
mod directions;
mod encode;
mod explanation;
mod figure;
mod imshow;
mod ndarray_values;
mod options;
mod page;
mod panel;
mod picture;
mod plotly_json;
mod raster;
mod reducibility;
mod residuals;
mod scale;
mod space;
mod spectrum;
#[cfg(test)]
mod tests;
mod ticks;
mod values;

pub use animate::AnimatedPicture;
pub use charts::{bar, line, scatter};
pub use compose::{beside, grid, stack};
pub use directions::{plot_directions, plot_heat_maps, plot_recovery, plot_samples};
pub use explanation::plot_explanation;
pub use figure::Figure;
pub use imshow::imshow;
pub use plotly;
pub use scale::Scale;
pub use spectrum::plot_eigenspectrum;
pub use values::{IntoSeries, IntoValues, Named, Number};
