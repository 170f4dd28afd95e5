//! `executor`: Ballista's, with our session.

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;

use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use clap::Args;

use super::{LOOPBACK, codec, config, state};
use crate::{folders, session};

/// What `executor` is told.
#[derive(Debug, Args)]
pub(crate) struct ExecutorArgs {
    /// The scheduler, as host:port
    #[arg(long, default_value = "127.0.0.1:50050")]
    scheduler: String,
    /// Address to listen on; anyone who can reach it can run queries
    #[arg(long, default_value_t = LOOPBACK)]
    bind: IpAddr,
    /// Name under which others reach this machine [default: as the scheduler sees it]
    #[arg(long)]
    host: Option<String>,
    /// Port for results; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Port for tasks; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    task_port: u16,
    /// Tasks at a time; 1 for each GPU when it harvests
    #[arg(long, default_value_t = 1)]
    vcores: usize,
    /// Seconds between signs of life
    #[arg(long, default_value_t = 10)]
    heartbeat: u64,
    /// Seconds to wait for the scheduler
    #[arg(long, default_value_t = 60)]
    connect: u16,
    /// Bytes that queries may take before they spill [default: 70 % of the machine's]
    #[arg(long)]
    memory: Option<u64>,
}

/// Runs until it is ended.
///
/// # Errors
/// If the scheduler cannot be reached or a port is taken.
pub(crate) async fn run(args: ExecutorArgs) -> Result<(), String> {
    let scheduler = args.scheduler.strip_prefix("df://").unwrap_or(&args.scheduler);
    let (host, port) = scheduler
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)))
        .ok_or_else(|| format!("a scheduler is host:port, found {}", args.scheduler))?;
    let state = state(config()).map_err(|error| error.to_string())?;
    let work = folders::spill().map_err(|error| error.to_string())?;
    // Results of its queries, which are gone when it is.
    let work = tempfile::Builder::new().prefix("executor-").tempdir_in(work);
    let work = work.map_err(|error| format!("could not make a folder for results: {error}"))?;
    let spill = work.path().to_owned();
    let config = ExecutorProcessConfig {
        bind_host: args.bind.to_string(),
        external_host: args.host,
        port: free_port(args.bind, args.port)?,
        grpc_port: free_port(args.bind, args.task_port)?,
        scheduler_host: host.to_owned(),
        scheduler_port: port,
        scheduler_connect_timeout_seconds: args.connect,
        vcores: args.vcores,
        work_dir: Some(work.path().to_string_lossy().into_owned()),
        executor_heartbeat_interval_seconds: args.heartbeat,
        memory_pool_size: args.memory,
        override_function_registry: Some(Arc::new(BallistaFunctionRegistry::from(&state))),
        override_runtime_producer: Some(Arc::new(move |_| {
            session::builder().with_temp_file_path(spill.clone()).build_arc()
        })),
        override_config_producer: Some(Arc::new(super::config)),
        override_physical_codec: Some(Arc::new(codec::Codec::default())),
        ..ExecutorProcessConfig::default()
    };
    println!("executor {} of {scheduler}", config.executor_id);
    let ended = start_executor_process(Arc::new(config)).await;
    ended.map_err(|error| format!("the executor failed: {error}"))
}

/// The port, or one that is free now.
fn free_port(bind: IpAddr, port: u16) -> Result<u16, String> {
    let bound = TcpListener::bind((bind, port)).and_then(|listener| listener.local_addr());
    let bound = bound.map_err(|error| format!("could not listen on {bind}:{port}: {error}"))?;
    Ok(bound.port())
}
