//! The evaluation process and what comes out of it.

pub(crate) mod compile;
pub(crate) mod context;
pub(crate) mod diagnostics;
pub(crate) mod event;
pub(crate) mod filter;
pub(crate) mod processes;
pub(crate) mod relay;
pub(crate) mod rewrite;
pub(crate) mod runtime;
mod shape;
pub(crate) mod show;
pub(crate) mod store;
pub(crate) mod toolbox;
