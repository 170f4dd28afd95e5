//! The session in which queries run: the same functions and settings for a query on this machine,
//! for the scheduler of a cluster and for its executors.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use datafusion::common::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;

use crate::yielding::YieldingJoins;
use crate::{aggregate, folders, memory, unnest};

/// Share of the machine's free memory that a query may take, if it is not told.
const SHARE_OF_FREE_MEMORY: f64 = 0.4;

/// Age of a file that a process must have left behind when it was killed.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// What every session here is set to.
pub(crate) fn config() -> SessionConfig {
    SessionConfig::new()
        .with_information_schema(true)
        // So that an error can say where in the query it is.
        .set_bool("datafusion.sql_parser.collect_spans", true)
}

/// A configuration with settings of the engine, such as `datafusion.execution.target_partitions`.
///
/// # Errors
/// If a setting is unknown.
pub(crate) fn with_settings(
    mut config: SessionConfig,
    settings: &[(String, String)],
) -> Result<SessionConfig, String> {
    for (name, value) in settings {
        let set = config.options_mut().set(name, value);
        set.map_err(|error| format!("{name}={value}: {}", error.message()))?;
    }
    Ok(config)
}

/// A session of this configuration with our functions.
pub(crate) fn session(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionState {
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_physical_optimizer_rule(Arc::new(YieldingJoins))
        .build();
    register(&mut state);
    state
}

/// Adds our functions to a session.
pub(crate) fn register(state: &mut SessionState) {
    use datafusion::execution::registry::FunctionRegistry as _;
    for function in aggregate::functions() {
        // Registering cannot fail: nothing refuses to be replaced.
        let _ = state.register_udaf(function);
    }
    let _ = state.register_udf(unnest::function());
}

/// A session for queries on this machine that may take `bytes` of memory before they spill.
pub(crate) fn local(bytes: usize) -> Result<SessionState> {
    Ok(session(config(), runtime(bytes)?))
}

/// Memory that a query may take, if it is not told.
pub(crate) fn default_memory() -> usize {
    (memory::free() as f64 * SHARE_OF_FREE_MEMORY) as usize
}

/// Where memory, files that are spilled, and files that were opened are accounted for.
pub(crate) fn runtime(bytes: usize) -> Result<Arc<RuntimeEnv>> {
    let spill = folders::spill()?;
    sweep(&spill);
    builder()
        .with_memory_pool(Arc::new(FairSpillPool::new(bytes)))
        .with_disk_manager_builder(
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![spill])),
        )
        .build_arc()
}

/// What every runtime here begins with.
pub(crate) fn builder() -> RuntimeEnvBuilder {
    let builder = RuntimeEnvBuilder::new();
    #[cfg(feature = "s3")]
    let builder = builder.with_object_store_registry(Arc::new(crate::objects::Objects::default()));
    builder
}

/// The same with memory of its own: what was opened stays open.
pub(crate) fn with_memory(base: &RuntimeEnv, bytes: usize) -> Result<Arc<RuntimeEnv>> {
    let pool = Arc::new(FairSpillPool::new(bytes));
    RuntimeEnvBuilder::from_runtime_env(base).with_memory_pool(pool).build_arc()
}

/// Removes what processes that were killed left in a folder of ours.
pub(crate) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|entry| entry.modified());
        let age = modified.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_some_and(|age| age > ABANDONED) {
            let path = entry.path();
            // Another process may be removing it too.
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}
