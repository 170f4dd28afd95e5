//! The page's server through real connections, on the shipped autoencoder.

#![allow(clippy::unwrap_used)]

mod api;
mod explained;
mod http;
mod security;
mod storm;
