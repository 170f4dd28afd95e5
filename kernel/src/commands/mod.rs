//! What `eigenlens` does when a person calls it.

mod app;
mod args;
pub(crate) mod cli;
mod doctor;
mod fetch;
mod lab;
mod run;
pub(crate) mod setup;
mod site;
