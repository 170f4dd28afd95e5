//! Queries and harvests on several machines: Apache Ballista with our session.
//!
//! The scheduler cuts a plan into tasks and hands them to executors; one that is lost has its tasks
//! done by others. Nothing here schedules work. Functions travel by name, because scheduler and
//! executors are this program too, and tables as the names of their files, so every machine must
//! see the store under the same path. The ports ask for no password: whoever reaches one can run
//! queries, read files and write into stores.

mod codec;
pub(crate) mod executor;
pub(crate) mod harvest;
mod plan;
pub(crate) mod scheduler;

use std::net::{IpAddr, Ipv4Addr, TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::extension::{SessionConfigExt as _, SessionStateExt as _};
use ballista_core::utils::default_session_builder;
use datafusion::common::Result;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;

use crate::query::Asked;
use crate::session;

/// Where servers listen if they are not told: no other machine can reach them there.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Longest wait for a scheduler.
const PATIENCE: Duration = Duration::from_secs(10);

/// What sessions on a cluster are set to.
fn config() -> SessionConfig {
    SessionConfig::new_with_ballista()
        .with_information_schema(true)
        .set_bool("datafusion.sql_parser.collect_spans", true)
        .with_ballista_physical_extension_codec(Arc::new(codec::Codec::default()))
}

/// The session of scheduler and executors: Ballista's with our functions.
fn state(config: SessionConfig) -> Result<SessionState> {
    let state = default_session_builder(config)?;
    let builder = SessionStateBuilder::new_from_existing(state);
    let mut state = builder.with_runtime_env(session::builder().build_arc()?).build();
    session::register(&mut state);
    Ok(state)
}

/// The scheduler's address for requests.
///
/// # Errors
/// If it is not `df://host:port`.
fn endpoint(scheduler: &str) -> Result<String, String> {
    let place = scheduler.strip_prefix("df://").unwrap_or_default();
    match place.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(format!("http://{place}"))
        }
        _ => Err(format!("a scheduler is df://host:port, found {scheduler}")),
    }
}

/// The scheduler's address for requests, once something listens there.
///
/// # Errors
/// As [`endpoint`]; if nothing does within [`PATIENCE`].
async fn reached(scheduler: &str) -> Result<String, String> {
    let endpoint = endpoint(scheduler)?;
    let place = scheduler.trim_start_matches("df://").to_owned();
    // A look-up of a name cannot be ended, so it has a thread of its own.
    let connect = tokio::task::spawn_blocking(move || {
        let mut reason = "the name has no address".to_owned();
        for address in place.to_socket_addrs().map_err(|error| error.to_string())? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(_) => return Ok(()),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    });
    let connected = connect.await.unwrap_or_else(|error| Err(error.to_string()));
    connected.map(|()| endpoint).map_err(|reason| {
        format!(
            "no scheduler answers at {scheduler}: {reason}; start one with \
             `eigenlens-engine scheduler`, or name the right one"
        )
    })
}

/// Opens a store for queries that a cluster answers; `settings` are DataFusion's and Ballista's.
///
/// # Errors
/// If the address is wrong or nothing listens there, a setting is unknown, or the folder is not a
/// store.
pub(crate) async fn open(
    store: &Path,
    scheduler: &str,
    settings: &[(String, String)],
) -> Result<Asked, String> {
    let endpoint = reached(scheduler).await?;
    let config = session::with_settings(config(), settings)?;
    let upgraded = state(config).and_then(|state| state.upgrade_for_ballista(endpoint));
    let mut state = upgraded.map_err(|error| error.to_string())?;
    // Ballista has put its own functions in the place of all.
    session::register(&mut state);
    Asked::open(state, store).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduler_has_a_host_and_a_port() {
        assert_eq!(endpoint("df://10.0.0.1:50050").unwrap(), "http://10.0.0.1:50050");
        assert_eq!(endpoint("df://[::1]:1").unwrap(), "http://[::1]:1");
        for wrong in ["10.0.0.1:50050", "df://host", "df://host:99999", "df://:5", "http://a:1"] {
            let error = endpoint(wrong).unwrap_err();
            assert!(error.contains("df://host:port") && error.contains(wrong), "{error}");
        }
    }
}
