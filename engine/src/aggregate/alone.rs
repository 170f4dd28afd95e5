//! An aggregate without `GROUP BY`, and over a window: groups of one.

use std::fmt;

use datafusion::arrow::array::ArrayRef;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// The only group of an accumulator of many, whose state is its result.
pub(super) struct Alone<G>(pub(super) G);

impl<G> fmt::Debug for Alone<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alone")
    }
}

impl<G: GroupsAccumulator + Sync> Accumulator for Alone<G> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |values| values.len());
        self.0.update_batch(values, &vec![0; rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |states| states.len());
        self.0.merge_batch(states, &vec![0; rows], 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // Before the first row there is no group yet.
        self.0.merge_batch(&[], &[], 1)?;
        let result = self.0.evaluate(EmitTo::All)?;
        // A window asks again after the next row.
        self.0.merge_batch(std::slice::from_ref(&result), &[0], 1)?;
        ScalarValue::try_from_array(&result, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.size()
    }
}
