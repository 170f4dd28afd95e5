//! What each command is told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What set-up is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct SetupArgs {
    /// Features of the library: `cuda`, `s3`
    #[arg(long, value_delimiter = ',')]
    pub(crate) features: Vec<String>,
    /// Install what the project's tests drive too
    #[arg(long, hide = true)]
    pub(crate) tests: bool,
}

/// What `setup` is told.
#[derive(Debug, Args)]
pub(crate) struct SetupCommand {
    /// Register the kernel for every Jupyter of this user too: VS Code, nbconvert, other JupyterLabs
    #[arg(long)]
    pub(crate) user: bool,
    /// Only take the kernel out of where --user registered it
    #[arg(long, conflicts_with = "features")]
    pub(crate) remove: bool,
    #[command(flatten)]
    pub(crate) setup: SetupArgs,
}

/// What `lab` is told.
#[derive(Debug, Args)]
pub(crate) struct LabArgs {
    /// Port on 127.0.0.1 [default: 8888, or the next free one]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Print the address instead of opening a browser
    #[arg(long)]
    pub(crate) no_browser: bool,
    #[command(flatten)]
    pub(crate) setup: SetupArgs,
}

/// What `run` is told.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Notebooks to execute, in this order
    #[arg(required = true)]
    pub(crate) notebooks: Vec<PathBuf>,
    /// Folder to save the executed notebooks in [default: in place]
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Longest time for one cell, in seconds [default: none]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: Option<u64>,
    #[command(flatten)]
    pub(crate) setup: SetupArgs,
}

/// What `site` is told.
#[derive(Debug, Args)]
pub(crate) struct SiteArgs {
    /// Folder to put the site in: new, empty, or a site made by this command, which is replaced
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Folder with the executed notebooks [default: those of the project]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) notebooks: Option<PathBuf>,
    /// Folder in which cargo doc has put the API documentation [default: cargo doc is run]
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_api")]
    pub(crate) api: Option<PathBuf>,
    /// Leave the API documentation out
    #[arg(long)]
    pub(crate) no_api: bool,
}

/// What `app` is told.
#[derive(Debug, Args)]
pub(crate) struct AppArgs {
    /// The autoencoder: a folder, or a name such as tim-lawson/mlsae-pythia-70m-deduped-x64-k32
    #[arg(default_value = "eigenlens/classics-mlsae")]
    pub(crate) name: String,
    /// Examples of its latents, if they are not beside it
    #[arg(long)]
    pub(crate) examples: Option<String>,
    /// Explanations of its latents, if they are not beside it
    #[arg(long, value_name = "FILE")]
    pub(crate) explanations: Option<String>,
    /// Port on 127.0.0.1 [default: any that is free]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Print the link instead of opening a browser
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// Refuse new labels
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Longest prompt, in tokens [default: 1024, or what the model takes]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: Option<u32>,
    /// Print a line for each request: method, path and status
    #[arg(long)]
    pub(crate) log: bool,
    #[command(flatten)]
    pub(crate) setup: SetupArgs,
}

/// What `fetch` is told.
#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// Which one
    pub(crate) dataset: Dataset,
    /// The terms of a model that has some were read and are accepted
    #[arg(long)]
    pub(crate) accept_licence: bool,
}

/// Data sets and models that `fetch` knows.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Dataset {
    /// Handwritten digits, 60,000 + 10,000
    Mnist,
    /// Clothes, in the same format
    FashionMnist,
    /// English in the public domain, 21 MB in five texts
    Corpus,
    /// SmolLM2-135M-Instruct, a language model of 98 MB
    Smollm2,
    /// Gemma 3 270M, a language model of 253 MB, under the Gemma Terms of Use
    #[value(name = "gemma3-270m")]
    Gemma3,
}
