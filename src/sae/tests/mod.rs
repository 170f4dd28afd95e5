//! Every architecture, in every way of encoding.

mod properties;
mod tiled;
