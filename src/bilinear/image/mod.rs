//! A classifier of images with bilinear layers in place of ReLUs.
//!
//! A grey image x of p pixels is embedded, passed through one or more bilinear layers, and read out:
//!
//! ```text
//! e = E x      e ← (L e) ∘ (R e) [+ e]      logits = H e
//! ```
//!
//! With one layer and neither bias nor residual, every logit is a quadratic form of the pixels,
//! and [`ImageModel::decompose`] finds its eigenvectors.
//!
//! ```
//! use eigenlens::prelude::*;
//! use eigenlens::bilinear::image::{FitOptions, ImageConfig, ImageModel};
//! # fn main() -> Result<()> {
//! // Images that are bright on the left (0) or on the right (1).
//! let mut rng = Rng::seed(0);
//! let noise = rng.uniform(0., 0.2, (64, 1, 4, 4), &Device::Cpu)?;
//! let side = Tensor::new(&[[0.8f32, 0.8, 0., 0.], [0., 0., 0.8, 0.8]], &Device::Cpu)?;
//! let labels: Vec<u32> = (0..64).map(|i| i % 2).collect();
//! let labels = Tensor::new(labels, &Device::Cpu)?;
//! let images = noise.broadcast_add(&side.index_select(&labels, 0)?.reshape((64, 1, 1, 4))?)?;
//!
//! let config = ImageConfig { height: 4, width: 4, classes: 2, d_hidden: 8, ..Default::default() };
//! let model = ImageModel::new(config, 0, &Device::Cpu)?;
//! let options = FitOptions { epochs: 20, batch: 16, learning_rate: 0.02, ..Default::default() };
//! let history = model.fit((&images, &labels), (&images, &labels), options)?;
//! assert!(history.last("val_acc")? > 0.95);
//! assert_eq!(model.decompose()?.eigenvalues.dims(), [2, 8]);
//! # Ok(())
//! # }
//! ```

mod fit;
mod model;
mod samples;
mod step;
mod store;

pub use fit::FitOptions;
pub use model::{ImageConfig, ImageModel};
pub use samples::LabelledImages;
