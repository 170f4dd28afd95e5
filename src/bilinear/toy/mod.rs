//! A bilinear layer trained on logic gates.
//!
//! Of n binary inputs, every pair i < j is combined by one operation, such as AND: there are
//! n(n − 1)/2 outputs, in the order (0,1), (0,2), …, (1,2), …. The model has no bias:
//!
//! ```text
//! y = P (L x ∘ R x)      ℓ = mean (y − target(x))²
//! ```
//!
//! ```
//! use eigenlens::prelude::*;
//! use eigenlens::bilinear::toy::{ToyConfig, ToyFit, ToyModel};
//! # fn main() -> Result<()> {
//! let model = ToyModel::new(ToyConfig::new("and", 4, 6)?, 0, &Device::Cpu)?;
//! let history = model.fit(ToyFit { steps: 50, ..ToyFit::default() })?;
//! assert!(history.last("loss")? < history.column("loss")?[0]);
//! assert_eq!(model.interactions()?.dims(), [6, 4, 4]);
//! # Ok(())
//! # }
//! ```

mod model;
mod operation;

pub use model::{ToyConfig, ToyFit, ToyModel};
pub use operation::{LogicGate, Operation};
