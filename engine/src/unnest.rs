//! Keeps what is unique before `unnest` from counting as unique after it.
//!
//! DataFusion 55 keeps the keys of a GROUP BY as keys of the rows that `unnest` makes of them. It then
//! drops the rest of an ORDER BY, columns of a GROUP BY and a DISTINCT, because one row per key would
//! have nothing to sort or to merge. Keys are followed through columns, not through functions: here
//! each column that goes by an `unnest` passes through one that changes nothing.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TransformedResult as _};
use datafusion::common::{Column, Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Unnest, Volatility,
};

static PASSED_ON: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(PassedOn::default().into()));

/// The function `passed_on(x)` = x.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PassedOn(Signature);

impl Default for PassedOn {
    fn default() -> Self {
        Self(Signature::any(1, Volatility::Immutable))
    }
}

impl ScalarUDFImpl for PassedOn {
    fn name(&self) -> &str {
        "passed_on"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::clone(&arguments.arg_fields[0]))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.into_iter().next() {
            Some(value) => Ok(value),
            None => internal_err!("passed_on was called without its argument"),
        }
    }
}

/// The function by its name, for plans that come from another machine.
pub(crate) fn function() -> Arc<ScalarUDF> {
    Arc::clone(&PASSED_ON)
}

/// The plan in which no key goes by an `unnest`.
pub(crate) fn without_keys(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut found = false;
    let rewritten = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Unnest(unnest) => {
            found = true;
            rewrite(unnest).map(Transformed::yes)
        }
        // What stands above learns that the keys are gone.
        other if found => other.recompute_schema().map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    });
    rewritten.data()
}

fn rewrite(unnest: Unnest) -> Result<LogicalPlan> {
    let columns = unnest.input.schema().columns();
    let pass = |column: Column| match unnest.exec_columns.contains(&column) {
        true => Expr::Column(column),
        false => {
            let Column { relation, name, .. } = column.clone();
            PASSED_ON.call(vec![Expr::Column(column)]).alias_qualified(relation, name)
        }
    };
    let input = LogicalPlanBuilder::new_from_arc(Arc::clone(&unnest.input));
    let input = input.project(columns.into_iter().map(pass).collect::<Vec<_>>())?.build()?;
    Ok(LogicalPlan::Unnest(Unnest::try_new(Arc::new(input), unnest.exec_columns, unnest.options)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{cells, context_over, rows};

    /// The best two of each feature, one a row.
    const BEST: &str = "(select feature, best['value'] v, best['context'] c, \
         best['position'] p from (select feature, unnest(top(value, context, position, 2)) best from codes where not isnan(value) group by \
         feature))";

    #[tokio::test]
    async fn rows_of_an_unnested_list_are_sorted_counted_and_told_apart() {
        let context = context_over(&rows(2_000, 7, 5), 3, 50);
        let ask = async |sql: &str| cells(&context, &sql.replace("BEST", BEST)).await;
        // All values of the best are equal: contexts and positions decide, from the last on.
        let sorted = ask("select feature, c, p from BEST order by feature, c desc, p desc").await;
        assert_eq!(sorted.len(), 14);
        let key = |row: &[serde_json::Value]| -> (i64, i64, i64) {
            (row[0].as_i64().unwrap(), -row[1].as_i64().unwrap(), -row[2].as_i64().unwrap())
        };
        assert!(sorted.is_sorted_by(|a, b| key(a) < key(b)), "{sorted:?}");
        assert_eq!(ask("select distinct feature from BEST").await.len(), 7);
        let counts = ask("select count(*) from BEST group by feature, c, p").await;
        assert_eq!(counts, vec![vec![json!(1)]; 14]);
        let all = ask("select sum(n) from (select count(*) n from BEST group by feature)").await;
        assert_eq!(all, [[json!(14)]]);
    }
}
