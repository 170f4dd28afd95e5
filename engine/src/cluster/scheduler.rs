//! `scheduler`: Ballista's, with our session.

use std::net::IpAddr;
use std::sync::Arc;

use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use clap::Args;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};

use super::{LOOPBACK, codec, config, state};

/// What `scheduler` is told.
#[derive(Debug, Args)]
pub(crate) struct SchedulerArgs {
    /// Address to listen on; anyone who can reach it can run queries
    #[arg(long, default_value_t = LOOPBACK)]
    bind: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 50050)]
    port: u16,
    /// Name under which executors reach this machine [default: the address]
    #[arg(long)]
    host: Option<String>,
    /// Seconds without a sign of life after which an executor is lost
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    /// Seconds between looks for lost executors
    #[arg(long, default_value_t = 5)]
    expire: u64,
    /// Seconds that a job waits for an executor once all are lost [default: the timeout]
    #[arg(long)]
    grace: Option<u64>,
}

/// Runs until it is ended.
///
/// # Errors
/// If the port is taken.
pub(crate) async fn run(args: SchedulerArgs) -> Result<(), String> {
    let failed = |error: &dyn std::error::Error| format!("the scheduler failed: {error}");
    let listener = tokio::net::TcpListener::bind((args.bind, args.port)).await;
    let listener = listener
        .map_err(|error| format!("could not listen on {}:{}: {error}", args.bind, args.port))?;
    let port = listener.local_addr().map_err(|error| failed(&error))?.port();
    let config = SchedulerConfig {
        bind_host: args.bind.to_string(),
        bind_port: port,
        external_host: args.host.unwrap_or_else(|| args.bind.to_string()),
        executor_timeout_seconds: args.timeout,
        expire_dead_executor_interval_seconds: args.expire,
        no_executors_grace_period_seconds: args.grace.unwrap_or(args.timeout),
        override_config_producer: Some(Arc::new(config)),
        override_session_builder: Some(Arc::new(state)),
        override_physical_codec: Some(Arc::new(codec::Codec::default())),
        ..SchedulerConfig::default()
    };
    config.validate().map_err(|error| failed(&error))?;
    let cluster =
        BallistaCluster::new_from_config(&config).await.map_err(|error| failed(&error))?;
    let server = create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, Arc::new(config));
    let server = server.await.map_err(|error| failed(&error))?;
    println!("scheduler at df://{}:{port}", args.bind);
    start_grpc_service_with_listener(listener, server).await.map_err(|error| failed(&error))
}
