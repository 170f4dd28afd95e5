//! `top(value, context, position, k)`: where a value is largest.

use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Float64Array, Int64Array, ListArray,
    RecordBatch, StructArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, ColumnarValue, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use super::alone::Alone;
use super::{numbers, passes};

/// Most entries that `top` keeps of a group.
const MAX_KEPT: i64 = 10_000;

/// How the function is called.
const CALL: &str = "top(value, context, position, k)";

/// Fields of an entry of the list.
static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![
        Field::new("value", DataType::Float64, true),
        Field::new("context", DataType::Int64, true),
        Field::new("position", DataType::Int64, true),
    ])
});

/// The aggregate `top(value, context, position, k)`.
///
/// It returns a list of structs `(value, context, position)`, at most `k`, the largest value first.
/// Of equal values, the earlier context comes first, then the earlier position, so that the result
/// does not depend on the order of rows. A row counts if none of its three is NULL and the value
/// is not NaN; infinities count. A group in which no row counts has an empty list.
///
/// It holds at most `2k` entries of 24 bytes per group and takes constant time per row on average.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Top(Signature);

impl Default for Top {
    fn default() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

impl AggregateUDFImpl for Top {
    fn name(&self) -> &str {
        "top"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::new_list(DataType::Struct(FIELDS.clone()), true))
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        numbers(
            CALL,
            given,
            &[DataType::Float64, DataType::Int64, DataType::Int64, DataType::Int64],
        )
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Alone(Best::new(kept(&arguments)?))))
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Best::new(kept(&arguments)?)))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The fourth argument, which is the same for all rows.
fn kept(arguments: &AccumulatorArgs<'_>) -> Result<usize> {
    if arguments.is_distinct {
        return plan_err!("{CALL} does not take DISTINCT");
    }
    let schema = Arc::new(arguments.schema.clone());
    let constant = arguments.exprs[3].evaluate(&RecordBatch::new_empty(schema));
    match constant {
        Ok(ColumnarValue::Scalar(ScalarValue::Int64(Some(k)))) if (1..=MAX_KEPT).contains(&k) => {
            Ok(k as usize)
        }
        _ => plan_err!(
            "the fourth argument of {CALL} must be a whole number from 1 to {MAX_KEPT}, found {}",
            arguments.exprs[3]
        ),
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    value: f64,
    context: i64,
    position: i64,
}

impl Entry {
    /// The better one first.
    fn rank(&self, other: &Self) -> Ordering {
        let by_value = other.value.total_cmp(&self.value);
        by_value.then(self.context.cmp(&other.context)).then(self.position.cmp(&other.position))
    }
}

/// The best entries of each group.
struct Best {
    k: usize,
    /// Up to `2k` entries of a group, in any order, the best `k` among them.
    groups: Vec<Vec<Entry>>,
    /// Value below which an entry is not among the best of its group.
    floors: Vec<f64>,
    /// Entries for which there is room.
    room: usize,
}

impl Best {
    fn new(k: usize) -> Self {
        Self { k, groups: Vec::new(), floors: Vec::new(), room: 0 }
    }

    fn grow(&mut self, num_groups: usize) {
        self.groups.resize_with(num_groups, Vec::new);
        self.floors.resize(num_groups, f64::NEG_INFINITY);
    }

    fn push(&mut self, group: usize, entry: Entry) {
        if entry.value < self.floors[group] {
            return;
        }
        let entries = &mut self.groups[group];
        let room = entries.capacity();
        entries.push(entry);
        self.room += entries.capacity() - room;
        if entries.len() >= 2 * self.k {
            let (_, last, _) = entries.select_nth_unstable_by(self.k - 1, Entry::rank);
            self.floors[group] = last.value;
            entries.truncate(self.k);
        }
    }

    fn take(&mut self, emit: EmitTo) -> ArrayRef {
        let mut groups = emit.take_needed(&mut self.groups);
        emit.take_needed(&mut self.floors);
        self.room -= groups.iter().map(Vec::capacity).sum::<usize>();
        for entries in &mut groups {
            entries.sort_unstable_by(Entry::rank);
            entries.truncate(self.k);
        }
        let lengths = OffsetBuffer::from_lengths(groups.iter().map(Vec::len));
        list(groups.into_iter().flatten(), lengths)
    }
}

/// Lists of these lengths, of entries one after another.
fn list(entries: impl Iterator<Item = Entry>, lengths: OffsetBuffer<i32>) -> ArrayRef {
    let entries: Vec<Entry> = entries.collect();
    let value = Float64Array::from_iter_values(entries.iter().map(|entry| entry.value));
    let context = Int64Array::from_iter_values(entries.iter().map(|entry| entry.context));
    let position = Int64Array::from_iter_values(entries.iter().map(|entry| entry.position));
    let columns: Vec<ArrayRef> = vec![Arc::new(value), Arc::new(context), Arc::new(position)];
    let structs = StructArray::new(FIELDS.clone(), columns, None);
    let field = Field::new_list_field(DataType::Struct(FIELDS.clone()), true);
    Arc::new(ListArray::new(Arc::new(field), lengths, Arc::new(structs), None))
}

/// The rows of three columns, NULL and NaN left out.
struct Rows<'a> {
    values: &'a Float64Array,
    contexts: &'a Int64Array,
    positions: &'a Int64Array,
    /// No row has a NULL.
    full: bool,
}

impl<'a> Rows<'a> {
    fn new(columns: &'a [ArrayRef]) -> Self {
        let full = columns[..3].iter().all(|column| column.null_count() == 0);
        Self {
            values: columns[0].as_primitive::<Float64Type>(),
            contexts: columns[1].as_primitive::<Int64Type>(),
            positions: columns[2].as_primitive::<Int64Type>(),
            full,
        }
    }

    fn get(&self, row: usize) -> Option<Entry> {
        let valid = self.full
            || self.values.is_valid(row)
                && self.contexts.is_valid(row)
                && self.positions.is_valid(row);
        // The sum makes one zero of the two.
        let value = self.values.value(row) + 0.0;
        (valid && !value.is_nan()).then(|| Entry {
            value,
            context: self.contexts.value(row),
            position: self.positions.value(row),
        })
    }
}

impl GroupsAccumulator for Best {
    fn update_batch(
        &mut self,
        columns: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        num_groups: usize,
    ) -> Result<()> {
        self.grow(num_groups);
        let rows = Rows::new(columns);
        for (row, group) in groups.iter().enumerate() {
            if let Some(entry) = rows.get(row)
                && passes(filter, row)
            {
                self.push(*group, entry);
            }
        }
        Ok(())
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        groups: &[usize],
        num_groups: usize,
    ) -> Result<()> {
        self.grow(num_groups);
        let Some(lists) = states.first().map(|states| states.as_list::<i32>()) else {
            return Ok(());
        };
        let rows = Rows::new(lists.values().as_struct().columns());
        for (list, group) in groups.iter().enumerate().filter(|(list, _)| lists.is_valid(*list)) {
            let range =
                lists.value_offsets()[list] as usize..lists.value_offsets()[list + 1] as usize;
            for entry in range.filter_map(|row| rows.get(row)) {
                self.push(*group, entry);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        Ok(self.take(emit))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.take(emit)])
    }

    fn convert_to_state(
        &self,
        columns: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = Rows::new(columns);
        let entries: Vec<Option<Entry>> = (0..rows.values.len())
            .map(|row| rows.get(row).filter(|_| passes(filter, row)))
            .collect();
        let lengths = entries.iter().map(|entry| usize::from(entry.is_some()));
        let lengths = OffsetBuffer::from_lengths(lengths);
        Ok(vec![list(entries.into_iter().flatten(), lengths)])
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<Vec<Entry>>()
            + self.floors.capacity() * size_of::<f64>()
            + self.room * size_of::<Entry>()
    }
}

#[cfg(test)]
#[path = "top_tests.rs"]
mod tests;
