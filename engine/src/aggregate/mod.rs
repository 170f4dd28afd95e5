//! Aggregate functions for features, which SQL has no fast word for.
//!
//! A window over 32,768 features sorts every entry; [`Top`] keeps the best few of each group and
//! [`Histogram`] thirty-two counts. Each has one accumulator for any number of groups, and its
//! state is the result itself, so that parts of a table, or machines, merge by their results.
//! Functions have no state but their arguments: a name is enough to run one on another machine.

mod alone;
mod histogram;
mod top;

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::AggregateUDF;

pub(crate) use histogram::Histogram;
pub(crate) use top::Top;

/// Both functions, as a session registers them.
pub(crate) fn functions() -> [Arc<AggregateUDF>; 2] {
    [
        Arc::new(AggregateUDF::new_from_impl(Top::default())),
        Arc::new(AggregateUDF::new_from_impl(Histogram::default())),
    ]
}

/// Whether `FILTER (WHERE …)` lets a row through.
fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

/// The types that a function's numbers are cast to, if it is given that many numbers.
fn numbers(call: &str, given: &[DataType], wanted: &[DataType]) -> Result<Vec<DataType>> {
    let number = |kind: &DataType| kind.is_numeric() || kind.is_null();
    if given.len() != wanted.len() || !given.iter().all(number) {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        return plan_err!("{call} takes numbers, found ({})", given.join(", "));
    }
    Ok(wanted.to_vec())
}
