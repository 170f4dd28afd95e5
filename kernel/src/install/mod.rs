//! What a notebook needs on this machine: where it is kept, how it is made and kept up to date.

pub(crate) mod clone;
pub(crate) mod command;
pub(crate) mod environment;
pub(crate) mod files;
pub(crate) mod jupyter;
pub(crate) mod kernelspec;
pub(crate) mod layout;
pub(crate) mod library;
pub(crate) mod paths;
pub(crate) mod pip;
pub(crate) mod program;
pub(crate) mod python;
pub(crate) mod rebuild;
pub(crate) mod state;
pub(crate) mod steps;
pub(crate) mod template;
pub(crate) mod toolchain;
mod tree;
pub(crate) mod user;
