//! Requests that end: each runs on a thread of its own, so that Stop is seen while nothing arrives,
//! and every step of it has a time limit.
//!
//! Redirects are answers like any other here, and so is every status. Who may have which header,
//! and what a status means, is the caller's matter.

mod exchange;
mod failure;
mod patience;
#[cfg(test)]
mod tests;

pub(crate) use exchange::{Headers, HttpAnswer, HttpBody, HttpRequest, HttpSender, origin};
pub(crate) use failure::{HttpFailure, NoAnswer, Reach};
pub(crate) use patience::Patience;
