//! The study's own variants, by name, each with the figure that depends on it.
//!
//! They are here so that published numbers can be reproduced. What differs from the defaults:
//!
//! | the study | the default |
//! | --- | --- |
//! | rows are permuted and split by number: tokens of one context fit and judge ([`OriginalRegression`]) | folds of contexts |
//! | no intercept, the plain mean of the columns' R² | an intercept, R² pooled over columns |
//! | parts of the error on rows that the map was fitted on ([`OriginalParts`], [`OriginalCircuits`]) | cross-fitted parts |
//! | ones are appended to the target of the norm test ([`OriginalNormTest`]) | to its inputs |
//! | the mean of a token is judged on the rows it was taken from ([`OriginalTokenMeans`]) | held out and shrunk |
//! | a power law by Adam from a random start ([`PowerLawAdam`]) | the exact optimum |
//! | pursuit by dense products, NaN where nothing is left ([`gradient_pursuit`]) | sparse, without NaN |
//! | intervals of detection as if tokens were independent ([`DetectionAccuracies`]) | a bootstrap over features |

mod decomposition;
mod detection;
mod downstream;
mod info;
mod metrics;
mod norms;
mod per_token;
mod power_law;
mod pursuit;
mod regression;
mod running_mean;
#[cfg(test)]
mod tests;

pub use decomposition::{OriginalCircuits, OriginalParts, OriginalSite};
pub use detection::{DetectionAccuracies, wald_half_width};
pub use downstream::{STUDY_UNTOUCHED, StudyArm, study_replacement};
pub use info::{StudyEntries, StudyInfo};
pub use metrics::{
    EqualBuckets, mean_r_squared, normalized_mse, one_mean_r_squared, unexplained_variance,
};
pub use norms::{OriginalNormTest, OriginalTokenMeans, original_norm_baseline};
pub use per_token::OriginalPerToken;
pub use power_law::{PowerLawAdam, empirical_l0};
pub use pursuit::gradient_pursuit;
pub use regression::{OriginalFit, OriginalRegression, with_ones};
pub use running_mean::study_running_mean;
