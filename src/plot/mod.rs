//! Figures: what a notebook shows.
//!
//! Every chart function returns a [`Figure`], every option is a method of it, and figures put
//! together are a figure again:
//!
//! | function | draws |
//! | --- | --- |
//! | [`imshow`] | a matrix `[h, w]`, or matrices `[n, h, w]` with one colour scale |
//! | [`line()`], [`bar`], [`scatter`] | curves, bars, points |
//! | [`scatter_3d`] | points in three dimensions |
//! | [`histogram`] | how often values occur |
//! | [`strip`] | groups of values side by side, with their quartiles |
//! | [`grid`], [`beside`], [`stack`] | figures of figures |
//! | [`plot_heat_maps`] | matrices with scales of their own and numbers in the cells |
//! | [`Figure::from_trace`] | any trace of the [`plotly`] crate |
//!
//! Colours follow plotly express: with a midpoint `m`, the scale covers `[m − r, m + r]` with
//! `r = max |v − m|` over all facets, red below, white at and blue above `m`. Series have colours,
//! dashes and symbols that colour-blind readers can tell apart. Figures are transparent, at most 900
//! pixels wide unless [`Figure::width`] says otherwise, and their text has the colour of the page's.
//!
//! Intervals are [`error_bars`](Figure::error_bars) at points and bars, or a
//! [`band`](Figure::band) around a line; parts that add up are areas by
//! [`fill_between`](Figure::fill_between).
//!
//! NaN, infinity and masked attention scores are gaps, and the figure says how many there are.
//!
//! In JupyterLab and VS Code a figure is drawn by plotly and can be zoomed and hovered; still
//! pictures (SVG, and PDF for LaTeX) come with it for viewers that cannot, and
//! [`Figure::save_html`] writes a page of its own.
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
mod band;
mod bins;
mod cell_numbers;
mod charts;
mod compose;
mod encode;
mod error_bars;
mod extents;
mod figure;
mod film;
mod gap_notes;
mod gaps;
mod heat_maps;
mod histogram;
mod imshow;
mod marks;
mod ndarray_values;
mod options;
mod output;
mod page;
mod palette;
mod panel;
mod pdf;
mod picture;
mod pixels;
mod plotly_json;
mod plotly_text;
mod plotly_traces;
mod point_texts;
mod raster;
mod room;
mod scale;
mod scatter_3d;
mod space;
mod strip;
mod svg;
#[cfg(test)]
pub(crate) mod tests;
mod ticks;
mod told;
mod values;
mod vector;

pub use animate::AnimatedPicture;
pub use charts::{bar, line, scatter};
pub use compose::{beside, grid, stack};
pub use figure::Figure;
pub use heat_maps::plot_heat_maps;
pub use histogram::{IntoSamples, histogram};
pub use imshow::imshow;
pub use plotly;
pub use scale::Scale;
pub use scatter_3d::scatter_3d;
pub use strip::strip;
pub use values::{IntoSeries, IntoValues, Named, Number};

// Parts of figures, for `figures`.
pub(crate) use film::Film;
pub(crate) use imshow::{images, picture};
pub(crate) use palette::{NEGATIVE, POSITIVE, SERIES};
pub(crate) use panel::{ColourAxis, Image, Mark, Node, Panel, PanelBlock, Series, Style};
pub(crate) use point_texts::{HoverText, ToldPoints};
pub(crate) use space::{Space, SpacePoint};
pub(crate) use strip::{StripPoint, StripSeries, strips};
pub(crate) use values::check as check_numbers;
