//! Labelled images: where they come from, and random changes to them while training.
//!
//! An image is a matrix of pixels in `[0, 1]`, background 0 and ink 1; a batch is f32
//! `[n, 1, rows, columns]`, with labels u32 `[n]`. A byte `b` of an idx file is the pixel `b / 255`.
//!
//! [`Mnist::load`] needs no preparation: 10,000 real digits are part of the library.
//! [`Mnist::from_dir`] reads a folder of idx files, [`Mnist::full`] the 70,000 digits that
//! `cargo run --bin eigenlens -- fetch mnist` puts into [`home`]. Each says in
//! [`ImageDataset::source`] where the data came from.
//!
//! A [`Table`] holds named columns and reads and writes CSV.
//!
//! An [`Augmentation`] changes each batch before the model sees it: noise, shifts, rotations.
//!
//! ```
//! use eigenlens::candle::Device;
//! use eigenlens::data::{Augmentation, Mnist};
//! use eigenlens::random::Rng;
//!
//! # fn main() -> eigenlens::Result<()> {
//! let mnist = Mnist::load(&Device::Cpu)?;
//! let batch = mnist.train().range(0..64)?;
//! let noisy = Augmentation::noise(0.4).apply(batch.pixels(), &mut Rng::seed(0))?;
//! assert_eq!(noisy.dims(), [64, 1, 28, 28]);
//! # Ok(()) }
//! ```

mod augment;
mod column_cells;
mod columns;
mod embedded;
mod idx;
mod images;
mod mnist;
mod table;
mod table_parquet;
#[cfg(test)]
pub(crate) mod tests;
pub mod text;
mod thumbnails;

pub use crate::home::{data_folder, home};
pub use augment::Augmentation;
pub(crate) use columns::{ColumnFile, Lists};
pub use images::Images;
pub use mnist::{FashionMnist, ImageDataset, Mnist};
pub use table::{Cell, Table};
