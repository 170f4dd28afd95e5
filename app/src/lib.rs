//! The page of eigenlens: the latents of a sparse autoencoder in a browser.
//!
//! A prompt with its latents at every layer, a table of all latents, examples, search by activation,
//! steering and generation. [`serve`] shows it in a notebook, [`AppServer`] has the options, and
//! `eigenlens app` opens it from a terminal.
//!
//! ```no_run
//! use eigenlens::prelude::*;
//! # fn main() -> Result<()> {
//! let mlsae = Mlsae::from_pretrained("eigenlens/classics-mlsae", &Device::Cpu)?;
//! let app = eigenlens_app::serve(&mlsae)?;
//! println!("{app}"); // the address; in a notebook a cell that ends with `app` shows the page
//! # Ok(()) }
//! ```
//!
//! # How it works
//!
//! ```text
//! browser ──HTTP──▶ server thread ──queue──▶ worker thread
//!  page/             guard.rs: who may ask     worker.rs: one piece of work at a time
//!                    routes/: JSON ◀──▶ work   subject.rs: model, autoencoder, what is known of them
//! ```
//!
//! A server listens on 127.0.0.1 alone and answers those who know its token. The page is compiled in.
//! `SECURITY.md` says what protects it and what does not.

mod answers;
mod assets;
mod command;
mod directions;
mod explained;
mod fault;
mod guard;
mod handle;
mod labels;
mod prompts;
mod request;
mod routes;
mod server;
mod settings;
mod statistics;
mod subject;
mod table;
mod texts;
mod worker;

pub use command::{AppArguments, main};
pub use handle::App;
pub use settings::{AppServer, serve};
