//! Bilinear layers and what their weights compute.

mod explanation;

pub use explanation::Explanation;
