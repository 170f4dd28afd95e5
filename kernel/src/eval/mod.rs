//! The evaluation process and what comes out of it.

pub(crate) mod event;
pub(crate) mod filter;
#[path = "../../../src/notebook/message.rs"]
pub(crate) mod message;
pub(crate) mod relay;
pub(crate) mod runtime;
