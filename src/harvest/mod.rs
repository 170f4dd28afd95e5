//! Going over a text once, keeping what the model and its autoencoders make of it, and asking many times.
//!
//! A [`Store`] is a folder. [`Store::harvest`] fills it: the activations at some hook points, the codes
//! of some autoencoders, and for each of their features statistics and the contexts that activate it
//! most. It works in units of some thousand tokens. A unit is there when its record is, so that a
//! harvest goes on after any end, and several processes can share one; `Harvest` hands out the units
//! one by one. [`Store::table`], [`Store::examples`], [`Store::occurrences`] and
//! [`Store::cooccurrence`] answer without the model, [`Store::shuffled`] and
//! [`Sae::fit_stored`](crate::sae::Sae::fit_stored) read the activations in a uniformly random order.
//!
//! With the feature `s3` a store can be in a bucket: its path is `s3://bucket/prefix`, and credentials,
//! region and endpoint are read from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
//! `AWS_REGION` and `AWS_ENDPOINT_URL`, or from the role of the machine. The server has to know
//! conditional puts (`If-None-Match`), as Amazon's, Cloudflare's and MinIO's do.
//!
//! | in the folder | what it is |
//! | --- | --- |
//! | `run.json` | model, text, hook points, autoencoders and options: the identity of the store |
//! | `commits/000042.json` | the record of a unit: its files with their lengths and sums |
//! | `activations/<point>/*.safetensors` | `activations` `[rows, width]` in the model's type, `row` (the token of each in the unit), `piles` (where each pile begins) |
//! | `tokens/*.parquet` | `context`, `position`, `token`, `kept`, `loss`, `norm.<point>`, `error.<sae>` = ‖x − x̂‖², `l0.<sae>` |
//! | `codes/<sae>/*.parquet` | a row per active feature: `sae`, `layer`, `context`, `position`, `feature`, `value` |
//! | `statistics/<sae>/*.parquet` | per feature: `count`, `contexts`, `sum`, `sum_squares`, `max`, and a histogram of 32 bins up to `edge` |
//! | `examples/<sae>/*.parquet` | per feature the best contexts of the unit: `rank`, `context`, `position`, `value` |

#[cfg(feature = "s3")]
mod bucket;
mod checkpoint_file;
mod code_rows;
mod commit;
mod disk;
mod engine;
mod feature_files;
mod feature_table;
mod files;
mod fit;
mod folder;
mod histogram;
mod native;
mod options;
mod piles;
mod place;
mod plan;
mod questions;
mod run;
mod shard;
mod shuffled;
mod store;
mod table_file;
mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod token_rows;
mod unit;
mod units;

#[cfg(feature = "s3")]
pub use bucket::s3_bucket;
pub(crate) use checkpoint_file::{CheckpointFile, CheckpointIdentity, CheckpointTensors};
pub use commit::{Commit, StoredFile};
pub use feature_table::{FeatureTable, Statistics, load_tables, save_tables};
pub use histogram::Histogram;
pub use options::{HarvestOptions, Keep};
pub use questions::{Occurrences, StoredExamples};
pub use run::{Run, RunDataset, RunModel, RunPoint, RunSae, RunSources};
pub(crate) use run::{
    loadable, sum_of_model, sum_of_sae, sum_of_tensors, sum_of_text, sum_of_tokens,
};
pub use shuffled::{ShuffleOptions, Shuffled};
pub(crate) use store::feature_table;
pub use store::{Store, StoreCheck, Tidied};
pub use tally::Peak;
pub(crate) use tally::Tally;
pub use units::Harvest;
