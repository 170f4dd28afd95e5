//! The harvest as a plan: units go in, units that are done come out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, AsArray as _, Float64Array, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, PlanProperties,
};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::harvest::{self, Done};

/// Most partitions of a plan. A scheduler hands out partitions, and a message to it has at most
/// 16 MiB, of which each partition takes about 500 bytes.
const MAX_PARTITIONS: usize = 8192;

static UNIT: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(vec![Field::new("unit", DataType::Int64, false)])));

static DONE: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("unit", DataType::Int64, false),
        Field::new("tokens", DataType::Int64, false),
        Field::new("bytes", DataType::Int64, false),
        Field::new("seconds", DataType::Float64, false),
    ]))
});

/// Does the units of a harvest whose numbers come in, and says what each came to.
///
/// It has its units from a table below it, one a partition, and is no leaf itself: Ballista cuts a
/// stage into tasks at leaves that it knows, and would run a leaf of ours whole in every task.
#[derive(Debug)]
pub(crate) struct HarvestExec {
    /// The store's folder, which every executor must see under this path.
    store: PathBuf,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl HarvestExec {
    /// The plan of these units, one a task.
    pub(crate) fn of_units(store: &Path, units: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
        let per_partition = units.len().div_ceil(MAX_PARTITIONS).max(1);
        let partition = |units: &[usize]| {
            let numbers = Int64Array::from_iter_values(units.iter().map(|unit| *unit as i64));
            Ok(vec![RecordBatch::try_new(Arc::clone(&UNIT), vec![Arc::new(numbers)])?])
        };
        let partitions = units.chunks(per_partition).map(partition).collect::<Result<Vec<_>>>()?;
        let table = MemorySourceConfig::try_new_exec(&partitions, Arc::clone(&UNIT), None)?;
        Ok(Arc::new(Self::new(store.to_owned(), table)))
    }

    pub(crate) fn new(store: PathBuf, input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&DONE)),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { store, input, properties: Arc::new(properties) }
    }

    pub(crate) fn store(&self) -> &Path {
        &self.store
    }
}

impl DisplayAs for HarvestExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HarvestExec: store={}", self.store.display())
    }
}

impl ExecutionPlan for HarvestExec {
    fn name(&self) -> &str {
        "HarvestExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // The units are dealt out as they are to be done.
        vec![false]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(self.store.clone(), input))),
            _ => internal_err!("HarvestExec has one input"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let units = self.input.execute(partition, context)?;
        let store = self.store.clone();
        let done = units.and_then(move |units| {
            let store = store.clone();
            async move {
                let numbers = units.column(0).as_primitive::<Int64Type>().values().to_vec();
                let mut done = Vec::with_capacity(numbers.len());
                for number in numbers {
                    done.push(harvest::unit(store.clone(), number as usize).await?);
                }
                rows(&done)
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&DONE), done.boxed())))
    }
}

/// What units came to, as rows.
fn rows(done: &[Done]) -> Result<RecordBatch> {
    let whole = |get: fn(&Done) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(done.iter().map(get)))
    };
    let seconds = Float64Array::from_iter_values(done.iter().map(|done| done.seconds));
    let columns = vec![
        whole(|done| done.unit as i64),
        whole(|done| done.tokens as i64),
        whole(|done| done.bytes as i64),
        Arc::new(seconds),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&DONE), columns)?)
}
