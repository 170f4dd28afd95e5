//! `histogram(value)`: how strongly a feature is active, when it is.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Float64Array, Int64Array, ListArray,
    StructArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use super::alone::Alone;
use super::{numbers, passes};

/// Bins of a histogram, as many as `eigenlens::features::Histogram` has.
const BINS: usize = 32;

/// Upper end of the last bin before anything was counted.
const FIRST_EDGE: f64 = 1.0 / 64.0;

/// The field of a list of counts.
static COUNT: LazyLock<FieldRef> =
    LazyLock::new(|| Arc::new(Field::new_list_field(DataType::Int64, true)));

/// Fields of a histogram.
static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![
        Field::new("edge", DataType::Float64, true),
        Field::new("counts", DataType::List(COUNT.clone()), true),
    ])
});

/// The aggregate `histogram(value)`.
///
/// It returns a struct of `edge` and `counts`: 32 bins of equal width from 0 to `edge`, as
/// `eigenlens::features::Histogram` counts and the table `statistics` holds. The edge is the least
/// power of two above every value, and at least 1/64. A bin holds its lower end. Only values above
/// zero count; NULL, NaN and what an f32 cannot hold (above 3.4·10³⁸) do not. A group in which
/// nothing counts has 32 zeros and the edge 1/64.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Histogram(Signature);

impl Default for Histogram {
    fn default() -> Self {
        Self(Signature::user_defined(Volatility::Immutable))
    }
}

impl AggregateUDFImpl for Histogram {
    fn name(&self) -> &str {
        "histogram"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(FIELDS.clone()))
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        numbers("histogram(value)", given, &[DataType::Float64])
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if arguments.is_distinct {
            return plan_err!("histogram(value) does not take DISTINCT");
        }
        Ok(Box::new(Alone(Counts::default())))
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        !arguments.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        _arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Counts::default()))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// One group's counts.
#[derive(Clone, Copy)]
struct Bins {
    edge: f64,
    counts: [i64; BINS],
}

impl Bins {
    const EMPTY: Self = Self { edge: FIRST_EDGE, counts: [0; BINS] };

    /// Merges pairs of bins until the last ends at `edge`.
    fn widen(&mut self, edge: f64) {
        while self.edge < edge {
            for bin in 0..BINS {
                let pair = self.counts.get(2 * bin..2 * bin + 2);
                self.counts[bin] = pair.map_or(0, |pair| pair.iter().sum());
            }
            self.edge *= 2.0;
        }
    }

    fn add(&mut self, value: f64) {
        if value >= self.edge {
            let mut edge = self.edge;
            while value >= edge {
                edge *= 2.0;
            }
            self.widen(edge);
        }
        let bin = (value / self.edge * BINS as f64) as usize;
        self.counts[bin.min(BINS - 1)] += 1;
    }
}

/// Counts of each group.
#[derive(Default)]
struct Counts(Vec<Bins>);

/// Whether a value is one that histograms count.
fn counts(value: f64) -> bool {
    value > 0.0 && (value as f32).is_finite()
}

/// Histograms as an array of structs.
fn structs(bins: &[Bins]) -> ArrayRef {
    let edges = Float64Array::from_iter_values(bins.iter().map(|bins| bins.edge));
    let counts = Int64Array::from_iter_values(bins.iter().flat_map(|bins| bins.counts));
    let lengths = OffsetBuffer::from_lengths(bins.iter().map(|_| BINS));
    let lists = ListArray::new(COUNT.clone(), lengths, Arc::new(counts), None);
    Arc::new(StructArray::new(FIELDS.clone(), vec![Arc::new(edges), Arc::new(lists)], None))
}

impl GroupsAccumulator for Counts {
    fn update_batch(
        &mut self,
        columns: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        num_groups: usize,
    ) -> Result<()> {
        self.0.resize(num_groups, Bins::EMPTY);
        let values = columns[0].as_primitive::<Float64Type>();
        for (row, group) in groups.iter().enumerate() {
            let value = values.value(row);
            if counts(value) && values.is_valid(row) && passes(filter, row) {
                self.0[*group].add(value);
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
        self.0.resize(num_groups, Bins::EMPTY);
        let Some(states) = states.first().map(|states| states.as_struct()) else {
            return Ok(());
        };
        let edges = states.column(0).as_primitive::<Float64Type>();
        let lists = states.column(1).as_list::<i32>();
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| states.is_valid(*row)) {
            let list = lists.value(row);
            let Ok(counts) = list.as_primitive::<Int64Type>().values().as_ref().try_into() else {
                return exec_err!("a histogram has {} bins, not {BINS}", list.len());
            };
            let mut other = Bins { edge: edges.value(row), counts };
            let bins = &mut self.0[*group];
            bins.widen(other.edge);
            other.widen(bins.edge);
            bins.counts.iter_mut().zip(other.counts).for_each(|(sum, count)| *sum += count);
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        Ok(structs(&emit.take_needed(&mut self.0)))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn convert_to_state(
        &self,
        columns: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = columns[0].len();
        let mut each = Self::default();
        each.update_batch(columns, &(0..rows).collect::<Vec<_>>(), filter, rows)?;
        Ok(vec![structs(&each.0)])
    }

    fn size(&self) -> usize {
        self.0.capacity() * size_of::<Bins>()
    }
}

#[cfg(test)]
#[path = "histogram_tests.rs"]
mod tests;
