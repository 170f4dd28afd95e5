//! `harvest STORE --on df://host:port`: the units that are not done yet, as a job of a cluster.

use std::path::Path;

use ballista_core::execution_plans::execute_physical_plan;
use ballista_core::extension::SessionConfigExt as _;
use datafusion::execution::context::SessionContext;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::StreamExt as _;

use super::plan::HarvestExec;
use super::{codec, config, reached, state};
use crate::harvest;
use crate::store::absolute;

/// Has a cluster do what is missing. Returns a line about it.
///
/// # Errors
/// If the job fails, or units are missing after it.
pub(crate) async fn run(store: &Path, scheduler: &str) -> Result<String, String> {
    let store = absolute(store)?;
    let missing = harvest::missing(&store)?;
    if missing.is_empty() {
        return Ok("every unit is done already".to_owned());
    }
    let endpoint = reached(scheduler).await?;
    // One unit a task, so that an executor that is lost costs one; and nothing to plan anew.
    let config = config()
        .set_usize("ballista.scheduler.max_partitions_per_task", 1)
        .with_ballista_adaptive_query_planner(false);
    let context = state(config).map(SessionContext::new_with_state);
    let context = context.map_err(|error| error.to_string())?;
    let plan =
        HarvestExec::of_units(&store, &missing).map_err(|error| error.message().into_owned())?;
    let session = context.copied_config();
    let (settings, codec) = (session.ballista_config(), codec::Codec::default());
    let job = execute_physical_plan::<PhysicalPlanNode>(
        endpoint,
        &settings,
        plan,
        &codec,
        context.session_id(),
        session,
    );
    let mut failure = None;
    match job.await {
        Ok(mut rows) => {
            while let Some(row) = rows.next().await {
                // What an executor that was lost since would say, its commits say too.
                failure = row.err().map(|error| error.message().into_owned()).or(failure);
            }
        }
        Err(error) => failure = Some(error.message().into_owned()),
    }
    // The records count, not the job's own word.
    let left = harvest::missing(&store)?;
    match (left.len(), failure) {
        (0, _) => Ok(harvest::done(missing.len())),
        (left, failure) => Err(format!(
            "{left} of {} units are missing after the job: {}; run the command again to do them",
            missing.len(),
            failure.unwrap_or_else(|| "it gave no reason".to_owned())
        )),
    }
}
