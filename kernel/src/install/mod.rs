//! What a notebook needs on this machine: where it is kept, how it is made and kept up to date.

pub(crate) mod cells;
pub(crate) mod clone;
pub(crate) mod jupyter;
pub(crate) mod library;
pub(crate) mod program;
pub(crate) mod python;
pub(crate) mod state;
pub(crate) mod steps;
pub(crate) mod template;
pub(crate) mod toolchain;
