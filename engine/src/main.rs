//! `eigenlens-engine`: SQL over a store of activations and features, and the harvest of a store as
//! work of a cluster. See `eigenlens-engine --help`.
//!
//! It is a program of its own because DataFusion takes longer to compile than everything else here
//! together, and because a query that runs out of memory must not take a notebook's variables
//! along. The library speaks with it over a pipe (`protocol`).
//!
//! - `session` is the session of every query, with our functions (`aggregate`);
//! - `store` reads the records of a store, `tables` registers its files, `objects` finds buckets;
//! - `grammar`, `query` and `errors` go from SQL to a plan, to rows or to words, `results` from rows to a file;
//! - `unnest` and `yielding` change plans: keys end at an `unnest`, and joins can be stopped;
//! - `serve` answers the library, `cli` a person;
//! - `by_feature` makes the sorted copy;
//! - `cluster` sends queries and harvests to Apache Ballista.

mod aggregate;
mod by_feature;
mod cli;
#[cfg(feature = "cluster")]
mod cluster;
mod errors;
mod folders;
mod grammar;
mod harvest;
mod memory;
#[cfg(feature = "s3")]
mod objects;
mod protocol;
mod query;
mod results;
mod serve;
mod session;
mod store;
mod tables;
#[cfg(test)]
mod testing;
mod unnest;
mod yielding;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "cluster")]
use cluster::open as on_cluster;

#[cfg(not(feature = "cluster"))]
async fn on_cluster(
    _store: &std::path::Path,
    scheduler: &str,
    _settings: &[(String, String)],
) -> Result<query::Asked, String> {
    Err(no_cluster(scheduler))
}

/// Says how to get what this program was built without.
#[cfg(not(feature = "cluster"))]
fn no_cluster(scheduler: &str) -> String {
    format!(
        "{scheduler} cannot be asked, because this engine was built without the cluster: \
         cargo engine-cluster builds it with it"
    )
}
