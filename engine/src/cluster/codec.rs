//! Plans as bytes, for another machine: Ballista's own, and ours.

use std::path::PathBuf;
use std::sync::Arc;

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};

use super::plan::HarvestExec;

/// Begins the bytes of a [`HarvestExec`]; no message of Ballista's begins with a zero.
const TAG: &[u8] = b"\0eigenlens harvest\0";

/// Ballista's plans, and the harvest, of which only the store's path is sent: each machine reads
/// the rest from `run.json`.
#[derive(Debug, Default)]
pub(crate) struct Codec(BallistaPhysicalExtensionCodec);

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(store) = bytes.strip_prefix(TAG) else {
            return self.0.try_decode(bytes, inputs, context, converter);
        };
        match (std::str::from_utf8(store), inputs) {
            (Ok(store), [input]) => {
                Ok(Arc::new(HarvestExec::new(PathBuf::from(store), Arc::clone(input))))
            }
            _ => internal_err!("a harvest came without its store or its units"),
        }
    }

    fn try_encode(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(harvest) = plan.downcast_ref::<HarvestExec>() else {
            return self.0.try_encode(plan, bytes, converter);
        };
        let Some(store) = harvest.store().to_str() else {
            return internal_err!("{} is no text", harvest.store().display());
        };
        bytes.extend_from_slice(TAG);
        bytes.extend_from_slice(store.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::ExecutionPlanProperties as _;
    use datafusion::prelude::SessionContext;
    use datafusion_proto::physical_plan::AsExecutionPlan as _;
    use datafusion_proto::protobuf::PhysicalPlanNode;

    use super::*;

    #[test]
    fn a_harvest_arrives_as_it_was_sent() {
        let units: Vec<usize> = (0..20).collect();
        let plan = HarvestExec::of_units("/a store/ü".as_ref(), &units).unwrap();
        let sent = PhysicalPlanNode::try_from_physical_plan(plan, &Codec::default()).unwrap();
        let mut bytes = Vec::new();
        sent.try_encode(&mut bytes).unwrap();
        assert!(bytes.len() < 20 * 600, "{} bytes", bytes.len());
        let arrived = PhysicalPlanNode::try_decode(&bytes).unwrap();
        let context = SessionContext::new().task_ctx();
        let plan = arrived.try_into_physical_plan(&context, &Codec::default()).unwrap();
        assert_eq!(plan.output_partitioning().partition_count(), 20);
        let harvest = plan.downcast_ref::<HarvestExec>().unwrap();
        assert_eq!(harvest.store(), std::path::Path::new("/a store/ü"));
    }

    #[test]
    fn a_harvest_without_units_is_refused() {
        let context = SessionContext::new().task_ctx();
        let bytes = [TAG, b"/a"].concat();
        let converter = datafusion_proto::physical_plan::DefaultPhysicalProtoConverter {};
        let error = Codec::default().try_decode(&bytes, &[], &context, &converter).unwrap_err();
        assert!(error.to_string().contains("without its store or its units"), "{error}");
    }
}
