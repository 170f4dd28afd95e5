//! From SQL to a stream of rows.

use std::path::Path;

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;

use crate::store::Files;
use crate::{errors, grammar, tables};

/// A store that can be asked.
pub(crate) struct Asked {
    context: SessionContext,
    files: Files,
}

impl Asked {
    /// Opens a store for queries.
    ///
    /// # Errors
    /// If the folder is not a store, or a file cannot be read.
    pub(crate) async fn open(state: SessionState, store: &Path) -> Result<Self, String> {
        let context = SessionContext::new_with_state(state);
        let files = tables::register(&context, store).await;
        let files = files.map_err(|error| errors::words(&error, "", &[]))?;
        Ok(Self { context, files })
    }

    /// Begins a query.
    ///
    /// # Errors
    /// If the query is wrong or changes something.
    pub(crate) async fn ask(&self, sql: &str) -> Result<SendableRecordBatchStream, String> {
        match stream(&self.context, sql).await {
            Ok(stream) => Ok(stream),
            Err(error) => Err(self.words(&error, sql).await),
        }
    }

    /// An error of a query in words.
    pub(crate) async fn words(
        &self,
        error: &datafusion::error::DataFusionError,
        sql: &str,
    ) -> String {
        let tables = tables::describe(&self.context).await;
        let mut words = errors::words(error, sql, &tables);
        if sql.contains("by_feature") && !tables.iter().any(|table| table.starts_with("by_feature"))
        {
            let why = match self.files.outdated.is_empty() {
                true => "is made by",
                false => "lacks what was harvested since it was made; make it anew with",
            };
            words += &format!("\nThe table by_feature {why} `eigenlens-engine by-feature STORE`.");
        }
        words
    }
}

async fn stream(context: &SessionContext, sql: &str) -> Result<SendableRecordBatchStream> {
    let plan = grammar::plan(context, sql).await?;
    SQLOptions::new().with_allow_ddl(false).with_allow_statements(false).verify_plan(&plan)?;
    plan.apply(|node| match node {
        LogicalPlan::Dml(_) => plan_err!(
            "a query does not change a store; COPY (query) TO 'file.parquet' writes an answer to a \
             file"
        ),
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    context.execute_logical_plan(plan).await?.execute_stream().await
}
