//! Where DataFusion finds files: on this machine, and in buckets.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use datafusion::object_store::ObjectStore;
use url::Url;

/// DataFusion's own registry, and buckets as queries name them: on any machine that runs a part of a
/// query, credentials are read from its environment.
#[derive(Debug, Default)]
pub(crate) struct Objects(DefaultObjectStoreRegistry);

impl ObjectStoreRegistry for Objects {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.0.register_store(url, store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        match (self.0.get_store(url), url.host_str()) {
            (Err(_), Some(bucket)) if url.scheme() == "s3" => {
                let bucket = eigenlens::harvest::s3_bucket(bucket);
                let bucket = Arc::new(bucket.map_err(|e| DataFusionError::External(Box::new(e)))?);
                self.0.register_store(url, bucket.clone());
                Ok(bucket)
            }
            (found, _) => found,
        }
    }
}
