//! `eigenlens app`: the page from a terminal.

use eigenlens::features::Explanations;
use eigenlens::multilayer::{LayerExamples, Mlsae};
use eigenlens::{Result, best_device, home};
use eigenlens_common::message::PAGE_LINK;

use crate::AppServer;

/// What `eigenlens app` was told; its `--help` says what each is.
#[derive(Debug, Clone, Default)]
pub struct AppArguments {
    /// The autoencoder: embedded, a folder, or of the hub.
    pub name: String,
    /// Where examples are, if not beside the autoencoder.
    pub examples: Option<String>,
    /// A file of explanations of latents, if it is not beside the autoencoder.
    pub explanations: Option<String>,
    /// The port of 127.0.0.1; 0, any that is free.
    pub port: u16,
    /// Tokens of a prompt at most.
    pub context: Option<usize>,
    /// Whether new labels are refused.
    pub read_only: bool,
    /// Whether there is a line on standard error for each request.
    pub log: bool,
}

/// Serves the page until the process ends, and prints its link.
///
/// # Errors
/// As [`Mlsae::from_pretrained`], [`Explanations::load`] and [`AppServer::serve`].
pub fn main(arguments: &AppArguments) -> Result<()> {
    let mlsae = Mlsae::from_pretrained(&arguments.name, &best_device())?;
    println!("{mlsae}");
    let file = format!("{}.json", arguments.name.replace(['/', '\\', ':'], "--"));
    let mut server =
        AppServer::beside(&mlsae)?.port(arguments.port).labels(home()?.join("labels").join(file));
    if let Some(name) = &arguments.examples {
        server = server.examples(&LayerExamples::from_pretrained(name)?);
    }
    if let Some(path) = &arguments.explanations {
        server = server.explanations(&Explanations::load(path)?);
    }
    if let Some(tokens) = arguments.context {
        server = server.context(tokens);
    }
    if arguments.read_only {
        server = server.read_only();
    }
    if arguments.log {
        server = server.log_requests();
    }
    let app = server.serve()?;
    println!("{PAGE_LINK}{}", app.link());
    app.wait();
    Ok(())
}
