//! Pieces of a training loop that candle lacks or does slowly: [`AdamW`], [`Muon`], [`cosine`]
//! schedules, [`cross_entropy`] with a gradient, and the [`History`] of metrics a fit returns.
//!
//! A step of gradient descent with learning rate η on a loss ℓ is `θ ← θ − η·u(∂ℓ/∂θ)`; the
//! optimisers differ in `u`. They follow PyTorch's formulas and defaults, so that
//! hyper-parameters carry over.
//!
//! ```
//! use eigenlens::prelude::*;
//! use eigenlens::train::{AdamW, AdamWOptions, Optimizer, gradients};
//! # fn main() -> Result<()> {
//! let x = Var::new(&[[3f32, -2.]], &Device::Cpu)?;
//! let vars = vec![x.clone()];
//! let mut adamw = AdamW::new(vars.clone(), AdamWOptions { learning_rate: 0.1, ..Default::default() })?;
//! for _ in 0..200 {
//!     let loss = x.sqr()?.sum_all()?;
//!     adamw.step(&gradients(&loss, &vars)?)?;
//! }
//! assert!(x.sqr()?.sum_all()?.to_scalar::<f32>()? < 1e-3);
//! # Ok(())
//! # }
//! ```

mod adamw;
mod checkpoint;
mod history;
mod loss;
mod muon;
mod optimizer;
mod optimizer_kind;
mod run;
mod schedule;
mod trained;

pub(crate) use adamw::AdamStep;
pub use adamw::{AdamW, AdamWOptions};
pub(crate) use checkpoint::{Checkpoint, TakeTensor};
pub use history::History;
pub use loss::{accuracy, cross_entropy, mean_squared_error};
pub(crate) use loss::{check_labels, loss_of_each_row, row_loss};
pub use muon::{Muon, MuonOptions};
pub use optimizer::{Optimizer, clip, gradients};
pub use optimizer_kind::OptimizerKind;
pub(crate) use run::{Fit, FitLoop, FitRow, STEPS_PER_CHECKPOINT};
pub use schedule::{cosine, warmup};
pub(crate) use trained::Trained;

#[cfg(test)]
pub(crate) mod tests;
