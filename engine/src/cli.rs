//! The commands of `eigenlens-engine`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use eigenlens::harvest::Store;
use futures::StreamExt as _;

#[cfg(feature = "cluster")]
use crate::cluster;
use crate::harvest::Part;
use crate::query::Asked;
use crate::{by_feature, folders, harvest, results, serve, session};

/// SQL over a store of activations and features, on one machine or a cluster.
#[derive(Debug, Parser)]
#[command(name = "eigenlens-engine", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer a query with a table
    Sql(SqlArgs),
    /// Make the copy of the codes that is sorted by feature, for look-ups
    ByFeature {
        /// The store's folder
        store: PathBuf,
        /// Bytes to sort in before spilling [default: 40 % of what is free]
        #[arg(long)]
        memory: Option<usize>,
    },
    /// Compare every file of a store with its record
    Check {
        /// The store's folder
        store: PathBuf,
    },
    /// Remove files that no record of a store names
    Tidy {
        /// The store's folder
        store: PathBuf,
    },
    /// Do units of a harvest that are missing
    Harvest(HarvestArgs),
    /// Deal work out to executors
    #[cfg(feature = "cluster")]
    Scheduler(cluster::scheduler::SchedulerArgs),
    /// Do the work of a scheduler
    #[cfg(feature = "cluster")]
    Executor(cluster::executor::ExecutorArgs),
    /// Answer queries that come line by line on standard input: what the library starts
    Serve,
    /// Put this program where the library looks for it
    Install,
}

/// What `sql` is told.
#[derive(Debug, Args)]
struct SqlArgs {
    /// The store's folder
    store: PathBuf,
    /// The query
    query: String,
    /// Bytes to use before spilling [default: 40 % of what is free]
    #[arg(long)]
    memory: Option<usize>,
    /// The scheduler of a cluster to ask, as df://host:port
    #[arg(long)]
    on: Option<String>,
    /// A setting, as datafusion.execution.target_partitions=4
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Most rows to print
    #[arg(long, default_value_t = 100)]
    rows: usize,
}

/// What `harvest` is told.
#[derive(Debug, Args)]
struct HarvestArgs {
    /// The store's folder
    store: PathBuf,
    /// The part of the units to do, as I/N with I from 0 to N - 1
    #[arg(long, default_value = "0/1", conflicts_with = "on")]
    part: Part,
    /// The scheduler of a cluster that is to do them all, as df://host:port
    #[arg(long)]
    on: Option<String>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or("a setting is NAME=VALUE")?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

impl Cli {
    /// Carries the command out.
    pub(crate) async fn run(self) -> Result<(), String> {
        match self.command {
            Command::Sql(args) => sql(args).await,
            Command::ByFeature { store, memory } => {
                let memory = memory.unwrap_or_else(session::default_memory);
                for line in by_feature::build(&store, memory).await? {
                    println!("{line}");
                }
                Ok(())
            }
            Command::Check { store } => {
                by_feature::check(&store)?;
                print(open(&store)?.check().map_err(|error| error.to_string()))
            }
            Command::Tidy { store } => {
                print(open(&store)?.tidy().map_err(|error| error.to_string()))
            }
            Command::Harvest(args) => harvest(args).await,
            #[cfg(feature = "cluster")]
            Command::Scheduler(args) => cluster::scheduler::run(args).await,
            #[cfg(feature = "cluster")]
            Command::Executor(args) => cluster::executor::run(args).await,
            Command::Serve => serve::serve().await,
            Command::Install => install(),
        }
    }
}

/// Prints the first rows of an answer, and how many there are.
async fn sql(args: SqlArgs) -> Result<(), String> {
    let asked = match &args.on {
        Some(scheduler) => crate::on_cluster(&args.store, scheduler, &args.set).await?,
        None => {
            let memory = args.memory.unwrap_or_else(session::default_memory);
            let runtime = session::runtime(memory).map_err(|error| error.to_string())?;
            let config = session::with_settings(session::config(), &args.set)?;
            Asked::open(session::session(config, runtime), &args.store).await?
        }
    };
    let mut answer = asked.ask(&args.query).await?;
    let schema = results::plain_schema(&answer.schema());
    let (mut shown, mut num_shown, mut num_rows) = (Vec::<RecordBatch>::new(), 0, 0);
    while let Some(batch) = answer.next().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return Err(asked.words(&error, &args.query).await),
        };
        num_rows += batch.num_rows();
        let first = batch.slice(0, batch.num_rows().min(args.rows - num_shown));
        num_shown += first.num_rows();
        shown.push(results::plain(&first, &schema).map_err(|error| error.to_string())?);
    }
    if shown.is_empty() {
        shown.push(RecordBatch::new_empty(schema));
    }
    println!("{}", pretty_format_batches(&shown).map_err(|error| error.to_string())?);
    if num_shown < num_rows {
        println!("{num_shown} of {num_rows} rows");
    }
    Ok(())
}

/// Does units here, or has a cluster do them.
async fn harvest(args: HarvestArgs) -> Result<(), String> {
    let Some(scheduler) = &args.on else {
        let own = tokio::task::spawn_blocking(move || harvest::run(&args.store, args.part)).await;
        return print(own.map_err(|panic| format!("the harvest failed: {panic}"))?);
    };
    #[cfg(feature = "cluster")]
    return print(cluster::harvest::run(&args.store, scheduler).await);
    #[cfg(not(feature = "cluster"))]
    Err(crate::no_cluster(scheduler))
}

fn open(store: &Path) -> Result<Store, String> {
    Store::open(store).map_err(|error| error.to_string())
}

/// Prints what came of a command.
fn print(outcome: Result<impl std::fmt::Display, String>) -> Result<(), String> {
    outcome.map(|words| println!("{words}"))
}

/// Copies this program to the folder in which the library looks for it.
fn install() -> Result<(), String> {
    let own = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let place = folders::bin().map_err(|error| error.to_string())?.join(folders::PROGRAM);
    let copied = |part: &Path| {
        fs::copy(&own, part)?;
        fs::set_permissions(part, fs::metadata(&own)?.permissions())
    };
    eigenlens_common::files::replace(&place, copied)
        .map_err(|error| format!("could not install {}: {error}", place.display()))?;
    println!("installed {}", place.display());
    Ok(())
}
