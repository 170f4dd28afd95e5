//! The engine as a process, over stores that the tests harvest.

#![allow(clippy::unwrap_used)]

mod brute;
mod by_feature;
#[cfg(feature = "cluster")]
mod cluster;
mod commands;
mod manifests;
mod process;
mod python;
mod queries;
#[cfg(feature = "s3")]
mod s3;
mod serve;
mod store;
